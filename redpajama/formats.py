"""The formats that a build is exported to: a format is its file in `exports/` and its line here."""

STORE = "megatron"  # what the shards of every build are
FORMATS = {  # name -> module, whose `FORMAT` is the declaration
    STORE: "redpajama.exports.megatron_shards",
    "parquet": "redpajama.exports.parquet",
    "olmo": "redpajama.exports.olmo",
    "llmc": "redpajama.exports.llmc",
    "nanogpt": "redpajama.exports.nanogpt",
    "mds": "redpajama.exports.mds",
    "litdata": "redpajama.exports.litdata",
    "datatrove": "redpajama.exports.datatrove",
    "text-jsonl": "redpajama.exports.text_jsonl",
    "text-parquet": "redpajama.exports.text_parquet",
}
METHODS = ("none", "concatenate", "best-fit")  # of filling rows; none: a row a document
PACKED = {"parquet": METHODS, "mds": METHODS[1:], "litdata": METHODS[1:]}  # those with rows, and how they are filled
