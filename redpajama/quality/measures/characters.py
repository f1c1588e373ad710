"""Tables over Unicode: what a character is to the signals. They are Python's own (`str.isalpha`, `str.isspace` ...),
because the definitions of RedPajama-V2 and of datatrove are; the fingerprint names the version of `unicode`.
"""

import string
import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from redpajama.arrow import buffers
from redpajama.kernels import END_OF_CODES

SPACE = 1  # str.isspace: what str.split splits at, and \s
WORD = 2  # \w: letters, numbers and _
ALPHA = 4  # str.isalpha
LATIN = 8  # a-z and A-Z
UPPER = 16  # str.isupper
LOWER = 32  # lower-case or title-case: a word with one is not all upper-case
NUMERIC = 64  # str.isnumeric
MARK = 128  # datatrove's PUNCTUATION_SET: ASCII punctuation, CCNet's marks, controls, sentence ends
STOP = 256  # Unicode's property Sentence_Terminal (PropList.txt 16.0)
BULLET = 512  # RedPajama-V2's bullet points
BREAK = 1024  # str.splitlines ends a line here
DIGIT = 4096  # str.isdecimal: \d
RARE = 2048  # what is counted one by one: { } # . ! ? and the ellipsis, and what ends a line

ELLIPSIS, QUOTE = 0x2026, 0x201D
BULLETS = "\u2022\u2023\u25b6\u25c0\u25e6\u25a0\u25a1\u25aa\u25ab\u2013"
BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
CCNET_MARKS = "，。、„”“«»１」「《》´∶：？！（）；–—．～’…━〈〉【】％►"
CONTROLS = (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0))
STOPS = """
21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D6
17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F 203C-203D 2047-2049 2E2E 2E3C
2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB FE52 FE56-FE57 FF01
FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143 111C5-111C6 111CD 111DE-111DF
11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 1173C-1173E 11944 11946 11A42-11A43
11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 16B44 16E98 1BC9F 1DA88
"""

DOTTED_I = 0x130  # the one character that is two in lower case: i and a dot above
SIGMA = "\u03a3"  # becomes a small sigma everywhere, at the end of a word too


def sentence_ends() -> list[int]:
    """The code points of Sentence_Terminal."""
    spans = [tuple(int(code, 16) for code in span.split("-")) for span in STOPS.split()]
    return [code for span in spans for code in range(span[0], span[-1] + 1)]


@cache
def classes() -> np.ndarray:
    """uint16[END_OF_CODES]: the bits above, for each code point. Beyond it no character has any."""
    characters = list(map(chr, range(END_OF_CODES)))
    table = np.zeros(END_OF_CODES, np.uint16)
    for bit, is_one in [
        (SPACE, str.isspace),
        (WORD, str.isalnum),
        (ALPHA, str.isalpha),
        (UPPER, str.isupper),
        (LOWER, lambda one: one.islower() or (one.istitle() and not one.isupper())),
        (NUMERIC, str.isnumeric),
        (DIGIT, str.isdecimal),
    ]:
        table[np.fromiter(map(is_one, characters), bool, END_OF_CODES)] |= bit
    for bit, members in [
        (WORD, "_"),
        (LATIN, string.ascii_letters),
        (MARK, string.punctuation + CCNET_MARKS + "".join(map(chr, [*CONTROLS, *sentence_ends()]))),
        (STOP, "".join(map(chr, sentence_ends()))),
        (BULLET, BULLETS),
        (BREAK, BREAKS),
        (RARE, "{}#.!?" + chr(ELLIPSIS) + BREAKS),
    ]:
        table[[ord(member) for member in members]] |= bit
    return table


class Folding(NamedTuple):
    """What becomes of a character in a folded text: its lower case in NFD."""

    ascii: np.ndarray  # uint8[128]; 255 for punctuation, which goes
    lower: np.ndarray  # uint32[END_OF_CODES]: one character for one, where NFD leaves it as it is
    starts: np.ndarray  # int32[END_OF_CODES + 1]: where its bytes begin in `parts`, if it becomes several characters
    parts: np.ndarray  # uint8[]: UTF-8
    is_mark: np.ndarray  # bool[END_OF_CODES]: it may have to change places with its neighbours


MAX_GROWTH = 3  # bytes of a folded text for each of the raw one: a Hangul syllable of 3 becomes jamo of 9


@cache
def folding() -> Folding:
    """The tables of the kernel that folds texts."""
    small = [chr(code).lower() for code in range(END_OF_CODES)]
    small[0xD800:0xE000] = [""] * 0x800  # surrogates are no characters
    array = pa.array(small, pa.large_string())
    normal = pc.utf8_normalize(array, form="NFD")
    is_several = pc.not_equal(normal, array).to_numpy(zero_copy_only=False).copy()
    is_several[DOTTED_I] = True
    lower = np.array([ord(each) if len(each) == 1 else 0 for each in small], np.uint32)
    data, bounds = buffers(pc.if_else(pa.array(is_several), normal, ""))
    letters = lower[:128].astype(np.uint8)
    letters[[ord(mark) for mark in string.punctuation]] = 255
    is_mark = np.array([unicodedata.combining(chr(code)) != 0 for code in range(END_OF_CODES)])
    return Folding(letters, lower, bounds.astype(np.int32), data, is_mark)
