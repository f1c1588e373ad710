"""C4 rows: reshaped, none lost."""

import gzip
import json
import zipfile

import pytest
from balanced import read_balanced
from conftest import SHARED, needs_shared, raw_file, write_raw

from redpajama.pipelines import c4
from redpajama.raw import decompress
from redpajama.records import Reason, Tally

ROW = {"text": "A page.\nOf two lines.", "timestamp": "2019-04-25T12:57:54Z", "url": "https://example.org/a"}


def test_a_row_becomes_a_document_with_redpajamas_meta(tmp_path):
    file = write_raw(tmp_path, "c4-train.00000-of-01024.json.gz", gzip.compress(json.dumps(ROW).encode() + b"\n"))
    documents, _ = read_balanced(c4.PIPELINE, [file], language="en")
    assert [(d.text, d.meta) for d in documents] == [
        (ROW["text"], {"timestamp": ROW["timestamp"], "url": ROW["url"], "language": "en", "source": "c4"})
    ]


def test_the_id_depends_on_the_row_alone(tmp_path):
    one = write_raw(tmp_path, "a.json", json.dumps(ROW).encode())
    other = write_raw(tmp_path, "b.json", b'{"text": "x", "url": "y"}\n' + json.dumps(ROW).encode())
    first = read_balanced(c4.PIPELINE, [one])[0][0]
    again = read_balanced(c4.PIPELINE, [other])[0][1]
    assert first.doc_id == again.doc_id
    assert first.doc_id.startswith("src/")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut o', Reason.INVALID_JSON),
        (b'{"text": "\xff", "url": "u"}', Reason.INVALID_JSON),
        (b'["text"]', Reason.INVALID_RECORD),
        (b'{"url": "u"}', Reason.MISSING_FIELD),
        (b'{"text": 7, "url": "u"}', Reason.MISSING_FIELD),
        (b'{"text": " \\n", "url": "u"}', Reason.EMPTY_TEXT),
    ],
)
def test_a_bad_row_is_on_record_and_its_neighbours_are_read(tmp_path, line, reason):
    good = json.dumps(ROW).encode()
    documents, tally = read_balanced(c4.PIPELINE, [write_raw(tmp_path, "a.json", good + b"\n" + line + b"\n" + good)])
    assert len(documents) == 2
    assert [row.reason for row in tally.rows] == [reason]
    assert tally.rows[0].evidence["line"] == 2


@needs_shared
def test_all_thousand_sample_rows_are_read_and_say_what_the_raw_rows_say(tmp_path):
    path = SHARED / "c4" / "wimbd" / "c4-sample.00000-of-00001.json.gz"
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    documents, tally = read_balanced(c4.PIPELINE, [raw_file(path)])
    assert [(d.text, d.meta["url"], d.meta["timestamp"]) for d in documents] == [
        (row["text"], row["url"], row["date"]) for row in rows
    ]
    assert len(documents) == 1000
    assert not tally.rows


@needs_shared
def test_rows_of_the_release_with_their_timestamp_are_read(tmp_path):
    with zipfile.ZipFile(SHARED / "c4" / "hf-dummy" / "en" / "dummy_data.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith(".json.gz"))
        file = write_raw(tmp_path, name.rpartition("/")[2], archive.read(name))
    documents, _ = read_balanced(c4.PIPELINE, [file])
    assert documents
    assert all(document.meta["timestamp"].startswith("20") for document in documents)


def test_what_is_no_number_in_a_row_is_a_string(tmp_path):
    rows = b'{"text": "one", "url": "u", "score": NaN, "list": [-Infinity, 1, Infinity]}\n'
    rows += b'{"text": "NaN, NaN", "url": NaN}\n'
    broken = b'{"text": "three", "url": "u", "score": NaN,}\n' + b'{"text": NaN, "x": ' + b"[" * 100_000 + b"\n"
    file = write_raw(tmp_path, "a.jsonl", rows + broken)
    tally = Tally()
    assert [row for _, row in decompress.json_rows(file, tally)] == [
        {"text": "one", "url": "u", "score": "NaN", "list": ["-Infinity", 1, "Infinity"]},
        {"text": "NaN, NaN", "url": "NaN"},
    ]
    assert tally.quarantined == {Reason.INVALID_JSON: 2}
