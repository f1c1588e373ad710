"""Tables that fit the screen: numbers stand right and whole, texts break between words, and no column is cut off.

Rich cuts words where a table is too wide for it; so the widths are chosen here, and Rich aligns and colours. What
cannot stand side by side goes below, the first columns again before it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions
from rich.table import Table as RichTable
from rich.text import Text

GAP = 2  # blank columns between two
LONG = 24  # cells: a longer word (a path, an id, a list) may break after one of BREAKS
HELD = "\u00a0"  # a blank at which no line breaks; printed as a blank
WORDS = re.compile(r"[ \n]+")  # between words; HELD is none
BREAKS = re.compile(r"(?<=[/_.,;:=&?@+-])")

Cell = str | Text
Side = Literal["left", "right"]


class Table:
    """Rows below titles. Printed by a Rich console, in as many blocks of columns as its width asks for."""

    def __init__(self, titles: Sequence[str], left: Sequence[int], keys: int) -> None:
        """Set the titles.

        Args:
            left: numbers of the columns that hold text; the others are numbers.
            keys: so many columns stand again before each block.
        """
        self.titles, self.left, self.keys = titles, frozenset(left), keys
        self.rows: list[tuple[Cell, ...]] = []

    def add_row(self, *cells: Cell) -> None:
        """A cell for each title; a Text's style is kept, a newline breaks."""
        self.rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RichTable | Text]:
        width = options.max_width
        least = [self._least(number) for number in range(len(self.titles))]
        for place, block in enumerate(_blocks(least, self.keys, width)):
            if place:
                yield Text()
            yield self._block(block, width, is_first=not place)

    def _block(self, block: list[int], width: int, is_first: bool) -> RichTable:
        """Columns side by side; below the first block rows that have nothing more to say are left out."""
        found = RichTable(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
        widths = self._widths(block, width)
        for number in block:
            title = "\n".join(broken(self.titles[number], widths[number]))
            justify: Side = "left" if number in self.left else "right"
            found.add_column(title, justify=justify, width=widths[number], no_wrap=True, overflow="fold")
        for row in self.rows:
            if not is_first and not any(str(row[number]) for number in block[self.keys :]):
                continue
            found.add_row(*(_set(row[number], widths[number]) for number in block))
        return found

    def _column(self, number: int) -> list[str]:
        return [str(row[number]) for row in self.rows]

    def _least(self, number: int) -> int:
        """Cells that a column needs: its longest piece; of numbers, and of what names a row, its longest word."""
        is_text = number in self.left and number >= self.keys
        cells = [piece for cell in self._column(number) for piece in (_pieces(cell) if is_text else WORDS.split(cell))]
        return max(1, _longest([*self.titles[number].split(), *cells]))

    def _widths(self, block: list[int], width: int) -> dict[int, int]:
        """{column: cells}: what it needs, and an equal part of what is left; who wants less leaves it to the others."""
        least = {number: self._least(number) for number in block}
        lines = {number: [line for cell in self._column(number) for line in cell.split("\n")] for number in block}
        wishes = {number: max(0, _longest([self.titles[number], *lines[number]]) - least[number]) for number in block}
        spare = max(0, width - sum(least.values()) - GAP * (len(block) - 1))
        for place, number in enumerate(sorted(block, key=lambda each: wishes[each])):
            more = min(wishes[number], spare // (len(block) - place))
            least[number], spare = min(least[number] + more, width), spare - more
        return least


def _blocks(least: list[int], keys: int, width: int) -> Iterator[list[int]]:
    """The columns of each block: the keys, and at least one more."""
    first = list(range(keys))
    block = list(first)
    for number in range(keys, len(least)):
        needed = sum(least[each] + GAP for each in block) + least[number]
        if needed > width and len(block) > keys:
            yield block
            block = list(first)
        block.append(number)
    yield block


def _set(cell: Cell, width: int) -> Text:
    """A cell with its lines broken."""
    lines = [part for line in str(cell).split("\n") for part in broken(line, width)]
    return Text("\n".join(lines).replace(HELD, " "), style=cell.style if isinstance(cell, Text) else "")


# ---- words


def broken(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells, broken between words, in long ones after BREAKS, elsewhere only if need be."""
    lines = [""]
    for word in text.split(" "):
        gap = " "
        for piece in (part for whole in _pieces(word) for part in _chopped(whole, width)):
            joined = f"{lines[-1]}{gap}{piece}" if lines[-1] else piece
            if cell_len(joined) > width:
                lines.append(piece)
            else:
                lines[-1] = joined
            gap = ""
    return lines


def _chopped(piece: str, width: int) -> list[str]:
    return [piece] if cell_len(piece) <= width else chop_cells(piece, width)


def _pieces(text: str) -> list[str]:
    """What is not to be broken."""
    return [
        piece
        for word in WORDS.split(text)
        for piece in (BREAKS.split(word) if cell_len(word) > LONG else [word])
        if piece
    ]


def _longest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)
