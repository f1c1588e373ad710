"""Draws and digests of whole arrays are those of each value, by `hashlib` and by the compiled kernel."""

import hashlib
import subprocess
import sys
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama import blake2, hashing
from redpajama.arrow import fixed_bytes, hexadecimal
from redpajama.hashing import draw, draws, text_digest, text_digests

COUNTS = settings(deadline=None, max_examples=60)
LABELS = st.lists(st.text(max_size=300) | st.integers(), max_size=3)
TEXTS = st.lists(st.text(max_size=300) | st.integers(0, 700).map(lambda n: "ä" * n), max_size=12)
WAYS = {"hashlib": 1 << 60, "kernel": -1}  # from how many values the kernel pays


def by(way):
    return patch.object(hashing, "PAYS_FROM", dict.fromkeys([True, False], WAYS[way]))


@pytest.fixture(params=WAYS)
def way(request):
    with by(request.param):
        yield


def each_way(work):
    """What `work` gives by `hashlib`, and by the kernel."""
    for way in WAYS:
        with by(way):
            yield work()


@COUNTS
@given(st.integers(-(10**30), 10**30), LABELS, TEXTS, st.sampled_from([pa.string(), pa.large_string()]))
def test_draws_of_an_array_are_the_draws_of_its_values(seed, before, texts, kind):
    expected = [draw(seed, *before, text) for text in texts]
    for found in each_way(lambda: draws(seed, before, pa.array(texts, kind))):
        assert found.dtype == np.uint64
        assert found.tolist() == expected


@COUNTS
@given(st.integers(), LABELS, st.lists(st.tuples(st.text(max_size=150), st.integers(-(2**63), 2**63 - 1)), max_size=9))
def test_a_number_may_follow_each_value(seed, before, pairs):
    texts, numbers = pa.array([text for text, _ in pairs], pa.string()), np.array([n for _, n in pairs], np.int64)
    expected = [draw(seed, *before, *pair) for pair in pairs]
    for found in each_way(lambda: draws(seed, before, texts, numbers)):
        assert found.tolist() == expected


@COUNTS
@given(TEXTS)
def test_text_digests_of_an_array_are_those_of_its_texts(texts):
    for found in each_way(lambda: text_digests(pa.array(texts, pa.string()))):
        assert found.type == pa.binary(16)
        assert found.to_pylist() == [text_digest(text) for text in texts]


@pytest.mark.parametrize("head", [0, 1, 127, 128, 129, 256])
@pytest.mark.parametrize("key", [b"", b"k", b"k" * 64])
def test_the_kernel_hashes_messages_of_any_length_as_hashlib_does(head, key):
    values = [b"v" * size for size in (*range(130), 5, 0, 255, 256, 257, 384, 1000, 7)]
    for length in (8, 16):
        found = blake2.digests(pa.array(values, pa.binary()), b"h" * head, key, length)
        expected = [hashlib.blake2b(b"h" * head + value, digest_size=length, key=key).digest() for value in values]
        assert found == b"".join(expected)


def test_the_kernel_gives_the_example_of_rfc_7693():
    expected = "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc95"
    assert blake2.digests(pa.array(["abc"]), b"", b"", 64).hex().startswith(expected)


@pytest.mark.usefixtures("way")
def test_slices_chunks_and_fixed_width_values_are_hashed_like_others():
    texts = [f"c4/{number}" for number in range(9)]
    expected = [draw(3, "select", text) for text in texts]
    for kind in (pa.string(), pa.large_string(), pa.binary(), pa.binary(4)):
        array = pa.array(texts, kind)
        chunked = pa.chunked_array([array[:4], array[4:4], array[4:]])
        assert draws(3, ["select"], array[2:7]).tolist() == expected[2:7]
        assert draws(3, ["select"], chunked).tolist() == expected
        assert draws(3, ["select"], chunked[3:6], np.array([1, 2, 3])).tolist() == [
            draw(3, "select", *each) for each in zip(texts[3:6], [1, 2, 3], strict=True)
        ]
    assert text_digests(pa.array(texts)[5:]).to_pylist() == [text_digest(text) for text in texts[5:]]


@pytest.mark.usefixtures("way")
def test_an_array_without_values_has_no_draws():
    for empty in (pa.array([], pa.string()), pa.chunked_array([], pa.string()), pa.array(["a"])[1:]):
        assert draws(0, ["select"], empty).tolist() == draws(0, [], empty, np.zeros(0, int)).tolist() == []
        assert text_digests(empty).to_pylist() == []


@pytest.mark.usefixtures("way")
def test_a_null_has_no_draw():
    for work in (lambda ids: draws(0, [], ids), lambda ids: draws(0, [], ids, np.arange(2)), text_digests):
        with pytest.raises(ValueError, match="1 of 2 texts are null"):
            work(pa.array(["a", None]))


@COUNTS
@given(st.lists(st.binary(min_size=4, max_size=4), max_size=5))
def test_bytes_of_one_width_are_viewed_and_written_in_hexadecimal_digits(values):
    array = pa.array([b"----", *values], pa.binary(4))[1:]
    assert [bytes(row) for row in fixed_bytes(array)] == values
    assert [bytes(row) for row in fixed_bytes(pa.chunked_array([array, array]))] == values * 2
    assert hexadecimal(array).to_pylist() == [value.hex().encode() for value in values]


def test_a_process_compiles_only_for_many_values():
    code = (
        "import sys, pyarrow as pa; from redpajama import hashing; ids = pa.array(['c4/1'] * 1000);"
        "hashing.draws(0, [], ids); few = 'numba' in sys.modules; hashing.PAYS_FROM = {True: 0, False: 1500};"
        "hashing.text_digests(ids); print(few, 'numba' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]
