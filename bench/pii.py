"""Personal data: precision and recall on 500 real contexts, labelled by reading them, and speed on bad input.

    python bench/pii.py [--data ../shared/data] [--show]

`pii_labels.json` names places in the shared data (file, row, characters from and to, SHA-1 of what stands there) and no
text of it. They were drawn by `random.Random(17)` and `Random(18)` from all that looks a little like a kind: words with
`@` or "(at)"; three or four groups of digits with dots or colons, `::`; nine and more digits with separators; long runs
of the characters of Base64, words such as "token". A label is what a reader calls an address that mail could be sent to
(plain, obfuscated or an example), an address of a reachable host, a telephone number, a key. The data has no key of
which anything is secret: of keys only false ones can be told.

A find is right where it is exactly what a label says, partial where it only meets it.
"""

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from hashlib import sha1
from pathlib import Path

from redpajama.quality import pii

ROOT = Path(__file__).parents[1]
LABELS = Path(__file__).with_name("pii_labels.json")
AROUND = 150  # characters on both sides
BAD_INPUT = [
    "@",
    "a@",
    "a.b@",
    "o'",
    "1.2.3.4 ",
    "12.",
    "::",
    "2001:",
    "+1 2",
    "(",
    "00",
    "212-",
    "eyJ",
    "sk-",
    "xox-1-",
]
BAD_INPUT += ["-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "aws_secret", "–", "ghp_"]
BAD_BYTES = 5_000_000


@cache
def texts_of(path: Path) -> list[str]:
    """The texts of a file: one a line of JSON, or itself."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    data = raw.decode("utf-8", "replace")
    if ".json" not in path.name:
        return [data.replace("\r\n", "\n").replace("\r", "\n")]
    rows = [json.loads(line) for line in data.splitlines() if line.strip()]
    return [row.get("text") or row.get("original") or row.get("content") or "" for row in rows]


def contexts(data: Path) -> Iterator[tuple[str, int, int, set[tuple[str, int, int]]]]:
    """(a context, where the labelled place stands in it, its labels)"""
    for label in json.loads(LABELS.read_text()):
        text = texts_of(data / label["file"])[label["row"]]
        start, end = label["start"], label["end"]
        if sha1(text[start:end].encode()).hexdigest()[:10] != label["sha1"]:
            raise SystemExit(f"{label['file']}: row {label['row']} has another text at {start}")
        first = max(0, start - AROUND)
        labels = {(kind, one - first, other - first) for kind, one, other in label["labels"]}
        yield text[first : end + AROUND], start - first, end - first, labels


def judge(data: Path, show: bool) -> Counter[tuple[str, str]]:
    """(kind, right | partial | false | missed) -> how many"""
    found: Counter[tuple[str, str]] = Counter()
    for context, start, end, labels in contexts(data):
        spans = {(kind, *span) for kind in pii.KINDS for span in pii.FINDERS[kind](context)}
        spans = {span for span in spans if span[1] < end and span[2] > start}
        for span in spans - labels:
            meets = any(span[0] == kind and span[1] < b and span[2] > a for kind, a, b in labels)
            found[span[0], "partial" if meets else "false"] += 1
            note(show, span[0], "partial" if meets else "false", context, span)
        for label in labels:
            met = any(label[0] == kind and label[1] < b and label[2] > a for kind, a, b in spans)
            found[label[0], "right" if label in spans else "met" if met else "missed"] += 1
            if not met:
                note(show, label[0], "missed", context, label)
    return found


def note(show: bool, kind: str, what: str, context: str, span: tuple[str, int, int]) -> None:
    if show:
        sys.stdout.write(f"    {kind} {what}: {context[max(0, span[1] - 30) : span[2] + 20]!r}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--show", action="store_true", help="print what is not right")
    given = parser.parse_args()
    found = judge(given.data, given.show)
    for kind in pii.KINDS:
        right, partial, wrong, missed = (found[kind, what] for what in ("right", "partial", "false", "missed"))
        labelled, finds = right + missed + found[kind, "met"], right + partial + wrong
        shares = [f"{part / whole:.3f}" if whole else "-" for part, whole in ((right, finds), (right, labelled))]
        sys.stdout.write(
            f"{kind:<7} labelled {labelled:3}  right {right:3}  partial {partial:2}  false {wrong:2}  "
            f"missed {missed:2}  precision {shares[0]}  recall {shares[1]}\n"
        )
    for unit in BAD_INPUT:
        text = unit * (BAD_BYTES // len(unit.encode()))
        started = time.process_time()
        pii.redact(text, pii.KINDS)
        sys.stdout.write(f"5 MB of {unit!r:<32} {time.process_time() - started:6.2f} s\n")


if __name__ == "__main__":
    main()
