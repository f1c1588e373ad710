"""Evidence of whole columns: the bytes of `canonical_json`, and what is read back from them."""

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.corpus import verdicts
from redpajama.corpus.evidence import evidence_of, sources_of
from redpajama.hashing import canonical_json
from redpajama.mixers.candidates import _removed_tokens
from redpajama.mixers.counts import SCHEMA

KEYS = st.text() | st.text('ab/"\\\n\x00\x1f\x7f\u2028é😀,:{}') | st.just('","other":"x/","survivor":"y/')
IDS = st.builds("{}/{}".format, st.sampled_from(["c4", "the-stack_2", "x"]), KEYS)


def written(rows):
    return [canonical_json(row).decode() for row in rows]


@settings(deadline=None)
@given(st.lists(st.tuples(KEYS, KEYS, st.integers(-(2**63), 2**63 - 1)), min_size=1))
def test_evidence_of_columns_is_the_canonical_json_of_each_row(rows):
    names = ("survivor_part", "survivor", "spans")
    columns = dict(zip(names, map(pa.array, zip(*rows, strict=True)), strict=True))
    found = evidence_of(columns)
    assert found.type == pa.string()
    assert found.to_pylist() == written(dict(zip(names, row, strict=True)) for row in rows)
    assert evidence_of({name: pa.chunked_array([c[:1], c[1:]]) for name, c in columns.items()}).equals(found)
    assert evidence_of({name: c[1:] for name, c in columns.items()}).to_pylist() == found.to_pylist()[1:]


@pytest.mark.parametrize("code", [*range(0x21), 0x22, 0x2F, 0x5C, 0x7F, 0x80, 0x9F, 0x2028, 0xFEFF, 0xFFFF, 0x10FFFF])
def test_each_character_is_written_as_json_does(code):
    text = f"c4/{chr(code)}{chr(code)}b"
    assert evidence_of({"survivor": pa.array([text, "c4/1"])}).to_pylist() == written(
        {"survivor": each} for each in [text, "c4/1"]
    )


def test_no_row_has_no_evidence():
    assert evidence_of({"survivor": pa.array([], pa.string()), "spans": pa.array([], pa.int64())}).to_pylist() == []


@given(st.lists(KEYS))
def test_the_source_of_an_id_ends_at_its_first_slash(ids):
    assert sources_of(pa.array(ids, pa.string())).to_pylist() == [doc_id.partition("/")[0] for doc_id in ids]


def plain_pairs(stages):
    """{id: (stage, pair)} by `json.loads` of each row."""
    pairs = {}
    for stage in (stage for stage in ("identity", "exact", "near") if stage in stages):
        for doc_id, evidence in stages[stage]:
            found = json.loads(evidence)
            other = found.get("survivor") or found["other"]
            pairs[doc_id] = stage, f"{doc_id.partition('/')[0]} < {other.partition('/')[0]}"
    return pairs


def evidences(role):
    columns = {"source": KEYS, f"{role}_source": KEYS, f"{role}_part": KEYS, "spans": st.integers()}
    return st.fixed_dictionaries({role: IDS}, optional=columns).map(lambda row: canonical_json(row).decode())


ROWS = st.lists(st.tuples(IDS, evidences("survivor") | evidences("other")), max_size=6, unique_by=lambda row: row[0])


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional={"identity": ROWS, "exact": ROWS, "near": ROWS}), st.lists(IDS, max_size=9))
def test_pairs_and_their_tokens_are_those_that_the_evidence_of_each_row_names(stages, others):
    removed = {stage: table_of(stages[stage]) for stage in ("identity", "exact", "near") if stage in stages}
    pairs, expected = verdicts.duplicate_pairs(removed), plain_pairs(stages)
    assert {row["doc_id"]: (row["stage"], row["pair"]) for row in pairs.to_pylist()} == expected
    assert pairs.num_rows == len(expected)
    counted = [(doc_id, number) for number, doc_id in enumerate([*expected, *others])]
    sums = {stage: {} for stage, _ in expected.values()}
    for doc_id, tokens in counted:
        if doc_id in expected:
            stage, pair = expected[doc_id]
            sums[stage][pair] = sums[stage].get(pair, 0) + tokens
    table = pa.Table.from_pylist([{"doc_id": doc_id, "n_tokens": tokens} for doc_id, tokens in counted], SCHEMA)
    assert _removed_tokens(table, pairs) == sums


def table_of(rows):
    """VERDICT_SCHEMA of (id, evidence)."""
    made = [{"part": "p", "doc_id": doc_id, "evidence": evidence} for doc_id, evidence in rows]
    return pa.Table.from_pylist(made, verdicts.VERDICT_SCHEMA)
