"""Python calls a document in the narrow stages: as they were, a document at a time, and now, by columns.

    python bench/python_calls.py [--documents 200000]

Both ways run here, on the same ids and verdicts, and must give the same bits. Calls are those that `sys.setprofile`
sees: of Python functions, and of methods and functions written in C, per document. Microseconds are those of the
processor, the best of three rounds, by `hashlib` and by the compiled kernel (loaded: it takes over where a process has
hashed some millions of ids, or has the compiler anyway).
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from timing import best_seconds

from redpajama import hashing
from redpajama.arrow import hexadecimal
from redpajama.corpus import verdicts
from redpajama.corpus.evidence import evidence_of
from redpajama.dedup import exact, paragraphs
from redpajama.hashing import canonical_json, draw, draws, text_digest, text_digests
from redpajama.manifest import Clean
from redpajama.mixers import mixture, selection

SEED, PARTITIONS = 1, 24
HASHLIB, KERNEL = ({True: limit, False: limit} for limit in (1 << 60, -1))  # values from which the kernel pays
ROUNDS = 3


class Corpus(NamedTuple):
    """What the narrow stages read of n documents."""

    ids: pa.Array
    copies: np.ndarray  # of each document, which one
    digests: pa.Array  # of the texts
    parts: pa.Array
    evidence: pa.Array
    mixed: pa.Table  # source, copy, n_tokens
    kinds: Clean


class Case(NamedTuple):
    """One kernel: what it gives before and now."""

    name: str
    before: Callable[[Corpus], Any]
    now: Callable[[Corpus], Any]


def corpus_of(documents: int) -> Corpus:
    """Documents with ids of 35 characters, as CommonCrawl's are by date and number."""
    numbers = range(documents)
    ids = pa.array([f"common_crawl/2023-06/{number:014d}" for number in numbers])
    parts = pa.array([f"common_crawl-{number % 7:08x}/{number % 11:08x}" for number in numbers])
    rng = np.random.default_rng(SEED)
    sources = pa.array(["books", "c4", "common_crawl"]).take(pa.array(rng.integers(0, 3, documents)))
    mixed = pa.table(
        {
            "source": sources,
            "copy": pa.array(rng.integers(0, 2, documents), pa.int32()),
            "n_tokens": rng.integers(1, 2000, documents),
        }
    )
    evidence = evidence_of({"survivor": ids, "survivor_part": parts})
    return Corpus(
        ids, rng.integers(0, 3, documents), text_digests(ids), parts, evidence, mixed, Clean(c4_lines=True, pii=True)
    )


# ---- as it was: a document at a time


def draw_each(corpus: Corpus, *labels: str) -> list[int]:
    return [draw(SEED, *labels, doc_id) for doc_id in corpus.ids.to_pylist()]


def order_each(corpus: Corpus) -> list[int]:
    pairs = zip(corpus.ids.to_pylist(), corpus.copies.tolist(), strict=True)
    return [draw(SEED, "order", doc_id, copy) for doc_id, copy in pairs]


def examples_each(corpus: Corpus) -> list[int]:
    return [draw(SEED, "quality", digest.hex()) for digest in corpus.digests.to_pylist()]


def digest_each(corpus: Corpus) -> list[bytes]:
    return [text_digest(doc_id) for doc_id in corpus.ids.to_pylist()]


def deal_each(corpus: Corpus) -> list[int]:
    words = np.frombuffer(b"".join(key[:4] for key in corpus.digests.to_pylist()), dtype=">u4").astype(np.int64)
    return (words * 16 >> 32).tolist()


def partition_of(key: int, partitions: int) -> int:
    return int(key) * partitions >> 64


def range_each(corpus: Corpus) -> list[int]:
    return [partition_of(key, PARTITIONS) for key in keys_of(corpus).tolist()]


def keys_of(corpus: Corpus) -> np.ndarray:
    """Any 64 bits a document."""
    return np.frombuffer(corpus.digests.buffers()[1], np.uint64)[::2]


def sum_each(corpus: Corpus) -> dict[str, dict[str, int]]:
    rows = corpus.mixed.to_pydict()
    tokens: Counter[str] = Counter()
    for source, count in zip(rows["source"], rows["n_tokens"], strict=True):
        tokens[source] += count
    first = [source for source, copy in zip(rows["source"], rows["copy"], strict=True) if copy == 0]
    return {"documents": dict(Counter(first)), "copies": dict(Counter(rows["source"])), "tokens": dict(tokens)}


def write_each(corpus: Corpus) -> list[str]:
    pairs = zip(corpus.ids.to_pylist(), corpus.parts.to_pylist(), strict=True)
    return [canonical_json({"survivor": doc_id, "survivor_part": part}).decode() for doc_id, part in pairs]


def read_each(corpus: Corpus) -> list[str]:
    pairs = []
    for doc_id, evidence in zip(corpus.ids.to_pylist(), corpus.evidence.to_pylist(), strict=True):
        found = json.loads(evidence)
        other = found.get("survivor") or found["other"]
        pairs.append(f"{doc_id.partition('/')[0]} < {other.partition('/')[0]}")
    return pairs


def kinds_each(corpus: Corpus) -> list[str]:
    """As often as the documents stage asked."""
    for _ in range(len(corpus.ids)):
        if corpus.kinds.pii_kinds:
            found = corpus.kinds.pii_kinds
    return found


# ---- as it is


def read_columns(corpus: Corpus) -> pa.Array:
    table = pa.table({"doc_id": corpus.ids, "evidence": corpus.evidence})
    return verdicts._pairs(table, "exact").column("pair")


CASES = [
    Case(
        "selection hashes",
        lambda c: draw_each(c, "select"),
        lambda c: selection.selection_hashes(SEED, c.ids),
    ),
    Case("order keys", order_each, lambda c: selection.order_keys(SEED, c.ids, c.copies)),
    Case("partitions of keys", range_each, lambda c: selection.partitions_of(keys_of(c), PARTITIONS)),
    Case("sums of the mixture", sum_each, lambda c: mixture._sums(c.mixed)),
    Case("digests of ids", digest_each, lambda c: text_digests(c.ids)),
    Case("partitions of digests", deal_each, lambda c: exact._partition_numbers(c.digests, 16)),
    Case(
        "keys of documents",
        lambda c: [draw(0, doc_id) for doc_id in c.ids.to_pylist()],
        lambda c: paragraphs.document_keys(c.ids),
    ),
    Case("sample of the tokenizer", lambda c: draw_each(c, "train"), lambda c: draws(SEED, ["train"], c.ids)),
    Case(
        "examples of classifiers",
        examples_each,
        lambda c: draws(SEED, ["quality"], hexadecimal(c.digests)),
    ),
    Case(
        "evidence written",
        write_each,
        lambda c: evidence_of({"survivor": c.ids, "survivor_part": c.parts}),
    ),
    Case("evidence read", read_each, read_columns),
    Case("kinds of personal data", kinds_each, lambda c: c.kinds.pii_kinds),
]


# ---- the measure


def calls_of(work: Callable[[], Any]) -> Counter[str]:
    """{"call": Python functions, "c_call": functions in C} that a piece of work calls."""
    seen: Counter[str] = Counter()

    def count(frame: Any, event: str, argument: Any) -> None:
        seen[event] += 1

    sys.setprofile(count)
    work()
    sys.setprofile(None)
    return seen


def plain(found: Any) -> Any:
    """Of an array, its values."""
    if isinstance(found, pa.Array | pa.ChunkedArray):
        return found.to_pylist()
    return found.tolist() if isinstance(found, np.ndarray) else found


def measure(case: Case, corpus: Corpus) -> tuple[list[float], list[float], list[float]]:
    """Calls and C calls a document and microseconds: each before, now by hashlib, and now by the kernel."""
    ways = [(case.before, HASHLIB), (case.now, HASHLIB), (case.now, KERNEL)]
    python, native, times, outcomes = [], [], [], []
    for work, limit in ways:
        with patch.object(hashing, "PAYS_FROM", limit):
            outcomes.append(plain(work(corpus)))  # this compiles or loads
            seen = calls_of(lambda work=work: work(corpus))
            python.append(seen["call"] / len(corpus.ids))
            native.append(seen["c_call"] / len(corpus.ids))
            times.append(1e6 * best_seconds(lambda work=work: work(corpus), ROUNDS) / len(corpus.ids))
    if not outcomes[0] == outcomes[1] == outcomes[2]:
        raise SystemExit(f"{case.name}: not what it was")
    return python, native, times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=200_000)
    corpus = corpus_of(parser.parse_args().documents)
    sys.stdout.write("| | Python calls | now | C calls | now, hashlib | us | now, hashlib | now, kernel |\n")
    sys.stdout.write("|---|---:|---:|---:|---:|---:|---:|---:|\n")
    before = now = 0.0
    for case in CASES:
        python, native, times = measure(case, corpus)
        before, now = before + python[0], now + max(python[1:])
        row = [*(f"{each:.2f}" for each in (python[0], max(python[1:]), *native[:2], *times))]
        sys.stdout.write(f"| {case.name} | {' | '.join(row)} |\n")
    sys.stdout.write(
        f"RESULT python_calls ours={now:.4f} peer={before:.2f} unit=calls per document ratio={before / now:.0f}\n"
    )


if __name__ == "__main__":
    main()
