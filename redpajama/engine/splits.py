"""How far rows are dealt out: the files that parts are gathered into, and the pieces that a regroup makes of them.

Both grow by steps with the number of parts, so that a regroup of P parts opens P + F x K files with an F that stays.
"""

from redpajama.engine.parts import PartRecord

# up to so many parts there are so many split files at most; MOST_SPLITS beyond, which is all that a part may read
SPLITS = ((32, 32), (512, 32), (2_048, 64), (8_192, 128), (30_000, 256))
MOST_SPLITS = 1000
MANY_PARTS = 30_000  # beyond, pieces are larger, as each opens MOST_SPLITS files
LARGER = 8


def splits_of(parts: list[PartRecord]) -> list[list[PartRecord]]:
    """Parts gathered for split files, by a hash of what they hold: another part changes one file.

    How many files there may be depends on the number of parts alone; their order on what parts hold.
    """
    most = next((files for limit, files in SPLITS if len(parts) <= limit), MOST_SPLITS)
    if len(parts) <= most:
        return [[part] for part in _in_order(parts)] or [[]]
    return _by_content(parts, most)


def groups_of(parts: list[PartRecord], about: int) -> list[list[PartRecord]]:
    """Parts in groups of some `about`, by a hash of what they hold; their number is a power of two."""
    return _by_content(parts, 1 << max(0, (len(parts) - 1) // about).bit_length())


def _by_content(parts: list[PartRecord], count: int) -> list[list[PartRecord]]:
    groups: dict[int, list[PartRecord]] = {}
    for part in _in_order(parts):
        groups.setdefault(int(part.content, 16) % count, []).append(part)
    starts = (
        (groups[number], start) for number in sorted(groups) for start in range(0, len(groups[number]), MOST_SPLITS)
    )
    return [group[start : start + MOST_SPLITS] for group, start in starts]  # parts that hold the same fall together


def _in_order(parts: list[PartRecord]) -> list[PartRecord]:
    return sorted(parts, key=lambda part: (part.content, part.id))


def pieces(amount: int, limit: int, parts: int) -> int:
    """The least number of pieces, a power of two, of which none has much more than `limit` rows, bytes or tokens.

    Of very many parts, LARGER times as much.
    """
    return 1 << max(0, (amount - 1) // (limit * enlarged(parts))).bit_length()


def enlarged(parts: int) -> int:
    """How many times larger the pieces of so many parts are."""
    return LARGER if parts > MANY_PARTS else 1
