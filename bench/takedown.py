"""How long a take-down takes, and that only the shards concerned change.

    python bench/takedown.py [--shards 200] [--documents 20] [--workers 2]

Builds shards of a million tokens each once (synthetic English-like words with Zipf's frequencies; near-dedup is on, so
signatures are compared), then removes so many documents of the last shard but one, by their ids, with refill. Seconds
are those of the command, from its start to its proof; what it is held to is 60 s for 200 shards (2 x 10^8 tokens) and
20 documents on 2 cores. Files are waited for on the disk.
"""

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from memory import write_source

TOKENS = 1_000_000  # of a shard
BYTES = 9.0  # raw ones for each token that is drawn: half of what is there
MANIFEST = """
name = "takedown"
seed = 1
[tokenizer]
train = {{ vocab_size = 4096, max_bytes = 4_000_000 }}
[[source]]
name = "web"
pipeline = "pile"
inputs = ["*.jsonl.zst"]
options = {{ slices = ["FreeLaw"] }}
[dedup]
near = {{}}
[mixture]
budget_tokens = {budget}
[[mixture.slice]]
source = "web"
weight = 1
[shards]
tokens_per_shard = {shard}
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--shards", type=int, default=200)
    arguments.add_argument("--documents", type=int, default=20)
    arguments.add_argument("--workers", type=int, default=2)
    wish = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), wish.shards, wish.documents, str(wish.workers))


def run(folder: Path, shards: int, documents: int, workers: str) -> None:
    root, files = folder / "root", max(2, shards // 5)
    for number in range(files):
        write_source(folder / f"{number:03d}.jsonl.zst", shards * TOKENS * BYTES / 1e9 / files, number)
    (folder / "m.toml").write_text(MANIFEST.format(budget=shards * TOKENS, shard=TOKENS))
    started = time.monotonic()
    call("build", folder / "m.toml", "--out", root, "--workers", workers)
    built, before = time.monotonic() - started, shards_of(root)
    lineage = sorted((root / "current/takedown").glob("*_lineage.parquet"))
    ids = sorted(set(pq.read_table(lineage[-2])["doc_id"].to_pylist()))
    (folder / "ids").write_text("\n".join(random.Random(1).sample(ids, documents)))
    started = time.monotonic()
    call("remove", root, "--ids", folder / "ids", "--request", "bench", "--workers", workers)
    seconds, after = time.monotonic() - started, shards_of(root)
    same = sum(after.get(name) == digest for name, digest in before.items())
    sys.stdout.write(
        f"built in {built:.1f} s: {len(before)} shards; {documents} documents removed in {seconds:.1f} s; {same} "
        f"shards keep name and bytes\n"
    )
    sys.stdout.write(
        f"RESULT takedown ours={seconds:.1f} peer=60.0 unit=s ratio={seconds / 60:.2f} shards={len(before)} "
        f"untouched={same}\n"
    )


def call(*arguments: object) -> None:
    """The command line, as a user calls it."""
    subprocess.run([sys.executable, "-m", "redpajama", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def shards_of(root: Path) -> dict[str, str]:
    """{name: SHA-256} of the tokens."""
    files = [Path(os.path.realpath(path)) for path in (root / "current/takedown").glob("*.bin")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    main()
