"""datatrove's `.ds`: ids back to back; `.ds.index`: the documents' ends in tokens; `.ds.metadata`: three lines.

Layout: `TokenizedFile`, github.com/huggingface/datatrove, pipeline/tokens/tokenizer.py. The tokenizer is named by its
file, which stands beside: nanotron hands that name to `AutoTokenizer`.
"""

import math

from redpajama.exports.declared import TOKENIZER, Done, Export, Files, Format


def write(export: Export, unit: int, files: Files) -> Done:
    """One shard as three files."""
    shard, name = export.source.shards[unit], f"{unit:05d}_00000_shuffled.ds"
    with files.file(name).open("wb") as file:
        for block in export.rows(unit):
            file.write(block.tokens.data)
    files.file(f"{name}.index").write_bytes(export.source.bounds(unit)[1:].astype("<u8").tobytes())
    lines = [f"{TOKENIZER}|{export.dtype.itemsize}", str(shard.tokens), metric(shard.tokens)]
    files.file(f"{name}.metadata").write_text("\n".join(lines))
    return Done({"documents": shard.documents, "tokens": shard.tokens})


def metric(tokens: int) -> str:
    """`1.23 MT`: three digits and a prefix, as `humanize.metric(tokens, unit="T")` writes it."""
    exponent = math.floor(math.log10(tokens)) if tokens else 0
    if round(tokens / 10 ** (exponent // 3 * 3), 2 - exponent % 3) >= 10 ** (exponent % 3 + 1):
        exponent += 1  # 9.999 is 10.0
    digits, prefix = 2 - exponent % 3, ["", "k", "M", "G", "T", "P", "E"][exponent // 3]
    return f"{tokens / 10 ** (exponent // 3 * 3):.{digits}f} {prefix}T"


FORMAT = Format(
    name="datatrove",
    about="datatrove, nanotron: .ds with .index and .metadata",
    opens='DatatroveFolderDataset("{to}", seq_len=…)',
    write=write,
)
