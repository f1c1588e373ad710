"""The stage `signals`: documents -> the signals of the sets that a source asks for, in the documents' order.

It reads ids and texts, row group by row group. Which sets: `signals` of the source, and those of its rules; thresholds
are no part of it, so another one reads no text. A source whose rules need none but the documents' own has no part.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redpajama.corpus import inputs
from redpajama.corpus.inputs import Found
from redpajama.corpus.stages import INPUTS, TOKENIZER, per_documents
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts
from redpajama.engine.stages import Build, versions
from redpajama.engine.tables import read_batches
from redpajama.manifest import Source, suggestion
from redpajama.quality import lists, rules
from redpajama.quality.lists import ListError
from redpajama.quality.measures.catalogue import SETS, SIGNALS, TOKENS, names_of
from redpajama.quality.measures.inline import PREFIX
from redpajama.tokenize import encode, tokenizer

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


def depends(build: Build, source: Source) -> Counts | None:
    """The sets, and the lists and the tokenizer that they are measured with; None where no set is asked for."""
    if not (sets := wanted_sets(source)):
        return None
    hashes = {name: file["sha256"] for name, file in _list_files(build, source).items()}
    return {"sets": sets, "lists": hashes, **_tokenizer_of(build, sets)}


def _tokenizer_of(build: Build, sets: list[str]) -> dict[str, Any]:
    if TOKENS not in sets:
        return {}
    return {"tokenizer": tokenizer.tokenizer_part(build).content, "tokenizers": versions("tokenizers")}


def _list_files(build: Build, source: Source) -> dict[str, Found]:
    named = [name for name in LIST_FIELDS if getattr(source, name)]
    return {name: inputs.side_file(build, f"{source.name}.{name}") for name in named}


def schema(sets: list[str]) -> pa.Schema:
    """The columns of a signals part."""
    types = {"count": pa.int64()}
    columns = [pa.field(PREFIX + name, types.get(SIGNALS[name].unit, pa.float64())) for name in names_of(sets)]
    return pa.schema([pa.field("doc_id", pa.string()), *columns])


def measure_part(build: Build, source: Source, documents: PartRecord, outputs: Outputs) -> Counts:
    """The texts of one documents part -> their signals."""
    from redpajama.quality.measures import batch as measures

    sets = wanted_sets(source)
    compiled = [name for name in sets if name != TOKENS]
    files = _list_files(build, source)
    entries = {n: read_list(n, build.store.locate(file["path"]), file["url"]) for n, file in files.items()}
    wanted = measures.word_lists(**entries)
    columns, rows = schema(sets), 0
    inline = ["q_chars", "q_alpha_fraction"] if TOKENS in sets else []
    with pq.ParquetWriter(outputs.file(".parquet"), columns, compression="zstd", version="2.6") as writer:
        for batch in read_batches(build.store, documents.file(".parquet"), ["doc_id", "text", *inline]):
            measured = measures.measure(batch.column("text"), compiled, wanted)
            if inline:
                measured |= measure_tokens(batch, tokenizer.open_tokenizer(build))
            table = pa.table([batch.column("doc_id"), *measured.values()], schema=columns)
            writer.write_table(table, row_group_size=table.num_rows)
            rows += table.num_rows
    if inline:
        tokenizer.note_backend(build, outputs.part, tokenizer.open_tokenizer(build))
    return {"read": rows, "kept": rows}


def measure_tokens(batch: pa.RecordBatch, encoder: encode.Tokenizer) -> dict[str, pa.Array]:
    """Documents (text, q_chars, q_alpha_fraction) -> the signals of the set `tokens`; nothing for nothing is 0."""
    chars, fraction = (batch.column(name).to_numpy() for name in ("q_chars", "q_alpha_fraction"))
    tokens = encoder.count(batch.column("text"))
    letters = np.rint(fraction * chars)
    return {
        "q_tokens": pa.array(tokens),
        "q_tokens_per_char": pa.array(np.round(tokens / np.maximum(chars, 1), 8)),
        "q_alpha_chars_per_token": pa.array(np.round(letters / np.maximum(tokens, 1), 8)),
    }


def read_list(field: str, path: str, url: str) -> list[str]:
    """The entries of one of LIST_FIELDS: words, or phrases as texts are folded, so that case and marks do not matter.

    Raises:
        ListError: an entry could never be met.
    """
    from redpajama.quality.measures.batch import folded

    entries = lists.read_words(path, url)
    forms = folded(entries) if field == "bad_words" else entries
    for number, (entry, form) in enumerate(zip(entries, forms, strict=True), 1):
        if entry and not form:
            raise ListError(f"{url}: line {number}, '{entry}': only marks, which no word of a text has")
        if field == "stop_words" and len(form.split()) > 1:
            raise ListError(f"{url}: line {number}, '{entry}': a stop word is one word")
    return list(filter(None, forms))


STAGE = per_documents(
    "signals",
    version=4,  # of the definitions, too
    libraries=("numpy", "pyarrow", "unicode"),
    after=(INPUTS, TOKENIZER),
    depends=depends,
    work=measure_part,
    size="text_bytes",
)


# ---- for readers


def columns_of(wanted: Sequence[rules.Rule]) -> tuple[list[str], list[str]]:
    """The columns that rules are about: the documents' own, and those of this stage."""
    own = {rule.column for rule in wanted if SIGNALS[rule.signal].set == "inline"}
    return sorted(own), sorted({rule.column for rule in wanted} - own)
