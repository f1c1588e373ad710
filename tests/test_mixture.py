"""Copies of documents and their sums, column by column, are those of each document."""

from collections import Counter

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama.hashing import draw
from redpajama.mixers import mixture

SEED = 7
DOCUMENTS = st.dictionaries(st.text(max_size=20), st.integers(0, 9), max_size=12)


def batch_of(ids: list[str], tokens: list[int]) -> pa.RecordBatch:
    columns = {
        "n_tokens": tokens,
        "doc_id": ids,
        "text": [f"text of {i}" for i in ids],
        "source": ["c4"] * len(ids),
        "meta": ["{}"] * len(ids),
    }
    types = {
        "n_tokens": pa.int64(),
        "doc_id": pa.string(),
        "text": pa.large_string(),
        "source": pa.string(),
        "meta": pa.string(),
    }
    return pa.record_batch([pa.array(columns[name], kind) for name, kind in types.items()], list(types))


@settings(deadline=None)
@given(DOCUMENTS, st.integers(0, 3), st.integers(0, 2**64 - 1))
def test_each_drawable_document_has_its_copies_with_their_own_order_keys(documents, epochs, bound):
    cut = {"epochs": epochs, "hash": bound, "doc_id": "", "start_tokens": 0, "target_tokens": 1}
    ids, row = list(documents), {"available_tokens": 1, "cuts": [cut]}  # keys stay as they are
    table, stages = mixture._copies(batch_of(ids, list(documents.values())), "c4", row, "c4/0", SEED)
    assert not stages.any()
    expected = [
        (key_of(doc_id, copy), doc_id, copy, count + 1, f"text of {doc_id}")
        for doc_id, count in documents.items()
        for copy in range(bool(count) * (epochs + (draw(SEED, "select", doc_id) < bound)))
    ]
    names = ["order", "doc_id", "copy", "n_tokens", "text"]
    assert list(zip(*(table.column(name).to_pylist() for name in names), strict=True)) == expected
    assert set(table.column("part").to_pylist()) <= {"c4/0"}


def key_of(doc_id: str, copy: int) -> int:
    """Its draw; moved by seven eighths where it would stand close behind the copy before."""
    key, eighth = draw(SEED, "order", doc_id, copy), 1 << 61
    before = key_of(doc_id, copy - 1) if copy else 1 << 63
    if before >= 7 * eighth and key < eighth:
        return key + 7 * eighth
    return key - 7 * eighth if before < eighth and key >= 7 * eighth else key


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["c4", "books", "wiki"]), st.integers(0, 3), st.integers(1, 2**40))))
def test_documents_count_once_and_copies_and_tokens_each_time(rows):
    table = pa.table(
        [[row[0] for row in rows], pa.array([row[1] for row in rows], pa.int32()), [row[2] for row in rows]],
        pa.schema([("source", pa.string()), ("copy", pa.int32()), ("n_tokens", pa.int64())]),
    )
    tokens: Counter[str] = Counter()
    for source, _, count in rows:
        tokens[source] += count
    assert mixture._by(table, "source") == {
        "documents": Counter(source for source, copy, _ in rows if copy == 0),
        "copies": Counter(source for source, _, _ in rows),
        "tokens": tokens,
    }
