"""MinHash signatures: ours beside rensa and datasketch, on the same pages, one core each, in one run.

    python bench/dedup.py [--archive PAGES.tar.gz] [--megabytes 20] [--rounds 3]

Pages: the Markdown and text files of a tar archive, by default PowerShell-Docs (the same page in several versions) from
../shared/data/neardup. Parameters: word 5-grams, 112 permutations (the default). Peers are installed into
.venv-bench-dedup; they are given n-grams made with a regular expression, as their users make them, and, to be fair to
their own part of the work, are timed a second time without that. Each takes its best round; ours is warm (compiled).
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from redpajama.dedup import minhash
from redpajama.dedup.minhash import MinHashParams

ROOT = Path(__file__).parents[1]
PAGES = ROOT.parent / "shared" / "data" / "neardup" / "PowerShell-Docs-versions-dev.tar.gz"
PEERS = {"rensa": "rensa==0.5.0", "datasketch": "datasketch==2.0.0"}
PEER = r"""
import json, re, sys, time
name, path, ngram, permutations, rounds = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
pages = json.load(open(path, encoding="utf-8"))

def ngrams(text):
    words = re.findall(r"\w+", text.lower())
    return [" ".join(words[start:start + ngram]) for start in range(max(1, len(words) - ngram + 1))]

def with_rensa(grams):
    from rensa import RMinHash
    sketch = RMinHash(num_perm=permutations, seed=1)
    sketch.update(grams)
    return sketch.digest()

def with_datasketch(grams):
    from datasketch import MinHash
    sketch = MinHash(num_perm=permutations)
    sketch.update_batch([gram.encode() for gram in grams])
    return sketch.digest()

sign = {"rensa": with_rensa, "datasketch": with_datasketch}[name]
sign(ngrams(pages[0]))
whole, alone = [], []
for _ in range(rounds):
    started = time.perf_counter()
    grams = [ngrams(page) for page in pages]
    middle = time.perf_counter()
    for each in grams:
        sign(each)
    whole.append(time.perf_counter() - started)
    alone.append(time.perf_counter() - middle)
print(json.dumps([min(whole), min(alone)]))
"""


def read_pages(archive: Path, limit: int) -> list[str]:
    """Texts of an archive's files, in order, until there are `limit` bytes."""
    pages, size = [], 0
    with tarfile.open(archive) as members:
        for member in members:
            if member.isfile() and size < limit:
                pages.append(members.extractfile(member).read().decode("utf-8", "replace"))
                size += len(pages[-1].encode())
    return pages


def time_ours(pages: list[str], params: MinHashParams, rounds: int) -> float:
    """Seconds of the best round, after one that compiles."""
    texts = pa.array(pages, pa.large_string())
    minhash.band_keys(minhash.signatures(texts[:1], params)[0], params)
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        minhash.band_keys(minhash.signatures(texts, params)[0], params)
        best = min(best, time.perf_counter() - started)
    return best


def peer_python() -> str:
    """The interpreter of the peers' environment, made when it is not there."""
    folder = ROOT / ".venv-bench-dedup"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS.values()], check=True)
    return str(python)


def time_peers(pages: list[str], params: MinHashParams, rounds: int) -> dict[str, tuple[float, float]]:
    """{peer: (seconds with n-grams, seconds of signatures alone)}"""
    python, found = peer_python(), {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pages.json")
        path.write_text(json.dumps(pages), encoding="utf-8")
        for name in PEERS:
            numbers = map(str, (params.ngram, params.permutations, rounds))
            result = subprocess.run(
                [python, "-c", PEER, name, str(path), *numbers], check=True, capture_output=True, text=True
            )
            found[name] = tuple(json.loads(result.stdout))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, default=PAGES)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    pages, params = read_pages(given.archive, given.megabytes * 1_000_000), MinHashParams()
    megabytes = sum(len(page.encode()) for page in pages) / 1e6
    ours = megabytes / time_ours(pages, params, given.rounds)
    sys.stdout.write(f"{len(pages):,} pages, {megabytes:.1f} MB, {params.permutations} permutations of word 5-grams\n")
    sys.stdout.write(f"{'ours':<12}{ours:8.1f} MB/s, text to signatures and band keys\n")
    speeds = {}
    for name, (whole, alone) in time_peers(pages, params, given.rounds).items():
        speeds[name] = megabytes / whole
        sys.stdout.write(f"{name:<12}{speeds[name]:8.1f} MB/s; {megabytes / alone:.1f} with its n-grams given\n")
    best = max(speeds.values())
    sys.stdout.write(
        f"RESULT dedup_signatures ours={ours:.1f} peer={best:.1f} unit=MB/s per core ratio={ours / best:.1f}\n"
    )


if __name__ == "__main__":
    main()
