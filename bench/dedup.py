"""Near-dedup: ours beside its peers on the same pages, one core each, in one run.

    python bench/dedup.py [--archive PAGES.tar.gz] [--megabytes 20] [--rounds 3]

Pages: the Markdown and text files of a tar archive, by default PowerShell-Docs (the same page in several versions) from
../shared/data/neardup. Parameters: word 5-grams, 14 x 8 = 112 permutations (the default).

Signatures: ours for each unit (and with the sketch that the stage makes beside them), rensa and datasketch. Peers are
given n-grams made with a regular expression, as their users make them, and, to be fair to their own part of the work,
are timed a second time without that. Each takes its best round; ours is warm (compiled).

Whole: from documents on disk to what is removed. Ours: the stages `signatures` to `near`, which measure every removal;
datatrove: its four MinHash stages, which write the kept documents and measure nothing; text-dedup: `minhash`, likewise.
Each reads its own format (Parquet; JSON lines), warm, imports not counted.

Time is CPU time of a process and its children, on one core: other work on the machine hardly moves it. Waiting for the
disk is not in it, on either side.

Peers are installed into .venv-bench-dedup.
"""

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pyarrow as pa
from dedup_scale import manifest, near_flow, run_turn
from peers import peer_python

from redpajama.corpus.stages import DOCUMENTS
from redpajama.dedup.near import minhash
from redpajama.dedup.near.minhash import MinHashParams
from redpajama.engine import runner
from redpajama.engine.parts import Outputs, Part, Result
from redpajama.engine.shapes import Piece, Single
from redpajama.engine.stages import Build, Job
from redpajama.engine.tables import write_table

ROOT = Path(__file__).parents[1]
PAGES = ROOT.parent / "shared" / "data" / "neardup" / "PowerShell-Docs-versions-dev.tar.gz"
PEERS = {"rensa": "rensa==0.5.0", "datasketch": "datasketch==2.0.0"}
WHOLE = {"datatrove": "datatrove[io,processing]==0.10.1", "text-dedup": "text-dedup==0.4.0"}
PACKAGES = (*PEERS.values(), *WHOLE.values(), "spacy")
PEER = r"""
import json, os, re, sys
spent = lambda: sum(os.times()[:4])
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
    started = spent()
    grams = [ngrams(page) for page in pages]
    middle = spent()
    for each in grams:
        sign(each)
    whole.append(spent() - started)
    alone.append(spent() - middle)
print(json.dumps([min(whole), min(alone)]))
"""

WHOLE_PEER = r"""
import json, os, sys
spent = lambda: sum(os.times()[:4])
name, folder = sys.argv[1:]
sys.stdout = sys.stderr
pages = os.path.join(folder, "pages.jsonl")

def trove():
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import minhash
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.logging import logger
    logger.remove()
    config = minhash.MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    at = lambda *parts: os.path.join(folder, "datatrove", *parts)
    read = lambda: JsonlReader(folder, glob_pattern="pages.jsonl", text_key="text", id_key="id")
    stages = [
        [read(), minhash.MinhashDedupSignature(at("signatures"), config=config, language="eng")],
        [minhash.MinhashDedupBuckets(at("signatures"), at("buckets"), config=config)],
        [minhash.MinhashDedupCluster(at("buckets"), at("clusters"), config=config)],
        [read(), minhash.MinhashDedupFilter(at("clusters")), JsonlWriter(at("kept"))],
    ]
    for number, stage in enumerate(stages):
        tasks = 14 if number == 1 else 1
        LocalPipelineExecutor(stage, tasks=tasks, workers=1, logging_dir=at("logs", str(number))).run()

def textdedup():
    from text_dedup.minhash import main
    at = os.path.join(folder, "text-dedup")
    main(["--path", "json", "--data_files", pages, "--split", "train", "--cache_dir", at + "/cache", "--output",
          at + "/kept", "--column", "text", "--ngram", "5", "--num_perm", "112", "--b", "14", "--r", "8",
          "--num_proc", "1"], standalone_mode=False)

if name == "datatrove":
    import spacy, datatrove.pipeline.dedup.minhash
else:
    import text_dedup.minhash
started = spent()
{"datatrove": trove, "text-dedup": textdedup}[name]()
print(spent() - started, file=sys.__stdout__)
"""


def spent() -> float:
    """CPU seconds of this process and the children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def read_pages(archive: Path, limit: int) -> list[str]:
    """Texts of an archive's files, in order, until there are `limit` bytes."""
    pages, size = [], 0
    with tarfile.open(archive) as members:
        for member in members:
            if member.isfile() and size < limit:
                pages.append(members.extractfile(member).read().decode("utf-8", "replace"))
                size += len(pages[-1].encode())
    return pages


def time_ours(pages: list[str], params: MinHashParams, rounds: int, sketch: int = 0) -> float:
    """Seconds of the best round, after one that compiles."""
    texts = pa.array(pages, pa.large_string())
    minhash.band_keys(minhash.sign(texts[:1], params, "prose", sketch)[0], params)
    best = float("inf")
    for _ in range(rounds):
        started = spent()
        minhash.band_keys(minhash.sign(texts, params, "prose", sketch)[0], params)
        best = min(best, spent() - started)
    return best


def time_whole(pages: list[str], rounds: int) -> tuple[float, int]:
    """(seconds of the best round of ours, pages removed), after a small one that compiles."""
    best, removed = float("inf"), 0
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as root:
            job = Job(manifest("union-find", {}), root, "run")
            runner.start(job)
            first, *others = runner.turns(job, [pages_stage(pages if number else pages[:20]), *near_flow(job.manifest)])
            run_turn(first)
            started = spent()
            build = [run_turn(turn) for turn in others][-1]
            best = min(best, spent() - started) if number else best
            removed = sum(build.stage("near")["all"].counts.get("dropped", {}).values())
    return best, removed


def pages_stage(pages: list[str]) -> Single:
    """The stage that writes the pages as one documents part."""
    ids, sizes = [f"web/{number:06d}" for number in range(len(pages))], [len(page.encode()) for page in pages]
    table = pa.table({"doc_id": ids, "text": pa.array(pages, pa.large_string()), "q_bytes": sizes})

    def write(build: Build, part: Part, outputs: Outputs) -> Result:
        write_table(outputs.file(".parquet"), table)
        return [], {"read": len(pages), "kept": len(pages), "text_bytes": sum(sizes)}

    return Single(name=DOCUMENTS, version=1, pieces=lambda build: [Piece("web", "pages")], work=write)


def time_whole_peers(pages: list[str]) -> dict[str, tuple[float, int]]:
    """{peer: (seconds, pages removed)}"""
    python, found = peer_python("dedup", PACKAGES), {}
    with tempfile.TemporaryDirectory() as folder:
        rows = [json.dumps({"id": str(number), "text": page}) + "\n" for number, page in enumerate(pages)]
        Path(folder, "pages.jsonl").write_text("".join(rows), encoding="utf-8")
        for name in WHOLE:
            command = [python, "-c", WHOLE_PEER, name, folder]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": folder}
            result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            found[name] = float(result.stdout.split()[-1]), len(pages) - count_kept(Path(folder, name, "kept"))
    return found


def count_kept(folder: Path) -> int:
    """Documents that a peer kept: gzipped JSON lines, or Arrow files."""
    lines = sum(len(gzip.decompress(path.read_bytes()).splitlines()) for path in folder.rglob("*.jsonl.gz"))
    return lines + sum(pa.ipc.open_stream(path.read_bytes()).read_all().num_rows for path in folder.rglob("*.arrow"))


def time_peers(pages: list[str], params: MinHashParams, rounds: int) -> dict[str, tuple[float, float]]:
    """{peer: (seconds with n-grams, seconds of signatures alone)}"""
    python, found = peer_python("dedup", PACKAGES), {}
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
    sys.stdout.write(f"{len(pages):,} pages, {megabytes:.1f} MB, {params.permutations} permutations of word 5-grams\n")
    compare_signatures(pages, megabytes, params, given.rounds)
    compare_whole(pages, megabytes, given.rounds)


def compare_signatures(pages: list[str], megabytes: float, params: MinHashParams, rounds: int) -> None:
    """Text to signatures and band keys."""
    speeds = {}
    for unit in ("word", "char", "code"):
        speeds[unit] = megabytes / time_ours(pages, params.model_copy(update={"unit": unit}), rounds)
        sys.stdout.write(f"{f'ours, {unit} 5-grams':<22}{speeds[unit]:8.1f} MB/s\n")
    with_sketch = megabytes / time_ours(pages, params, rounds, minhash.SKETCH)
    sys.stdout.write(f"{'ours, words, sketch':<22}{with_sketch:8.1f} MB/s\n")
    peers = {}
    for name, (whole, alone) in time_peers(pages, params, rounds).items():
        peers[name] = megabytes / whole
        sys.stdout.write(f"{name:<22}{peers[name]:8.1f} MB/s; {megabytes / alone:.1f} with its n-grams given\n")
    best, slowest = max(peers.values()), min(speeds.values())
    sys.stdout.write(
        f"RESULT dedup_signatures ours={speeds['word']:.1f} with_sketch={with_sketch:.1f} slowest_unit={slowest:.1f} "
        f"peer={best:.1f} unit=MB/s per core ratio={speeds['word'] / best:.1f}\n"
    )


def compare_whole(pages: list[str], megabytes: float, rounds: int) -> None:
    """Documents to removals."""
    seconds, removed = time_whole(pages, rounds)
    sys.stdout.write(f"{'ours, whole':<22}{megabytes / seconds:8.2f} MB/s; {removed:,} removed, each measured\n")
    for name, (theirs, gone) in time_whole_peers(pages).items():
        sys.stdout.write(f"{f'{name}, whole':<22}{megabytes / theirs:8.2f} MB/s; {gone:,} removed\n")
        sys.stdout.write(
            f"RESULT dedup_whole_{name} ours={megabytes / seconds:.1f} peer={megabytes / theirs:.2f} "
            f"unit=MB/s per core ratio={theirs / seconds:.1f}\n"
        )


if __name__ == "__main__":
    main()
