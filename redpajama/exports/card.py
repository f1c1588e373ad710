"""The README of an export for the Hugging Face hub: what `load_dataset` reads, and what is in it."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from redpajama.exports.declared import Export

CARD = "README.md"
DATA = "data"  # the folder of the files
FILES = re.compile(rb"(?<=\n  data_files:\n)(?:  - split: .*\n    path: .*\n)+")  # those that a card names


def data_files(split: str) -> str:
    """The pattern of the files that `load_dataset` reads for a split."""
    return f"{DATA}/{split}-*"


def card(export: Export, features: list[str], how: str, counts: dict[str, int]) -> bytes:
    """README.md with the front matter that the hub and `datasets` read."""
    return "\n".join([*_front(export), *_body(export, features, how, counts)]).encode()


def _front(export: Export) -> Iterator[str]:
    yield from ("---", "task_categories:", "- text-generation", "configs:", "- config_name: default")
    yield from ("  data_files:", *_files_of(export.source.split), "---", "")


def _files_of(split: str) -> tuple[str, str]:
    return f"  - split: {split}", f"    path: {data_files(split)}"


def of_splits(body: bytes, splits: Sequence[str]) -> bytes:
    """A card that names the files of all splits of a data set, where it named those of one."""
    lines = "".join(f"{line}\n" for split in splits for line in _files_of(split)).encode()
    return FILES.sub(lambda _: lines, body, count=1)


def _body(export: Export, features: list[str], how: str, counts: dict[str, int]) -> Iterator[str]:
    source = export.source
    yield from (f"# {source.build}", "", f"{how} Corpus `{source.corpus}`.", "")
    facts: dict[str, Any] = {"documents": counts["documents"], "tokens": counts["tokens"]}
    facts |= {"seed": source.seed, "vocabulary": source.vocabulary.size, "end of document": source.vocabulary.end_id}
    facts |= {"padding": source.vocabulary.pad_id, "SHA-256 of tokenizer.json": source.vocabulary.sha256}
    yield from ("| | |", "|---|---|")
    yield from (
        f"| {name} | {value:,} |" if isinstance(value, int) else f"| {name} | {value} |"
        for name, value in facts.items()
    )
    yield from ("", "Columns:", "", *(f"- {each}" for each in features), "")
