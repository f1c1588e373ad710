"""What a template of prose shows: a character, an argument, a quantity, a quotation.

A template is a page of its wiki, which a dump of articles lacks; so what these show is told here, by hand
(`wiki_templates.tsv`: which name shows how, on which wiki). Any other shows nothing; a name that no wiki has does no
harm. What is shown leaves out what a template adds of its own: conversions, authors, names of languages.
"""

import re
from collections.abc import Callable
from itertools import takewhile
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
    place = place.rstrip("?")
    if place.startswith("*"):
        return place[1:].join(text for text in call.listed() if text)
    return call.get(*place.split("/"))


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
    "c-change": "°C", "f-change": "°F",
    "c": "°C", "f": "°F", "°c": "°C", "°f": "°F", "sqmi": "sq mi", "sqft": "sq ft", "sqyd": "sq yd",
    "sqin": "sq in", "cuft": "cu ft", "cuin": "cu in", "cuyd": "cu yd", "cumi": "cu mi", "usgal": "US gal",
    "impgal": "imp gal", "usfloz": "US fl oz", "impfloz": "imp fl oz", "uspt": "US pt", "usqt": "US qt",
    "usoz": "US oz", "lt": "long tons", "long ton": "long tons", "st": "short tons", "short ton": "short tons",
    "kn": "kn", "km2": "km²", "m2": "m²", "cm2": "cm²", "mm2": "mm²", "dam2": "dam²", "hm2": "hm²", "km3": "km³",
    "m3": "m³", "cm3": "cm³", "mm3": "mm³", "dm3": "dm³", "kmh": "km/h", "m/s2": "m/s²", "lbf.ft": "lbf⋅ft",
    "n.m": "N⋅m", "kg/m3": "kg/m³", "pd/sqmi": "inhabitants per square mile", "pd/km2": "inhabitants per km²",
    "oilbbl": "bbl", "mi2": "sq mi", "ft2": "sq ft", "/km2": "/km²", "/sqmi": "/sq mi",
}  # fmt: skip
WORDS = tuple(  # codes that are words
    """acre barrel bushel carat chain fathom furlong gallon gram hand hectare knot league liter litre meter metre mile
    pound tonne yard""".split()  # noqa: SIM905
)
STONE = "st"  # `ST` are short tons
RANGES = {
    "-": "–", "–": "–", "—": "–", "−": "–", "to": " to ", "and": " and ", "or": " or ", "by": " by ", "x": " × ",
    "×": " × ", "xx": " × ", "*": " × ", "+": " + ", "+/-": " ± ", "±": " ± ", ",": ", ", "/": " / ",
    "to(-)": " to ", "and(-)": " and ", "or(-)": " or ", "to about": " to about ", "and about": " and about ",
    "til": " til ", "bis": " bis ", "à": " à ", "et": " et ", "a": " a ", "y": " y ", "e": " e ", "и": " и ",
    "до": " до ", "en": " en ", "och": " och ", "till": " till ", "til(-)": " til ", "und": " und ", "do": " do ",
    "i": " i ", "și": " și ", "la": " la ", "oder": " oder ", "ou": " ou ", "o": " o ", "и(-)": " и ", "—(-)": "–",
    ", and": ", and ", ", or": ", or ", "by(x)": " by ",
}  # fmt: skip
POWERS = {"e3": "thousand", "e6": "million", "e9": "billion", "e12": "trillion"}  # before a unit: `e6acre`
_POWER = re.compile(r"(e3|e6|e9|e12)(?=[a-z])", re.IGNORECASE)
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
        text += f" {_unit(unit)} {_number_as_written(given[at + 1])}"  # feet, then inches
        unit, at = given[at + 2], at + 2
    is_plural = text not in ("1", "−1") and not call.get("adj") and unit.lower().endswith(WORDS)
    shown = _with_unit(text, _unit(unit) + "s" * is_plural)
    behind = next((each for each in given[at + 1 :] if each.startswith("-") and call.get("adj") == "mid"), "")
    return shown.replace(" ", "-") + behind if behind else shown  # `3-ft-long`


def height(call: Call) -> str:
    """`6 ft 2 in` of `{{height|ft=6|in=2}}`."""
    given = ((call.get(*names), names[0]) for names in (("m",), ("cm",), ("ft", "feet"), ("in", "inch", "inches")))
    return " ".join(f"{_number_as_written(number)} {unit}" for number, unit in given if number)


def _number_as_written(text: str) -> str:
    """`5 1/2` of `5+1/2`, `1/2` of `1//2`, `−5` of `-5`."""
    return re.sub(r"\A-(?=\d)", "\u2212", re.sub(r"(?<=\d)\+(?=\d+/)", " ", text.replace("//", "/")))


def _unit(code: str) -> str:
    """The symbol of a unit's code: `sq mi` of `sqmi`, `million acre` of `e6acre`."""
    power = _POWER.match(code)
    if power:
        return f"{POWERS[power[1].lower()]} {_unit(code[power.end() :])}"
    return code if code == STONE else UNITS.get(code.lower(), code)


def _with_unit(text: str, unit: str) -> str:
    return f"{text}{'' if unit.startswith('/') or not unit else ' '}{unit}"


def value_and_unit(call: Call) -> str:
    """`3 797 m`, `5 à 10 km²`, `12 km⋅h⁻¹`: of `{{unité|3797|m}}` and the like, units with exponents in turns."""
    given = [*call.listed(), "", ""]
    text, at = _grouped(given[0], call.language), 1
    while given[at].lower() in RANGES and _NUMERIC.fullmatch(given[at + 1]):
        text += RANGES[given[at].lower()] + _grouped(given[at + 1], call.language)
        at += 2
    for word in ("à", "et", "ou", "par", "×", "x"):
        if other := call.get(word):
            text += f" {word} {formatted_number(other, call.language)}"
    if power := call.get("e"):
        text += f" × 10{power.translate(SUPERSCRIPTS)}"
    return _with_unit(text, _units_of(given[at:]) or call.get("u", "ul", "unit"))


def _grouped(text: str, language: str) -> str:
    """A number as a language writes it, with the words that follow it."""
    first, space, rest = text.partition(" ")
    return formatted_number(first, language) + space + rest


def _units_of(given: list[str]) -> str:
    """`km²`, `km⋅h⁻¹` of `km||h|-1` or `km|h|-1`, `km/h` of `km|/h`: units and exponents in turns."""
    text, before = "", ""
    for unit, following in zip(given, [*given[1:], ""], strict=False):
        if _EXPONENT.fullmatch(unit):
            text += unit.translate(SUPERSCRIPTS) if unit != "1" else ""
        elif unit:
            is_factor = text and (not before or _EXPONENT.fullmatch(before) or _EXPONENT.fullmatch(following))
            text += ("⋅" if is_factor else "") + unit
        before = unit
    return text


_EXPONENT = re.compile(r"[-+\u2212]?\d{1,2}")


def product(call: Call) -> str:
    """`3 × 4 m` of `{{dunité|3|4|m}}`."""
    numbers = list(takewhile(_NUMERIC.fullmatch, call.listed()))
    text = " × ".join(formatted_number(each, call.language) for each in numbers)
    return _with_unit(text, _units_of(call.listed()[len(numbers) :]))


def value(call: Call) -> str:
    """`1.00794(7)`, `5 ± 2 × 10⁶ km`, `2–4 km` of `{{val}}`."""
    given = [_times_power(text, call.language) for text in call.listed()]
    text, at = given[0] if given else "", 1
    while at + 1 < len(given) and given[at] in RANGES:
        text += RANGES[given[at]] + given[at + 1]
        at += 2
    for error in given[at : at + 2]:
        text += error if error[:1] in ("(", "+", "\u2212") else f" ± {error}" if error else ""
    if power := call.get("e"):
        text += f"{' × ' if text else ''}10{power.translate(SUPERSCRIPTS)}"
    unit = _unit(call.get("u", "ul", "upl"))
    return call.get("p") + _with_unit(text + call.get("end"), unit) + call.get("s")


def _times_power(text: str, language: str) -> str:
    """`3 × 10⁸` of `3e8`, other numbers as the language writes them."""
    number, letter, power = text.partition("e")
    is_power = letter and _POWER_OF_TEN.fullmatch(power) and NUMBER.fullmatch(number)
    return formatted_number(number if is_power else text, language) + (
        f" × 10{power.translate(SUPERSCRIPTS)}" if is_power else ""
    )


_POWER_OF_TEN = re.compile(r"[-+\u2212]?\d{1,3}", re.ASCII)


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


def edge(call: Call) -> str:
    """Nothing, and what follows stands on a line of its own."""
    return BLOCK_EDGE


def first_or_text(call: Call) -> str:
    """The text that a template marks as doubtful."""
    return call.get("text", "1")


def sic(call: Call) -> str:
    """`teh [sic]`; with `hide` the words alone."""
    words = " ".join(text for text in call.listed() if text)
    return words if call.get("hide") else f"{words} [sic]".strip()


# dates

MONTHS = """January February March April May June July August September October November December""".split()  # noqa: SIM905


_MONTH = re.compile(r"0?[1-9]|1[0-2]")


def english_date(call: Call) -> str:
    """`January 2, 2000` of year, month and day; `df=y` puts the day first."""
    return _english_date(call.listed(), call.get("df"))


def _english_date(given: list[str], day_first: str) -> str:
    year, month, day = [*given, "", "", ""][:3]
    if _MONTH.fullmatch(month):
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


MONTHS_OF = {  # as dates have them
    language: months.split()
    for language, months in {
        "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
        "ru": "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    }.items()
}
OF = {"es": " de ", "pt": " de "}  # between day, month and year


def date(call: Call) -> str:
    """`12 mai 1990`, `12 de mayo de 1990` of day, month and year; a month may be a number."""
    day, month, *rest = [*call.listed()[:3], "", ""]
    if _MONTH.fullmatch(month) and call.language in MONTHS_OF:
        month = MONTHS_OF[call.language][int(month) - 1]
    return OF.get(call.language, " ").join(text for text in (day, month, *rest) if text)


# centuries and ordinals


def _french_centuries(call: Call) -> tuple[str, bool]:
    """(`XIXe`, `XVIIIe au XIXe` of `XVIII|e|au|XIX|e`, `XIXe et XXe` of `XIX|e|XX|e`; whether these are many)."""
    given = [text for text in call.listed() if text]
    text, between, count = "", "", 0
    for at, each in enumerate(given):
        following = given[at + 1] if at + 1 < len(given) else ""
        if _ROMAN.fullmatch(each):
            ordinal = following if following in ORDINALS else "er" if each == "I" else "e"
            text += (between or " et ") * bool(text) + each + ordinal
            between, count = "", count + 1
        elif each not in ORDINALS and each != "s":
            between = "-" if each in ("-", "–") else f" {each} "
    return text, count > 1 and ("s" in given or " et " in text)


ORDINALS = ("e", "er", "ère", "re", "ème", "è")
_ROMAN = re.compile(r"[IVXLCDM]+")


def french_century(call: Call) -> str:
    """`XIXe siècle` of `{{s|XIX}}` or `{{s|XIX|e}}`, `XIXe et XXe siècles` of `{{s2|XIX|e|XX|e}}`."""
    text, are_many = _french_centuries(call)
    return f"{text} siècle{'s' * are_many}" if text else ""


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
    return _french_centuries(call)[0]


def name_itself(call: Call) -> str:
    """The template's name, and its argument: `84e Congrès` of `{{84e|Congrès}}`."""
    return f"{call.name} {call.get('1')}".strip()


def name_as_fraction(call: Call) -> str:
    """`3⁄8` of `{{3/8}}`."""
    return call.name.replace("/", "⁄")


def clock(call: Call) -> str:
    """`4 h 30` of `{{heure|4|30}}`."""
    hour, minute = [*call.listed(), "", ""][:2]
    return f"{hour} h {minute}".strip() if hour else ""


def accidental(call: Call) -> str:
    """The sign of `{{music|flat}}`; what is no sign stays."""
    first, *others = [*call.listed(), ""]
    if first == "time":
        return "/".join(filter(None, others))
    return "".join(ACCIDENTALS.get(text, text) for text in call.listed())


ACCIDENTALS = {
    "flat": "♭", "b": "♭", "sharp": "♯", "#": "♯", "natural": "♮", "n": "♮", "doubleflat": "𝄫", "bb": "𝄫",
    "doublesharp": "𝄪", "x": "𝄪", "##": "𝄪",
}  # fmt: skip
