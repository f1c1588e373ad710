"""The three ways to fail: the user's mistake, a broken promise of the data, an input that cannot be had.

Their messages are printed and kept: what URLs in them hold of passwords and signatures is taken out here.
"""

from redpajama.unsigned import unsigned_text


def is_of_reading(error: BaseException) -> bool:
    """Whether a disk, a store or the network failed, not the bytes that it gave.

    Decoders (Arrow, bz2, lzma) tell damage by a bare OSError without a number, or by an error of their own.
    """
    return (
        isinstance(error, OSError)
        and not isinstance(error, ValueError)
        and (type(error) is not OSError or error.errno is not None)
    )


class UserError(ValueError):
    """The user's mistake. The message is one line; the exit status is 2."""

    def __init__(self, message: str) -> None:
        super().__init__(unsigned_text(message))


class BuildFailed(Exception):
    """The data failed a promise. The message is one line; the exit status is 1."""

    def __init__(self, message: str) -> None:
        super().__init__(unsigned_text(message))


class InputError(ValueError):
    """An input that the manifest names cannot be had: one line that says which, and what would be right."""

    def __init__(self, message: str) -> None:
        super().__init__(unsigned_text(message))
