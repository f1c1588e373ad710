"""What differs between two texts, word by word, short enough to read."""

from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import takewhile

MAX_WORDS = 2_000  # of each text, from the first difference on: the comparison's time grows with their product
MAX_CHARS = 2_000  # of the answer
CONTEXT_WORDS = 6  # shown around a difference
CUT = "…"

Piece = tuple[str, str]  # ("=" both have it | "-" the first | "+" the second, words)


def word_difference(one: str, other: str) -> list[Piece]:
    """Two texts -> what only one of them has, with a few words around it; CUT stands for what is left out.

    Texts that differ in white space alone differ in nothing.
    """
    if one.split() == other.split():
        return []
    pieces: list[Piece] = []
    size = 0
    for piece in _with_context(_compare(one.split(), other.split())):
        room = MAX_CHARS - size
        if len(piece[1]) > room:
            return [*pieces, (piece[0], piece[1][:room] + CUT)]
        pieces.append(piece)
        size += len(piece[1]) + 1
    return pieces


def _compare(one: list[str], other: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Words that both have, and that one has, in order."""
    start = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    yield "=", one[:start]
    ends = [len(one), len(other)]
    while min(ends) > start and one[ends[0] - 1] == other[ends[1] - 1]:
        ends = [ends[0] - 1, ends[1] - 1]
    middle = one[start : ends[0]][:MAX_WORDS], other[start : ends[1]][:MAX_WORDS]
    for tag, first, last, begin, end in SequenceMatcher(None, *middle, autojunk=False).get_opcodes():
        if tag == "equal":
            yield "=", middle[0][first:last]
        else:
            yield "-", middle[0][first:last]
            yield "+", middle[1][begin:end]
    if max(ends) - start > MAX_WORDS:
        yield "=", [CUT]
    yield "=", one[ends[0] :]


def _with_context(parts: Iterator[tuple[str, list[str]]]) -> Iterator[Piece]:
    """The same as strings, where both agree with CONTEXT_WORDS at each end."""
    found = [part for part in parts if part[1]]
    for number, (kind, words) in enumerate(found):
        if kind == "=":
            head = words[:CONTEXT_WORDS] if number else []
            tail = words[-CONTEXT_WORDS:] if number < len(found) - 1 else []
            if len(head) + len(tail) < len(words):
                words = [*head, CUT, *tail]
        yield kind, " ".join(words)
