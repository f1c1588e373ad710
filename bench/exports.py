"""How fast tokens are exported, and what memory that takes: each format in a process of its own.

    python bench/exports.py [--tokens 50_000_000] [--shards 2] [--workers 1] [--data ../shared/data] [FORMAT…]

Shards of English-like ids (50,277 of them, documents of some 700 tokens) are made once; texts are as many, of 4.3 bytes
a token: the samples' own end to end, as bench/tokens.py draws them. MB are those of the tokens in the store, 2 bytes
each, and for texts of their UTF-8. Seconds are of the clock and of all processors; a busy machine shows in the first
alone. Files are not waited for on the disk (REDPAJAMA_SYNC=no): that is the disk's speed.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokens import DATA, documents

from redpajama.engine.parts import File
from redpajama.engine.store import Store
from redpajama.engine.tables import read_table, write_table
from redpajama.exports import megatron
from redpajama.exports.run import planned, run
from redpajama.exports.source import Shard, Source, Vocabulary
from redpajama.formats import FORMATS, PACKED
from redpajama.mixers.mixture import ROWS
from redpajama.tables import Packing
from redpajama.tokenize.tokens import LINEAGE

WORDS = 50_277
TEXT_BYTES = 4.3  # a token
CASES = [(name, method) for name in FORMATS for method in PACKED.get(name, ("",))]


def make(folder: Path, data: Path, tokens: int, shards: int) -> None:
    """The shards, their lineage and texts."""
    random = np.random.default_rng(1)
    drawn = documents(data, None, int(TEXT_BYTES * tokens * shards))
    stream = np.frombuffer("".join(drawn).encode(), np.uint8)
    for number in range(shards):
        sizes = np.maximum(2, random.lognormal(6, 1, tokens // 500)).astype(np.int64)
        sizes = sizes[: np.searchsorted(np.cumsum(sizes), tokens)]
        ids = (WORDS * random.random(sizes.sum()) ** 3).astype("<u2")
        ids[np.cumsum(sizes) - 1] = 0
        ids.tofile(folder / f"{number}.bin")
        megatron.write_index(folder / f"{number}.idx", megatron.index_of(sizes.astype(np.int32), np.dtype("<u2")))
        names = pa.array([f"web/{number}/{row:09d}" for row in range(len(sizes))])
        columns = {
            "sequence": pa.array(np.arange(len(sizes))),
            "doc_id": names,
            "copy": pa.array(np.zeros(len(sizes), np.int32)),
            "source": pa.repeat("web", len(sizes)),
            "document_part": pa.repeat("web/0123456789abcdef", len(sizes)),
            "token_offset": pa.array(np.cumsum(sizes) - sizes),
            "n_tokens": pa.array(sizes),
        }
        write_table(folder / f"{number}.lineage", pa.table([columns[name] for name in LINEAGE.names], LINEAGE))
        write_table(folder / f"{number}.text", texts(stream, number, names, sizes))
    (folder / "tokenizer.json").write_text("{}")


def texts(stream: np.ndarray, number: int, names: pa.Array, sizes: np.ndarray) -> pa.Table:
    """The stream, from where the shard before ended and over again, cut into documents where characters begin."""
    bounds = np.append(0, np.cumsum((TEXT_BYTES * sizes).astype(np.int64)))
    data = np.resize(np.roll(stream, -number * int(bounds[-1])), bounds[-1] + 4)
    for _ in range(3):
        bounds += (data[bounds] & 0xC0) == 0x80
    rows = pa.LargeStringArray.from_buffers(len(sizes), pa.py_buffer(bounds), pa.py_buffer(data))
    count, meta = len(sizes), '{"url":"https://example.org/a/page.html"}'
    fixed = {"order": pa.array(np.arange(count, dtype=np.uint64)), "copy": pa.array(np.zeros(count, np.int32))}
    told = {"source": pa.repeat("web", count), "part": pa.repeat("p", count), "meta": pa.repeat(meta, count)}
    columns = {**fixed, **told, "doc_id": names, "n_tokens": pa.array(sizes), "text": rows}
    present = [field for field in ROWS if field.name in columns]
    return pa.table([columns[field.name] for field in present], pa.schema(present))


def source_of(folder: Path) -> Source:
    """What was made, as a build."""
    store = Store(str(folder))
    shards, parts = [], []
    for number in range(len(list(folder.glob("*.bin")))):
        bin, idx, lineage, text = (
            File(f"{number}.{end}", store.size(f"{number}.{end}")) for end in ("bin", "idx", "lineage", "text")
        )
        label = f"bench-{number:05d}-of-00002"
        documents = len(megatron.read_index(folder / idx.key).sizes)
        shards.append(Shard(f"{label}-0", label, "bench", bin, idx, lineage, bin.bytes // 2, documents))
        parts.append(text)
    words = Vocabulary(WORDS, "<|endoftext|>", 0, 1, "", File("tokenizer.json", 2))
    return Source(store, "bench", "0" * 64, 1, "train", tuple(shards), tuple(parts), {"web": "web"}, words)


def export(folder: Path, name: str, method: str, workers: int) -> None:
    """One export; prints what it took."""
    source = source_of(folder)
    with tempfile.TemporaryDirectory(dir=folder) as to:
        more = {"shard_tokens": source.tokens // 3} if name == "megatron" else {}
        asked = planned(source, name, f"{to}/x", Packing(method=method or None), **more)
        wall, cpu = time.monotonic(), time.process_time()
        result = run(asked, workers)
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    size = 2 * result.counts["tokens"] / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    written = sum(each for each, _ in result.files.values()) / result.counts["tokens"]
    texts = 0.0 if asked.format.has_tokens else text_bytes(source) / 1e6
    rates = {"wall": size / wall, "cpu": size / cpu, "text_wall": texts / wall, "text_cpu": texts / cpu}
    print(json.dumps({**rates, "peak": peak, "written": written}))  # noqa: T201


def text_bytes(source: Source) -> int:
    """Of all texts, as UTF-8."""
    columns = (read_table(source.store, file, ["text"]).column("text") for file in source.texts)
    return sum(pc.sum(pc.binary_length(column)).as_py() for column in columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=50_000_000)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--of", help=argparse.SUPPRESS)
    parser.add_argument(
        "--make", help=argparse.SUPPRESS
    )  # in a process of its own: its memory would count as another's
    parser.add_argument("formats", nargs="*")
    asked = parser.parse_args()
    if asked.of:
        export(Path(asked.of), *asked.formats[0].split(":"), asked.workers)
        return
    if asked.make:
        make(Path(asked.make), asked.data, asked.tokens, asked.shards)
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = ["--tokens", str(asked.tokens), "--shards", str(asked.shards)]
        subprocess.run([sys.executable, __file__, "--make", folder, "--data", str(asked.data), *sizes], check=True)
        slowest = float("inf")
        for name, method in CASES:
            if asked.formats and name not in asked.formats:
                continue
            command = [sys.executable, __file__, "--of", folder, "--workers", str(asked.workers), f"{name}:{method}"]
            environ = {**os.environ, "REDPAJAMA_SYNC": "no"}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
            said = json.loads(done.stdout)
            slowest = min(slowest, said["cpu"])
            rates = f"{said['wall']:6.0f} MB/s of the clock  {said['cpu']:6.0f} MB/s per core"
            if said["text_cpu"]:
                rates += f" (of text {said['text_wall']:.0f} and {said['text_cpu']:.0f})"
            sys.stdout.write(
                f"{name:12} {method:12} {rates}  {said['peak']:5.0f} MiB  {said['written']:.2f} B written a token\n"
            )
            sys.stdout.flush()
    sys.stdout.write(f"RESULT exports slowest={slowest:.0f} unit=MB/s per core\n")


if __name__ == "__main__":
    main()
