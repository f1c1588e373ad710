"""Megatron pairs: exact bytes, an independent reader, refusals, and every way in which a pair can be broken."""

import mmap
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.exports.megatron import MegatronError, MegatronWriter, check, dtype_for, read_index


def write(folder, documents, dtype="u2"):
    pair = folder / "t.bin", folder / "t.idx"
    with MegatronWriter(*pair, np.dtype(dtype)) as writer:
        for tokens in documents:
            writer.add(np.array(tokens))
    return pair


def read_with_struct(pair):
    """The format as a trainer sees it, without numpy and without our code."""
    letters = {1: "B", 4: "i", 8: "H"}
    with pair[0].open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tokens:
        index = pair[1].read_bytes()
        assert index[:9] == b"MMIDIDX\x00\x00"
        version, code, sequences, entries = struct.unpack_from("<QBQQ", index, 9)
        assert (version, entries) == (1, sequences + 1)
        sizes = struct.unpack_from(f"<{sequences}i", index, 34)
        pointers = struct.unpack_from(f"<{sequences}q", index, 34 + 4 * sequences)
        starts = struct.unpack_from(f"<{entries}q", index, 34 + 12 * sequences)
        assert starts == tuple(range(sequences + 1))
        assert len(index) == 34 + 20 * sequences + 8
        places = zip(sizes, pointers, strict=True)
        return [list(struct.unpack_from(f"<{size}{letters[code]}", tokens, pointer)) for size, pointer in places]


def test_the_bytes_are_those_of_the_format(tmp_path):
    bin_path, idx_path = write(tmp_path, [[5, 6, 0], [7, 0], [65535, 1, 2, 0]])
    assert bin_path.read_bytes() == struct.pack("<9H", 5, 6, 0, 7, 0, 65535, 1, 2, 0)
    assert idx_path.read_bytes() == (
        b"MMIDIDX\x00\x00"
        + struct.pack("<Q", 1)
        + struct.pack("<B", 8)
        + struct.pack("<Q", 3)
        + struct.pack("<Q", 4)
        + struct.pack("<3i", 3, 2, 4)
        + struct.pack("<3q", 0, 6, 10)
        + struct.pack("<4q", 0, 1, 2, 3)
    )


def test_larger_vocabularies_are_int32_with_code_4(tmp_path):
    bin_path, idx_path = write(tmp_path, [[100_000, 0], [1, 2**31 - 1, 0]], "i4")
    assert bin_path.read_bytes() == struct.pack("<5i", 100_000, 0, 1, 2**31 - 1, 0)
    assert idx_path.read_bytes()[17] == 4
    assert read_with_struct((bin_path, idx_path)) == [[100_000, 0], [1, 2**31 - 1, 0]]


@pytest.mark.parametrize(
    ("vocab_size", "dtype"),
    [(256, "uint16"), (50_277, "uint16"), (65_499, "uint16"), (65_500, "int32"), (65_536, "int32")],
)
def test_ids_are_uint16_below_65500_as_in_neox(vocab_size, dtype):
    assert dtype_for(vocab_size) == np.dtype(dtype)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 65_535), min_size=1, max_size=30), min_size=1, max_size=30))
def test_an_independent_reader_and_ours_get_every_document_back(tmp_path_factory, documents):
    pair = write(tmp_path_factory.mktemp("pair"), documents)
    assert read_with_struct(pair) == documents
    index = read_index(pair[1])
    assert index.dtype == np.dtype("u2")
    assert index.sizes.tolist() == [len(tokens) for tokens in documents]
    assert index.document_indices.tolist() == list(range(len(documents) + 1))
    assert check(*pair) is None


def test_any_integer_array_is_written_as_the_shards_dtype(tmp_path):
    with MegatronWriter(tmp_path / "t.bin", tmp_path / "t.idx", dtype_for(50_277)) as writer:
        for dtype in (np.uint16, np.uint32, np.int64):
            writer.add(np.array([1, 50_276], dtype))
        writer.add(np.array([9, 8, 7, 6])[::2])
        assert writer.documents == 4
    assert read_with_struct((tmp_path / "t.bin", tmp_path / "t.idx")) == [[1, 50_276]] * 3 + [[9, 7]]


def test_many_documents_at_once_give_the_bytes_of_one_after_another(tmp_path):
    documents = [[5, 6, 0], [0], [65_535, 1, 2, 0]]
    one = write(tmp_path, documents)
    many = tmp_path / "many.bin", tmp_path / "many.idx"
    with MegatronWriter(*many, np.dtype("u2")) as writer:
        writer.extend(np.array([5, 6, 0, 0], np.uint32), np.array([3, 1]))
        writer.extend(np.array([], np.uint32), np.array([], np.int64))
        writer.extend(np.array([65_535, 1, 2, 0], np.uint32), np.array([4]))
    assert [path.read_bytes() for path in many] == [path.read_bytes() for path in one]


@pytest.mark.parametrize(
    ("tokens", "sizes", "message"),
    [
        ([1, 2, 3], [1, 0, 2], "document 2 has 0 tokens; 1 to 2,147,483,647 can be stored"),
        ([1, 2, 70_000, 3], [2, 1, 1], "document 2 has id 70000; uint16 holds 0 to 65,535"),
        ([1, 2, 3], [2, 2], "3 tokens, but sizes for 4"),
    ],
)
def test_many_documents_with_one_that_cannot_be_held_leave_no_trace(tmp_path, tokens, sizes, message):
    with MegatronWriter(tmp_path / "t.bin", tmp_path / "t.idx", np.dtype("u2")) as writer:
        writer.add(np.array([9, 0]))
        with pytest.raises(MegatronError, match=message):
            writer.extend(np.array(tokens), np.array(sizes))
    assert read_with_struct((tmp_path / "t.bin", tmp_path / "t.idx")) == [[9, 0]]


def test_documents_reach_the_bin_file_before_the_end(tmp_path):
    writer = MegatronWriter(tmp_path / "t.bin", tmp_path / "t.idx", np.dtype("u2"))
    for _ in range(100):
        writer.add(np.zeros(10_000, np.uint16))
    assert (tmp_path / "t.bin").stat().st_size > 1_900_000
    assert not (tmp_path / "t.idx").exists()
    writer.close()
    writer.close()
    assert check(tmp_path / "t.bin", tmp_path / "t.idx") is None


@pytest.mark.parametrize(
    ("dtype", "tokens", "message"),
    [
        ("u2", [], "document 1 has 0 tokens; 1 to 2,147,483,647 can be stored"),
        ("u2", [3, 65_536], "document 1 has id 65536; uint16 holds 0 to 65,535"),
        ("u2", [-1, 3], "document 1 has id -1; uint16 holds 0 to 65,535"),
        ("i4", [2**31], "document 1 has id 2147483648; int32 holds 0 to 2,147,483,647"),
        ("i4", [-1], "document 1 has id -1; int32 holds 0 to 2,147,483,647"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_and_leaves_no_trace(tmp_path, dtype, tokens, message):
    with MegatronWriter(tmp_path / "t.bin", tmp_path / "t.idx", np.dtype(dtype)) as writer:
        writer.add(np.array([1, 0]))
        with pytest.raises(MegatronError) as error:
            writer.add(np.array(tokens, np.int64))
        writer.add(np.array([2, 0]))
    assert str(error.value) == f"{tmp_path / 't.bin'}: {message}"
    assert read_with_struct((tmp_path / "t.bin", tmp_path / "t.idx")) == [[1, 0], [2, 0]]


def test_an_empty_shard_is_refused(tmp_path):
    writer = MegatronWriter(tmp_path / "t.bin", tmp_path / "t.idx", np.dtype("u2"))
    with pytest.raises(MegatronError, match="a shard without documents cannot be read by trainers"):
        writer.close()
    assert not (tmp_path / "t.idx").exists()


def test_a_dtype_without_a_code_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(MegatronError, match="Megatron has no dtype uint32; use uint16 or int32"):
        MegatronWriter(tmp_path / "t.bin", tmp_path / "t.idx", np.dtype("u4"))
    assert not list(tmp_path.iterdir())


def test_an_error_in_the_block_leaves_no_index(tmp_path):
    with pytest.raises(KeyError), MegatronWriter(tmp_path / "t.bin", tmp_path / "t.idx", np.dtype("u2")) as writer:  # noqa: PT012
        writer.add(np.array([1, 0]))
        raise KeyError
    assert not (tmp_path / "t.idx").exists()


def put(offset, fmt, *values):
    """A damage: other values at a place."""
    return lambda data: data[:offset] + struct.pack(fmt, *values) + data[offset + struct.calcsize(fmt) :]


# Documents of 3, 2 and 4 tokens: sizes at 34, pointers at 46, document_indices at 70, 102 bytes in all.
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (put(0, "<9s", b"TNTIDX\x00\x00\x00"), "not a Megatron index"),
        (lambda data: b"", "not a Megatron index"),
        (lambda data: data[:33], "not a Megatron index"),
        (put(9, "<Q", 2), "version 2; only version 1 is known"),
        (put(17, "<B", 6), "dtype code 6 holds no tokens; known: 1, 2, 3, 4, 5, 8"),
        (put(17, "<B", 4), "the documents' places are not those of documents back to back"),
        (put(18, "<Q", 2**60), "102 bytes, but its header says"),
        (put(26, "<Q", 1), "102 bytes, but its header says 78"),
        (lambda data: data[:-1], "101 bytes, but its header says 102"),
        (lambda data: data + b"\x00", "103 bytes, but its header says 102"),
        (put(34, "<i", 0), "document 0 has no tokens"),
        (put(38, "<i", -2), "document 1 has no tokens"),
        (put(34, "<2i", 2, 3), "the documents' places are not those of documents back to back"),
        (put(54, "<q", 4), "the documents' places are not those of documents back to back"),
        (put(42, "<i", 5), "18 bytes, but the index says 20"),
        (put(70, "<2q", 0, 0), "not one sequence per document"),
        (put(94, "<q", 2), "not one sequence per document"),
    ],
)
def test_a_damaged_index_is_found(tmp_path, damage, message):
    bin_path, idx_path = write(tmp_path, [[5, 6, 0], [7, 0], [8, 1, 2, 0]])
    assert check(bin_path, idx_path) is None
    idx_path.write_bytes(damage(idx_path.read_bytes()))
    assert message in check(bin_path, idx_path)


@pytest.mark.parametrize("length", [0, 17, 19, 20])
def test_a_bin_file_of_another_length_is_found(tmp_path, length):
    bin_path, idx_path = write(tmp_path, [[5, 6, 0], [7, 0], [8, 1, 2, 0]])
    bin_path.write_bytes((bin_path.read_bytes() + b"\x00\x00")[:length])
    assert check(bin_path, idx_path) == f"{bin_path}: {length} bytes, but the index says 18"


def test_a_missing_file_is_found(tmp_path):
    bin_path, idx_path = write(tmp_path, [[5, 0]])
    bin_path.unlink()
    assert "No such file" in check(bin_path, idx_path)
    idx_path.unlink()
    assert "No such file" in check(bin_path, idx_path)


def test_an_index_without_documents_is_found(tmp_path):
    (tmp_path / "t.bin").write_bytes(b"")
    (tmp_path / "t.idx").write_bytes(struct.pack("<9sQBQQq", b"MMIDIDX", 1, 8, 0, 1, 0))
    assert check(tmp_path / "t.bin", tmp_path / "t.idx") == f"{tmp_path / 't.idx'}: no documents"


def test_another_writers_index_with_an_empty_document_can_be_read(tmp_path):
    path = tmp_path / "t.idx"  # Megatron-LM: a document of no sequence repeats an entry
    path.write_bytes(struct.pack("<9sQBQQ", b"MMIDIDX", 1, 8, 1, 3) + struct.pack("<iqqqq", 4, 0, 0, 0, 1))
    index = read_index(path)
    assert (index.sizes.tolist(), index.pointers.tolist(), index.document_indices.tolist()) == ([4], [0], [0, 0, 1])
