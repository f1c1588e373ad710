"""llm.c's `.bin`, which modded-nanogpt reads too: header 20240520, version 1, then uint16 ids.

Layout: `write_datafile`, github.com/karpathy/llm.c, dev/data/data_common.py; `dataloader.h` checks it.
"""

from redpajama.exports.declared import Done, Export, Files, Format, uint16_alone
from redpajama.exports.headed import header, stem, tokens_of, write_headed

MAGIC, VERSION = 20240520, 1


def write(export: Export, unit: int, files: Files) -> Done:
    """One shard as one file."""
    tokens = tokens_of(export, unit)
    path = files.file(f"{stem(export, unit)}.bin")
    write_headed(export, unit, path, header(MAGIC, VERSION, tokens))
    return Done({"documents": export.source.shards[unit].documents, "tokens": tokens})


FORMAT = Format(
    name="llmc",
    about="llm.c, modded-nanogpt: header 20240520 and uint16 ids",
    opens="./train_gpt2cu {flag} '{to}/*_{short}_*.bin'",
    write=write,
    dtype=uint16_alone("llmc", "nanogpt"),
)
