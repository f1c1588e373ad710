"""What several commands print: tables for people, JSON for programs."""

import json
import os
import re
import sys
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, Group
from rich.text import Text

from redpajama.commands.table import HELD, Table
from redpajama.commands.terminal import Terminal
from redpajama.visible import visible, visible_json

if TYPE_CHECKING:
    from redpajama.engine.store import Store
    from redpajama.report.funnel import SourceRow

WIDTH = 80  # where the output is no terminal and COLUMNS does not say
LABEL = re.compile(r" *\S+ {2,}")  # what a line is about; what follows is set below it


def console() -> Console:
    """Standard output; as wide as the terminal, or as COLUMNS says."""
    plain = partial(Terminal, highlight=False, markup=False, emoji=False)  # ids and paths may hold brackets and colons
    out = plain()
    said = os.environ.get("COLUMNS", "")
    return out if out.is_terminal else plain(width=int(said) if said.isdecimal() and int(said) else WIDTH)


def show_json(value: Any) -> None:
    """One JSON document on standard output."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    sys.stdout.write(visible_json(text) + "\n")


def table(*titles: str, left: tuple[int, ...] = (0,), keys: int = 1) -> Table:
    """A table without lines; columns are aligned right but for those in `left`; the first `keys` name the row."""
    return Table(titles, left, keys)


def say(out: Console, lines: Iterable[str | Text], style: str = "") -> None:
    """Lines of prose: broken between words on a terminal, with what follows set in; whole for a program that reads."""
    for line in lines:
        if out.is_terminal:
            out.print(_wrapped(line, out, style), soft_wrap=True)
        else:
            out.print(line, style=style, soft_wrap=True)


def verbatim(out: Console, lines: Iterable[Text]) -> None:
    """Lines of a text as they are; on a terminal broken between words."""
    for line in lines:
        out.print(_wrapped(line, out, indent=0) if out.is_terminal else line, soft_wrap=True)


def prose(out: Console, text: str) -> None:
    """Paragraphs, set anew for the screen: lines of one indentation that follow each other are one."""
    paragraphs: list[tuple[int, str]] = []
    for line in text.splitlines():
        indent, words = len(line) - len(line.lstrip()), line.strip()
        if paragraphs and words and paragraphs[-1][1] and indent == paragraphs[-1][0]:
            paragraphs[-1] = (indent, f"{paragraphs[-1][1]} {words}")
        else:
            paragraphs.append((indent, words))
    for indent, words in paragraphs:
        out.print(_wrapped(" " * indent + words, out, indent=indent), soft_wrap=True)


def _wrapped(line: str | Text, console: Console, style: str = "", indent: int | None = None) -> Text:
    """The line with its breaks; ids and paths stay whole."""
    text = Text(visible(line), style) if isinstance(line, str) else line
    if indent is None:
        indent = len(label[0]) if (label := LABEL.match(text.plain)) else 2
    rows = text[indent:]
    lines = rows.divide(_breaks(rows.plain, max(20, console.width - indent)))
    for each in lines:
        each.rstrip()
    return text[:indent] + Text("\n" + " " * indent).join(lines)


def _breaks(text: str, width: int) -> list[int]:
    """Where lines begin but for the first, so that each is at most `width` cells wide where its words are."""
    found, used = list[int](), 0
    for word in re.finditer(r"\S+\s*", text):
        if used and used + cell_len(word[0].rstrip()) > width:
            found.append(word.start())
            used = 0
        used += cell_len(word[0])
    return found


# ---- a finished build


def build_json(store: "Store", record: dict[str, Any]) -> dict[str, Any]:
    """What `build` and `status` tell programs: the corpus, each source's way, and the shards."""
    from redpajama.engine.gathered import read_parts, read_stage
    from redpajama.report.current import folder_of
    from redpajama.report.funnel import duplicate_matrix, funnel, near_account
    from redpajama.report.unmet import unmet_lines

    stages = [read_stage(store, entry["record"]) for entry in record["stages"].get("tokens", {}).values()]
    return {
        "build": record["manifest"]["name"],
        "until": record["until"],
        "corpus": record["corpus"],
        "samples": {each["name"]: each["sample"] for each in record["manifest"]["source"] if "sample" in each},
        "sources": [row.to_json() for row in funnel(store, record)],
        "duplicates": duplicate_matrix(store, record),
        "near": near_account(store, record),
        "unmet": unmet_lines(store, record),
        "shards": [f"{part.stem}_text_document" for stage in stages for part in read_parts(store, stage)],
        "current": store.path(folder_of(record["manifest"]["name"])) if stages else "",
    }


def funnel_table(rows: list["SourceRow"]) -> Group:
    """From raw units to documents that stay, why the others went, and what was drawn for the mixture."""
    titles = ("source", "read", "merged", "dropped", "bad", "documents", "removed", "kept")
    counted, reasons = table(*titles), table("source", "why units and documents went", left=(0, 1))
    for row in rows:
        dropped, bad = sum(row.dropped.values()), row.quarantined + row.damaged_ranges
        numbers = (row.read, row.merged, dropped, bad, row.documents, sum(row.removed.values()), row.living)
        counted.add_row(row.source, *(f"{number:,}" for number in numbers))
        if why := _reasons(row):
            reasons.add_row(row.source, Text(why, style="dim"))
    return Group(*_with_space([counted, *([reasons] if reasons.rows else []), *_drawn(rows)]))


def _drawn(rows: list["SourceRow"]) -> list[Table]:
    """What the mixture drew; nothing where there is none."""
    found = table("source", "drawn", "tokens", "wanted", "got")
    for row in rows:
        shares = (f"{row.wanted_share:.1%}", f"{row.got_share:.1%}")
        found.add_row(row.source, f"{row.drawn_copies:,}", f"{row.drawn_tokens:,}", *shares)
    return [found] if any(row.wanted_share or row.drawn_tokens for row in rows) else []


def _with_space(tables: list[Table]) -> list[Any]:
    return [part for each in tables for part in (each, "")][:-1]


def _reasons(row: "SourceRow") -> str:
    """Why units and documents went, the most frequent reason first, and what was cut from those that stay."""
    ordered = sorted((row.dropped + row.removed).items(), key=lambda item: (-item[1], item[0]))
    why = [f"{reason} {number:,}".replace(" ", HELD) for reason, number in ordered]
    cut = [f"{row.cut_spans:,} repeated spans cut ({row.cut_bytes:,} B)"] if row.cut_spans else []
    long = [f"{row.shortened:,} long documents cut"] if row.shortened else []
    return ", ".join([*why, *cut, *long])


def print_matrices(out: Console, store: "Store", record: dict[str, Any]) -> None:
    """A table for each reason for which copies went."""
    from redpajama.report.funnel import duplicate_matrix, reasons

    matrices, titles = duplicate_matrix(store, record), reasons(store, record)
    for stage, matrix in matrices.items():
        out.print()
        out.print(_matrix_table(titles[stage], matrix))
    if matrices:
        out.print("(documents that went, and their tokens; bytes, B, where no tokens were counted)", style="dim")


def print_near(out: Console, store: "Store", record: dict[str, Any]) -> None:
    """What near-dedup left open, and what its removals held alone."""
    from redpajama.report.funnel import near_account

    say(out, near_lines(near_account(store, record)))


def near_lines(found: dict[str, Any]) -> list[str]:
    """A line for each thing that there is to say."""
    lines = []
    if found.get("unchecked"):
        where = f"{found['unchecked']:,} survivors in {found['unchecked_clusters']:,} clusters"
        lines.append(f"near-dedup left open: {where} were not compared with all that they may be like")
    if found.get("hot_buckets"):
        lines.append(f"hot band keys: {found['hot_buckets']:,}, of {found['hot_rows']:,} documents")
    if shares := found.get("lost_shares"):
        lost, every = found["lost_ngrams"], found["removed_ngrams"]
        by_share = ", ".join(f"{float(bound):.0%} {shares[bound]:,}" for bound in sorted(shares, key=float))
        lines.append(
            f"near-duplicates that went: about {lost:,} of their {every:,} n-grams ({lost / max(1, every):.2%}) stand "
            f"in no survivor; documents by share, at most: {by_share}"
        )
    return lines


def _matrix_table(reason: str, matrix: dict[str, dict[str, int]]) -> Table:
    """Losers by row, survivors by column: documents, and their tokens or else their bytes."""
    pairs = {tuple(pair.split(" < ")): cell for pair, cell in matrix.items()}
    survivors = sorted({survivor for _, survivor in pairs})
    found = table(f"{reason} of →", *survivors)
    for loser in sorted({loser for loser, _ in pairs}):
        found.add_row(loser, *(_matrix_cell(pairs.get((loser, survivor))) for survivor in survivors))
    return found


def _matrix_cell(cell: dict[str, int] | None) -> str:
    if cell is None:
        return "·"
    size = f"{cell['tokens']:,}" if "tokens" in cell else f"{cell['bytes']:,} B"
    return f"{cell['documents']:,} ({size})".replace(" ", HELD)
