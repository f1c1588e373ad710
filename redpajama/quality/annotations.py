"""The stage `signals`: documents -> the signals of the sets that a source asks for, in the documents' order.

It reads ids and texts, row group by row group. Which sets: `signals` of the source, and those of its rules; thresholds
are no part of it, so another one reads no text. A source whose rules need none but the documents' own has no part.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.artifacts import BuildFailed, Outputs, Part, PartRecord
from redpajama.columns import read_batches, read_table
from redpajama.manifest import Source, suggestion
from redpajama.quality import rules
from redpajama.quality.catalogue import SETS, SIGNALS, TOKENS, names_of
from redpajama.quality.signals import PREFIX
from redpajama.stages import Build, Result, Step, fingerprint, versions
from redpajama.tokenize import encode, tokenizer

VERSION = 1  # of the definitions, too
LIBRARIES = ("numpy", "pyarrow")
LIST_FIELDS = ("stop_words", "bad_words")


def wanted_sets(source: Source) -> list[str]:
    """The sets that a source asks for, by name or by a rule.

    Raises:
        ValueError: one line that names the key.
    """
    known = [*SETS, TOKENS]
    asked = SETS if source.signals == "all" else source.signals or []
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(f"signals: no set is called '{unknown[0]}'" + suggestion(unknown[0], ["all", *known]))
    return [name for name in known if name in {*asked, *rules.sets_of(source.quality)}]


def wants_tokens(source: Source) -> bool:
    """Whether a source's signals need the tokenizer before anything is removed: it must be a given one."""
    return TOKENS in wanted_sets(source)


def check(source: Source) -> None:
    """What the rules and sets of a source need.

    Raises:
        ValueError: one line that names the key.
    """
    wanted_sets(source)
    needed = [rule.key for rule in rules.parse(source.quality) if rule.signal == "rps_doc_ldnoobw_words"]
    if needed and not source.bad_words:
        raise ValueError(f"quality.{needed[0]}: needs bad_words, a file with a word or a phrase a line")


def plan(build: Build) -> list[Part]:
    """One part for each documents part of a source that asks for a set."""
    parts = []
    for source in build.manifest.source:
        if sets := wanted_sets(source):
            lists = _list_files(build, source)
            stamp = fingerprint(
                stage=["signals", VERSION],
                sets=sets,
                lists={name: file["sha256"] for name, file in lists.items()},
                unicode=unicodedata.unidata_version,
                libraries=versions(*LIBRARIES),
                **_tokenizer_of(build, sets),
            )
            for documents in build.parts("documents", source.name):
                spec = {"documents": documents.stem, "file": documents.file(".parquet"), "lists": lists}
                size = documents.counts["text_bytes"]
                parts.append(Part("signals", source.name, stamp, documents.sha256, spec, size))
    return parts


def _tokenizer_of(build: Build, sets: list[str]) -> dict[str, Any]:
    if TOKENS not in sets:
        return {}
    return {"tokenizer": tokenizer.tokenizer_part(build).outputs, "tokenizers": versions("tokenizers")}


def _list_files(build: Build, source: Source) -> dict[str, dict[str, Any]]:
    named = [name for name in LIST_FIELDS if getattr(source, name)]
    return {name: build.parts("inputs", f"{source.name}.{name}")[0].inputs[0] for name in named}


def schema(sets: list[str]) -> pa.Schema:
    """The columns of a signals part."""
    types = {"count": pa.int64()}
    columns = [pa.field(PREFIX + name, types.get(SIGNALS[name].unit, pa.float64())) for name in names_of(sets)]
    return pa.schema([pa.field("doc_id", pa.string()), *columns])


def measure_part(build: Build, part: Part, outputs: Outputs) -> Result:
    """The texts of one documents part -> their signals."""
    from redpajama.quality import measures  # Numba is loaded where it is needed

    sets = wanted_sets(build.manifest.source_named(part.name))
    compiled = [name for name in sets if name != TOKENS]
    lists = measures.word_lists(**{name: _read_list(build, file) for name, file in part.spec["lists"].items()})
    columns, rows = schema(sets), 0
    inline = ["q_chars", "q_alpha_fraction"] if TOKENS in sets else []
    with pq.ParquetWriter(outputs.file(".parquet"), columns, compression="zstd", version="2.6") as writer:
        for batch in read_batches(build.store, part.spec["file"], ["doc_id", "text", *inline]):
            measured = measures.measure(batch.column("text"), compiled, lists)
            if inline:
                measured |= measure_tokens(batch, tokenizer.open_tokenizer(build))
            table = pa.table([batch.column("doc_id"), *measured.values()], schema=columns)
            writer.write_table(table, row_group_size=table.num_rows)
            rows += table.num_rows
    return [part.spec["documents"]], {"read": rows, "kept": rows}


def measure_tokens(batch: pa.RecordBatch, encoder: encode.Tokenizer) -> dict[str, pa.Array]:
    """Documents (text, q_chars, q_alpha_fraction) -> the signals of the set `tokens`; nothing for nothing is 0."""
    chars, fraction = (batch.column(name).to_numpy() for name in ("q_chars", "q_alpha_fraction"))
    tokens = np.array([len(ids) for ids in encoder.encode_batch(batch.column("text").to_pylist())], np.int64)
    letters = np.rint(fraction * chars)
    return {
        "q_tokens": pa.array(tokens),
        "q_tokens_per_char": pa.array(np.round(tokens / np.maximum(chars, 1), 8)),
        "q_alpha_chars_per_token": pa.array(np.round(letters / np.maximum(tokens, 1), 8)),
    }


def _read_list(build: Build, file: dict[str, Any]) -> list[str]:
    """A word or a phrase a line."""
    try:
        with open(build.store.locate(file["path"]), encoding="utf-8") as lines:
            return [entry for entry in (line.strip() for line in lines) if entry]
    except UnicodeDecodeError as error:
        raise BuildFailed(f"{file['url']}: a list of words is UTF-8 text: {error}") from None


STAGE = Step("signals", plan, measure_part)


# ---- for readers


def columns_of(wanted: Sequence[rules.Rule]) -> tuple[list[str], list[str]]:
    """The columns that rules are about: the documents' own, and those of this stage."""
    own = {rule.column for rule in wanted if SIGNALS[rule.signal].set == "inline"}
    return sorted(own), sorted({rule.column for rule in wanted} - own)


def needed_record(build: Build, source: Source, documents: str) -> PartRecord | None:
    """The signals of a documents part, if its source's rules are about one of them."""
    _, others = columns_of(rules.parse(source.quality))
    return record_of(build, source.name, documents) if others else None


def beside(
    build: Build, source: str, documents: str, batches: Iterable[pa.RecordBatch], columns: list[str]
) -> Iterator[pa.RecordBatch]:
    """All batches of a documents part, in its order, with some of its signals as further columns."""
    measured = of_part(build, source, documents, columns) if columns else None
    start = 0
    for batch in batches:
        rows = batch.num_rows
        for name in columns:
            batch = batch.append_column(name, measured.column(name).slice(start, rows).combine_chunks())
        start += rows
        yield batch


def record_of(build: Build, source: str, documents: str) -> PartRecord | None:
    """The signals of the documents part of that stem; None where its source asks for no set."""
    records = build.parts("signals", source) if source in build.records.get("signals", {}) else []
    return next((record for record in records if record.inputs == [documents]), None)


def of_part(
    build: Build, source: str, documents: str, columns: list[str] | None = None, filters: Any = None
) -> pa.Table | None:
    """Signals (or some `columns`) of the documents part of that stem, in its order; None as above."""
    record = record_of(build, source, documents)
    return record and read_table(build.store, record.file(".parquet"), columns, filters)
