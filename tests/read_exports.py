"""FORMAT DIR WANTED -> JSON: what a trainer's own loader finds in an export, and whether its own writer writes it so.

Runs in a loaders' environment (`make test-loaders`, `make test-loaders-all`), without this project. WANTED is an .npz:
`tokens` of the whole stream, `bounds` of its documents, `shards` (where each begins, and the end), `length` of a row,
`end` and `size` of the vocabulary.
"""

import filecmp
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


class Check:
    """What differs; nothing where all is as it should be."""

    def __init__(self, wanted: Any) -> None:
        self.tokens, self.bounds, self.shards = wanted["tokens"], wanted["bounds"], wanted["shards"].tolist()
        self.length, self.end, self.size = (int(wanted[name]) for name in ("length", "end", "size"))
        self.problems: list[str] = []
        self.facts: dict[str, Any] = {}

    def same(self, what: str, one: Any, other: Any) -> None:
        if not np.array_equal(np.asarray(one), np.asarray(other)):
            self.problems.append(f"{what}: {np.asarray(one).ravel()[:12]} and {np.asarray(other).ravel()[:12]}")

    def same_files(self, folder: Path, other: Path, names: list[str]) -> None:
        """Byte for byte."""
        differ = [name for name in names if not filecmp.cmp(folder / name, other / name, shallow=False)]
        self.problems += [f"{name}: other bytes than the peer's own" for name in differ]
        self.facts["same_bytes"] = len(names) - len(differ)

    def documents(self, shard: int) -> Iterator[np.ndarray]:
        """Each document's tokens."""
        low, high = self.shards[shard : shard + 2]
        starts = self.bounds[(self.bounds >= low) & (self.bounds <= high)].tolist()
        yield from (self.tokens[start:end] for start, end in pairwise(starts))

    def rows(self) -> np.ndarray:
        """The stream in rows; the last may be short."""
        return self.tokens[: len(self.tokens) // self.length * self.length].reshape(-1, self.length)


def megatron(folder: Path, check: Check) -> None:
    """IndexedDataset, its builder and its merge; a blend of the files that name the shards."""
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder

    prefixes = (folder / "megatron.txt").read_text().split()[1::2]
    read = [IndexedDataset(prefix) for prefix in prefixes]
    check.same("tokens", np.concatenate([each for dataset in read for each in dataset]), check.tokens)
    check.same("documents", np.concatenate([dataset.sequence_lengths for dataset in read]), np.diff(check.bounds))
    with tempfile.TemporaryDirectory() as other:
        for prefix, dataset in zip(prefixes, read, strict=True):
            own = str(Path(other, Path(prefix).name))
            builder = IndexedDatasetBuilder(f"{own}.bin", dtype=dataset.index.dtype)
            for document in dataset:
                builder.add_document(torch.from_numpy(document.astype(np.int64)), [len(document)])
            builder.finalize(f"{own}.idx")
        names = [Path(f"{prefix}.{ending}").name for prefix in prefixes for ending in ("bin", "idx")]
        check.same_files(folder, Path(other), names)
    _blend(folder, check, len(prefixes))


def _blend(folder: Path, check: Check, count: int) -> None:
    """Megatron draws from each prefix by its share."""
    import torch.distributed
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.utils import get_blend_from_list

    words = (folder / "megatron.txt").read_text().split()
    with tempfile.TemporaryDirectory() as cache:
        torch.distributed.init_process_group("gloo", init_method=f"file://{cache}/group", rank=0, world_size=1)
        config = GPTDatasetConfig(
            random_seed=1,
            sequence_length=check.length,
            blend=get_blend_from_list(words),
            split="1,0,0",
            path_to_cache=cache,
            tokenizer=SimpleNamespace(
                vocab_size=check.size, eod=check.end, pad=check.end, unique_identifiers={"name": "t"}
            ),
            reset_position_ids=False,
            reset_attention_mask=False,
            eod_mask_loss=False,
        )
        wanted = 40
        blended = BlendedMegatronDatasetBuilder(GPTDataset, [wanted, 0, 0], lambda: True, config).build()[0]
        drawn = np.bincount(blended.dataset_index[:wanted], minlength=count) / wanted
        weights = np.array(list(map(float, words[::2])))
        if np.abs(drawn - weights / weights.sum()).max() > 1.5 / wanted:
            check.problems.append(f"blend: {drawn.tolist()} of weights {weights.tolist()}")
        check.facts["tokens_of_a_sample"] = len(blended[0]["tokens"])
        torch.distributed.destroy_process_group()


def neox(folder: Path, check: Check) -> None:
    """GPT-NeoX's reader, by the paths of neox.yml."""
    from megatron_tokenizer_lite.indexed_dataset import make_dataset

    paths = json.loads((folder / "neox.yml").read_text())["train-data-paths"]
    read = [make_dataset(path) for path in paths]
    tokens = [np.asarray(dataset[number]) for dataset in read for number in range(len(dataset))]
    check.same("tokens", np.concatenate(tokens), check.tokens)
    check.same("documents", list(map(len, tokens)), np.diff(check.bounds))


def parquet(folder: Path, check: Check) -> None:
    """`datasets.load_dataset`, whole and streamed; torch's collation of packed rows."""
    import datasets
    from transformers import default_data_collator

    for streams in (False, True):
        data = datasets.load_dataset(str(folder), split="train", streaming=streams)
        rows = list(data)
        ids = [np.array(row["input_ids"])[np.array(row["attention_mask"], bool)] for row in rows]
        if len({len(row["input_ids"]) for row in rows}) == 1:
            batch = default_data_collator(
                [{k: r[k] for k in ("input_ids", "attention_mask", "labels")} for r in rows[:3]]
            )
            check.same("batch", batch["input_ids"].shape, (3, check.length))
        check.same("order", np.sort(np.concatenate(ids)), np.sort(check.tokens))
        if "doc_id" in rows[0]:
            check.same("tokens", np.concatenate(ids), check.tokens)
            check.same("documents", list(map(len, ids)), np.diff(check.bounds))
        labels = np.concatenate([row["labels"] for row in rows])
        check.same("labels", labels[labels >= 0], np.concatenate(ids))
        check.facts["rows"] = len(rows)


def text(folder: Path, check: Check) -> None:
    """`datasets.load_dataset` of texts, and datatrove's Megatron writer fed with them: the store's own bytes."""
    import datasets

    rows = list(datasets.load_dataset(str(folder), split="train"))
    check.facts["rows"] = len(rows)
    check.same("documents", len(rows), len(check.bounds) - 1)
    check.facts["subsets"] = sorted({row["red_pajama_subset"] for row in rows})
    if (folder / "golden").is_dir():
        golden(folder, check)


def golden(folder: Path, check: Check) -> None:
    """datatrove tokenises the released texts into the shard that the build wrote."""
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import MegatronDocumentTokenizer

    with tempfile.TemporaryDirectory() as other:
        read = JsonlReader(str(folder / "data"), glob_pattern="*.jsonl.zst", text_key="text")
        tokenizer = str(folder / "golden/tokenizer.json")
        write = MegatronDocumentTokenizer(other, "golden", tokenizer, "<|endoftext|>")
        for _ in write(read(None), rank=0, world_size=1) or []:
            pass
        for ending in ("bin", "idx"):
            (theirs,) = Path(other).glob(f"*.{ending}")
            (ours,) = (folder / "golden").glob(f"*.{ending}")
            if not filecmp.cmp(theirs, ours, shallow=False):
                check.problems.append(f"{ours.name}: other bytes than datatrove's")
        check.facts["golden"] = True


def datatrove(folder: Path, check: Check) -> None:
    """DatatroveFolderDataset, and `TokenizedFile`."""
    from datatrove.pipeline.tokens.tokenizer import TokenizedFile
    from datatrove.utils.dataset import DatatroveFileDataset, DatatroveFolderDataset

    size = 2 if check.size <= 1 << 16 else 4
    window, windows = check.length + 1, []
    names = sorted(path.name for path in folder.glob("*.ds"))
    for shard, name in enumerate(names):
        low, high = check.shards[shard : shard + 2]
        data = DatatroveFileDataset(str(folder / name), check.length, size, return_positions=True)
        found = np.concatenate([[*data[number]["input_ids"].tolist()] for number in range(len(data))])
        check.same(name, found, check.tokens[low : low + (high - low) // window * window])
        windows.append(len(data))
        places = np.concatenate([data[number]["positions"].tolist() for number in range(len(data))])
        starts = check.bounds[(check.bounds >= low) & (check.bounds < low + len(places))] - low
        check.same("positions", np.flatnonzero(places == 0)[:1], starts[:1])
    check.same("windows", len(DatatroveFolderDataset(str(folder), check.length, token_size=size)), sum(windows))
    with tempfile.TemporaryDirectory() as other:
        for shard, name in enumerate(names):
            written = TokenizedFile(
                other, name, tokenizer_name_or_path="tokenizer.json", save_final_metadata=True, token_size=size
            )
            for document in check.documents(shard):
                written.write(document.tolist(), None)
            written.close()
        endings = ("", ".index", ".metadata")
        check.same_files(folder, Path(other), [f"{name}{ending}" for name in names for ending in endings])


def litdata(folder: Path, check: Check) -> None:
    """StreamingDataset with TokensLoader, and `BinaryWriter`."""
    import torch
    from litdata import StreamingDataset, TokensLoader
    from litdata.streaming.writer import BinaryWriter

    data = StreamingDataset(str(folder), item_loader=TokensLoader(block_size=check.length), shuffle=False)
    found = torch.stack([data[number] for number in range(len(data))]).numpy()
    check.same("rows", found[: len(check.rows())], check.rows())
    check.same("all", found.ravel()[: len(check.tokens)], check.tokens)
    ours = json.loads((folder / "index.json").read_text())
    ranks: dict[str, int] = {}
    for chunk in ours["chunks"]:
        ranks[chunk["filename"].split("-")[1]] = ranks.get(chunk["filename"].split("-")[1], 0) + chunk["chunk_size"]
    with tempfile.TemporaryDirectory() as other:
        first = 0
        for rank, count in ranks.items():
            os.environ["DATA_OPTIMIZER_GLOBAL_RANK"] = rank
            size = ours["config"]["chunk_size"]
            writer = BinaryWriter(other, chunk_size=size, item_loader=TokensLoader(check.length))
            for number in range(count):
                writer.add_item(number, torch.from_numpy(found[first + number].copy()))
            writer.done()
            first += count
        del os.environ["DATA_OPTIMIZER_GLOBAL_RANK"]
        BinaryWriter(other, chunk_size=1).merge(len(ranks))
        check.same_files(folder, Path(other), [chunk["filename"] for chunk in ours["chunks"]])
        theirs = json.loads(Path(other, "index.json").read_text())
        theirs.pop("updated_at")
        if theirs != ours:
            check.problems.append(f"index.json: {ours}, but litdata's own is {theirs}")


def _operators_of_torchvision() -> object:
    """What `streaming` loads it for is not used; not every torch finds operators in its package on PyPI."""
    import torch

    try:
        return importlib.import_module("torchvision")
    except RuntimeError:  # "operator torchvision::nms does not exist"
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    stub = torch.library.Library("torchvision", "DEF")
    stub.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    stub.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return stub


def mds(folder: Path, check: Check) -> None:
    """StreamingDataset, and `MDSWriter` with `merge_index`."""
    operators = _operators_of_torchvision()  # kept while `streaming` is loaded
    from streaming import MDSWriter, StreamingDataset
    from streaming.base.util import merge_index

    data = StreamingDataset(local=str(folder), shuffle=False, batch_size=1)
    found = np.stack([data[number]["tokens"] for number in range(len(data))])
    check.same("rows", found[: len(check.rows())], check.rows())
    check.same("all", found.ravel()[: len(check.tokens)], check.tokens)
    counts: dict[str, int] = {}
    for shard in json.loads((folder / "index.json").read_text())["shards"]:
        part = shard["raw_data"]["basename"].partition("/")[0]
        counts[part] = counts.get(part, 0) + shard["samples"]
    with tempfile.TemporaryDirectory() as other:
        first = 0
        for part, count in counts.items():
            columns = {"tokens": f"ndarray:{found.dtype.name}:{check.length}"}
            with MDSWriter(columns=columns, out=f"{other}/{part}") as writer:
                for row in found[first : first + count]:
                    writer.write({"tokens": row})
            first += count
        merge_index(other)
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.mds")]
        check.same_files(folder, Path(other), [*sorted(names), "index.json"])
    del operators


def olmo(folder: Path, check: Check) -> None:
    """NumpyFSLDataset of OLMo-core, and the documents that it finds in the tables."""
    from olmo_core.data import NumpyFSLDatasetConfig, TokenizerConfig
    from olmo_core.data.utils import iter_document_indices

    paths = sorted(map(str, folder.glob("*.npy")))
    with tempfile.TemporaryDirectory() as work:
        tokenizer = TokenizerConfig(vocab_size=check.size, eos_token_id=check.end, pad_token_id=check.end)
        asked = NumpyFSLDatasetConfig(paths=paths, sequence_length=check.length, tokenizer=tokenizer, work_dir=work)
        data = asked.build()
        data.prepare()
        found = [data[number]["input_ids"].numpy() for number in range(len(data))]
    wanted = []
    for low, high in pairwise(check.shards):
        rows = (high - low) // check.length
        wanted.append(check.tokens[low : low + rows * check.length])
    check.same("rows", np.concatenate(found), np.concatenate(wanted))
    for number, path in enumerate(paths):
        low, high = check.shards[number : number + 2]
        starts = check.bounds[(check.bounds >= low) & (check.bounds <= high)] - low
        for local in (True, False):
            more = (
                {"eos_token_id": check.end, "dtype": np.uint16 if check.size <= 1 << 16 else np.uint32} if local else {}
            )
            pairs = list(iter_document_indices(path, use_array_if_local=local, **more))
            check.same(f"documents, {local}", pairs, list(pairwise(starts.tolist())))


READERS: dict[str, Callable[[Path, Check], None]] = {
    "megatron": megatron,
    "neox": neox,
    "parquet": parquet,
    "text": text,
    "datatrove": datatrove,
    "litdata": litdata,
    "mds": mds,
    "olmo": olmo,
}

if __name__ == "__main__":
    done = Check(np.load(sys.argv[3]))
    READERS[sys.argv[1]](Path(sys.argv[2]), done)
    print(json.dumps({"problems": done.problems, **done.facts}))  # noqa: T201  the report
