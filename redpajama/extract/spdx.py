"""SPDX licence expressions, and whether one is allowed as a whole.

SPDX 2.3, annex D; since 3.0 operators may be in lower case. `AND` asks for both sides, `OR` for one; `WITH` names an
exception, which only permits more; `+` means later versions too. Cargo's old `/` and R's `|` are an `OR`. What is no
expression is one name, as `Apache License, Version 2.0`.
"""

import re
from collections.abc import Callable
from functools import lru_cache

MAX_TOKENS = 100  # of one expression; longer ones are not allowed
_TOKEN = re.compile(r"\(|\)|[/|]|[^\s()/|]+")
_COMPOUND = re.compile(r"[\s()/|]")
_OPERATORS = {"and": "and", "or": "or", "with": "with", "/": "or", "|": "or"}
_NAMED_EXCEPTIONS = ("linux-syscall-note", "shl-2.0", "shl-2.1")  # all others have the word in their names

Permits = Callable[[str], bool]


class _NotAnExpressionError(ValueError):
    pass


def is_allowed(expression: str, permits: Permits) -> bool:
    """Whether all that an expression demands is permitted.

    Args:
        permits: of a single licence, as it is written but without `+`.
    """
    if not _COMPOUND.search(expression):
        return permits(expression.rstrip("+") or expression)
    tokens = _TOKEN.findall(expression)
    if len(tokens) > MAX_TOKENS:
        return False
    try:
        return _Parser(tokens, permits).whole()
    except _NotAnExpressionError:
        is_name = not re.search(r"\band\b|\bWITH\b|\bOR\b|[()/|]", expression) and "AND" not in tokens
        return is_name and permits(expression)


def is_compound(expression: str) -> bool:
    """Whether a text is an expression with an operator in it."""
    return len(_TOKEN.findall(expression)) > 1 and bool(identifiers(expression))


@lru_cache(maxsize=1024)
def identifiers(expression: str) -> frozenset[str]:
    """The licences in an expression, in lower case; none of what is no expression."""
    found: list[str] = []

    def note(name: str) -> bool:
        found.append(name.lower())
        return True

    tokens = _TOKEN.findall(expression)
    if len(tokens) > MAX_TOKENS:
        return frozenset()
    try:
        _Parser(tokens, note).whole()
    except _NotAnExpressionError:
        return frozenset()
    return frozenset(found)


class _Parser:
    """One pass over tokens, from the left; each operand is asked for, so that all of them are seen."""

    def __init__(self, tokens: list[str], permits: Permits) -> None:
        self._tokens = tokens
        self._permits = permits
        self._at = 0

    def whole(self) -> bool:
        found = self._any()
        if self._at < len(self._tokens):
            raise _NotAnExpressionError
        return found

    def _operator(self) -> str:
        if self._at == len(self._tokens):
            return ""
        token = self._tokens[self._at]
        return _OPERATORS.get(token.lower(), "") if token.upper() == token or token.islower() else ""

    def _take(self) -> str:
        if self._at == len(self._tokens):
            raise _NotAnExpressionError
        self._at += 1
        return self._tokens[self._at - 1]

    def _any(self) -> bool:
        found = self._all()
        while self._operator() == "or":
            self._at += 1
            found |= self._all()
        return found

    def _all(self) -> bool:
        found = self._one()
        while self._operator() == "and":
            self._at += 1
            found &= self._one()
        return found

    def _one(self) -> bool:
        if self._operator():
            raise _NotAnExpressionError
        token = self._take()
        if token == "(":
            found = self._any()
            if self._take() != ")":
                raise _NotAnExpressionError
        elif token == ")":
            raise _NotAnExpressionError
        else:
            found = self._permits(token.rstrip("+") or token)
        if self._operator() == "with":
            self._at += 1
            exception = self._take().lower()
            found &= "exception" in exception or exception in _NAMED_EXCEPTIONS
        return found
