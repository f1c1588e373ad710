"""Families: near copies that dedup left alive together, told part by part; `dedup/near/families.py` finds them."""

import pyarrow as pa

from redpajama.corpus.stages import DOCUMENTS
from redpajama.engine.homes import Home

HOME = Home(
    ".families",
    pa.schema(
        [
            pa.field("part", pa.string()),
            pa.field("doc_id", pa.string()),
            pa.field(
                "family", pa.uint64()
            ),  # a draw by its first: who is held out, and which documents belong together
            pa.field("is_full", pa.bool_()),  # those before it fill `max_copies`
        ]
    ),
    ("doc_id",),
    DOCUMENTS,
)
