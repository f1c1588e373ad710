"""What a template of prose shows: a character, an argument, a quantity, a quotation.

A template is a page of its wiki, which a dump of articles lacks; so what these show is told here, by hand
(`wiki_templates.tsv`: which name shows how, on which wiki). Any other shows nothing; a name that no wiki has does no
harm. What is shown leaves out what a template adds of its own: conversions, authors, names of languages.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from redpajama.extract.wiki_characters import BLOCK_EDGE, LINE_BREAK


class Call(NamedTuple):
    """A use of a template in a page."""

    name: str  # as it is written
    arguments: dict[str, str]  # what each shows, by name; those without one are "1", "2", …
    language: str  # of the wiki

    def get(self, *names: str) -> str:
        """The first of these arguments that is not blank, without spaces around it."""
        return next((value for name in names if (value := self.arguments.get(name, "").strip())), "")

    def listed(self) -> list[str]:
        """The arguments "1", "2", … that are there, without spaces around them."""
        found, number = [], 1
        while (value := self.arguments.get(str(number))) is not None:
            found.append(value.strip())
            number += 1
        return found


Shown = str | int | Callable[[Call], str]
"""How a template shows: as this text, as its argument of this number (from the end where negative), as computed."""


def filled(pattern: str) -> Shown:
    """How a template shows that fills a pattern: `{1}` is an argument, `{lt/1}` the first of two that is not blank,
    `{*, }` all of "1", "2", … with `, ` between. Without them it shows nothing, but where each may lack: `{1?}`.
    """
    pieces = _PLACE.split(pattern)
    if len(pieces) == 1:
        return pattern

    def fill(call: Call) -> str:
        texts = [_filling(place, call) for place in pieces[1::2]]
        if not any(texts) and not all(place.endswith("?") for place in pieces[1::2]):
            return ""
        return "".join([*(each for pair in zip(pieces[::2], texts, strict=False) for each in pair), pieces[-1]]).strip(
            " "
        )

    return fill


def _filling(place: str, call: Call) -> str:
    if place.startswith("*"):
        return place[1:].join(text for text in call.listed() if text)
    return call.get(*place.rstrip("?").split("/"))


_PLACE = re.compile(r"\{([^{}]+)\}")


def prose_of(shown: Shown, call: Call) -> str:
    """What a template shows that is called so."""
    if isinstance(shown, str):
        return shown
    if callable(shown):
        return shown(call)
    number = shown if shown > 0 else sum(map(str.isdecimal, call.arguments)) + 1 + shown
    return call.arguments.get(str(number), "")


# numbers

GROUPS = {  # language -> what groups thousands, the decimal mark; languages/messages: separatorTransformTable
    **dict.fromkeys(("ca", "da", "de", "hr", "nl", "ro", "sl", "sr", "id", "tr"), (".", ",")),
    **dict.fromkeys(("bg", "cs", "es", "hu", "it", "pl", "pt", "ru", "sv", "uk", "fi", "no"), ("\u00a0", ",")),
    "fr": ("\u202f", ","),
}
UNGROUPED_FOUR = {"bg", "es", "hu", "pl", "pt", "it"}  # minimumGroupingDigits = 2: 1234, but 12 345
NUMBER = re.compile(r"([-+\u2212]?)(\d+)(?:\.(\d+))?", re.ASCII)
SUPERSCRIPTS = str.maketrans("0123456789-\u2212+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻⁺")


def formatted_number(text: str, language: str) -> str:
    """A number as `{{formatnum:}}` writes it in a language; what is no plain number stays."""
    found = NUMBER.fullmatch(text)
    if found is None:
        return text
    group, mark = GROUPS.get(language, (",", "."))
    sign, whole, fraction = found.groups()
    if len(whole) > 4 or language not in UNGROUPED_FOUR:
        whole = f"{int(whole):,}".replace(",", group) if len(whole) < 40 and whole[0] != "0" else whole
    return sign.replace("-", "\u2212") + whole + (mark + fraction if fraction else "")


def number(call: Call) -> str:
    """The number 1 as the wiki's language writes it."""
    return formatted_number(call.get("1"), call.language)


# quantities

UNITS = {  # codes of `{{convert}}` that are not the symbol itself; en.wikipedia Module:Convert/data
    "c": "°C", "f": "°F", "°c": "°C", "°f": "°F", "sqmi": "sq mi", "sqft": "sq ft", "sqyd": "sq yd",
    "sqin": "sq in", "cuft": "cu ft", "cuin": "cu in", "cuyd": "cu yd", "cumi": "cu mi", "usgal": "US gal",
    "impgal": "imp gal", "usfloz": "US fl oz", "impfloz": "imp fl oz", "uspt": "US pt", "usqt": "US qt",
    "usoz": "US oz", "lt": "long tons", "long ton": "long tons", "st": "short tons", "short ton": "short tons",
    "kn": "kn", "km2": "km²", "m2": "m²", "cm2": "cm²", "mm2": "mm²", "dam2": "dam²", "hm2": "hm²", "km3": "km³",
    "m3": "m³", "cm3": "cm³", "mm3": "mm³", "dm3": "dm³", "kmh": "km/h", "m/s2": "m/s²", "lbf.ft": "lbf⋅ft",
    "n.m": "N⋅m", "kg/m3": "kg/m³", "pd/sqmi": "inhabitants per square mile", "pd/km2": "inhabitants per km²",
    "oilbbl": "bbl", "mi2": "sq mi", "ft2": "sq ft", "/km2": "/km²", "/sqmi": "/sq mi",
}  # fmt: skip
STONE = {"st"}  # before pounds: `{{convert|11|st|4|lb}}`
RANGES = {
    "-": "–", "–": "–", "—": "–", "−": "–", "to": " to ", "and": " and ", "or": " or ", "by": " by ", "x": " × ",
    "×": " × ", "xx": " × ", "*": " × ", "+": " + ", "+/-": " ± ", "±": " ± ", ",": ", ", "/": " / ",
    "to(-)": " to ", "and(-)": " and ", "or(-)": " or ", "to about": " to about ", "and about": " and about ",
    "til": " til ", "bis": " bis ", "à": " à ", "et": " et ", "a": " a ", "y": " y ", "e": " e ", "и": " и ",
    "до": " до ", "en": " en ", "och": " och ", "till": " till ", "til(-)": " til ", "und": " und ", "do": " do ",
    "i": " i ", "și": " și ", "la": " la ", "oder": " oder ", "ou": " ou ", "o": " o ", "и(-)": " и ", "—(-)": "–",
    ", and": ", and ", ", or": ", or ", "by(x)": " by ",
}  # fmt: skip
_NUMERIC = re.compile(r"[-+\u2212]?[\d.,\u00a0\u202f/+⁄½¼¾⅓⅔⅛ ]*\d[\d.,/+⁄½¼¾⅓⅔⅛ ()e\u00d7^]*|[½¼¾⅓⅔⅛]")


def quantity(call: Call) -> str:
    """`5 to 10 km`, `6 ft 2 in`, `3 × 4 m` of `{{convert}}`: numbers with their units as written, no conversion."""
    given = call.listed()
    if not given or not given[0]:
        return ""
    text, at = _number_as_written(given[0]), 1
    while at + 1 < len(given) and given[at].lower() in RANGES and _NUMERIC.fullmatch(given[at + 1]):
        text += RANGES[given[at].lower()] + _number_as_written(given[at + 1])
        at += 2
    if at >= len(given):
        return text
    unit = given[at]
    while at + 2 < len(given) and _NUMERIC.fullmatch(given[at + 1]) and not _NUMERIC.fullmatch(given[at + 2]):
        text += f" {unit if unit in STONE else _unit(unit)} {given[at + 1]}"  # feet, then inches
        unit, at = given[at + 2], at + 2
    return _with_unit(text, _unit(unit))


def _number_as_written(text: str) -> str:
    """`5 1/2` of `5+1/2`, `1/2` of `1//2`."""
    return re.sub(r"(?<=\d)\+(?=\d+/)", " ", text.replace("//", "/"))


def _unit(code: str) -> str:
    return UNITS.get(code.lower(), code)


def _with_unit(text: str, unit: str) -> str:
    return f"{text}{'' if unit.startswith('/') or not unit else ' '}{unit}"


def value_and_unit(call: Call) -> str:
    """`3 797 m`, `5 à 10 km²`, `12 km⋅h⁻¹`: of `{{unité|3797|m}}` and the like, units with exponents in turns."""
    given = call.listed()
    first, space, rest = given[0].partition(" ") if given else ("", "", "")
    text = formatted_number(first, call.language) + space + rest
    for word in ("à", "et", "ou", "par", "×", "x"):
        if other := call.get(word):
            text += f" {word} {formatted_number(other, call.language)}"
    if power := call.get("e"):
        text += f" × 10{power.translate(SUPERSCRIPTS)}"
    units = [
        unit + (exponent.translate(SUPERSCRIPTS) if exponent not in ("", "1") else "")
        for unit, exponent in zip(given[1::2], [*given[2::2], ""], strict=False)
        if unit
    ]
    return _with_unit(text, "⋅".join(units) or call.get("u", "ul", "unit"))


def value(call: Call) -> str:
    """`1.00794(7)`, `5 ± 2 × 10⁶ km` of `{{val}}`."""
    given = call.listed()
    text = formatted_number(given[0], call.language) if given else ""
    for error in given[1:3]:
        text += error if error.startswith("(") else f" ± {error}" if error else ""
    if power := call.get("e"):
        text += f" × 10{power.translate(SUPERSCRIPTS)}"
    return call.get("p") + _with_unit(text, call.get("u", "ul", "upl")) + call.get("s")


def italian_measure(call: Call) -> str:
    """`100 km` of it.wikipedia's `{{M|100|k|m}}` and `{{M|100|ul=km}}`: number, prefix, unit."""
    given = [*call.listed(), "", "", ""]
    return _with_unit(formatted_number(given[0], call.language), call.get("ul", "u") or given[1] + given[2])


def fraction(call: Call) -> str:
    """`3 1⁄2` of `{{frac|3|1|2}}`, `1⁄2` of `{{frac|2}}`."""
    given = [text for text in call.listed() if text][:3]
    if not given:
        return ""
    whole, above, below = ["", "1", ""][: 3 - len(given)] + given
    return f"{whole} {above}⁄{below}".strip()


# prose


def quotation(call: Call) -> str:
    """The text that is quoted, on lines of its own."""
    return in_block(call.get(*QUOTED, "1"))


QUOTED = """text quote quotetext content texto texte testo tekst zitat citation citación cita citat citát cytat treść
    citaat idézet szöveg текст цитата цитат quoted citazione""".split()  # noqa: SIM905


def second_quotation(call: Call) -> str:
    """The same where the first argument is not the text."""
    return in_block(call.get(*QUOTED, "2"))


def in_block(text: str) -> str:
    """Text on lines of its own."""
    return f"{BLOCK_EDGE}{text}{BLOCK_EDGE}" if text else ""


def block(call: Call) -> str:
    """The argument 1, on lines of its own."""
    return in_block(call.get("1", "content", "text"))


def last_block(call: Call) -> str:
    """The last argument, on lines of its own: others say how many columns there are."""
    return in_block(call.get("content") or next(reversed(call.listed()), ""))


def lines(call: Call) -> str:
    """All arguments, each on its line."""
    return in_block(LINE_BREAK.join(text for text in call.listed() if text))


def spaces(call: Call) -> str:
    """So many spaces as the argument 1 says, else one."""
    count = call.get("1")
    return " " * (int(count) if re.fullmatch(r"[1-9]\d?", count, re.ASCII) else 1)


def no_break_spaces(call: Call) -> str:
    """The same, of no-break spaces."""
    return spaces(call).replace(" ", "\u00a0")


def line_break(call: Call) -> str:
    """A line's end."""
    return LINE_BREAK


def sic(call: Call) -> str:
    """`teh [sic]`; with `hide` the words alone."""
    words = " ".join(text for text in call.listed() if text)
    return words if call.get("hide") else f"{words} [sic]".strip()


# dates

MONTHS = """January February March April May June July August September October November December""".split()  # noqa: SIM905


def english_date(call: Call) -> str:
    """`January 2, 2000` of year, month and day; `df=y` puts the day first."""
    return _english_date(call.listed(), call.get("df"))


def _english_date(given: list[str], day_first: str) -> str:
    year, month, day = [*given, "", "", ""][:3]
    if re.fullmatch(r"0?[1-9]|1[0-2]", month):
        month = MONTHS[int(month) - 1]
    day = day.lstrip("0")
    if day_first:
        return " ".join(text for text in (day, month, year) if text)
    return f"{month} {day}, {year}" if day else " ".join(text for text in (month, year) if text)


def as_of(call: Call) -> str:
    """`As of May 2010` of `{{as of|2010|5}}`; https://en.wikipedia.org/wiki/Template:As_of."""
    if call.get("alt"):
        return call.get("alt")
    date = _english_date(call.listed(), "" if call.get("df").lower() == "us" else "y")
    words = "" if call.get("bare") else "Since " if call.get("since") else "As of "
    return (words.lower() if call.get("lc") else words) + date + call.get("post")


def spanish_date(call: Call) -> str:
    """`12 de mayo de 1990`."""
    return " de ".join(text for text in call.listed()[:3] if text)


# centuries and ordinals


def french_century(call: Call) -> str:
    """`XIXe siècle` of `{{s|XIX}}` or `{{s|XIX|e}}`, `Ier siècle` of `{{s|I|er}}`."""
    roman = call.get("1")
    return f"{roman}{call.get('2') or ('er' if roman == 'I' else 'e')} siècle" if roman else ""


def french_century_before_christ(call: Call) -> str:
    """`IIIe siècle av. J.-C.` of `{{-s|III}}`."""
    return f"{text} av. J.-C." if (text := french_century(call)) else ""


def french_exponent(call: Call) -> str:
    """`e` of `{{e}}`, `×10⁵` of `{{e|5}}`."""
    return f"×10{call.get('1').translate(SUPERSCRIPTS)}" if call.get("1") else "e"


def spanish_century(call: Call) -> str:
    """`siglo XIX` of `{{siglo|XIX||s}}`; an era as the second argument, `S` as the third one begins a sentence."""
    era = {"a": " a. C.", "d": " d. C."}.get(call.get("2").lower()[:1], "")
    return f"{'Siglo' if call.get('3') == 'S' else 'siglo'} {call.get('1')}{era}" if call.get("1") else ""


def french_century_alone(call: Call) -> str:
    """`XIXe` of `{{s-|XIX|e}}`."""
    roman = call.get("1")
    return f"{roman}{call.get('2') or ('er' if roman == 'I' else 'e')}" if roman else ""


def name_itself(call: Call) -> str:
    """The template's name, and its argument: `84e Congrès` of `{{84e|Congrès}}`."""
    return f"{call.name} {call.get('1')}".strip()


def clock(call: Call) -> str:
    """`4 h 30` of `{{heure|4|30}}`."""
    hour, minute = [*call.listed(), "", ""][:2]
    return f"{hour} h {minute}".strip() if hour else ""


def accidental(call: Call) -> str:
    """The sign of `{{music|flat}}`; what is no sign stays."""
    words = [ACCIDENTALS.get(text, text) for text in call.listed()]
    return "".join(words)


ACCIDENTALS = {
    "flat": "♭", "b": "♭", "sharp": "♯", "#": "♯", "natural": "♮", "n": "♮", "doubleflat": "𝄫", "bb": "𝄫",
    "doublesharp": "𝄪", "x": "𝄪", "##": "𝄪",
}  # fmt: skip
