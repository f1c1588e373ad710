"""Stage records: parts' records gathered in files of columns, read as a sequence, found by content, checked by name."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpajama.engine import gathered
from redpajama.engine.gathered import (
    Parts,
    add_counts,
    commit_stage,
    is_whole,
    parts_of,
    read_parts,
    read_stage,
    stage_of,
    table_of,
)
from redpajama.engine.parts import Part, PartRecord, run_part
from redpajama.engine.store import Store
from redpajama.errors import BuildFailed

FOLDER = f"documents/news-{'f' * 16}"
KEY = f"{FOLDER}/_record-{'0' * 16}.json"
PARAMETERS = {"stage": ["documents", 2], "libraries": {}}


def done(store: Store, number: int) -> PartRecord:
    """A part with a text and a ledger of its own."""

    def work(outputs):
        outputs.file(".txt").write_bytes(b"text %d" % number)
        outputs.file(".parquet", "ledger/").write_bytes(b"ledger")
        return [["u", number]], {"read": 3, "kept": 2, "dropped": {"empty-text": 1}}

    return run_part(store, Part("documents", "news", "f" * 16, number, each=f"{number + 1:016x}"), work)


def parts(store: Store, count: int = 2) -> list[PartRecord]:
    return sorted((done(store, number) for number in range(count)), key=lambda record: record.stem)


def made_up(number: int) -> PartRecord:
    """A record that no file holds."""
    content = sha256(b"%d" % number).hexdigest()
    each = sha256(content.encode()).hexdigest()[:16] if number % 3 else ""
    outputs = json.dumps({"*.parquet": [number, content]})
    return PartRecord(f"{FOLDER}/part-{number:016x}", content, content[:16], each, f"[{number}]", outputs, '{"kept":1}')


def flip(store: Store, key: str, place: int) -> bytes:
    """Change one bit of a byte; gives the bytes that were there."""
    body = store.read(key)
    store.write(key, body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :])
    return body


# ---- commit


def test_a_stage_record_is_its_set_of_parts_with_their_sums_in_any_order(store):
    records = parts(store)
    stage = commit_stage(store, KEY, records, PARAMETERS)
    again = commit_stage(store, KEY, records[::-1], PARAMETERS)
    assert again == stage == read_stage(store, KEY) == stage_of(store, KEY)
    assert (stage.key, stage.parts) == (KEY, 2)
    assert stage.counts == {"read": 6, "kept": 4, "dropped": {"empty-text": 2}}
    assert stage.parameters == PARAMETERS
    assert stage.sha256 == sha256(store.read(KEY)).hexdigest()
    assert commit_stage(store, KEY, records[:1], PARAMETERS).sha256 != stage.sha256


def test_parts_come_back_as_they_were_committed(store):
    records = parts(store)
    found = read_parts(store, commit_stage(store, KEY, records, PARAMETERS))
    assert list(found) == records
    assert list(parts_of(store, KEY)) == records
    assert [part.outputs for part in found] == [record.outputs for record in records]
    assert {part.sha256 for part in found} == {sha256(store.read(f"{part.stem}.json")).hexdigest() for part in found}


def test_a_stage_without_parts_is_committed_too(store):
    stage = commit_stage(store, KEY, [], PARAMETERS)
    assert (stage.parts, stage.gathered, stage.counts) == (0, [], {})
    assert list(read_parts(store, stage)) == []
    assert is_whole(store, KEY, store.sizes)


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2500])
def test_records_are_gathered_a_thousand_to_a_file(tmp_path, count):
    store, records = Store(str(tmp_path)), [made_up(number) for number in range(count)]
    stage = commit_stage(store, KEY, records, PARAMETERS)
    assert len(stage.gathered) == -(-count // gathered.GATHERED_ROWS)
    assert [file["key"] for file in stage.gathered] == [key for key, _ in store.keys(FOLDER) if "_parts-" in key]
    assert [file["bytes"] for file in stage.gathered] == [len(store.read(file["key"])) for file in stage.gathered]
    found = read_parts(store, stage)
    assert list(found) == records == [found[row] for row in range(count)]
    assert stage.counts == {"kept": count}
    assert stage.parameters == PARAMETERS


def test_one_part_more_at_the_end_rewrites_the_last_file_alone(tmp_path):
    store, records = Store(str(tmp_path)), [made_up(number) for number in range(1502)]
    one, two = (commit_stage(store, KEY, records[:count], PARAMETERS).gathered for count in (1501, 1502))
    assert one[0] == two[0]
    assert one[1]["sha256"] != two[1]["sha256"]


# ---- a sequence


@pytest.fixture(scope="module")
def many() -> tuple[list[PartRecord], Parts]:
    records = [made_up(number) for number in range(2345)]
    return records, Parts(FOLDER, table_of(records))


def test_parts_are_a_sequence(many):
    records, found = many
    assert len(found) == len(records)
    assert (found[0], found[-1], found[1234]) == (records[0], records[-1], records[1234])
    assert found[990:1010] == records[990:1010]
    assert found[::-500] == records[::-500]
    assert list(found) == records
    assert list(reversed(found))[:3] == records[:-4:-1]
    for row in (2345, -2346):
        with pytest.raises(IndexError):
            found[row]


def test_every_part_is_found_by_its_content_and_by_what_it_was_made_for(many):
    records, found = many
    assert [found.holding(record.content) for record in records] == records
    asking = [record for record in records if record.each]
    assert [found.made_for(record.each) for record in asking] == asking
    assert found.holding("0" * 15 + "1") is found.holding("f" * 16) is found.made_for("f" * 16) is None


def test_nothing_is_found_among_no_parts():
    none = Parts(FOLDER, table_of([]))
    assert list(none) == []
    assert none.holding("0" * 16) is none.made_for("0" * 16) is None


@given(st.lists(st.integers(0, (1 << 64) - 1), unique=True, max_size=30), st.integers(0, (1 << 64) - 1))
def test_contents_are_found_among_any_others(numbers, other):
    records = [replace(made_up(row), content=f"{number:016x}") for row, number in enumerate(numbers)]
    found = Parts(FOLDER, table_of(records))
    assert [found.holding(record.content) for record in records] == records
    if other not in numbers:
        assert found.holding(f"{other:016x}") is None


# ---- damage


def test_a_record_that_is_gone_or_broken_fails_by_name(store):
    commit_stage(store, KEY, parts(store), PARAMETERS)
    for body in (b"", b"{", b"{}", b"[]"):
        store.write(KEY, body)
        with pytest.raises(BuildFailed, match=f"^{KEY}: the stage record is missing or unreadable$"):
            read_stage(store, KEY)
        assert not is_whole(store, KEY, store.sizes)
    commit_stage(store, KEY, parts(store), PARAMETERS)
    for place in range(0, len(store.read(KEY)), 5):
        body = flip(store, KEY, place)
        with pytest.raises(BuildFailed, match=f"^{KEY}: the stage record is missing or unreadable$"):
            read_stage(store, KEY)
        store.write(KEY, body)
    store.remove(KEY)
    with pytest.raises(BuildFailed, match=f"^{KEY}: the stage record is missing or unreadable$"):
        read_stage(store, KEY)


def test_gathered_records_that_are_gone_or_another_fail_by_name(store):
    stage = commit_stage(store, KEY, parts(store), PARAMETERS)
    [file] = stage.gathered
    size = len(store.read(file["key"]))
    for place in (0, size // 2, size - 1):
        body = flip(store, file["key"], place)
        with pytest.raises(BuildFailed, match=f"^{file['key']}: not the parts' records that the stage names$"):
            read_parts(store, stage)
        assert not is_whole(store, KEY, store.sizes)
        store.write(file["key"], body)
    assert len(read_parts(store, stage)) == 2
    store.remove(file["key"])
    with pytest.raises(BuildFailed, match=f"^{file['key']}: the parts' records are missing$"):
        read_parts(store, stage)


def test_a_stage_is_whole_with_all_that_it_names_at_its_size(store):
    records = parts(store, 3)
    stage = commit_stage(store, KEY, records, PARAMETERS)
    assert is_whole(store, KEY, store.sizes)
    assert not is_whole(store, KEY.replace("_record-0", "_record-1"), store.sizes)
    outputs = [key for record in records for key in record.outputs]
    for key in [*outputs, *(f"{record.stem}.json" for record in records), stage.gathered[0]["key"], KEY]:
        body = store.read(key)
        store.remove(key)
        assert not is_whole(store, KEY, store.sizes), key
        store.write(key, body)
    for key in [*outputs, stage.gathered[0]["key"]]:
        body = store.read(key)
        store.write(key, body + b"1")
        assert not is_whole(store, KEY, store.sizes), key
        store.write(key, body)
    assert is_whole(store, KEY, store.sizes)


def test_whether_a_stage_is_whole_takes_one_listing(tmp_path):
    store, listed = Store(str(tmp_path)), []
    commit_stage(store, KEY, parts(store, 5), PARAMETERS)
    assert is_whole(store, KEY, lambda folder: [listed.append(folder), store.sizes(folder)][1])
    assert listed == [FOLDER]


# ---- sums


def test_counts_are_added_key_by_key_and_tables_in_them_too():
    one = {"read": 2, "dropped": {"empty-text": 1}, "mean": 0.5, "note": "not a count"}
    two = {"read": 3, "dropped": {"empty-text": 2, "no-text": 1}}
    assert add_counts([one, two]) == {"dropped": {"empty-text": 3, "no-text": 1}, "mean": 0.5, "read": 5}
    assert add_counts([]) == {}


TABLES = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9))


@given(st.lists(st.fixed_dictionaries({"n": st.integers(0, 9), "t": TABLES})))
def test_the_sum_of_sums_is_the_sum_in_any_grouping_and_order(counts):
    halves = add_counts([add_counts(counts[::2]), add_counts(counts[1::2])])
    assert halves == add_counts(counts[::-1]) == add_counts(counts)
    assert list(halves) == sorted(halves)
