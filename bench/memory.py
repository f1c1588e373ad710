"""Peak memory of a build from one large `jsonl.zst` file that cannot be split.

    python bench/memory.py [--gigabytes 2] [--workers 2] [--until tokens]

Makes a Pile-like file of so many GB of JSON lines (synthetic English-like text from a word list with Zipf's
frequencies), builds it to a small budget, and prints the largest resident set that any worker noted, by stage.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import zstandard
from timing import notes

MANIFEST = """
name = "memory"
seed = 1
[tokenizer]
train = {{ vocab_size = 4096, max_bytes = 4_000_000 }}
[[source]]
name = "pile"
pipeline = "pile"
inputs = ["big.jsonl.zst"]
options = {{ slices = ["FreeLaw"] }}
[mixture]
budget_tokens = {budget}
[[mixture.slice]]
source = "pile"
weight = 1
[shards]
tokens_per_shard = 20_000_000
"""


def write_source(path: Path, gigabytes: float, seed: int = 7) -> int:
    """JSON lines of about 1.5 KB each, zstd level 3, one frame; returns the documents."""
    draw = random.Random(seed)
    syllables = ["ra", "to", "in", "se", "mo", "la", "ke", "ti", "vo", "nu", "per", "stan", "gri", "ul", "ba", "che"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(20_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    pool = draw.choices(words, weights, k=2_000_000)
    documents, size = 0, 0
    with zstandard.open(path, "wb") as out:
        while size < gigabytes * 1e9:
            start, count = draw.randrange(len(pool) - 500), draw.randint(50, 450)
            text = f"{documents} " + " ".join(pool[start : start + count])
            line = json.dumps({"text": text, "meta": {"pile_set_name": "FreeLaw"}}).encode() + b"\n"
            out.write(line)
            documents, size = documents + 1, size + len(line)
    return documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--until", default="tokens")
    parser.add_argument("--budget", type=int, default=50_000_000)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        documents = write_source(Path(folder, "big.jsonl.zst"), wish.gigabytes)
        Path(folder, "memory.toml").write_text(MANIFEST.format(budget=wish.budget))
        command = [sys.executable, "-m", "redpajama", "build", f"{folder}/memory.toml", "--out", f"{folder}/corpus"]
        started = time.monotonic()
        subprocess.run([*command, "--workers", str(wish.workers), "--until", wish.until], check=True)
        report(Path(folder, "corpus"), documents, time.monotonic() - started, wish.gigabytes)


def report(root: Path, documents: int, seconds: float, gigabytes: float) -> None:
    """Peaks and seconds by stage, from what the workers noted."""
    peaks: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for stage, note in notes(root):
        row = peaks[stage]
        row[0], row[1] = max(row[0], note["peak_bytes"] / 2**20), row[1] + note["seconds"]
    for stage, (peak, spent) in sorted(peaks.items(), key=lambda item: item[1][0]):
        sys.stdout.write(f"{stage:16} {spent:8.1f} s   peak so far {peak:7.0f} MiB\n")
    peak = max(peak for peak, _ in peaks.values())
    sys.stdout.write(f"{documents:,} documents, {gigabytes} GB of JSON lines, {seconds:,.0f} s in all\n")
    sys.stdout.write(f"RESULT memory peak={peak:.0f} unit=MiB\n")


if __name__ == "__main__":
    main()
