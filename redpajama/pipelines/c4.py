"""C4: the released rows of allenai/c4, reshaped.

Input
    `c4-*.json.gz` (also plain or zstd): one JSON object a line with `text`, `url` and `timestamp`
    (some copies call it `date`). The release has 1,024 training files for `en`, 305 GB.
Flow
    line -> JSON object -> document. Nothing is filtered: quality and dedup judge later.
Output
    One document a row; meta: `timestamp`, `url`, `language`, `source`.
Differs from RedPajama-1T
    Its script globs every `*.json.gz` and so would read the validation files too: name what you want in `inputs`.
    Rows shorter than 200 characters (4.7 % of them) are left to `[source.quality]`, pages that CommonCrawl has
    too to the dedup across sources.
"""

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict

from redpajama.hashing import content_key
from redpajama.pipelines import Pipeline
from redpajama.raw import decompress
from redpajama.raw.io import RawFile
from redpajama.records import Document, Reason, Tally


class Options(BaseModel):
    """`[source.options]` of a C4 source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: str = "en"  # of the configuration that the files belong to: en, de, ...


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """Rows of the release -> one document each."""
    for file in files:
        for line, row in decompress.json_rows(file, tally):
            text, url, timestamp = row.get("text"), row.get("url"), row.get("timestamp") or row.get("date") or ""
            if not isinstance(text, str) or not isinstance(url, str):
                tally.quarantine("", Reason.MISSING_FIELD, line.data, **line.place, wanted="text, url")
                continue
            doc_id = f"{source}/{content_key(url, str(timestamp), text)}"
            if text and not text.isspace():
                meta = {"timestamp": timestamp, "url": url, "language": options.language, "source": "c4"}
                yield Document(doc_id, text, meta)
            else:
                tally.drop(doc_id, Reason.EMPTY_TEXT, line=line.number)


PIPELINE = Pipeline(
    name="c4",
    version=3,
    unit="row",
    options=Options,
    read=read,
    libraries=("orjson",),
    cuts=decompress.cuts,
    max_removed_fraction=0.9,
)
