"""Does a build cost twice as much for twice the text? Real paragraphs, until dedup, near-dedup included.

    python bench/growth.py [--gigabytes 5 10 20] [--workers 2] [--books ../shared/data/bulk/classic-books-shared.tar.gz]

Documents are put together from the paragraphs of an archive of books (plain text in a tar): six to eleven each, drawn
by the document's number; of every ten, one is an edited copy of another, and one of every fifty an exact one. So the
share of what goes is the same at each size. A file of C4's form holds 64 MB of text. Prints for each size the CPU
seconds of all parts and of the driver, the largest resident set of a worker, and the ratios between neighbours; the
last line is `RESULT growth ...` with the largest ratio of CPU seconds for a doubling.
"""

import argparse
import itertools
import json
import random
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from pathlib import Path

import zstandard
from timing import notes

FILE_BYTES = 64 << 20
BOOKS = Path(__file__).parents[2] / "shared" / "data" / "bulk" / "classic-books-shared.tar.gz"
MANIFEST = """
name = "growth"
seed = 1
[[source]]
name = "web"
pipeline = "c4"
inputs = ["*.jsonl.zst"]
quality = { min_chars = 200 }
[dedup]
near = {}
"""


def paragraphs(archive: Path) -> list[str]:
    """Paragraphs of 150 to 800 characters."""
    found = []
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith((".md", ".txt")):
                text = tar.extractfile(member).read().decode("utf-8", "replace")
                found += [piece for piece in re.split(r"\n\s*\n", text) if 150 <= len(piece) <= 800]
    return found


def document(number: int, pool: list[str]) -> str:
    """The text of a document: of every ten the last is the first with other words at its end, of every fifty one is
    the document before it."""
    if number % 50 == 25:
        return document(number - 1, pool)
    if number % 10 == 9:
        return f"{document(number - 9, pool)} Revised {number}."
    draw = random.Random(number)
    return "\n".join(draw.choices(pool, k=draw.randint(6, 11)))


def write_files(folder: Path, gigabytes: float, pool: list[str]) -> int:
    """Files of rows; how many documents."""
    number, left = 0, int(gigabytes * 1e9)
    for count in range(-(-left // FILE_BYTES)):
        with zstandard.open(folder / f"web-{count:05d}.jsonl.zst", "wb") as out:
            size = 0
            while size < min(left, FILE_BYTES):
                text = document(number, pool)
                row = {"text": text, "url": f"https://books.example/{number}", "timestamp": ""}
                out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                number, size = number + 1, size + len(text)
            left -= size
    return number


def measure(folder: Path, gigabytes: float, workers: int, pool: list[str]) -> tuple[float, float]:
    """(CPU seconds, largest peak in MiB) of a build of so much text; prints them by stage."""
    count = write_files(folder, gigabytes, pool)
    (folder / "growth.toml").write_text(MANIFEST)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "redpajama", "build", str(folder / "growth.toml"), "--out", str(folder / "root")]
    subprocess.run([*command, "--until", "dedup", "--workers", str(workers)], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, peaks = defaultdict(float), defaultdict(int)
    for stage, note in notes(folder / "root"):
        cpu[stage] += note["cpu_seconds"]
        peaks[stage] = max(peaks[stage], note["peak_bytes"])
    for stage in sorted(cpu, key=lambda stage: -cpu[stage]):
        sys.stdout.write(f"  {stage:<24} {cpu[stage]:>9.1f} CPU s {peaks[stage] / 2**20:>9.0f} MiB\n")
    whole, peak = after.ru_utime - before.ru_utime, max(peaks.values()) / 2**20
    parts = sum(cpu.values())
    sys.stdout.write(
        f"{gigabytes:g} GB, {count:,} documents: {parts:,.1f} CPU s in parts, {whole:,.1f} s user in all processes, "
        f"largest worker {peak:,.0f} MiB\n"
    )
    sys.stdout.flush()
    return whole, peak


def main() -> None:
    """One size after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[5, 10, 20])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--books", type=Path, default=BOOKS)
    parser.add_argument("--scratch", default=None, help="a folder with room for some three times the text")
    wish = parser.parse_args()
    pool, found = paragraphs(wish.books), []
    for gigabytes in wish.gigabytes:
        folder = Path(tempfile.mkdtemp(prefix="growth-", dir=wish.scratch))
        try:
            found.append((gigabytes, *measure(folder, gigabytes, wish.workers, pool)))
        finally:
            shutil.rmtree(folder)
    ratios = [other[1] / one[1] * (2 * one[0] / other[0]) for one, other in itertools.pairwise(found)]
    peaks = [peak for _, _, peak in found]
    sys.stdout.write(f"peak of the largest worker: {', '.join(f'{peak:,.0f}' for peak in peaks)} MiB\n")
    sys.stdout.write(f"RESULT growth ours={max(ratios, default=0):.3f} peer=2.1 unit=CPU for a doubling\n")


if __name__ == "__main__":
    main()
