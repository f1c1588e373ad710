"""From a token of a shard to the text that it is from, and from a text to all its places in the shards.

Tokens are counted as in the `.bin` file; characters as in the text that was encoded. What a token says is found by
encoding that one document again, with the library that tells where in a text a token stands.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.corpus import origins, spans
from redpajama.corpus.stages import DOCUMENTS, MIXTURE, TOKENS
from redpajama.engine.parts import PartRecord
from redpajama.engine.stages import Build
from redpajama.engine.store import Store
from redpajama.engine.tables import read_row_group, read_table
from redpajama.errors import BuildFailed, UserError
from redpajama.report import places
from redpajama.report.builds import open_build
from redpajama.report.shards import BIN, LINEAGE, shard_of, token_parts
from redpajama.tokenize.tokenizer import open_tokenizer

AROUND = 120  # characters of the text before and after


def trace(store: Store, record: dict[str, Any], shard: str, token: int) -> dict[str, Any]:
    """The document, file and text of one token.

    Args:
        shard: its prefix, a path to one of its files, its label, or its number.

    Raises:
        UserError: no such shard, or no such token in it; one line.
    """
    build = open_build(store, record)
    part = _shard_named(build, shard)
    if not 0 <= token < part.counts["tokens"]:
        last = part.counts["tokens"] - 1
        raise UserError(f"--token {token}: {shard_of(part).label} has tokens 0 to {last:,}")
    lineage = read_table(store, part.file(LINEAGE))
    row = lineage.slice(bisect_right(lineage.column("token_offset").to_numpy(), token) - 1, 1).to_pylist()[0]
    return _told(build, part, row, token, _text(build, row["doc_id"], row["document_part"]))


def find(store: Store, record: dict[str, Any], text: str) -> list[dict[str, Any]]:
    """Every place of a text in the shards, in their order.

    Raises:
        UserError: the text is too short for the index.
    """
    build = open_build(store, record)
    if TOKENS not in build.records:
        return []
    if len(text.encode()) < places.SHORTEST:
        raise UserError(f"a text is looked up in the shards from {places.SHORTEST} bytes on, and this has fewer")
    found: dict[str, list[tuple[str, int, list[int]]]] = {}
    for part in build.parts(MIXTURE):
        rows = places.rows_with(build.store, part.content, part.file(".parquet"), text)
        if rows:
            found[f"{MIXTURE}/{part.id}"] = list(_documents(build, part, rows, text))
    return [place for part in token_parts(build) for place in _places_in(build, part, found)]


def _shard_named(build: Build, wanted: str) -> PartRecord:
    name = wanted.rstrip("/").rpartition("/")[2]
    for ending in (BIN, BIN.replace(".bin", ".idx"), LINEAGE, BIN.removesuffix(".bin")):
        name = name.removesuffix(ending)
    parts = token_parts(build)
    for number, part in enumerate(parts):
        shard = shard_of(part)
        if name in (shard.prefix, shard.label, str(number)):
            return part
    known = ", ".join(shard_of(part).label for part in parts[:3]) + (", …" if len(parts) > 3 else "")
    raise UserError(f"--shard {wanted}: no shard is called so ({known or 'there are none'})")


def _text(build: Build, doc_id: str, part_id: str) -> str:
    """What of a document was encoded: its text without cut spans."""
    part = build.part(DOCUMENTS, part_id)
    rows = read_table(build.store, part.file(".parquet"), ["doc_id", "text"], [("doc_id", "=", doc_id)])
    if not rows.num_rows:
        raise BuildFailed(f"{doc_id}: not in {part.file('.parquet').key} any more: `redpajama verify` tells more")
    (batch,) = rows.combine_chunks().to_batches()
    return spans.cut(batch, spans.of_part(build, part)).column("text")[0].as_py()


def _told(build: Build, part: PartRecord, row: dict[str, Any], token: int, text: str) -> dict[str, Any]:
    """One token in words."""
    own, documents = token - row["token_offset"], build.part(DOCUMENTS, row["document_part"])
    is_end = own == row["n_tokens"] - 1
    start, end = (len(text), len(text)) if is_end else open_tokenizer(build).offsets(text)[own].tolist()
    return {
        "shard": shard_of(part).prefix,
        "token": token,
        "doc_id": row["doc_id"],
        "source": row["source"],
        "copy": row["copy"],
        "sequence": row["sequence"],
        "token_in_document": own,
        "is_end_of_document": is_end,
        "id": _id_at(build, part, token),
        "characters": [start, end],
        "before": text[max(0, start - AROUND) : start],
        "text": text[start:end],
        "after": text[end : end + AROUND],
        "document_part": documents.file(".parquet").key,
        "inputs": origins.origin(documents, origins.row_of(build.store, documents, row["doc_id"])).inputs,
    }


def _id_at(build: Build, part: PartRecord, token: int) -> int:
    """The id in the shard."""
    file = part.file(BIN)
    size = file.bytes // part.counts["tokens"]
    with build.store.open(*file) as opened:
        opened.seek(token * size)
        return int.from_bytes(opened.read(size), "little")


def _documents(build: Build, part: PartRecord, rows: list[int], text: str) -> Iterator[tuple[str, int, list[int]]]:
    """(id, copy, tokens within it at which the text begins) of rows of a range of the mixture that hold the text."""
    for row in _rows(build, part, rows):
        starts = list(_starts(row["text"], text))
        if starts:
            ends = open_tokenizer(build).offsets(row["text"])[:, 1]
            yield row["doc_id"], row["copy"], np.searchsorted(ends, starts, "right").tolist()


def _rows(build: Build, part: PartRecord, numbers: list[int]) -> Iterator[dict[str, Any]]:
    """Rows of a range of the mixture; only the groups that hold them are read."""
    file = part.file(".parquet")
    with build.store.open(*file) as opened:
        metadata = pq.read_metadata(opened)
    bounds = np.cumsum([0, *(metadata.row_group(each).num_rows for each in range(metadata.num_row_groups))])
    for group in range(metadata.num_row_groups):
        own = [number - int(bounds[group]) for number in numbers if bounds[group] <= number < bounds[group + 1]]
        if own:
            rows = read_row_group(build.store, file, group, ["doc_id", "copy", "text"])
            yield from rows.take(pa.array(own)).to_pylist()


def _starts(whole: str, text: str) -> Iterator[int]:
    at = whole.find(text)
    while at >= 0:
        yield at
        at = whole.find(text, at + 1)


def _places_in(
    build: Build, part: PartRecord, found: dict[str, list[tuple[str, int, list[int]]]]
) -> Iterator[dict[str, Any]]:
    """The places in one shard, by its lineage."""
    held = {(doc_id, copy): tokens for key in part.inputs for doc_id, copy, tokens in found.get(key, ())}
    if not held:
        return
    ids = sorted({doc_id for doc_id, _ in held})
    for row in read_table(build.store, part.file(LINEAGE), filters=[("doc_id", "in", ids)]).to_pylist():
        for token in held.get((row["doc_id"], row["copy"]), ()):
            place = {name: row[name] for name in ("doc_id", "source", "copy", "sequence")}
            where = {"shard": shard_of(part).prefix, "token": row["token_offset"] + token}
            yield {**where, **place, "token_in_document": token}
