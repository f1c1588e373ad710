"""What reading a source would give and take, reckoned from what its pipeline made of some files.

Basis: documents, bytes of text and core-seconds for each raw byte of the files that `plan` tried, times the source's
raw bytes. These files are drawn by their size, so the rates of a large one count no more than those of a small one: of
sums they would count twice, and a repository with many pictures would speak for all. Tokens are bytes of text by
what the tokenizer made of some, else by BYTES_A_TOKEN. What quality and dedup remove is not in it. `costs` goes on from
here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from redpajama.tokenize import BYTES_A_TOKEN


class Tried(Protocol):
    """What reading the begin of a file gave; `pipelines.glance.Trial` is one."""

    places: int
    raw_bytes: int
    seconds: float
    documents: int
    text_bytes: int


def reckon(
    raw_bytes: Mapping[str, int], tried: Mapping[str, Sequence[Tried]], bytes_a_token: Mapping[str, float] | None = None
) -> dict[str, dict[str, Any]]:
    """{source: documents, text_bytes, tokens, core_seconds, and the raw bytes they are reckoned from}.

    Args:
        bytes_a_token: of sources whose texts were encoded.
    """
    rates = bytes_a_token or {}
    return {
        name: _source(raw_bytes[name], trials, rates.get(name) or BYTES_A_TOKEN)
        for name, trials in tried.items()
        if sum(t.raw_bytes for t in trials)
    }


def _source(raw_bytes: int, trials: Sequence[Tried], bytes_a_token: float) -> dict[str, Any]:
    read = [trial for trial in trials if trial.raw_bytes]
    shares = [raw_bytes * trial.places / trial.raw_bytes / sum(each.places for each in read) for trial in read]
    text = sum(share * trial.text_bytes for share, trial in zip(shares, read, strict=True))
    return {
        "documents": round(sum(share * trial.documents for share, trial in zip(shares, read, strict=True))),
        "text_bytes": round(text),
        "tokens": round(text / bytes_a_token),
        "bytes_a_token": round(bytes_a_token, 3),
        "core_seconds": round(sum(share * trial.seconds for share, trial in zip(shares, read, strict=True)), 2),
        "reckoned_from_bytes": sum(trial.raw_bytes for trial in read),
    }
