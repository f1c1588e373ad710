"""How much markup is left in the text of real Wikipedia pages.

    python bench/wikipedia_markup.py [--data ../shared/data/wikipedia] [--show 20]

Reads every export of pages below the folder, disambiguation pages too, and counts the documents that hold any of
`{{ }} [[ ]] |- <ref thumb| '''` outside formulas (`$…$`), and those that hold a character that no text may hold.
`--show N` prints the first N places.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from redpajama.pipelines import wikipedia
from redpajama.raw.io import RawFile
from redpajama.records import Document, Tally

ROOT = Path(__file__).parents[1]
MARKUP = re.compile(r"\{\{|\}\}|\[\[|\]\]|\|-|<ref|thumb\||'''")
FORMULA = re.compile(r"\$[^$\n]*\$")
NEVER_SHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0-\ufdef\ufeff\ufffd-\uffff]")
BEFORE, AFTER = 60, 60  # characters to show around a place


def documents_of(folder: Path) -> Iterator[tuple[str, Document]]:
    """(file, document) of every page below a folder."""
    for path in sorted(folder.rglob("*.xml*")):
        if path.suffix != ".7z":
            file = RawFile(path.name, str(path), path.stat().st_size, "0" * 64)
            options = wikipedia.Options(keep_disambiguation=True)
            for document in wikipedia.read([file], options, "wikipedia", Tally()):
                yield str(path.relative_to(folder)), document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "wikipedia")
    parser.add_argument("--show", type=int, default=20)
    given = parser.parse_args()
    documents = marked = odd = 0
    marks: Counter[str] = Counter()
    for file, document in documents_of(given.data):
        documents += 1
        text = FORMULA.sub("", document.text)
        odd += NEVER_SHOWN.search(document.text) is not None
        if found := MARKUP.search(text):
            marked += 1
            marks.update(set(MARKUP.findall(text)))
            if marked <= given.show:
                place = text[max(0, found.start() - BEFORE) : found.end() + AFTER]
                sys.stdout.write(f"{file}  {document.meta['title']}  {place!r}\n")
    found_marks = ", ".join(f"{mark} {count}" for mark, count in marks.most_common())
    percent = 100 * marked / max(documents, 1)
    sys.stdout.write(
        f"documents with {found_marks}\n"
        f"RESULT wikipedia_markup documents={documents} marked={marked} percent={percent:.2f} odd_characters={odd}\n"
    )


if __name__ == "__main__":
    main()
