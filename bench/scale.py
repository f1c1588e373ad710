"""How cost grows with the number of parts: opens, bytes and processor time of every step, and what that means at size.

    python bench/scale.py [--parts 100 400 1000 4000] [--regroup 1000] [--plans 4000 16000 120000] [--scratch FOLDER]

1. Growth: builds of so many tiny parts in this process (`scaled.py`), with line dedup, near-dedup and a mixture; the
   constants by which rows are dealt out are scaled with the parts. After each build the same again with nothing to do.
2. A regroup alone of P parts into P partitions (`scale_regroup.py`).
3. Planning: all steps of a build of so many parts are planned over made up records (`scale_plans.py`).
4. A model: what was counted at the largest size, carried to 4,000 parts (1 TB, one machine of 64 cores) and to
   120,000 parts on an object store. A step costs as many opens a part as it did; a regroup F x K more, with F and K
   as `engine/splits.py` has them. A read of a split file is two requests, any other one; $0.40 a million GETs, $5 a
   million PUTs. Serial steps are planning and commits, by their processor seconds a part. Memory is the largest that
   a formula in the code allows: union-find, a regroup's rows, the part records that a process holds.

The last line is `RESULT scale ratio=<opens of 400 parts / opens of 100>`.
"""

import argparse
import itertools
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import scale_plans
import scale_regroup
import scaled

from redpajama.dedup.near import candidates, clusters, rows
from redpajama.engine import splits

GET, PUT = 0.4e-6, 5e-6  # dollars
REQUESTS_A_RANGE = 2  # the end of a split file, and its pages
SIZES = {"1 TB, 64 cores": 4_000, "object store": 120_000}


class Built(NamedTuple):
    """A build of so many parts, and the same again."""

    parts: int
    steps: list[scaled.StepCount]
    again: list[scaled.StepCount]


class Projected(NamedTuple):
    """What the model says of so many parts."""

    opens: float
    requests: float
    dollars: float
    serial_seconds: float  # of the longest serial step
    serial_step: str
    split_parts: int  # of the longest split task
    memory_bytes: float


def say(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


# ---- growth


def build(folder: Path, parts: int) -> Built:
    """Build a corpus of so many parts, then again with nothing to do."""
    with scaled.scaled_constants():
        path = scaled.write_corpus(folder / "raw", parts)
        return Built(parts, scaled.counted_build(path, folder / "root"), scaled.counted_build(path, folder / "root"))


def show_growth(builds: list[Built]) -> None:
    """Opens and user seconds by step, a column a size."""
    say(f"{'step':<24}" + "".join(f"{f'{each.parts:,} parts':>26}" for each in builds))
    for number, step in enumerate(builds[0].steps):
        counts = [each.steps[number].all for each in builds]
        say(f"{step.stage:<24}" + "".join(f"{count.opens:>14,} {count.cpu:>9.2f} s" for count in counts))
    for title, which in (("all", "steps"), ("with nothing to do", "again")):
        counts = [scaled.total(getattr(each, which)) for each in builds]
        say(f"{title:<24}" + "".join(f"{count.opens:>14,} {count.cpu:>9.2f} s" for count in counts))
        say(
            f"{'  MB read / written':<24}"
            + "".join(f"{c.read / 1e6:>14,.0f} {c.written / 1e6:>9,.0f}  " for c in counts)
        )
        for one, other in itertools.pairwise(counts):
            say(f"  opens x {other.opens / one.opens:.2f}, user seconds x {other.cpu / one.cpu:.2f}")
    most = max(builds[-1].steps, key=lambda step: step.most_opens)
    say(f"a part opened {most.most_opens:,} files at most: {most.stage}")


# ---- the model


def files_for(parts: int) -> int:
    """Split files of so many parts."""
    most = next((files for limit, files in splits.SPLITS if parts <= limit), splits.MOST_SPLITS)
    return min(parts, most)


def project(measured: Built, parts: int, record_bytes: float) -> Projected:
    """Carry what was counted to so many parts."""
    times, by_name = parts / measured.parts, {step.stage: step for step in measured.steps}
    opens = requests = puts = 0.0
    for step in measured.steps:
        own = step.all
        gathered = by_name.get(f"{step.stage}-split")
        crossed = gathered.parts * step.parts if gathered else 0
        ranges = step.parts * times / splits.enlarged(parts)
        far = files_for(parts) * ranges if gathered else 0.0
        opens += (own.opens - crossed) * times + far
        requests += (own.opens - crossed) * times + REQUESTS_A_RANGE * far
        puts += own.puts * times
    serial = {step.stage: (step.plan.cpu + step.commit.cpu) * times for step in measured.steps}
    longest = max(serial, key=lambda stage: serial[stage])
    documents = min(clusters.UNION_FIND_DOCUMENTS, parts * scaled.FULL_DOCUMENTS)
    bands = 2 * 16 * candidates.BAND_ROWS * splits.enlarged(parts)
    memory = max(9 * documents, bands, 2 * rows.REDUCE_BYTES * splits.enlarged(parts)) + record_bytes * parts
    dollars = requests * GET + puts * PUT
    return Projected(opens, requests + puts, dollars, serial[longest], longest, -(-parts // files_for(parts)), memory)


def show_model(measured: Built, record_bytes: float) -> None:
    """A row a size."""
    say(f"{'':<18}{'opens':>14}{'requests':>14}{'dollars':>9}{'serial s':>10}{'parts a split':>15}{'GiB':>7}")
    for name, parts in SIZES.items():
        found = project(measured, parts, record_bytes)
        say(
            f"{name:<18}{found.opens:>14,.0f}{found.requests:>14,.0f}{found.dollars:>9.2f}{found.serial_seconds:>10,.1f}"
            f"{found.split_parts:>15,}{found.memory_bytes / 2**30:>7.2f}   {found.serial_step}"
        )


# ---- all


def show_regroup(folder: Path, parts: int) -> None:
    """Opens, bytes and user seconds of a regroup of so many parts into as many partitions."""
    found = scale_regroup.measure(folder, parts, parts)
    say(
        f"{parts:,} x {parts:,}: {found.all.opens:,} opens, {found.all.read / 1e9:.2f} GB read, "
        f"{found.split.cpu:.1f} + {found.reduce.cpu:.1f} CPU s, {found.splits} split files of "
        f"{found.file_bytes / found.row_bytes:.3f} x their rows"
    )
    for count, ratio in scale_regroup.growth_of_file(folder, (64, 4_096, 131_072)).items():
        say(f"  a split file of {count:,} partitions is {ratio:.3f} x its rows")


def show_plans(folder: Path, counts: list[int]) -> float:
    """Planning and commits of so many parts; bytes of memory a part for its records of all stages."""
    with scaled.scaled_constants():
        job, stages, sample = scale_plans.take_sample(folder)
        memory = 0.0
        for parts in counts:
            costs = list(scale_plans.plan_all(job, stages, sample, parts))
            planned, memory = sum(cost.parts for cost in costs), scale_plans.record_memory(job) / parts
            say(
                f"{parts:,} parts: planned in {sum(cost.cpu for cost in costs):.1f} CPU s, committed in "
                f"{sum(cost.commit_cpu for cost in costs):.1f}; {sum(cost.plan_bytes for cost in costs) / planned:.0f} "
                f"bytes a part in plans, {max(cost.record_bytes for cost in costs):,} in the largest record, "
                f"{memory * parts / planned:.0f} of memory for one, {sum(cost.opens for cost in costs):,} opens"
            )
    return memory


def main() -> None:
    """All four."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=int, nargs="+", default=[100, 400, 1000, 4000])
    parser.add_argument("--regroup", type=int, default=1000)
    parser.add_argument("--plans", type=int, nargs="*", default=[4000, 16000, 120000])
    parser.add_argument("--scratch", default=None)
    wish, builds = parser.parse_args(), []
    for parts in wish.parts:
        folder = Path(tempfile.mkdtemp(prefix="scale-", dir=wish.scratch))
        try:
            builds.append(build(folder, parts))
        finally:
            shutil.rmtree(folder)
    show_growth(builds)
    with tempfile.TemporaryDirectory(prefix="scale-", dir=wish.scratch) as name:
        show_regroup(Path(name), wish.regroup)
    with tempfile.TemporaryDirectory(prefix="scale-", dir=wish.scratch) as name:
        record_bytes = show_plans(Path(name), wish.plans) if wish.plans else 0.0
    show_model(builds[-1], record_bytes)
    opens = {each.parts: scaled.total(each.steps).opens for each in builds}
    say(f"RESULT scale ratio={opens[400] / opens[100]:.2f}" if {100, 400} <= set(opens) else "RESULT scale ratio=n/a")


if __name__ == "__main__":
    main()
