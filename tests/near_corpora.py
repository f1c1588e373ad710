"""Texts that are edited copies of others, raw files and manifests of them, and what near-dedup made of them."""

import gzip
import json
import random

import numpy as np
import pyarrow as pa
import walk_reference
from walk_reference import Grams, Members

from redpajama.corpus import verdicts
from redpajama.dedup.near import minhash, ngrams, pairs, walk
from redpajama.dedup.near.minhash import MinHashParams
from redpajama.engine.tables import Blobs, read_table

DEFAULT = MinHashParams()
ALL = np.ones((9, 9), bool)  # every source with every one
SOURCE = """
[[source]]
name = "{name}"
pipeline = "c4"
inputs = ["{name}-*.json.gz"]
{more}
"""


def write_sources(folder, sources, near="{}", more=None, files=1, order=None, dedup=""):
    """{source: texts, or rows with a text} -> raw files and a manifest; the texts are dealt out to so many files."""
    folder.mkdir(parents=True, exist_ok=True)
    order = json.dumps(order or list(sources))
    manifest = f'name = "near"\nseed = 1\n[dedup]\nnear = {near}\norder = {order}\n{dedup}\n'
    for name, texts in sources.items():
        rows = [text if isinstance(text, dict) else {"text": text} for text in texts]
        rows = [{"url": f"https://{name}.org/{row['text'][:200]}", "timestamp": "t", **row} for row in rows]
        for number in range(files):
            data = "".join(json.dumps(row) + "\n" for row in rows[number::files]).encode()
            (folder / f"{name}-{number}.json.gz").write_bytes(gzip.compress(data, mtime=0, compresslevel=1))
        manifest += SOURCE.format(name=name, more=(more or {}).get(name, ""))
    path = folder / "near.toml"
    path.write_text(manifest)
    return path


def documents_of(built):
    """{doc_id: text}"""
    tables = [read_table(built.store, part.file(".parquet"), ["doc_id", "text"]) for part in built.parts("documents")]
    return {row["doc_id"]: row["text"] for table in tables for row in table.to_pylist()}


def verdicts_of(built, stage="near"):
    """{doc_id: (survivor or other, similarity, evidence)}"""
    found = {}
    for table in verdicts.every(built, stage):
        for row in table.to_pylist():
            evidence = json.loads(row["evidence"])
            found[row["doc_id"]] = (evidence.get("survivor") or evidence.get("other"), row["value"], evidence)
    return found


def texts_gone(built):
    """{text: text of the other one of its pair}"""
    texts = documents_of(built)
    return {texts[doc_id]: texts[other] for doc_id, (other, _, _) in verdicts_of(built).items()}


def grams(text, params=DEFAULT, kind="prose"):
    return ngrams.distinct_ngrams(pa.array([text], pa.large_string()), *params.ngrams_of(kind))[0]


def similarity(one, other, params=DEFAULT, kind="prose"):
    """By plain sets; of two in order, `one` is the later one."""
    first, second = (set(grams(text, params, kind).tolist()) for text in (one, other))
    below = min(len(first), len(second)) if params.mode == "containment" else len(first | second)
    below = len(first) if params.is_directed else below
    return round(len(first & second) / below, 8) if below else 0.0


def members(texts, params=DEFAULT, with_ngrams=True, sketch=minhash.SKETCH, sources=None):
    """The members of a cluster of these texts, in their order."""
    held = [grams(text, params) for text in texts]
    signed = minhash.signatures(pa.array(texts, pa.large_string()), params)[0]
    sketches = [Grams(each[:sketch], len(each) < sketch) for each in held]
    everything = [Grams(each, True) if with_ngrams else None for each in held]
    return Members(signed, sketches, everything, np.array(sources or [0] * len(texts)))


def packed(clusters):
    """`redpajama.dedup.near.walk.Members` of some clusters' members."""

    def blobs(name):
        values = [None if each is None else each.hashes.tobytes() for one in clusters for each in getattr(one, name)]
        column = pa.chunked_array([pa.array(values, pa.large_binary())])
        whole = [each is not None and each.whole for one in clusters for each in getattr(one, name)]
        return Blobs.of(column, np.arange(len(values))), np.array(whole, bool)

    signed = [np.asarray(row, np.uint32).tobytes() for one in clusters for row in one.signatures]
    signatures = Blobs.of(pa.chunked_array([pa.array(signed, pa.large_binary())]), np.arange(len(signed)))
    sources = np.concatenate([np.zeros(0, np.int64), *(one.sources for one in clusters)]).astype(np.int64)
    bounds = np.cumsum([0] + [len(one) for one in clusters])
    return walk.Members(signatures, *blobs("sketches"), *blobs("ngrams"), sources, bounds)


def walked(members, params=DEFAULT, comparable=ALL):
    """What the walk makes of one cluster, as the reference says it."""
    return plain(walk.walk(packed([members]), params, comparable))


def plain(outcome):
    columns = [getattr(outcome, name) for name in ("rows", "others", "similarities", "measures", "shared_bands")]
    rows = zip(*(np.asarray(column).tolist() for column in columns), strict=True)
    removals = [
        walk_reference.Removal(row, other, similarity, pairs.MEASURES[measure], bands)
        for row, other, similarity, measure, bands in rows
    ]
    return walk_reference.Outcome(removals, int(outcome.unchecked.sum()))


def doubts_of(members, params=DEFAULT, comparable=ALL):
    return walk.find_doubts(packed([members]), params, comparable).tolist()


def fresh(numbers, count):
    return [f"w{next(numbers)}" for _ in range(count)]


def families(seed, count=40, words=120):
    """Texts of which some are edited copies of others, a few places at a time: chains and stars."""
    rng, numbers, texts = random.Random(seed), iter(range(1 << 30)), []
    for _ in range(count):
        base = fresh(numbers, words + rng.randrange(20))
        texts.append(" ".join(base))
        for _ in range(rng.randrange(5)):
            start = rng.randrange(len(base) - 12)
            edited = [*base[:start], *fresh(numbers, rng.randrange(1, 12)), *base[start + rng.randrange(12) :]]
            texts.append(" ".join(edited))
            base = edited if rng.random() < 0.5 else base
    return texts
