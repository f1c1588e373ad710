"""The one way to a terminal: what is printed passes here, and none of it steers the terminal or tells a secret."""

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from redpajama.unsigned import unsigned_text
from redpajama.visible import visible


class Terminal(Console):
    """A console that shows every control character as a picture, where it stands in texts, cells and titles."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        return super().render(_shown(renderable) if isinstance(renderable, Text) else renderable, options)


def _shown(text: Text) -> Text:
    """Its styles keep their places."""
    if (safe := visible(text.plain)) == text.plain:
        return text
    copied = text.copy()
    copied.plain = safe
    return copied


def say(message: str, to: TextIO | None = None) -> None:
    """One line on standard error: what this command has to say beside its output."""
    line = visible(unsigned_text(" ".join(message.split())))
    stream = to or sys.stderr
    stream.write(f"redpajama: {line}\n")
    stream.flush()
