"""NeMo Automodel's nanogpt `.bin`: header 278895051, version 1, tokens, bytes an id; then uint16 or uint32 ids.

Beside it `.bos.idx`: int32 places of the ends of document, with which documents begin here. Layout: NeMo Automodel,
components/datasets/llm/nanogpt_dataset.py.
"""

from redpajama.exports.declared import Done, Export, Files, Format
from redpajama.exports.headed import header, stem, tokens_of, write_headed

MAGIC, VERSION = 278895051, 1


def write(export: Export, unit: int, files: Files) -> Done:
    """One shard as one file, and where its documents begin."""
    tokens, name = tokens_of(export, unit), stem(export, unit)
    write_headed(export, unit, files.file(f"{name}.bin"), header(MAGIC, VERSION, tokens, export.dtype.itemsize))
    files.file(f"{name}.bos.idx").write_bytes(export.source.bounds(unit)[:-1].astype("<i4").tobytes())
    return Done({"documents": export.source.shards[unit].documents, "tokens": tokens})


FORMAT = Format(
    name="nanogpt",
    about="NeMo Automodel: header 278895051, uint16 or uint32 ids, .bos.idx",
    opens='NanogptDataset(file_pattern="{to}/*_{short}_*.bin", seq_len=…)',
    write=write,
)
