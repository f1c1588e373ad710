"""The Pile: chosen slices of the released files.

Input
    `00.jsonl.zst` … `29.jsonl.zst`, `val.jsonl.zst`, `test.jsonl.zst` (also gzip or plain): one JSON object a line
    with `text` and `meta.pile_set_name`.
Flow
    line -> JSON object -> slice wanted? -> document. The unit is the row.
Output
    One document a row; meta: `pile_set_name`, `source`. By default the twelve slices that RedPajama-1T lacks and
    that nobody has withdrawn (273 GiB raw).
Differs from RedPajama-1T
    It has no Pile: this is the plan for its second version. Books3, BookCorpus2, OpenSubtitles and YoutubeSubtitles
    were withdrawn for copyright and are refused unless `allow_withdrawn` is set. The release repeats its slices up to
    three times (PILEP, table 1): the copies have one id, so each text stays once.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, model_validator

from redpajama.hashing import content_key
from redpajama.manifest import suggestion
from redpajama.pipelines import Pipeline
from redpajama.raw import decompress
from redpajama.raw.io import RawFile
from redpajama.records import Document, Reason, Tally

WITHDRAWN = ("BookCorpus2", "Books3", "OpenSubtitles", "YoutubeSubtitles")
NEW_TO_REDPAJAMA = (
    *("DM Mathematics", "Enron Emails", "EuroParl", "FreeLaw", "HackerNews", "NIH ExPorter", "OpenWebText2"),
    *("PhilPapers", "PubMed Abstracts", "PubMed Central", "USPTO Backgrounds", "Ubuntu IRC"),
)
OVERLAPPING = ("ArXiv", "Github", "Gutenberg (PG-19)", "Pile-CC", "StackExchange", "Wikipedia (en)")
SLICES = (*NEW_TO_REDPAJAMA, *OVERLAPPING, *WITHDRAWN)


class Options(BaseModel):
    """`[source.options]` of a Pile source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slices: tuple[str, ...] = NEW_TO_REDPAJAMA  # values of pile_set_name
    allow_withdrawn: bool = False

    @model_validator(mode="after")
    def _are_slices(self) -> "Options":
        if refusal := check_slices(self.slices, self.allow_withdrawn):
            raise ValueError(refusal)
        return self


def check_slices(slices: Sequence[str], allow_withdrawn: bool) -> str | None:
    """Why these slices are refused, in one line; None if they are not."""
    for name in slices:
        if name not in SLICES:
            return f"the Pile has no slice '{name}'" + suggestion(name, list(SLICES))
        if name in WITHDRAWN and not allow_withdrawn:
            return f"slice '{name}' is withdrawn for copyright; allow_withdrawn = true takes it all the same"
    return None


def read(files: Sequence[RawFile], options: Options, source: str, tally: Tally) -> Iterator[Document]:
    """Rows of the release -> one document each."""
    for file in files:
        for line, row in decompress.json_rows(file, tally):
            meta = row.get("meta")
            text, name = row.get("text"), meta.get("pile_set_name") if isinstance(meta, dict) else None
            if not isinstance(text, str) or not isinstance(name, str):
                tally.quarantine("", Reason.MISSING_FIELD, line.data, **line.place, wanted="text, meta.pile_set_name")
                continue
            doc_id = f"{source}/{slug(name)}/{content_key(text)}"
            if reason := why_unwanted(text, name, options):
                tally.drop(doc_id, reason, line=line.number, pile_set_name=name)
            else:
                yield Document(doc_id, text, {"pile_set_name": name, "source": "pile"})


def why_unwanted(text: str, name: str, options: Options) -> Reason | None:
    """Why a row's text makes no document; None if it does."""
    if name not in options.slices:
        return Reason.WITHDRAWN if name in WITHDRAWN else Reason.NOT_SELECTED
    return Reason.EMPTY_TEXT if not text or text.isspace() else None


@lru_cache(maxsize=64)
def slug(name: str) -> str:
    """`Gutenberg (PG-19)` -> `gutenberg-pg-19`."""
    return "-".join(re.findall(r"[a-z0-9]+", name.lower()))


PIPELINE = Pipeline(
    name="pile",
    version=3,
    unit="row",
    options=Options,
    read=read,
    libraries=("orjson",),
    cuts=decompress.cuts,
)
