"""Impose the pages of a booklet: which page goes where on a sheet that is folded in half, and in half again."""


def quarto(first: int = 1) -> tuple[list[list[int]], list[list[int]]]:
    """The two sides of one sheet, each as two rows of two page numbers; the upper row stands on its head.

    >>> quarto()
    ([[5, 4], [8, 1]], [[3, 6], [2, 7]])
    """
    page = range(first - 1, first + 8)
    outer = [[page[5], page[4]], [page[8], page[1]]]
    inner = [[page[3], page[6]], [page[2], page[7]]]
    return outer, inner


def signature(number: int) -> str:
    """The letter at the foot of gathering `number` (0, 1, ...): A to Z without J, U and W, then 2A, 2B, ...

    >>> [signature(n) for n in (0, 8, 9, 22, 23)]
    ['A', 'I', 'K', 'Z', '2A']
    """
    letters = "ABCDEFGHIKLMNOPQRSTVXYZ"
    times, letter = divmod(number, len(letters))
    return f"{times + 1 if times else ''}{letters[letter]}"


def sheets(pages: int) -> int:
    """How many sheets a book needs, eight pages to the sheet."""
    return -(-pages // 8)


if __name__ == "__main__":
    import sys

    total = int(sys.argv[1])
    for sheet in range(sheets(total)):
        outer, inner = quarto(1 + 8 * sheet)
        print(signature(sheet), "outer", outer, "inner", inner)
