"""Marks of bold and italic, `'''` and `''`: they end with their line.

MediaWiki's `Parser::doQuotes` reads them line by line, after templates are expanded and links are made.
"""

import re

_RUN = re.compile(r"('{2,})")


def without_quotes(text: str) -> str:
    """Text without marks of italic and bold; apostrophes beside them stay."""
    if "''" not in text:
        return text
    return "\n".join([_without_quotes(line) if "''" in line else line for line in text.split("\n")])


def _without_quotes(line: str) -> str:
    """As `Parser::doQuotes`: four marks are an apostrophe and bold, above five the first ones are apostrophes; where
    bold and italic are both left open, one mark of bold is an apostrophe and italic.
    """
    if "'''" not in line:
        return line.replace("''", "")
    parts = _RUN.split(line)
    marks = [min(len(run), 5) if len(run) != 4 else 3 for run in parts[1::2]]
    literal = [len(run) - mark for run, mark in zip(parts[1::2], marks, strict=True)]
    bold, italic = sum(mark != 2 for mark in marks), sum(mark != 3 for mark in marks)
    if bold % 2 and italic % 2 and 3 in marks:
        literal[_bold_that_is_none(parts[::2], marks, literal)] += 1
    shown = [before + "'" * count for before, count in zip(parts[::2], [*literal, 0], strict=True)]
    return "".join(shown)


def _bold_that_is_none(before: list[str], marks: list[int], literal: list[int]) -> int:
    """The mark of bold that stands after a word of one letter, else after a longer one, else after a space."""
    places = [place for place, mark in enumerate(marks) if mark == 3]

    def rank(place: int) -> int:
        word = before[place] + "'" * literal[place]
        if word.endswith(" "):
            return 2
        return 0 if word[-2:-1] == " " else 1

    return min(places, key=rank)
