"""StackExchange: our reader beside a straightforward BeautifulSoup script, same dumps, one core each, in one run.

    python bench/stackexchange.py [DUMPS] [--rounds 3]

DUMPS: a folder with `*/Posts.xml`, by default ../shared/data/stackexchange. The script streams the rows with lxml's
iterparse, makes text of each body with BeautifulSoup on lxml's parser, and sorts answers by score: less than ours does
(no damage, no ledger, everything in memory). It is installed into .venv-bench-stackexchange. MB are those of Posts.xml,
seconds those of the processor; each side takes its best round, and the rounds alternate.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ["beautifulsoup4==4.15.0", "lxml==6.1.3"]
OURS = r"""
import json, sys, time
from pathlib import Path
from redpajama.io import RawFile
from redpajama.pipelines import stackexchange
from redpajama.records import Tally

files = [RawFile(path, path, Path(path).stat().st_size, "") for path in sys.argv[1:]]
started = time.process_time()
threads = sum(1 for _ in stackexchange.read(files, stackexchange.Options(), "stackexchange", Tally()))
print(json.dumps([time.process_time() - started, threads]))
"""
PEER = r"""
import json, sys, time
from collections import defaultdict
from bs4 import BeautifulSoup
from lxml import etree

started, made = time.process_time(), 0
for path in sys.argv[1:]:
    questions, answers = {}, defaultdict(list)
    for _, row in etree.iterparse(path, tag="row"):
        text = BeautifulSoup(row.get("Body", ""), "lxml").get_text()
        if row.get("PostTypeId") == "1":
            questions[row.get("Id")] = f"Q: {row.get('Title')} {text}"
        elif row.get("PostTypeId") == "2":
            answers[row.get("ParentId")].append((-int(row.get("Score")), f"A: {text}"))
        row.clear()
    made += len(["\n\n".join([text, *(a for _, a in sorted(answers[key]))]) for key, text in questions.items()])
print(json.dumps([time.process_time() - started, made]))
"""


def peer_python() -> Path:
    """The interpreter of an environment that has the peer."""
    folder = ROOT / ".venv-bench-stackexchange"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS], check=True)
    return python


def run(python: Path | str, script: str, paths: list[str]) -> tuple[float, int]:
    """(seconds, threads) of one round."""
    done = subprocess.run([python, "-c", script, *paths], check=True, capture_output=True, text=True, cwd=ROOT)
    seconds, threads = json.loads(done.stdout)
    return seconds, threads


def main() -> None:
    """Print the table and the RESULT line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dumps", nargs="?", type=Path, default=ROOT.parent / "shared" / "data" / "stackexchange")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    paths = sorted(map(str, given.dumps.glob("*/Posts.xml")))
    megabytes = sum(Path(path).stat().st_size for path in paths) / 1e6
    sides = {"redpajama": (sys.executable, OURS), "BeautifulSoup": (peer_python(), PEER)}
    best = dict.fromkeys(sides, (float("inf"), 0))
    for _ in range(given.rounds):
        for name, (python, script) in sides.items():
            best[name] = min(best[name], run(python, script, paths))
    for name, (seconds, threads) in best.items():
        sys.stdout.write(f"{name:15} {threads:6,} threads {megabytes / seconds:6.2f} MB/s\n")
    ours, peer = (megabytes / best[name][0] for name in sides)
    rates = f"ours={ours:.2f} peer={peer:.2f} unit=MB/s per core ratio={ours / peer:.2f}"
    sys.stdout.write(f"RESULT stackexchange {rates}\n")


if __name__ == "__main__":
    main()
