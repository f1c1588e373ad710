"""Language conversion, `-{…}-`: the text of a wiki's own variant, and of the next one to it that a rule names.

The rules are those of MediaWiki's `LanguageConverter` and `ConverterRule` for a reader of the wiki's main variant,
whose text is not converted (https://www.mediawiki.org/wiki/Writing_systems/Syntax). Two differ: a description of rules
(flag D) shows the text instead, and a rule that names no variant of use shows its first text, not an error.
"""

import re
from functools import cache

FALLBACKS = {  # main variant -> what it shows of a rule, in order; includes/Language/Converters
    "ban": ("ban-bali", "ban-x-dharma", "ban-x-palmleaf", "ban-x-pku"),
    "crh": ("crh-latn", "crh-cyrl"),
    "gan": ("gan-hans", "gan-hant"),
    "iu": ("ike-cans", "ike-latn"),
    "kk": ("kk-cyrl", "kk-kz", "kk-latn", "kk-tr", "kk-arab", "kk-cn"),
    "ku": ("ku-latn", "ku-arab"),
    "mni": ("mni-beng",),
    "sh": ("sh-latn", "sh-cyrl"),
    "shi": ("shi-latn", "shi-tfng"),
    "sr": ("sr-ec", "sr-el"),
    "tg": ("tg-latn",),
    "tly": ("tly-cyrl",),
    "uz": ("uz-latn", "uz-cyrl"),
    "wuu": ("wuu-hans", "wuu-hant"),
    "zgh": ("zgh-latn",),
    "zh": ("zh-hans", "zh-hant", "zh-cn", "zh-tw", "zh-hk", "zh-sg", "zh-mo", "zh-my"),
}
ALIASES = {"sr-cyrl": "sr-ec", "sr-latn": "sr-el", "iu-cans": "ike-cans", "iu-latn": "ike-latn"}
FLAGS = frozenset({"A", "T", "R", "D", "-", "H", "N", "S", "W", "+"})
OTHER_FLAGS = {"писмо": "S", "pismo": "S", "реч": "W", "reč": "W", "ријеч": "W", "riječ": "W"}
NAMES = {  # of variants, by flag N
    "zh": "中文", "zh-hans": "简体", "zh-hant": "繁體", "zh-cn": "大陆简体", "zh-tw": "臺灣正體", "zh-hk": "香港繁體",
    "zh-mo": "澳門繁體", "zh-my": "大马简体", "zh-sg": "新加坡简体", "sr-ec": "ћирилица", "sr-el": "latinica",
}  # fmt: skip
MAX_DEPTH = 10  # of rules in rules, LanguageConverter::MAX_DEPTH
_MARK = re.compile(r"-\{(?!\{(?!\{))|\{\{|\}\}|\}-")  # a brace of a template closes no rule


def in_main_variant(source: str, language: str) -> str:
    """Wikitext with the text that each `-{…}-` shows; unchanged where the wiki's language has no variants."""
    if language not in FALLBACKS or "-{" not in source:
        return source
    stack: list[list[str]] = [[]]
    at = too_deep = 0
    for mark in _MARK.finditer(source):
        stack[-1].append(source[at : mark.start()])
        at = mark.end()
        if mark[0] == "-{":
            too_deep += len(stack) > MAX_DEPTH
            stack += [[]] * (len(stack) <= MAX_DEPTH)
        elif mark[0] == "}-" and too_deep:
            too_deep -= 1
        elif mark[0] == "}-" and len(stack) > 1:
            rule = "".join(stack.pop())
            stack[-1].append(shown_by(rule, language))
        else:
            stack[-1].append(mark[0])
    stack[-1].append(source[at:])
    return "-{".join("".join(parts) for parts in stack)


def shown_by(rule: str, language: str) -> str:
    """What the inside of a `-{…}-` shows."""
    flags, text = _flags_of(rule, language)
    if "R" in flags or flags - FLAGS:
        return text
    if "N" in flags:
        return NAMES.get(text.strip(), "")
    if flags & {"H", "-"} or flags == {"T"}:
        return ""
    if flags & {"T", "+"} and not flags & {"A", "S", "D"}:
        return ""
    return _of_variant(text, language)


def _flags_of(rule: str, language: str) -> tuple[set[str], str]:
    """The flags before the first bar, and the rest; a bar of a link or template is none."""
    head, bar, text = rule.partition("|")
    if not bar or "[[" in head or "{{" in head:
        return set(), rule
    names = {OTHER_FLAGS.get(flag, flag) for flag in map(str.strip, head.split(";"))}
    return {name for name in names if name in FLAGS or _is_variant(name, language)}, text


def _is_variant(name: str, language: str) -> bool:
    return name == language or ALIASES.get(name, name) in FALLBACKS[language]


def _of_variant(text: str, language: str) -> str:
    """The text of the main variant or the first fallback that the rules name; all of it where it is no rule."""
    both: dict[str, str] = {}
    one_way: dict[str, str] = {}
    for choice in re.split(_separator(language), text):
        name, colon, to = choice.partition(":")
        if not colon:
            continue
        _, arrow, target = name.partition("=>")
        variant = (target if arrow else name).strip().lower()
        if not _is_variant(variant, language):
            return text
        if arrow:
            one_way.setdefault(ALIASES.get(variant, variant), to.strip())
        elif to.strip():
            both[ALIASES.get(variant, variant)] = to.strip()
    order = (language, *FALLBACKS[language])
    found = [rules[variant] for rules in (both, one_way) for variant in order if variant in rules]
    return found[0] if found else text


@cache
def _separator(language: str) -> str:
    """What stands between two rules: a semicolon with a variant or the end after it, no other. Capitals are those of
    BCP 47, `zh-Hant`.
    """
    variants = "|".join(map(re.escape, (language, *FALLBACKS[language], *ALIASES)))
    return rf"(?i:;\s*+(?=(?:{variants})\s*+:|[^;]*?=>\s*+(?:{variants})\s*+:|\Z))"
