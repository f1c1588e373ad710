"""Near-dedup of 20 million documents in worker processes under a real memory limit; the same bytes at every limit.

    python bench/dedup_scale.py [--documents 20_000_000] [--limits 2 1 4] [--components union-find star] [--folder DIR]
                                [--texts]

Documents are synthetic, a pure function of their number: 70 % stand alone, 28 % are edited copies in families of about
four, 2 % (400,000) are edited copies of one. The real stages run, each in a fresh process whose private memory the
kernel limits (RLIMIT_DATA: heap, anonymous mappings and thread stacks; files and code that are mapped do not count;
beyond it an allocation fails).

By default a document is its signature: 24 n-gram hashes, of which an edit changes one or none, and their MinHash of 4
bands x 4 rows = 16 permutations; written as signatures parts (6 GB), from which `candidates-near` to `near` run. What
they hold is whole, so every pair is measured exactly and no text is asked for. With `--texts` a document is 40 words of
4 letters (an edit changes a few at either end, in the 2 % the last one), and `signatures` to `near` run with the
default parameters (14 x 8 = 112 permutations, 9 GB of signatures).

Needs about 20 GB of disk for the first limit, and as much as the stages wrote for each other while it runs.
"""

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.artifacts import Outputs, Part, commit_stage, run_part
from redpajama.build import flow
from redpajama.columns import GROUP_ROWS, write_table
from redpajama.dedup import minhash, near
from redpajama.manifest import Manifest, parse
from redpajama.stages import Build, Job, Regroup, Step, balance

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


def write_documents(build: Build, total: int) -> dict[str, str]:
    """Documents parts of the source `web`; {name: key of the stage record}."""
    records, folder = [], ""
    for start in range(0, total, PART_DOCUMENTS):
        count = min(PART_DOCUMENTS, total - start)
        part = Part("documents", "web", "synthetic", [start, count, total], {"start": start, "count": count})
        records.append(run_part(build.store, part, lambda outputs, part=part: write_part(outputs, part, total)))
        folder = part.folder
    return {"web": commit_stage(build.store, folder, records).key}


def write_part(outputs: Outputs, part: Part, total: int) -> tuple[list, dict]:
    """One documents part with the columns that near-dedup reads."""
    numbers = np.arange(part.spec["start"], part.spec["start"] + part.spec["count"], dtype=np.uint64)
    blocks = [texts(block, total) for block in np.array_split(numbers, 1 + len(numbers) // 50_000)]
    ids = pa.array([f"web/{number:08d}" for number in numbers.tolist()])
    sizes = pa.array(np.full(len(numbers), WORDS * (LETTERS + 1), np.int64))
    write_table(outputs.file(".parquet"), pa.table({"doc_id": ids, "text": pa.chunked_array(blocks), "q_bytes": sizes}))
    count = len(numbers)
    return [], {"read": count, "kept": count, "text_bytes": count * WORDS * (LETTERS + 1)}


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


def write_signatures(build: Build, total: int) -> dict[str, dict[str, str]]:
    """{stage: {name: key of the stage record}} of documents parts without a text and their signatures parts."""
    records, starts = [], {}
    for start in range(0, total, PART_DOCUMENTS):
        part = Part("documents", "web", "unwritten", [start, total])
        count = min(PART_DOCUMENTS, total - start)
        counts = {"read": count, "kept": count, "text_bytes": 200 * count}
        records.append(run_part(build.store, part, lambda outputs, counts=counts: write_nothing(outputs, counts)))
        starts[records[-1].stem] = start
    build.records["documents"] = {"web": commit_stage(build.store, part.folder, records).key}
    signed = []
    for part in near.plan_signatures(build):
        start = starts[part.spec["documents"]]
        signed.append(run_part(build.store, part, partial(write_signed, part, start, total)))
    return {**build.records, "signatures": {"web": commit_stage(build.store, part.folder, signed).key}}


def write_nothing(outputs: Outputs, counts: dict) -> tuple[list, dict]:
    """A documents part whose documents nobody reads."""
    write_table(outputs.file(".parquet"), pa.table({"doc_id": pa.array([], pa.string())}))
    return [], counts


def write_signed(part: Part, start: int, total: int, outputs: Outputs) -> tuple[list, dict]:
    """One signatures part."""
    schema, end = near.signed_schema(PERMUTATIONS), min(start + PART_DOCUMENTS, total)
    with pq.ParquetWriter(outputs.file(".parquet"), schema, version="2.6", **near.PACKING) as writer:
        for first in range(start, end, GROUP_ROWS):
            numbers = np.arange(first, min(first + GROUP_ROWS, end), dtype=np.uint64)
            grams = hashes(numbers, total)
            columns = [
                pa.array([f"web/{number:08d}" for number in numbers.tolist()]),
                pa.array(200 + (mix(numbers) >> np.uint64(58)).astype(np.int64)),
                pa.array(np.full(len(numbers), HASHES)),
                pa.Array.from_buffers(schema.field("signature").type, len(numbers), [None, pa.py_buffer(sign(grams))]),
                pa.array([row.tobytes() for row in grams], pa.large_binary()),
            ]
            writer.write_table(pa.table(columns, schema=schema))
    return [part.spec["documents"]], {"read": end - start, "kept": end - start}


# ---- stages


def manifest(components: str, near: dict[str, int]) -> Manifest:
    """One source, and how it is compared."""
    source = {"name": "web", "pipeline": "c4", "inputs": ["x"]}
    dedup = {"near": near, "components": components}
    return parse({"name": "scale", "seed": 1, "source": [source], "dedup": dedup}, "scale.toml")


def near_steps(given: Manifest) -> list[Step]:
    """The steps of near-dedup, regroups as partition files."""
    steps = flow(given, "dedup")
    found = steps[[step.stage for step in steps].index(near.SIGNATURES.stage) :]
    return [each for step in found for each in (step.as_steps() if isinstance(step, Regroup) else [step])]


def run_step(step: Step, build: Build) -> dict[str, str]:
    """All parts of one step, one after the other; {name: key of the stage record}."""
    by_folder: dict[str, tuple[str, list]] = {}
    for part in step.plan(build):
        record = run_part(build.store, part, lambda outputs, part=part: step.work(build, part, outputs))
        assert balance(record.counts) is None
        by_folder.setdefault(part.folder, (part.name, []))[1].append(record)
    return {name: commit_stage(build.store, folder, records).key for folder, (name, records) in by_folder.items()}


def job(given: argparse.Namespace) -> Job:
    """The build of these options."""
    return Job(manifest(given.components, {} if given.texts else SHORT), str(given.folder), "run")


def stages(given: argparse.Namespace) -> list[Step]:
    """What is measured: all of near-dedup, or what follows its signatures."""
    return near_steps(job(given).manifest)[0 if given.texts else 1 :]


def work(given: argparse.Namespace) -> None:
    """Run one step in this process, under the limit; the state of the build is FOLDER/state.json."""
    limit = int(given.limits[0] * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    state = given.folder / "state.json"
    build = Build(job(given), json.loads(state.read_text()))
    started = time.monotonic()
    done = run_step(next(step for step in stages(given) if step.stage == given.worker), build)
    state.write_text(json.dumps({**build.records, given.worker: done}))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps([time.monotonic() - started, peak]))


def run_all(given: argparse.Namespace, limit: float) -> dict[str, tuple[float, int]]:
    """{stage: (seconds, peak resident bytes)}; the first worker that dies ends the run."""
    found = {}
    options = ["--folder", str(given.folder), "--components", given.components, "--limits", str(limit)]
    options += ["--texts"] if given.texts else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    for step in stages(given):
        command = [sys.executable, __file__, "--worker", step.stage, *options]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(f"{step.stage}: exit {result.returncode}\n{result.stderr[-2000:]}")
        found[step.stage] = tuple(json.loads(result.stdout))
        seconds, peak = found[step.stage]
        sys.stdout.write(f"  {step.stage:24}{seconds:9.1f} s{peak / 2**20:9.0f} MiB peak resident\n")
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
    """Run under each limit and compare the bytes; signatures are kept, everything after them is made again."""
    build, root, started = Build(job(given), {}), given.folder, time.monotonic()
    if given.texts:
        written = {"documents": write_documents(build, given.documents)}
    else:
        written = write_signatures(build, given.documents)
    sys.stdout.write(f"{given.documents:,} documents written in {time.monotonic() - started:.0f} s\n")
    sys.stdout.flush()
    names = [step.stage for step in near_steps(build.manifest)]
    digests, rows = set(), {}
    for limit in given.limits:
        for stage in names[1:]:
            shutil.rmtree(root / stage, ignore_errors=True)
        Path(root, "state.json").write_text(json.dumps(written))
        sys.stdout.write(f"limit {limit} GiB\n")
        rows[limit] = run_all(given, limit)
        digests.add(digest(root, names))
        counts = Build(build.job, json.loads(Path(root, "state.json").read_text()))
        found = {**counts.stage("clusters")["all"].counts, **counts.stage("near")["all"].counts}
        sys.stdout.write(f"  {json.dumps(found)}\n  digest {sorted(digests)}\n")
        report(given.documents, limit, rows[limit], len(digests))


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
