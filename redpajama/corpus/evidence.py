"""Evidence of verdicts as columns: canonical JSON is made, and what it says of the other document read, without a
Python call a row."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from redpajama.hashing import canonical_json

ESCAPED = r'["\\\x00-\x1f]'  # what JSON may not hold as it is
# The other of a pair, up to what ends the name of a source. A key alone is followed by `":`, as quotes in values are
# escaped; names of sources need no escape.
OTHER = r'"(?:survivor|other)":"(?P<source>[^/"\\]*)'
SOURCE = "^(?P<source>[^/]*)"


def evidence_of(fields: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Array | pa.ChunkedArray:
    """`canonical_json({name: value, ...})` of each row: the column `evidence`, without a Python call a row.

    Args:
        fields: strings, integers or numbers of few different values by name, none null, n of each.
    """
    parts: list[Any] = []
    for name in sorted(fields):
        parts += [f'{"," if parts else "{"}"{name}":', _as_json(fields[name])]
    return pc.binary_join_element_wise(*parts, "}", "")


def _as_json(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Each string, quoted, or number as canonical JSON."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_integer(whole.type):
        return whole.cast(pa.string())
    if pa.types.is_floating(whole.type):
        words = whole.dictionary_encode()
        made = [canonical_json(value).decode() for value in words.dictionary.to_pylist()]
        return pa.array(made, pa.string()).take(words.indices)
    special = pc.match_substring_regex(whole, ESCAPED)
    if special.true_count:  # few ids have such characters
        made = [canonical_json(value).decode()[1:-1] for value in whole.filter(special).to_pylist()]
        whole = pc.replace_with_mask(whole, special, pa.array(made, whole.type))
    return pc.binary_join_element_wise('"', whole, '"', "")


def sources_of(doc_ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The source of each id."""
    return pc.struct_field(pc.extract_regex(doc_ids, SOURCE), "source")


def sources_of_others(evidence: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The source of the document that the evidence of a duplicate names; null where it names none."""
    return pc.struct_field(pc.extract_regex(evidence, OTHER), "source")
