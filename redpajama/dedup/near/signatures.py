"""The stage `signatures`: MinHash signatures and sketches of all documents.

No verdict matters, so another rule, threshold or set of sources signs no text again.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redpajama.corpus.stages import per_documents
from redpajama.dedup.near import minhash
from redpajama.dedup.near.minhash import MinHashParams
from redpajama.engine.parts import Outputs, PartRecord
from redpajama.engine.shapes import Counts
from redpajama.engine.stages import Build
from redpajama.engine.tables import read_batches
from redpajama.manifest import Kind, Source, given

NARROW = ["doc_id", "bytes", "ngrams"]
PACKING = {  # of a signatures part: hashes do not compress
    "compression": {**dict.fromkeys(NARROW, "zstd"), **dict.fromkeys(["signature", "sketch"], "none")},
    "use_dictionary": NARROW,
    "write_statistics": NARROW,
}


def parameters(build: Build) -> MinHashParams:
    """What the manifest asks for."""
    return minhash.parse(build.manifest.dedup.near)


def signed_schema(permutations: int) -> pa.Schema:
    """The columns of a signatures part: one row for each document, in the documents' order."""
    signature = pa.field("signature", pa.binary(4 * permutations))
    counts = [pa.field("bytes", pa.int64()), pa.field("ngrams", pa.int64())]  # 0 n-grams: the signature means nothing
    return pa.schema([pa.field("doc_id", pa.string()), *counts, signature, pa.field("sketch", pa.large_binary())])


def depends(build: Build, source: Source) -> Counts:
    """Which n-grams, how many permutations, how large a sketch."""
    params = parameters(build)
    ngrams = params.ngrams_of(given(source.kind))
    return {"params": [*ngrams, params.permutations], "sketch": minhash.SKETCH}


def sign_part(build: Build, source: Source, documents: PartRecord, outputs: Outputs) -> Counts:
    """The texts of one documents part -> signatures and sketches, row group by row group."""
    params, rows, ngrams = parameters(build), 0, 0
    kind: Kind = given(source.kind)
    schema = signed_schema(params.permutations)
    with pq.ParquetWriter(outputs.file(".parquet"), schema, version="2.6", **PACKING) as writer:
        for batch in read_batches(build.store, documents.file(".parquet"), ["doc_id", "text", "q_bytes"]):
            signed, counts, sketches = minhash.sign(batch.column("text"), params, kind, minhash.SKETCH)
            values = pa.Array.from_buffers(schema.field("signature").type, len(signed), [None, pa.py_buffer(signed)])
            sizes = batch.column("q_bytes").cast(pa.int64())
            smallest = pa.array([sketch.tobytes() for sketch in sketches], pa.large_binary())
            table = pa.table([batch.column("doc_id"), sizes, pa.array(counts), values, smallest], schema=schema)
            writer.write_table(table, row_group_size=table.num_rows)
            rows, ngrams = rows + table.num_rows, ngrams + (pc.sum(table.column("ngrams")).as_py() or 0)
    return {"read": rows, "kept": rows, "ngrams": ngrams}


def signatures_of(column: pa.Array) -> np.ndarray:
    """A signature column as uint32[n, permutations]."""
    width = column.type.byte_width
    data = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width : (column.offset + len(column)) * width]
    return data.view(np.uint32).reshape(len(column), width // 4)


STAGE = per_documents(
    "signatures", version=5, libraries=("numpy", "pyarrow"), depends=depends, work=sign_part, size="text_bytes"
)


def signed_part(build: Build, documents: PartRecord) -> PartRecord:
    """The signatures of a documents part."""
    return given(build.made_for(STAGE.name, documents))
