"""How fast a budget of text is realised: reading documents, choosing, shuffling and writing the mixture.

    python bench/mixture.py [--megabytes 300] [--workers 1]

Makes JSON lines of so many MB of text (synthetic English-like words with Zipf's frequencies) in three sources, one of
them repeated twice, and builds the mixture; prints CPU-seconds of its stages, as their workers noted them, MB of the
mixture's text a CPU-second, and the largest resident set of a worker. Counting tokens is a stage of its own and is not
in it. `--megabytes 5000` is what the target is stated for: 100 MB a CPU-second below 2 GiB a worker.

`--peers`: the same documents through datatrove's own steps, a reader, `SamplerFilter` and `ParquetWriter` a source (one
that is repeated is read twice). It has no step that shuffles texts, none for a budget of tokens, none for repeats: so
it does less. It shuffles tokens, once they are encoded. And through NeMo Curator's on one core, without a GPU:
`read_parquet`, `blend_datasets` by numbers of documents (it has no budget of tokens), `Shuffle` with a seed and
`to_parquet` (Snappy; it offers no other). Imports are not counted. The peers are installed into .venv-bench-mixture and
.venv-bench-nemo.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from memory import write_source
from peers import peer_python
from timing import notes

STAGES = ("candidates", "budget", "mixture-split", "mixture")
SHARES = {"web": 0.7, "code": 0.2, "wiki": 0.1}
SOURCE = """
[[source]]
name = "{name}"
pipeline = "pile"
inputs = ["{name}-*.jsonl.zst"]
options = {{ slices = ["FreeLaw"] }}
"""
PACKAGES = ("datatrove[io,processing]==0.10.1",)
PEER = r"""
import os, sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import SamplerFilter
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.logging import logger
logger.remove()
spent, folder = lambda: sum(os.times()[:4]), sys.argv[1]
started = spent()
for number, source in enumerate(sys.argv[2:]):
    at = os.path.join(folder, "datatrove", str(number))
    read = ParquetReader(os.path.join(folder, "r", "documents"), glob_pattern=source + "-*/part-*.parquet",
                         text_key="text", id_key="doc_id", shuffle_files=True)
    steps = [read, SamplerFilter(1.0, seed=1), ParquetWriter(at, compression="zstd")]
    LocalPipelineExecutor(steps, tasks=1, workers=1, logging_dir=os.path.join(at, "logs")).run()
print("spent", spent() - started)
"""
# 0.9.0 is the last on Dask. What it asks for is CUDA and many GB: so it comes alone, with what importing it needs.
NEMO = ("nemo-curator==0.9.0",)
NEMO_PACKAGES = (
    "dask[dataframe]==2024.12.1",
    "distributed==2024.12.1",
    "numpy==1.26.4",
    "pandas==2.2.3",
    "pyarrow==19.0.1",
    "datasets==3.6.0",
    "transformers==5.24.0",
    "openai==3.57.0",
    "fasttext-community==0.11.9",
    "sentencepiece==0.2.3",
    "beautifulsoup4==4.15.0",
    "comment_parser==1.2.4",
    "ftfy==6.3.1",
    "platformdirs==4.14.9",
    "regex==2026.11.19",
)
# With Dask's query planning, shuffling what was blended hangs. Weights are numbers of documents, and shares are rounded
# up: one document less in all gives the numbers themselves.
NEMO_PEER = r"""
import glob, os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import dask
dask.config.set({"dataframe.query-planning": False, "scheduler": "synchronous"})
import pyarrow.parquet as pq
from nemo_curator import Shuffle, blend_datasets
from nemo_curator.datasets import DocumentDataset
folder, epochs = sys.argv[1], dict(argument.split("=") for argument in sys.argv[2:])
parts = [glob.glob(os.path.join(folder, "r", "documents", source + "-*", "part-*.parquet")) for source in epochs]
wanted = [int(n) * sum(pq.read_metadata(path).num_rows for path in own) for n, own in zip(epochs.values(), parts)]
spent = lambda: sum(os.times()[:4])
started = spent()
sources = [DocumentDataset.read_parquet(sorted(own), columns=["doc_id", "source", "text", "meta"]) for own in parts]
blend = blend_datasets(sum(wanted) - 1, sources, wanted)
Shuffle(seed=1)(blend).to_parquet(os.path.join(folder, "nemo"))
seconds = spent() - started
assert pq.read_table(os.path.join(folder, "nemo"), columns=["doc_id"]).num_rows == sum(wanted)
print("spent", seconds)
"""
MANIFEST = """
name = "mixture"
seed = 1
[tokenizer]
train = {{ vocab_size = 4096, max_bytes = 4_000_000 }}
{sources}
[mixture]
budget_tokens = {budget}
on_cap = "spread"
allow_shortfall = true
slice = [
    {{ source = "web", weight = 6 }},
    {{ source = "code", weight = 2 }},
    {{ source = "wiki", weight = 2, max_epochs = 2 }},
]
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", type=int, default=300)
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument("--peers", action="store_true")
    wish = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text, own, peak = run(Path(folder), wish.megabytes, wish.workers)
        told = f"RESULT mixture ours={text / own:.1f} unit=MB per CPU s peak={peak / 2**30:.2f} GiB"
        if wish.peers:
            seconds = peer_seconds(Path(folder))
            sys.stdout.write(f"datatrove, without a shuffle: {seconds:.1f} CPU s, {text / seconds:.1f} MB/CPU s\n")
            told += f" peer={text / seconds:.1f} ratio={seconds / own:.1f}"
            seconds = nemo_seconds(Path(folder))
            sys.stdout.write(f"NeMo Curator, without a budget: {seconds:.1f} CPU s, {text / seconds:.1f} MB/CPU s\n")
            told += f" nemo={text / seconds:.1f} ratio={seconds / own:.1f}"
        sys.stdout.write(f"{told}\n")


def run(folder: Path, megabytes: int, workers: int) -> tuple[float, float, int]:
    """MB of text in the mixture, CPU seconds of all STAGES, bytes of the largest."""
    for number, (name, share) in enumerate(SHARES.items()):
        for part in range(4):
            write_source(folder / f"{name}-{part}.jsonl.zst", megabytes * share / 4000, 10 * number + part)
    sources = "".join(SOURCE.format(name=name) for name in SHARES)
    (folder / "m.toml").write_text(MANIFEST.format(sources=sources, budget=10**12))
    root = folder / "r"
    command = [sys.executable, "-m", "redpajama", "build", str(folder / "m.toml"), "--out", str(root)]
    subprocess.run([*command, "--until", "mixture", "--workers", str(workers)], check=True, stdout=subprocess.DEVNULL)
    seconds, peaks = defaultdict[str, float](float), defaultdict[str, int](int)
    for stage, note in notes(root):
        seconds[stage] += note["cpu_seconds"]
        peaks[stage] = max(peaks[stage], note["peak_bytes"])
    text = text_bytes(root) / 1e6
    for stage in STAGES:
        sys.stdout.write(
            f"{stage:14} {seconds[stage]:8.2f} CPU s  {text / max(seconds[stage], 0.001):8.1f} MB/CPU s  "
            f"{peaks[stage] / 2**20:6.0f} MiB\n"
        )
    own = sum(seconds[stage] for stage in STAGES)
    sys.stdout.write(
        f"{text:.0f} MB of text in the mixture, counted in {seconds['counts']:.1f} CPU s, realised in {own:.1f}\n"
    )
    return text, own, max(peaks[stage] for stage in STAGES)


def peer_seconds(folder: Path) -> float:
    """CPU seconds of datatrove for the same documents, its imports not counted."""
    command = [peer_python("mixture", PACKAGES), "-c", PEER, str(folder), "web", "code", "wiki", "wiki"]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(result.stdout.split()[-1])


def nemo_seconds(folder: Path) -> float:
    """CPU seconds of NeMo Curator for the same documents, its imports not counted."""
    command = [peer_python("nemo", NEMO_PACKAGES, NEMO), "-W", "ignore", "-c", NEMO_PEER, str(folder)]
    result = subprocess.run([*command, "web=1", "code=1", "wiki=2"], check=True, capture_output=True, text=True)
    return float(result.stdout.split()[-1])


def text_bytes(root: Path) -> int:
    """Of all copies in the mixture."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    files = root.glob("mixture/*/range-*.parquet")
    return sum(pc.sum(pc.binary_length(pq.read_table(path, columns=["text"]).column("text"))).as_py() for path in files)


if __name__ == "__main__":
    main()
