"""Numbers that environment variables set."""

import os
from math import inf, nan

from redpajama.errors import UserError


def number(name: str, usual: float) -> float:
    """The number of a variable; the usual one where it is not set.

    Raises:
        UserError: it is no number, or below 0.
    """
    given = os.environ.get(name) or str(usual)
    try:
        value = float(given)
    except ValueError:
        value = nan
    if not 0 <= value < inf:
        raise UserError(f"{name}={given}: a number from 0 on is wanted")
    return value
