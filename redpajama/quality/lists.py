"""Lists that a manifest names, of words or of blocked places: lines of text, wherever the file lies.

UTF-8, with or without a byte order mark, or UTF-16 with one (what Windows calls Unicode); lines end with LF, CR LF
or CR. A line of words is an entry as it stands, without white space around it; one that begins with `#` is a comment.
"""

import io as streams
from collections.abc import Iterator

from redpajama.errors import BuildFailed
from redpajama.raw import io

UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class ListError(BuildFailed):
    """A list is not what it should be: one line that names the file, and the line in it."""


def has_surrogate(text: str) -> bool:
    """Whether bytes that are no UTF-8 stand in it."""
    return not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)


def read_lines(path: str, url: str) -> Iterator[str]:
    """The lines of a file, without their ends. Bytes that are no UTF-8 become lone surrogates (`surrogateescape`).

    Args:
        url: what errors call it.

    Raises:
        ListError: it is no text.
    """
    with io.open_raw(path) as file:
        is_wide = file.read(2) in UTF_16_MARKS
        file.seek(0)
        coding, errors = ("utf-16", "strict") if is_wide else ("utf-8-sig", "surrogateescape")
        try:
            for line in streams.TextIOWrapper(file, encoding=coding, errors=errors):
                yield line.removesuffix("\n")
        except UnicodeDecodeError as error:
            raise ListError(f"{url}: its mark says UTF-16, which it is not: {error.reason}") from None


def read_words(path: str, url: str) -> list[str]:
    """One string for each line of a list of words; "" where it has no entry.

    Raises:
        ListError: a line is no UTF-8, or there is no entry at all.
    """
    found = []
    for number, line in enumerate(read_lines(path, url), 1):
        entry = line.strip()
        if has_surrogate(entry):
            raise ListError(f"{url}: line {number} is no UTF-8 text")
        found.append("" if entry.startswith("#") else entry)
    if not any(found):
        raise ListError(f"{url}: the list has no entry")
    return found
