"""Texts to ids: ours beside the bare libraries, GPT-NeoX's way and datatrove's, on the same documents, in one run.

    python bench/tokens.py [--data ../shared/data] [--texts FOLDER] [--megabytes 500] [--peer-megabytes 100]
        [--tokenizer FILE]

Documents: the samples' own texts (rows of JSON lines, books, papers, code, wiki and forum dumps in blocks of 20 kB) in
an order drawn by a seed, then text files of this Python's packages until there are enough, or the .txt files below
--texts, a document each: corpora are prose, packages are code. Ours does what the stages do, from Parquet to files:

    counts      documents -> their numbers of tokens, with the checks against tokenizers
    tokens      a mixture -> .bin, .idx and lineage
    fastokens   the library alone, from strings in memory to arrays
    tokenizers  Hugging Face's alone, `encode_batch_fast` of 1 MB a call, to lists
    gpt-neox    tools/datasets/preprocess_data.py --append-eod: a line of JSON, `encode(text).ids`, numpy, the .bin
    datatrove   JsonlReader and DocumentTokenizer, in .venv-bench-tokens

Every contestant is a process pinned to one core; "two" is two of them on two cores, each with half of the files, as a
build has workers. Seconds are the processor's, of all threads, from the first byte read to the last written; imports
and loading the tokenizer are not counted. Peers are slow and get --peer-megabytes, spread over all; `tokens` does the
same again, and the ratios are of these. Texts with NeoX's special tokens are left out: its tool takes them for the
tokens. The tokens of all contestants must be as many, and the .bin of ours and of GPT-NeoX's way the same bytes.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from peers import peer_python

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
TOKENIZER = "models/tokenizers/gpt-neox-20b/20B_tokenizer.json"
PEER = ("datatrove==0.10.1", "orjson", "humanize", "tokenizers", "zstandard", "numpy")
LITERALS = "<|endoftext|>", "<|padding|>"
FILES = 4  # the documents are dealt out to so many
BLOCK = 20_000  # characters of a raw dump that make a document
OURS, PEERS = ("counts", "tokens", "fastokens"), ("tokenizers", "gpt-neox", "datatrove")
DATATROVE = r"""
import json, os, sys, time
core, tokenizer, out, *files = sys.argv[1:]
os.sched_setaffinity(0, {int(core)})
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from loguru import logger
logger.remove()
folder = os.path.dirname(files[0])
paths = os.path.join(out, "paths.txt")
open(paths, "w").write("\n".join(os.path.basename(file) for file in files))
reader = JsonlReader(folder, paths_file=paths, doc_progress=False)
options = {"eos_token": "<|endoftext|>", "shuffle_documents": False, "save_final_metadata": False}
writer = DocumentTokenizer(out, tokenizer, **options)
writer.tokenizer
started = time.process_time(), time.perf_counter()
writer(reader(None, 0, 1), 0, 1)
seconds = time.process_time() - started[0], time.perf_counter() - started[1]
size = sum(os.path.getsize(os.path.join(out, name)) for name in os.listdir(out) if name.endswith(".ds"))
print(json.dumps([*seconds, size // 2, ""]))
"""


# ---- documents


def documents(data: Path, filling: Path | None, wanted: int) -> Iterator[str]:
    """Real texts of about `wanted` bytes, in an order drawn once."""
    size = 0
    for texts in (samples(data), texts_below(filling, (".txt",)) if filling else packages()):
        drawn = [text for text in texts if text.strip() and not any(literal in text for literal in LITERALS)]
        random.Random(1).shuffle(drawn)
        for text in drawn:
            if size >= wanted:
                return
            yield text
            size += len(text.encode())


def samples(data: Path) -> Iterator[str]:
    """The documents of all sample files that are text."""
    for path in sorted(data.rglob("*")):
        for name, content in contents(path) if path.is_file() else []:
            with suppress(UnicodeDecodeError):
                yield from texts_of(name, content.decode())


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of what a file holds, unpacked."""
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            yield from ((each.name, archive.extractfile(each).read()) for each in archive if each.isfile())
        return
    with suppress(OSError, EOFError, zstandard.ZstdError), pa.input_stream(str(path), compression="detect") as file:
        yield path.name, file.read()


def texts_of(name: str, content: str) -> Iterator[str]:
    """JSON lines: their `text`; a dump: blocks; anything else: itself."""
    if ".json" in name:
        with suppress(ValueError, TypeError, KeyError):
            yield from [json.loads(line)["text"] for line in content.splitlines()]
    elif ".xml" in name or ".wet" in name or ".warc" in name:
        yield from (content[start : start + BLOCK] for start in range(0, len(content), BLOCK))
    else:
        yield content


def packages() -> Iterator[str]:
    """Text files that came with this Python and its packages."""
    suffixes = (".py", ".pyi", ".md", ".rst", ".txt", ".h", ".c", ".js", ".html", ".css")
    for folder in dict.fromkeys(sysconfig.get_path(name) for name in ("stdlib", "purelib")):
        yield from texts_below(Path(folder), suffixes)


def texts_below(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """The files in a folder and those below it that have one of the suffixes and are UTF-8."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in suffixes:
            with suppress(OSError, UnicodeDecodeError):
                yield path.read_bytes().decode()


def write_files(folder: Path, texts: Iterator[str]) -> int:
    """Documents, dealt out to files as the stages read them and as the peers do; returns their bytes."""
    from redpajama.engine.tables import TableWriter

    schema, size = pa.schema([pa.field("doc_id", pa.string()), pa.field("text", pa.large_string())]), 0
    folder.mkdir()
    tables = [TableWriter(folder / f"documents-{number}.parquet", schema) for number in range(FILES)]
    lines = [open(folder / f"texts-{number}.jsonl", "w", encoding="utf-8") for number in range(FILES)]  # noqa: SIM115
    for number, text in enumerate(texts):
        length = len(text.encode())
        tables[number % FILES].add((f"bench/{number}", text), length)
        lines[number % FILES].write(json.dumps({"text": text, "id": str(number)}) + "\n")
        size += length
    for file in [*tables, *lines]:
        file.close()
    return size


# ---- contestants: files -> tokens, and what they wrote. Each prepares what is not timed, then gives the timed part.

Timed = Callable[[], tuple[int, Path | None]]


def counts(tokenizer: Path, out: Path, files: list[Path]) -> Timed:
    from redpajama.engine.tables import ColumnWriter
    from redpajama.mixers.counts import SCHEMA, count_batch
    from redpajama.tokenize import encode

    loaded = encode.load(tokenizer)

    def run() -> tuple[int, None]:
        total = 0
        for file in files:
            with ColumnWriter(out / file.name, SCHEMA) as writer:
                for batch in rows_of(file, ["doc_id", "text"]):
                    counted = count_batch(loaded, batch)
                    writer.add(counted)
                    total += int(counted.column("n_tokens").to_numpy().sum()) + counted.num_rows
        return total, None

    return run


def tokens(tokenizer: Path, out: Path, files: list[Path]) -> Timed:
    from redpajama.engine.tables import ColumnWriter
    from redpajama.exports.megatron import MegatronWriter, dtype_for
    from redpajama.tokenize import encode
    from redpajama.tokenize.tokens import COLUMNS, LINEAGE, calls, lineage_of, tokens_of

    mixtures = [mixture_of(file, encode.load(tokenizer)) for file in files]
    loaded = encode.load(tokenizer)  # which has met none of it

    def run() -> tuple[int, Path]:
        offset, literals = 0, 0
        writer = MegatronWriter(out / "t.bin", out / "t.idx", dtype_for(loaded.vocab_size))
        with writer, ColumnWriter(out / "lineage.parquet", LINEAGE) as lineage:
            for file in mixtures:
                for batch in calls(loaded, rows_of(file, COLUMNS)):
                    encoded = tokens_of(loaded, batch)
                    writer.extend(encoded.ids, encoded.sizes)
                    lineage.add(lineage_of(batch, lineage.rows, offset))
                    literals += sum(loaded.literals(batch.column("text")).values())
                    offset += len(encoded.ids)
        return offset, out / "t.bin"

    return run


def rows_of(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a file as the stages read them."""
    from redpajama.engine.parts import File
    from redpajama.engine.store import Store
    from redpajama.engine.tables import read_batches

    return read_batches(Store(str(path.parent)), File(path.name, path.stat().st_size), columns)


def mixture_of(documents: Path, tokenizer: object) -> Path:
    """The documents as the mixture stage hands them on."""
    from redpajama.engine.tables import TableWriter
    from redpajama.mixers.mixture import ROWS

    path, number = documents.with_name(documents.name.replace("documents", "mixture")), 0
    fields = pa.schema([field for field in ROWS if field.name != "slice"])  # where slices are sources
    with TableWriter(path, fields) as writer:
        for batch in pq.ParquetFile(documents).iter_batches(batch_size=1000):
            sizes = tokenizer.count(batch.column("text"))
            for doc_id, text, size in zip(*batch.to_pydict().values(), sizes, strict=True):
                row = (number, doc_id, 0, "bench", "documents", int(size) + 1, text, "{}")
                writer.add(row, len(text.encode()))
                number += 1
    return path


def fastokens(tokenizer: Path, out: Path, files: list[Path]) -> Timed:
    import fastokens

    library, texts = fastokens.Tokenizer.from_file(str(tokenizer)), strings(files)

    def run() -> tuple[int, None]:
        calls = (
            library.encode_batch_flat(each, False, split_special_tokens=True) for each in batches(texts, 4_000_000)
        )
        return len(texts) + sum(len(np.frombuffer(ids, np.uint32)) for ids, _ in calls), None

    return run


def huggingface(tokenizer: Path, out: Path, files: list[Path]) -> Timed:
    from tokenizers import Tokenizer

    library, texts = Tokenizer.from_file(str(tokenizer)), strings(files)
    library.encode_special_tokens = True

    def run() -> tuple[int, None]:
        calls = (library.encode_batch_fast(each, add_special_tokens=False) for each in batches(texts, 1_000_000))
        return len(texts) + sum(len(encoding.ids) for encodings in calls for encoding in encodings), None

    return run


def gpt_neox(tokenizer: Path, out: Path, files: list[Path]) -> Timed:
    """Its encoder and its builder, in one process (`--workers 1`)."""
    from tokenizers import Tokenizer

    library = Tokenizer.from_file(str(tokenizer))
    end = library.token_to_id("<|endoftext|>")
    lines = [file.with_name(file.name.replace("documents", "texts").replace("parquet", "jsonl")) for file in files]

    def run() -> tuple[int, Path]:
        total = 0
        with open(out / "neox.bin", "wb") as written:
            for path in lines:
                with open(path, encoding="utf-8") as file:
                    for line in file:
                        ids = library.encode(json.loads(line)["text"]).ids
                        ids.append(end)
                        written.write(np.array(ids, np.uint16).tobytes(order="C"))
                        total += len(ids)
        return total, out / "neox.bin"

    return run


def strings(files: list[Path]) -> list[str]:
    return [text for file in files for text in pq.read_table(file, columns=["text"]).column("text").to_pylist()]


def batches(texts: list[str], limit: int) -> Iterator[list[str]]:
    """Texts of about so many characters together."""
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= limit:
            yield batch
            batch, size = [], 0
    yield batch


CONTESTANTS = {
    "counts": counts,
    "tokens": tokens,
    "fastokens": fastokens,
    "tokenizers": huggingface,
    "gpt-neox": gpt_neox,
}


def contest(name: str, core: int, tokenizer: Path, out: Path, files: list[Path]) -> None:
    """One contestant in this process; prints its seconds (processor, clock), tokens, and the hash of what it wrote."""
    os.sched_setaffinity(0, {core})
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    run = CONTESTANTS[name](tokenizer, out, files)
    started = time.process_time(), time.perf_counter()
    total, written = run()
    seconds = time.process_time() - started[0], time.perf_counter() - started[1]
    digest = hashlib.sha256(written.read_bytes()).hexdigest() if written else ""
    sys.stdout.write(json.dumps([*seconds, total, digest]) + "\n")


# ---- the run


def measure(name: str, cores: int, tokenizer: Path, folder: Path, size: int) -> tuple[float, float, int, list[str]]:
    """(MB a CPU-second, MB a second of the clock, tokens, hashes) of a contestant on so many cores."""
    running = []
    for core in range(cores):
        out = Path(tempfile.mkdtemp(dir=folder))
        files = [str(folder / f"documents-{number}.parquet") for number in range(core, FILES, cores)]
        if name == "datatrove":
            lines = [file.replace("documents", "texts").replace("parquet", "jsonl") for file in files]
            command = [peer_python("tokens", PEER), "-c", DATATROVE, str(core), str(tokenizer), str(out), *lines]
        else:
            command = [sys.executable, __file__, "--contestant", name, str(core), str(tokenizer), str(out), *files]
        single = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(ROOT)}
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **single}))
    ended = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    processor, clock, total, hashes = zip(*ended, strict=True)
    return size / 1e6 / sum(processor), size / 1e6 / max(clock), sum(total), list(hashes)


def compare(folder: Path, size: int, names: tuple[str, ...], tokenizer: Path) -> dict[str, float]:
    """{contestant: MB a CPU-second on one core}; a line for each, on one core and on two."""
    speeds, totals, written = {}, set(), {}
    for name in names:
        for cores in (1, 2):
            speed, clock, total, hashes = measure(name, cores, tokenizer, folder, size)
            totals.add(total)
            written[name, cores] = hashes
            speeds.setdefault(name, speed)
            kind = "one core" if cores == 1 else "two cores"
            line = f"{name:<12}{kind:<10}{size / 1e6:7.1f} MB {speed:8.2f} MB per CPU-second, {clock:8.2f} by the clock"
            sys.stdout.write(f"{line}, {total:,} tokens\n")
            sys.stdout.flush()
    if len(totals) > 1:
        raise SystemExit(f"the contestants disagree: {totals}")
    for cores in (1, 2):
        if len({tuple(written[name, cores]) for name in ("tokens", "gpt-neox") if name in names}) > 1:
            raise SystemExit("the .bin of ours and of GPT-NeoX's way differ")
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--texts", type=Path, help="fill up with the .txt files below it, not with Python's packages")
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--peer-megabytes", type=int, default=100)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--contestant", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contestant:
        name, core, tokenizer, out, *files = given.contestant
        return contest(name, int(core), Path(tokenizer), Path(out), [Path(file) for file in files])
    if given.texts and not any(given.texts.rglob("*.txt")):
        parser.error(f"no .txt file below {given.texts}")
    tokenizer = given.tokenizer or given.data / TOKENIZER
    with tempfile.TemporaryDirectory(prefix="redpajama-") as folder:
        large, small = Path(folder, "large"), Path(folder, "small")
        step = max(given.megabytes // given.peer_megabytes, 1)
        sizes = [
            write_files(path, islice(documents(given.data, given.texts, given.megabytes * 1_000_000), 0, None, every))
            for path, every in ((large, 1), (small, step))
        ]
        speeds = compare(large, sizes[0], OURS, tokenizer)
        peers = compare(small, sizes[1], ("tokens", *PEERS), tokenizer)
    sys.stdout.write(f"counts and tokens of all documents: {min(speeds['counts'], speeds['tokens']):.1f} MB/s\n")
    ours, peer = peers["tokens"], peers["tokenizers"]  # of the same documents
    for name in PEERS[1:]:
        sys.stdout.write(f"ours / {name}: {ours / peers[name]:.1f}\n")
    sys.stdout.write(f"RESULT tokens ours={ours:.1f} peer={peer:.2f} unit=MB/s per core ratio={ours / peer:.1f}\n")
    return None


if __name__ == "__main__":
    main()
