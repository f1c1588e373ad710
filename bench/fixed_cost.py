"""What a build costs before it does any work: process start, imports, graph, records.

    python bench/fixed_cost.py [--runs 3]

Builds the demo afresh, in one process and with two worker processes, and takes the parts' own seconds (as the workers
noted them) from the wall time. With two workers the busier half of the parts' seconds is taken off.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import notes

DEMO = Path(__file__).parents[1] / "manifests" / "demo.toml"


def measure(workers: int) -> tuple[float, float]:
    """(wall seconds, fixed seconds) of one fresh build of the demo."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "redpajama", "build", str(DEMO), "--out", folder, "--workers", str(workers)]
        started = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        wall = time.monotonic() - started
        work = sum(note["seconds"] for _, note in notes(Path(folder)))
    return wall, wall - work / workers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    fixed = {}
    for workers in (1, 2):
        walls, costs = zip(*(measure(workers) for _ in range(runs)), strict=True)
        fixed[workers] = statistics.median(costs)
        wall = statistics.median(walls)
        sys.stdout.write(f"{workers} process(es): wall {wall:.1f} s, fixed {fixed[workers]:.1f} s\n")
    sys.stdout.write(f"RESULT fixed_cost in_memory={fixed[1]:.1f} two_workers={fixed[2]:.1f} unit=s\n")


if __name__ == "__main__":
    main()
