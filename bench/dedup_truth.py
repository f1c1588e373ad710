"""What near-dedup finds and what it removes, against the truth: recall curves, planted copies, real copies, labels.

    python bench/dedup_truth.py [--data ../shared/data] [--pairs N]

Real documents: pages of PowerShell-Docs in three versions (`neardup/`), threads of two sites in two dumps each
(`stackexchange/`), editions of Gutenberg's books cut into pieces of 2,000 words (`books/gitenberg/`). The truth is
exact: the Jaccard similarity of every pair's n-grams.

1. Curves. For each preset and J from 0.5 to 0.95, 4,000 windows of 300 words of this text, each beside itself with a
   run of words from elsewhere planted in it: the share that become candidates beside 1 - (1 - J^rows)^bands.
2. Real copies. `redpajama build --until dedup` of all documents by default parameters: recall over all pairs of J of at
   least 0.9 (a pair is found when one of it is removed), precision of candidates before verification, and of removals
   on the pairs of bench/labelled_pairs.json. `--pairs N` prints N more pairs to read, with their differences.
3. Losses. Of each near-duplicate that went, the share of its n-grams that does not stand in its survivor, and that
   stands in no survivor at all, by plain sets: of the prose above, of code (files of ../shared/data/github/repos,
   threshold .70) and of news and other pages (C4 samples), beside the same by the preset `lossless`. `--losses` prints
   these alone.
"""

import argparse
import difflib
import gzip
import json
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.dedup.near import minhash, ngrams
from redpajama.dedup.near.minhash import PRESETS, MinHashParams, curve
from redpajama.extract.sourcecode import suffix_of

ROOT = Path(__file__).parents[1]
LABELS = Path(__file__).with_name("labelled_pairs.json")
LEVELS, PAIRS, WORDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95], 4000, 300
PIECE_WORDS = 2000
STACKS = {"ai-2016-09": "ai", "ai-2016-12": "ai", "beer-2016": "beer", "beer-2017": "beer"}
STACK_SOURCE = """
[[source]]
name = "{name}"
pipeline = "stackexchange"
inputs = ["{data}/stackexchange/{name}/Posts.xml"]
options = {{ site = "{site}.stackexchange.com" }}
"""


# ---- documents


def read_documents(data: Path, folder: Path) -> dict[str, str]:
    """{name: text} of all prose."""
    return {**docs_pages(data), **books(data), **threads(data, folder)}


def docs_pages(data: Path) -> dict[str, str]:
    """Pages of the reference in three versions."""
    found = {}
    with tarfile.open(data / "neardup" / "PowerShell-Docs-versions-dev.tar.gz") as archive:
        for member in archive:
            if member.isfile() and "/reference/" in member.name and member.name.endswith(".md"):
                text = archive.extractfile(member).read().decode("utf-8", "replace")
                found["docs/" + member.name.partition("/reference/")[2]] = text
    return found


def books(data: Path) -> dict[str, str]:
    """Editions of the same books, in pieces of as many words."""
    found = {}
    for path in sorted((data / "books" / "gitenberg").rglob("*.txt")):
        raw = path.read_bytes()
        try:
            words = raw.decode("utf-8").split()
        except UnicodeDecodeError:
            words = raw.decode("latin-1").split()
        for number, start in enumerate(range(0, len(words), PIECE_WORDS)):
            piece = " ".join(words[start : start + PIECE_WORDS])
            found[f"books/{path.parent.name}/{path.stem}/{number:03d}"] = piece
    return found


def threads(data: Path, folder: Path) -> dict[str, str]:
    """Threads as the pipeline makes them, of each dump."""
    manifest = folder / "stacks.toml"
    sources = [STACK_SOURCE.format(name=name, data=data, site=site) for name, site in STACKS.items()]
    manifest.write_text('name = "stacks"\nseed = 1\n' + "".join(sources))
    return {f"threads/{doc_id}": text for doc_id, text in build(manifest, folder / "stacks", "documents").items()}


def build(manifest: Path, root: Path, until: str) -> dict[str, str]:
    """Run the command line; {doc_id: text}."""
    command = [sys.executable, "-m", "redpajama", "build", str(manifest), "--out", str(root), "--workers", "1"]
    subprocess.run([*command, "--until", until], check=True, capture_output=True)
    tables = [
        pq.read_table(path, columns=["doc_id", "text"]) for path in sorted(root.glob("documents/*/part-*.parquet"))
    ]
    return {row["doc_id"]: row["text"] for table in tables for row in table.to_pylist()}


# ---- curves


def planted(words: list[str], level: float, ngram: int, draw: random.Random) -> tuple[pa.Array, pa.Array]:
    """Windows of a text, and the same windows with so many of their words replaced that J is about `level`."""
    shared = round(2 * (WORDS - ngram + 1) * level / (1 + level))
    length = max(1, WORDS - ngram + 1 - shared - (ngram - 1))
    ones, others = [], []
    for _ in range(PAIRS):
        start, elsewhere = (draw.randrange(len(words) - WORDS) for _ in range(2))
        place = draw.randrange(WORDS - length)
        window = words[start : start + WORDS]
        ones.append(" ".join(window))
        edited = [*window[:place], *words[elsewhere : elsewhere + length], *window[place + length :]]
        others.append(" ".join(edited))
    return pa.array(ones, pa.large_string()), pa.array(others, pa.large_string())


def measure_curve(words: list[str], params: MinHashParams, level: float, seed: int) -> tuple[float, float, float]:
    """(mean J of the pairs, share that are candidates, share that the curve says)"""
    pairs = planted(words, level, params.ngram, random.Random(seed))
    grams = [ngrams.distinct_ngrams(texts, params.unit, params.ngram) for texts in pairs]
    truth = np.array([ngrams.jaccard(one, other) for one, other in zip(*grams, strict=True)])
    keys = [minhash.band_keys(minhash.signatures(texts, params)[0], params) for texts in pairs]
    found = (keys[0] == keys[1]).any(axis=1)
    return float(truth.mean()), float(found.mean()), float(np.mean(curve(params.bands, params.rows, truth)))


def curves(words: list[str]) -> float:
    """Print the table of all presets; returns the largest distance from the curve."""
    worst = 0.0
    sys.stdout.write("\ncandidates among planted copies, measured / curve, by mean J\n")
    for name, params in {"default": MinHashParams(), **PRESETS}.items():
        cells = []
        for seed, level in enumerate(LEVELS):
            similarity, found, wanted = measure_curve(words, params, level, seed)
            worst = max(worst, abs(found - wanted))
            cells.append(f"{similarity:.2f}: {found:.3f}/{wanted:.3f}")
        sys.stdout.write(f"{name:<18}" + "  ".join(cells) + "\n")
        sys.stdout.flush()
    return worst


# ---- real copies


def true_pairs(documents: dict[str, str], params: MinHashParams, least: float) -> dict[tuple[str, str], float]:
    """{(name, name): J} of every pair of one kind (the name's first step) that is at least so similar."""
    found = {}
    names = sorted(documents)
    grams = dict(
        zip(
            names,
            ngrams.distinct_ngrams(pa.array([documents[name] for name in names]), params.unit, params.ngram),
            strict=True,
        )
    )
    for kind in sorted({name.partition("/")[0] for name in names}):
        own = sorted((name for name in names if name.startswith(f"{kind}/")), key=lambda name: len(grams[name]))
        for place, one in enumerate(own):
            for other in own[place + 1 :]:
                if len(grams[one]) < least * len(grams[other]):
                    break  # no longer one can be so similar
                similarity = ngrams.jaccard(grams[one], grams[other])
                if similarity >= least:
                    found[min(one, other), max(one, other)] = similarity
    return found


def candidates(documents: dict[str, str], params: MinHashParams) -> set[tuple[str, str]]:
    """All pairs that share a band, identical texts left out (they are gone before)."""
    names = sorted({" ".join(text.split()): name for name, text in documents.items()}.values())
    signed, counts = minhash.signatures(pa.array([documents[name] for name in names]), params)
    buckets: dict[int, list[str]] = {}
    for name, keys, count in zip(names, minhash.band_keys(signed, params).tolist(), counts.tolist(), strict=True):
        for key in keys if count else []:
            buckets.setdefault(key, []).append(name)
    return {tuple(sorted(pair)) for bucket in buckets.values() for pair in combinations(bucket, 2)}


def removals(
    documents: dict[str, str], folder: Path, near: str = "{}", kind: str = "prose"
) -> tuple[dict[str, str], dict[str, float]]:
    """Build to the end of dedup: ({removed: survivor} of all stages, {removed by near: similarity})."""
    folder.mkdir(exist_ok=True)
    rows = [{"text": text, "url": f"https://{name}", "timestamp": "t"} for name, text in documents.items()]
    (folder / "all-0.json.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    manifest = folder / "all.toml"
    source = f'pipeline = "c4"\nkind = "{kind}"\ninputs = ["all-*.json.gz"]\nmax_removed_fraction = 1\n'
    manifest.write_text(f'name = "truth"\nseed = 1\n[dedup]\nnear = {near}\n[[source]]\nname = "all"\n{source}')
    by_text = {text: name for name, text in documents.items()}
    names = {doc_id: by_text.get(text) for doc_id, text in build(manifest, folder / "all", "dedup").items()}
    gone, near = {}, {}
    for stage in ("exact", "near"):
        for path in sorted((folder / "all").glob(f"{stage}-homes/*/*.verdicts.parquet")):
            for row in pq.read_table(path).to_pylist():
                gone[names[row["doc_id"]]] = names[json.loads(row["evidence"])["survivor"]]
                if stage == "near":
                    near[names[row["doc_id"]]] = row["value"]
    return gone, near


def show(documents: dict[str, str], one: str, other: str, similarity: float) -> None:
    """A pair and how its words differ, for reading."""
    words = [re.findall(r"\S+", documents[name]) for name in (one, other)]
    sys.stdout.write(f"\n=== {similarity:.3f}  {one}  |  {other}  ({len(words[0])}, {len(words[1])} words)\n")
    for tag, start, end, begin, stop in difflib.SequenceMatcher(None, *words, autojunk=False).get_opcodes():
        if tag != "equal":
            parts = " ".join(words[0][start:end])[:160], " ".join(words[1][begin:stop])[:160]
            sys.stdout.write(f"  - {parts[0]}\n  + {parts[1]}\n")


def labelled_precision(gone: dict[str, str], labels: list[dict]) -> tuple[int, int]:
    """(labelled pairs that were removed, of these those that a reader calls copies)"""
    removed = [
        each for each in labels if gone.get(each["one"]) == each["other"] or gone.get(each["other"]) == each["one"]
    ]
    return len(removed), sum(each["copy"] for each in removed)


# ---- losses


def code_files(data: Path) -> dict[str, str]:
    """Source files of the repositories."""
    found = {}
    for path in sorted((data / "github" / "repos").glob("*.tar.gz")):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and suffix_of(member.name) and member.size < 1 << 20:
                    text = archive.extractfile(member).read().decode("utf-8", "replace")
                    found[f"code/{path.stem}/{member.name}"] = text
    return {name: text for name, text in found.items() if text.strip()}


def news_pages(data: Path) -> dict[str, str]:
    """Pages of C4's samples."""
    found = {}
    for path in sorted((data / "c4").rglob("*.json.gz")):
        for number, line in enumerate(gzip.decompress(path.read_bytes()).splitlines()):
            found[f"news/{path.stem}/{number}"] = json.loads(line)["text"]
    return {name: text for name, text in found.items() if text.strip()}


def losses(documents: dict[str, str], gone: dict[str, str], near: dict[str, float], rule: tuple) -> np.ndarray:
    """float64[removals, 2]: shares of n-grams that are not in its survivor, and in no survivor."""
    names = list(documents)
    grams = dict(zip(names, ngrams.distinct_ngrams(pa.array([documents[name] for name in names]), *rule), strict=True))
    held = np.unique(np.concatenate([grams[name] for name in names if name not in gone]))
    rows = [(grams[name], grams[gone[name]]) for name in sorted(near) if len(grams[name])]
    return np.array([[missing(own, one), missing(own, held)] for own, one in rows]).reshape(-1, 2)


def missing(ones: np.ndarray, held: np.ndarray) -> float:
    """The share of some n-grams that others, sorted, do not hold."""
    places = np.minimum(np.searchsorted(held, ones), max(0, len(held) - 1))
    return float((held[places] != ones).mean()) if len(held) else 1.0


def loss_table(sets: dict[str, tuple[dict[str, str], str, str]], folder: Path) -> None:
    """A line a set and policy."""
    sys.stdout.write("\nn-grams of near-duplicates that went: mean and 95th percentile of the share not in ...\n")
    for name, (documents, near, kind) in sets.items():
        for policy in (near, '{ preset = "lossless" }'):
            params = minhash.parse(tomllib.loads(f"near = {policy}")["near"])
            gone, removed = removals(documents, folder / f"{name}-{policy == near}", policy, kind)
            found = losses(documents, gone, removed, params.ngrams_of(kind))
            label = f"{name}{'' if policy == near else ', lossless'}"
            if not len(found):
                sys.stdout.write(f"{label:<18} none of {len(documents):,} went\n")
                continue
            mean, high = found.mean(axis=0), np.quantile(found, 0.95, axis=0)
            sys.stdout.write(
                f"{label:<18}{len(found):>6,} of {len(documents):,} went; its survivor {mean[0]:.2%} ({high[0]:.2%}), "
                f"all survivors {mean[1]:.2%} ({high[1]:.2%})\n"
            )
            sys.stdout.write(f"RESULT dedup_loss_{label.replace(', ', '_')} mean={mean[1]:.4f} own={mean[0]:.4f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--losses", action="store_true")
    given = parser.parse_args()
    params = MinHashParams()
    with tempfile.TemporaryDirectory() as folder:
        documents = read_documents(given.data.resolve(), Path(folder))
        kinds = {kind: sum(name.startswith(kind) for name in documents) for kind in ("docs/", "books/", "threads/")}
        sys.stdout.write(f"{len(documents):,} documents: {kinds}\n")
        data = given.data.resolve()
        code = (code_files(data), "{ threshold = 0.7 }", "code")
        loss_table(
            {"prose": (documents, "{}", "prose"), "code": code, "news": (news_pages(data), "{}", "prose")}, Path(folder)
        )
        if given.losses:
            return
        gone, near = removals(documents, Path(folder))
        truth = true_pairs(documents, params, 0.5)
        if given.pairs:
            draw = random.Random(given.pairs)
            for one in draw.sample(sorted(near), given.pairs):
                show(documents, one, gone[one], near[one])
            return
        report(documents, gone, near, truth, params)
        words = " ".join(documents[name] for name in sorted(documents) if not name.startswith("docs/7.5")).split()
    worst = curves(words)
    sys.stdout.write(f"RESULT dedup_curve worst={worst:.4f} unit=distance from the curve target=0.02\n")


def report(documents: dict, gone: dict, near: dict, truth: dict, params: MinHashParams) -> None:
    """Recall and precision on the real copies."""
    for low, high in ((0.5, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.01)):
        pairs = [pair for pair, similarity in truth.items() if low <= similarity < high]
        found = sum(one in gone or other in gone for one, other in pairs)
        sys.stdout.write(f"J {low} to {min(high, 1.0)}: {len(pairs):,} pairs, one of it removed in {found:,}\n")
    high = [pair for pair, similarity in truth.items() if similarity >= 0.9]
    recall = sum(one in gone or other in gone for one, other in high) / len(high)
    met = candidates(documents, params)
    right = sum(truth.get(pair, 0) >= params.threshold for pair in met)
    below = sum(similarity < params.threshold for similarity in near.values())
    sys.stdout.write(f"{len(gone):,} removed, {len(near):,} of them by near-dedup, {below} below the threshold\n")
    removed, copies = labelled_precision(gone, json.loads(LABELS.read_text())["pairs"])
    sys.stdout.write(f"RESULT dedup_recall ours={recall:.4f} pairs={len(high)} unit=of pairs with J>=0.9 target=0.99\n")
    sys.stdout.write(f"RESULT dedup_precision_before={right / len(met):.4f} candidates={len(met)}\n")
    sys.stdout.write(f"RESULT dedup_precision_after={copies / removed:.4f} labelled={removed} target=0.99\n")


if __name__ == "__main__":
    main()
