"""Near-dedup of 20 million documents in worker processes under a real memory limit; the same bytes at every limit.

    python bench/dedup_scale.py [--documents 20_000_000] [--limits 2 1 4] [--components union-find star] [--folder DIR]
                                [--texts]

Documents are synthetic, a pure function of their number: 70 % stand alone, 28 % are edited copies in families of about
four, 2 % (400,000) are edited copies of one. The real stages run, each in a fresh process whose private memory the
kernel limits (RLIMIT_DATA: heap, anonymous mappings and thread stacks; files and code that are mapped do not count;
beyond it an allocation fails).

By default a document is its signature: 24 n-gram hashes, of which an edit changes one or none, and their MinHash of 4
bands x 4 rows = 16 permutations; a stage of this file's writes them as signatures parts (6 GB), from which the steps of
`candidates-near` to `near` run. What they hold is whole, so every pair is measured exactly and no text is asked for.
With `--texts` a document is 40 words of 4 letters (an edit changes a few at either end, in the 2 % the last one), and
`signatures` to `near` run with the default parameters (14 x 8 = 112 permutations, 9 GB of signatures).

Needs about 20 GB of disk for the first limit, and as much as the stages wrote for each other while it runs.
"""

import argparse
import contextlib
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.corpus.stages import DOCUMENTS
from redpajama.dedup.near import minhash, signatures
from redpajama.engine import runner
from redpajama.engine.parts import Outputs, Part, PartRecord, Result
from redpajama.engine.shapes import Counts, PerPart, Piece, Single, Stage
from redpajama.engine.stages import Build, Job
from redpajama.engine.tables import read_batches, write_table
from redpajama.flow import flow
from redpajama.manifest import Manifest, parse
from redpajama.preflight import complete

WORDS, LETTERS = 40, 4
HASHES, SHORT = 24, {"bands": 4, "rows": 4}
PERMUTATIONS = 16
PART_DOCUMENTS = 500_000
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


# ---- documents


def mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, as a draw that depends on its argument alone."""
    values = (values ^ (values >> np.uint64(30))) * MIX_1
    values = (values ^ (values >> np.uint64(27))) * MIX_2
    return values ^ (values >> np.uint64(31))


def texts(numbers: np.ndarray, total: int) -> pa.Array:
    """The documents of these numbers (uint64[n]) -> n texts of 40 words of 4 letters."""
    kind, drawn = numbers % np.uint64(50), mix(numbers)
    families = np.uint64(max(1, total * 7 // 100))
    family = np.where(kind < 35, numbers + np.uint64(1 << 40), drawn % families + np.uint64(1))
    family = np.where(kind == 49, np.uint64(0), family)[:, None]
    head, tail = drawn >> np.uint64(40) & np.uint64(3), drawn >> np.uint64(50) & np.uint64(3)
    head, tail = np.where(kind == 49, 0, head), np.where(kind == 49, 1, tail)
    place = np.arange(WORDS, dtype=np.uint64)[None, :]
    edited = (place < head[:, None]) | (place >= np.uint64(WORDS) - tail[:, None].astype(np.uint64))
    words = mix(np.where(edited, numbers[:, None] + np.uint64(1 << 50), family) * np.uint64(64) + place)
    shifts = np.arange(LETTERS, dtype=np.uint64) * np.uint64(4)
    letters = np.full((len(numbers), WORDS, LETTERS + 1), ord(" "), np.uint8)
    letters[:, :, :LETTERS] = (words[:, :, None] >> shifts & np.uint64(15)) + np.uint64(ord("a"))
    width = WORDS * (LETTERS + 1)
    places = np.arange(len(numbers) + 1, dtype=np.int64) * width
    buffers = [None, pa.py_buffer(places), pa.py_buffer(letters)]
    return pa.Array.from_buffers(pa.large_string(), len(numbers), buffers)


def documents_stage(total: int, has_texts: bool) -> Single:
    """The stage that writes `total` documents of the source `web`."""
    return Single(
        name=DOCUMENTS, version=1, pieces=partial(pieces, total), work=write_texts if has_texts else write_numbers
    )


def pieces(total: int, build: Build) -> Iterator[Piece]:
    """A part for each PART_DOCUMENTS."""
    for start in range(0, total, PART_DOCUMENTS):
        spec = {"start": start, "count": min(PART_DOCUMENTS, total - start), "total": total}
        yield Piece("web", spec, spec)


def numbers_of(part: Part) -> np.ndarray:
    """uint64[n]: the numbers of a part's documents."""
    return np.arange(part.spec["start"], part.spec["start"] + part.spec["count"], dtype=np.uint64)


def ids_of(numbers: np.ndarray) -> pa.Array:
    return pa.array([f"web/{number:08d}" for number in numbers.tolist()])


def write_texts(build: Build, part: Part, outputs: Outputs) -> Result:
    """One documents part with the columns that near-dedup reads."""
    numbers, size = numbers_of(part), WORDS * (LETTERS + 1)
    blocks = [texts(block, part.spec["total"]) for block in np.array_split(numbers, 1 + len(numbers) // 50_000)]
    columns = {"text": pa.chunked_array(blocks), "q_bytes": pa.array(np.full(len(numbers), size, np.int64))}
    write_table(outputs.file(".parquet"), pa.table({"doc_id": ids_of(numbers), **columns}))
    return [], {"read": len(numbers), "kept": len(numbers), "text_bytes": len(numbers) * size}


def write_numbers(build: Build, part: Part, outputs: Outputs) -> Result:
    """One documents part that holds nothing but its documents' numbers."""
    numbers = numbers_of(part)
    write_table(outputs.file(".parquet"), pa.table({"number": numbers}))
    return [], {"read": len(numbers), "kept": len(numbers), "text_bytes": 200 * len(numbers)}


# ---- signatures


def hashes(numbers: np.ndarray, total: int) -> np.ndarray:
    """The documents of these numbers (uint64[n]) -> uint64[n, HASHES] distinct n-gram hashes, sorted."""
    kind, drawn = numbers % np.uint64(50), mix(numbers)
    families = np.uint64(max(1, total * 7 // 100))
    family = np.where(kind < 35, numbers + np.uint64(1 << 40), drawn % families + np.uint64(1))
    family = np.where(kind == 49, np.uint64(0), family)[:, None]
    place = np.arange(HASHES, dtype=np.uint64)[None, :]
    edited = place == (drawn >> np.uint64(40) & np.uint64(31))[:, None]  # at 24 to 31, none
    return np.sort(mix(np.where(edited, numbers[:, None] + np.uint64(1 << 50), family) * np.uint64(64) + place), axis=1)


def sign(grams: np.ndarray) -> np.ndarray:
    """uint64[n, HASHES] -> uint32[n, permutations]: the least value of each function, as `minhash.sign` has them."""
    factors, addends = minhash.functions(PERMUTATIONS)
    high = (grams >> np.uint64(32)).astype(np.uint32)
    return np.stack([(high * factor + addend).min(axis=1) for factor, addend in zip(factors, addends, strict=True)], 1)


def signatures_stage(total: int) -> PerPart:
    """The stage `signatures`, but that it makes up what it cannot read."""
    return replace(
        signatures.STAGE, depends=lambda build, name: {"documents": total}, work=partial(write_signed, total)
    )


def write_signed(total: int, build: Build, name: str, documents: PartRecord, outputs: Outputs) -> Counts:
    """One signatures part."""
    count, schema = 0, signatures.signed_schema(PERMUTATIONS)
    with pq.ParquetWriter(outputs.file(".parquet"), schema, version="2.6", **signatures.PACKING) as writer:
        for batch in read_batches(build.store, documents.file(".parquet"), ["number"]):
            numbers = batch.column("number").to_numpy()
            grams = hashes(numbers, total)
            columns = [
                ids_of(numbers),
                pa.array(200 + (mix(numbers) >> np.uint64(58)).astype(np.int64)),
                pa.array(np.full(len(numbers), HASHES)),
                pa.Array.from_buffers(schema.field("signature").type, len(numbers), [None, pa.py_buffer(sign(grams))]),
                pa.array([row.tobytes() for row in grams], pa.large_binary()),
            ]
            writer.write_table(pa.table(columns, schema=schema))
            count += len(numbers)
    return {"read": count, "kept": count, "ngrams": count * HASHES}


# ---- stages


def manifest(components: str, near: dict[str, int]) -> Manifest:
    """One source, and how it is compared."""
    source = {"name": "web", "pipeline": "c4", "inputs": ["x"]}
    dedup = {"near": near, "components": components}
    return complete(parse({"name": "scale", "seed": 1, "source": [source], "dedup": dedup}, "scale.toml"))


def near_flow(given: Manifest) -> list[Stage]:
    """The stages of near-dedup."""
    stages = flow(given, "dedup")
    return stages[[stage.name for stage in stages].index(signatures.STAGE.name) :]


def run_turn(turn: runner.Turn) -> Build:
    """All parts of one step, one after the other; the build after it."""
    for number in range(runner.plan(turn)):
        runner.do(turn, number)
    state = runner.commit(turn)
    if "failed" in state:
        raise SystemExit(state["failed"])
    return Build(turn.job, state["records"])


def turns(given: argparse.Namespace, limit: float) -> tuple[list[runner.Turn], list[runner.Turn]]:
    """The steps of a run under a limit: those that prepare, and those that are measured."""
    job = Job(manifest(given.components, {} if given.texts else SHORT), str(given.folder), f"limit-{limit:g}")
    prepared: list[Stage] = [documents_stage(given.documents, given.texts)]
    stages = near_flow(job.manifest)
    if not given.texts:
        prepared.append(signatures_stage(given.documents))
        stages = stages[1:]
    found, count = runner.turns(job, [*prepared, *stages]), len(prepared)
    return found[:count], found[count:]


def work(given: argparse.Namespace) -> None:
    """Run one step in this process, under the limit."""
    (limit,) = given.limits
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 2**30), int(limit * 2**30)))
    started = time.monotonic()
    run_turn(next(turn for turn in turns(given, limit)[1] if turn.step.stage == given.worker))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps([time.monotonic() - started, peak]))


def run_all(given: argparse.Namespace, limit: float, measured: list[runner.Turn]) -> dict[str, tuple[float, int]]:
    """{stage: (seconds, peak resident bytes)}; the first worker that dies ends the run."""
    found = {}
    options = ["--folder", str(given.folder), "--components", given.components, "--limits", str(limit)]
    options += ["--documents", str(given.documents), *(["--texts"] if given.texts else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    for stage in (turn.step.stage for turn in measured):
        command = [sys.executable, __file__, "--worker", stage, *options]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(f"{stage}: exit {result.returncode}\n{result.stderr[-2000:]}")
        found[stage] = tuple(json.loads(result.stdout))
        seconds, peak = found[stage]
        sys.stdout.write(f"  {stage:30}{seconds:9.1f} s{peak / 2**20:9.0f} MiB peak resident\n")
        sys.stdout.flush()
    return found


def digest(root: Path, stages: list[str]) -> str:
    """SHA-256 over the names and bytes of what the stages wrote."""
    whole = hashlib.sha256()
    for stage in sorted(stages):
        for path in sorted(Path(root, stage).rglob("*")):
            if path.is_file():
                with open(path, "rb") as file:
                    whole.update(
                        f"{path.relative_to(root)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
                    )
    return whole.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=20_000_000)
    parser.add_argument("--limits", type=float, nargs="+", default=[2, 1, 4], help="GiB")
    parser.add_argument("--components", default="union-find")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--texts", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given)
        return
    with contextlib.ExitStack() as stack:
        given.folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        given.folder.mkdir(parents=True, exist_ok=True)
        measure(given)


def measure(given: argparse.Namespace) -> None:
    """Run under each limit and compare the bytes; what is prepared is kept, all else is made again."""
    digests: set[str] = set()
    for limit in given.limits:
        prepared, measured = turns(given, limit)
        stages = [turn.step.stage for turn in measured]
        for stage in [*stages, f".tmp/{measured[0].job.run}"]:
            measured[0].job.store.remove(stage)
        prepare(prepared, given.documents)
        sys.stdout.write(f"limit {limit} GiB\n")
        found = run_all(given, limit, measured)
        digests.add(digest(given.folder, stages))
        build = Build(measured[0].job, runner.read_state(measured[0].job, stages[-1])["records"])
        counts = {**build.stage("clusters")["all"].counts, **build.stage("near")["all"].counts}
        sys.stdout.write(f"  {json.dumps(counts)}\n  digest {sorted(digests)}\n")
        report(given.documents, limit, found, len(digests))


def prepare(prepared: list[runner.Turn], documents: int) -> None:
    """Write what the measured steps read, or find that it is there."""
    started = time.monotonic()
    runner.start(prepared[0].job)
    for turn in prepared:
        run_turn(turn)
    sys.stdout.write(f"{documents:,} documents prepared in {time.monotonic() - started:.0f} s\n")
    sys.stdout.flush()


def report(documents: int, limit: float, found: dict[str, tuple[float, int]], digests: int) -> None:
    """One line for a limit."""
    seconds, peak = sum(each[0] for each in found.values()), max(each[1] for each in found.values())
    sys.stdout.write(
        f"RESULT dedup_scale documents={documents} limit={limit} peak={peak / 2**20:.0f} unit=MiB "
        f"seconds={seconds:.0f} digests={digests}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
