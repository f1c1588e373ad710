import gzip
import io
import json
import zipfile

import pytest
import zstandard
from balanced import damaged, read_balanced
from conftest import SHARED, needs_shared, raw_file, write_raw
from packing import pack_pile_jsonl_zst
from pydantic import ValidationError

from redpajama.hashing import content_key
from redpajama.pipelines import pile
from redpajama.records import Reason


def line(text="Some text.", name="FreeLaw") -> bytes:
    return json.dumps({"text": text, "meta": {"pile_set_name": name}}).encode() + b"\n"


def read_bytes(tmp_path, data: bytes, name: str = "00.jsonl", **options):
    return read_balanced(pile.PIPELINE, [write_raw(tmp_path, name, data)], **options)


@needs_shared
def test_the_released_layout_is_read(tmp_path):
    archive = zipfile.ZipFile(SHARED / "pile/hf-dummy/the_pile_dummy_data.zip")
    names = ["00.jsonl.zst", "val.jsonl.zst", "test.jsonl.zst"]
    files = [write_raw(tmp_path, name, archive.read(f"dummy_data/{name}")) for name in names]
    documents, tally = read_balanced(pile.PIPELINE, files, slices=["Pile-CC", "OpenWebText2", "Wikipedia (en)"])
    assert [document.meta for document in documents] == [
        {"pile_set_name": "Pile-CC", "source": "pile"},
        {"pile_set_name": "OpenWebText2", "source": "pile"},
        {"pile_set_name": "Wikipedia (en)", "source": "pile"},
    ]
    assert documents[0].text.startswith("It is done, and submitted. You can play “Survival of the Tastiest” on Android")
    assert documents[2].doc_id == f"src/wikipedia-en/{content_key(documents[2].text)}"
    assert tally.read == 3


@needs_shared
def test_the_default_takes_the_slices_that_redpajama_lacks(tmp_path):
    documents, tally = read_balanced(pile.PIPELINE, [raw_file(pack_pile_jsonl_zst(tmp_path, SHARED))])
    names = [document.meta["pile_set_name"] for document in documents]
    assert {name: names.count(name) for name in names} == {
        "PubMed Abstracts": 50,
        "USPTO Backgrounds": 50,
        "NIH ExPorter": 20,
    }
    assert tally.dropped == {Reason.NOT_SELECTED: 100}
    assert len({document.doc_id for document in documents}) == 110  # the NIH rows stand there twice


def test_by_default_nothing_withdrawn_or_overlapping_is_taken():
    assert len(pile.Options().slices) == 12
    assert not set(pile.Options().slices) & {*pile.WITHDRAWN, *pile.OVERLAPPING}
    assert len(set(pile.SLICES)) == 22


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        (["Books3"], "slice 'Books3' is withdrawn for copyright; allow_withdrawn = true takes it all the same"),
        (["FreeLaw", "YoutubeSubtitles"], "slice 'YoutubeSubtitles' is withdrawn"),
        (["Pubmed Central"], "the Pile has no slice 'Pubmed Central'; did you mean 'PubMed Central'?"),
    ],
)
def test_withdrawn_and_unknown_slices_are_refused_in_one_line(slices, message):
    with pytest.raises(ValidationError) as caught:
        pile.Options(slices=slices)
    assert message in caught.value.errors()[0]["msg"]
    assert "\n" not in caught.value.errors()[0]["msg"]


def test_withdrawn_rows_are_dropped_by_name_unless_they_are_allowed(tmp_path):
    documents, tally = read_bytes(tmp_path, line(name="Books3"))
    assert (documents, tally.dropped) == ([], {Reason.WITHDRAWN: 1})
    documents, _ = read_bytes(tmp_path, line(name="Books3"), slices=["Books3"], allow_withdrawn=True)
    assert documents[0].meta["pile_set_name"] == "Books3"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (line(text=" \n"), Reason.EMPTY_TEXT),
        (line(name="Pile-CC"), Reason.NOT_SELECTED),
        (line(name="Pile v2"), Reason.NOT_SELECTED),
        (b"{}\n", Reason.MISSING_FIELD),
        (b"[]\n", Reason.INVALID_RECORD),
        (b'{"text": "a", "meta": null}\n', Reason.MISSING_FIELD),
        (b'{"text": 5, "meta": {"pile_set_name": "FreeLaw"}}\n', Reason.MISSING_FIELD),
        (b'{"text": "a", "meta": {"pile_set_name": ["FreeLaw"]}}\n', Reason.MISSING_FIELD),
        (b'{"text": "a", "me\n', Reason.INVALID_JSON),
        (b'{"text": "\xff", "meta": {"pile_set_name": "FreeLaw"}}\n', Reason.INVALID_JSON),
        (b"<html>404</html>", Reason.INVALID_JSON),
    ],
)
def test_bad_rows_are_on_record_and_the_rest_is_read(tmp_path, data, reason):
    documents, tally = read_bytes(tmp_path, data.rstrip(b"\n") + b"\n" + line())
    assert [document.text for document in documents] == ["Some text."]
    assert [row.reason for row in tally.rows] == [reason]


def test_plain_gzip_and_empty_files_are_read(tmp_path):
    assert len(read_bytes(tmp_path, gzip.compress(line()), "00.jsonl.gz")[0]) == 1
    assert read_bytes(tmp_path, b"")[1].read == 0


def test_a_truncated_frame_is_skipped_with_its_range(tmp_path):
    compress = zstandard.ZstdCompressor().compress
    data = compress(line() * 100) + compress(line(text="Cut.") * 1000)[:-5]
    documents, tally = read_bytes(tmp_path, data, "00.jsonl.zst")
    assert len(documents) == 100
    assert tally.damaged == {Reason.TRUNCATED: 1}


def test_a_bomb_is_cut_off(tmp_path):
    buffer = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(buffer, closefd=False) as writer:
        for _ in range(200):
            writer.write(b" " * (1 << 20))
    documents, tally = read_bytes(tmp_path, buffer.getvalue(), "00.jsonl.zst")
    assert documents == []
    assert tally.damaged == {Reason.EXPANSION_LIMIT: 1}


@needs_shared
def test_random_damage_never_stops_the_reader(tmp_path):
    data = pack_pile_jsonl_zst(tmp_path, SHARED, per_slice=10).read_bytes()
    for broken in damaged(data, 15):
        read_bytes(tmp_path, broken, "00.jsonl.zst")
    for broken in damaged(zstandard.ZstdDecompressor().decompress(data), 15):
        read_bytes(tmp_path, broken)
