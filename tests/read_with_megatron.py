"""ROOT -> JSON: what Megatron's own reader finds in the shards of a build, and whether that is the documents' text.

Runs in the loaders' environment (`make test-loaders`), without this project: it knows ROOT's files, Megatron's
`IndexedDataset` and the `tokenizers` library, and nothing else. With `--texts` every decoded text is printed too.
"""

import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from megatron.core.datasets.indexed_dataset import IndexedDataset
from tokenizers import Tokenizer

END_OF_DOCUMENT = "<|endoftext|>"
BIN, LINEAGE = "_text_document.bin", "_lineage.parquet"


def main(root: Path, with_texts: bool) -> dict[str, Any]:
    """Every shard, document by document."""
    (tokenizer_file,) = root.glob("tokenizer/*/*-tokenizer.json")
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    parts = parts_of(root)
    end = tokenizer.token_to_id(END_OF_DOCUMENT)
    found: dict[str, Any] = {"shards": 0, "documents": 0, "tokens": 0, "ends": 0, "problems": [], "texts": []}
    for path in sorted(root.glob(f"tokens/*/*{BIN}")):
        prefix = str(path).removesuffix(BIN)
        read_shard(parts, prefix, tokenizer, end, found)
    if not with_texts:
        del found["texts"]
    return found


def read_shard(parts: dict[str, Path], prefix: str, tokenizer: Tokenizer, end: int, found: dict[str, Any]) -> None:
    """Add one shard's totals and problems to `found`."""
    dataset = IndexedDataset(prefix + BIN.removesuffix(".bin"))
    lineage = pq.read_table(prefix + LINEAGE).to_pylist()
    check_index(prefix, dataset, lineage, found["problems"])
    for row, tokens in zip(lineage, dataset, strict=True):
        text = tokenizer.decode(tokens[:-1].tolist(), skip_special_tokens=False)
        raw = texts_of(parts[row["document_part"]])[row["doc_id"]]
        wanted = tokenizer.normalizer.normalize_str(raw) if tokenizer.normalizer else raw
        if text != wanted:
            found["problems"].append(f"{row['doc_id']}: decodes to {text[:200]!r}, not {wanted[:200]!r}")
        if tokens[-1] != end:
            found["problems"].append(f"{row['doc_id']}: ends with token {tokens[-1]}, not {end}")
        found["ends"] += int(np.count_nonzero(tokens == end))
        found["tokens"] += len(tokens)
        found["texts"].append([row["doc_id"], row["copy"], text])
    found["shards"] += 1
    found["documents"] += len(dataset.document_indices) - 1


def check_index(prefix: str, dataset: IndexedDataset, lineage: list[dict[str, Any]], problems: list[str]) -> None:
    """The index and the lineage say the same."""
    starts = dataset.index.sequence_pointers // dataset.index.dtype_size
    columns = {
        "sequence": np.arange(len(dataset)),
        "n_tokens": dataset.sequence_lengths,
        "token_offset": starts,
    }
    for name, values in columns.items():
        if [row[name] for row in lineage] != values.tolist():
            problems.append(f"{prefix}: the lineage's {name} is not the index's")
    if dataset.document_indices.tolist() != list(range(len(lineage) + 1)):
        problems.append(f"{prefix}: not one sequence per document")


def parts_of(root: Path) -> dict[str, Path]:
    """{`<source>/<content>`, as lineage names a documents part: its file}; content is 64 bits of the file's SHA-256."""
    return {
        f"{path.parent.name.rpartition('-')[0]}/{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}": path
        for path in root.glob("documents/*/part-*.parquet")
    }


@cache
def texts_of(path: Path) -> dict[str, str]:
    """{doc_id: text} of a documents part."""
    table = pq.read_table(path, columns=["doc_id", "text"])
    return dict(zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True))


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), "--texts" in sys.argv)))  # noqa: T201  the report
