"""User macros of a LaTeX paper: abbreviations are replaced by what they stand for, what they throw away goes.

TeX is not run. Expanded is a macro without arguments whose body is plain. A macro that does not use all of its
arguments throws the others away: it goes with them if nothing is left, is replaced by its plain body if something is,
and else stays with those arguments emptied. Bodies that program, or that only say how something is drawn
(`\\mathchoice`, `\\raisebox`), stay unexpanded, as do names that are defined in two ways; but of what a preamble
defines anew, the last definition counts where it throws something away.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from redpajama.extract.latex_pieces import Lexed, balanced_end, join

MAX_MACRO_CHARS = 500  # of a definition's body: longer ones are programs, not abbreviations

_NAME = r"(?:\{\s*\\(?P<%s>[A-Za-z@]+)\s*\}|\\(?P<%s>[A-Za-z@]+))"
_DEFINITION = re.compile(
    r"\\(?:(?:newcommand|renewcommand|providecommand|DeclareRobustCommand|(?:new|renew|provide)robustcmd)\s*+\*?\s*+"
    + _NAME % ("braced", "bare")
    + r"\s*+(?:\[\s*(?P<count>\d)\s*\]\s*(?P<default>\[[^\[\]]{0,200}\]\s*)?)?(?=\{)"
    r"|(?:(?:long|global|protected)\s*\\)*[gex]?def\s*\\(?P<primitive>[A-Za-z@]+)"
    r"(?P<parameters>(?:[^{}\\]|\\[A-Za-z@]+){0,100}?)\s*(?=\{)"
    r"|(?:New|Renew|Provide|Declare)(?:Expandable)?DocumentCommand\s*"
    + _NAME
    % ("document", "document_bare")
    + r"\s*\{(?P<specification>[^{}]{0,200}(?:\{[^{}]{0,200}\}[^{}]{0,200}){0,9})\}\s*(?=\{)"
    r"|let\s*\\(?P<alias>[A-Za-z@]+)\s*+=?\s*+\\(?!(?:relax|undefined|@undefined)(?![A-Za-z@]))(?P<target>[A-Za-z@]+))"
)
_PROGRAM = re.compile(
    r"@|\\(?:if|(?:else|fi|[gex]?def|let|csname|expandafter|the|number|noexpand|string|jobname)(?![A-Za-z]))"
)
_DRAWN = re.compile(  # boxes moved, stretched, laid over each other; pictures
    r"\\(?:mathchoice|mathpalette|raisebox|raise|lower|moveleft|moveright|kern|mkern|mskip|[rlc]lap|mathrlap|mathllap"
    r"|mathclap|ooalign|[ho]align|halign|valign|vcenter|[vh]rule|rule|setbox|copy|unhbox"
    r"|[vh]s(?:kip|pace\*?\s*\{)\s*-|stack(?:on|under|inset|anchor)|ensurestackMath"
    r"|[vh]box\s*(?:to|spread)|vbox|vtop|parbox"
    r"|rotatebox|scalebox|resizebox|reflectbox|makebox|framebox|smash|[hv]?phantom|strut|mathstrut|special|pdfliteral"
    r"|mathchar|adjustbox|ThisStyle|scalerel|scaleto|stretchrel"
    r"|pgfimage|includesvg|epsfbox|epsfig|psfig"
    r"|tikz|put|includegraphics|begin\s*\{(?:tikzpicture|picture|minipage|pspicture|pgfpicture|xy)\}|penalty|noalign|crcr"
    r"|accent|joinrel|skew|fontsize|selectfont|usefont|font|setlength|addtolength|advance)(?![A-Za-z@])"
)
_ONE_WORD = re.compile(r"\s*\\([A-Za-z@]+)\s*")
WORD = re.compile(r"\\([A-Za-z]+)")
_XSPACE = re.compile(r"\\xspace(?![A-Za-z])")
_GOBBLED = re.compile(  # what prints none of its argument
    r"\\(?:@gobble|typeout|message|wlog|immediate\s*\\write\s*\d+|sbox\s*(?:0|\\z@)"
    r"|setbox\s*(?:0|\\z@)\s*+=?\s*+\\[hv]box)\s*\{[^{}#]{0,100}#[1-9][^{}#]{0,100}\}"
)
USE = re.compile(r"#([1-9])")
_CONDITION = re.compile(  # of the words that begin with `if` those that TeX or \\newif define: the others take groups
    r"\\(?:(?P<new>newif\s*\\if[A-Za-z@]+|let\s*\\if[A-Za-z@]+\s*+=?\s*+\\if(?:true|false))"
    r"|(?P<begins>if(?!f(?![A-Za-z@])|thenelse|str|blank|toggle|bool|def(?!ined)|undef|csdef|csundef|numcomp|package)"
    r"[A-Za-z@]*)|(?P<ends>fi(?![A-Za-z@]))|[\\{}])|(?P<opens>\{)|(?P<closes>\})"
)
_STEPS = {"begins": 1, "opens": 1, "ends": -1, "closes": -1}
STRUCTURE = re.compile(
    r"document(?:class|style)|begin|end|input|include|bibliography|appendix|maketitle|title|author|abstract|date"
    r"|chapter|part|(?:sub)*section|(?:sub)?paragraph|item|caption|label|ref|cite|footnote"
)
_THROWABLE = re.compile(r"label|ref|cite|footnote|caption|date")  # of these, what a preamble may throw away
_OPTION = r"\\usepackage\s*\[[^\[\]]{0,300}\b%s\b[^\[\]]{0,300}\]\s*\{%s\}"
_FINAL = r"\\(?:documentclass|usepackage)\s*\[[^\[\]]{0,300}\bfinal\b"
_TODO = {"todo": ("om", ""), "missingfigure": ("om", "")}
_DISABLED = (  # packages whose options make their commands print nothing, or only one argument
    ((_OPTION % ("disable", "todonotes"),), _TODO),
    ((_OPTION % ("obeyFinal", "todonotes"), _FINAL), _TODO),
    (
        (_OPTION % ("final", "changes"),),
        {
            **{"added": ("om", "#2"), "deleted": ("om", ""), "replaced": ("omm", "#2")},
            **{"highlight": ("om", "#2"), "comment": ("om", "")},
        },
    ),
    (
        (_OPTION % ("finalnew", "trackchanges"),),
        {
            **{"add": ("om", "#2"), "remove": ("om", ""), "change": ("omm", "#3")},
            **{"annote": ("omm", "#2"), "note": ("om", "")},
        },
    ),
)


class Parameter(NamedTuple):
    """One parameter: `m` a group or a token, `o` in brackets, `s` a star, `u` all up to `text`, `!` just `text`.

    `=`: the macro is another name of `text`.
    """

    kind: str
    text: str = ""  # of `o` what it is where it is not given


class Macro(NamedTuple):
    """A definition."""

    name: str
    parameters: tuple[Parameter, ...]  # those of kind `!` are no arguments, and have no number
    body: str
    start: int = 0
    end: int = 0


class Macros(NamedTuple):
    """What a text defines."""

    plain: dict[str, str]  # {name: body} of those without arguments
    throwing: dict[str, Macro]  # those that throw an argument away
    defined: frozenset[str]  # in any way
    starts: tuple[int, ...] = ()  # where the definitions stood that were taken, in order


_UNKNOWN = Parameter("?")
_GOBBLES = {  # of LaTeX's kernel
    name: Macro(name, (Parameter("m"),) * count, "")
    for count, name in enumerate(("@gobble", "@gobbletwo", "@gobblethree", "@gobblefour"), 1)
}


# ---- definitions


def take_macros(lexed: Lexed) -> tuple[Macros, Lexed]:
    """(the macros that a text defines, the text without the definitions of those that will be replaced).

    `\\newcommand` and its kin, `\\def` and `\\gdef`, `\\NewDocumentCommand`, `\\let` to `\\@gobble`; bodies may span
    lines. Left as they are: structural commands, bodies that program, names that are defined in two ways; with
    arguments also what is defined inside of a group or a condition.
    """
    text, masked = lexed
    found = [_definition(match, text, masked) for match in _DEFINITION.finditer(masked)]
    macros = _choose(found, masked)
    macros.throwing.update(_disabled(masked))
    kept, starts, at = [], [], 0
    for each in found:
        if (each.name in macros.plain or each.name in macros.throwing) and each.start >= at:
            kept.append(lexed.cut(at, each.start))
            starts.append(each.start)
            at = each.end
    return macros._replace(starts=tuple(starts)), join([*kept, lexed.cut(at)])


def _choose(found: list[Macro], masked: str) -> Macros:
    """Of the definitions in a text those that can be replaced."""
    ways: dict[str, set[tuple[tuple[Parameter, ...], str]]] = {}
    for each in found:
        ways.setdefault(each.name, set()).add((each.parameters, each.body))
    document = masked.find("\\begin{document}") if "\\begin{document}" in masked else len(masked)
    single = [each for each in found if len(ways[each.name]) == 1 and _may_be_taken(each, document)]
    single += [each for each in _last_of_preamble(found, masked, ways, document) if _may_be_taken(each, document)]
    plain = {each.name: each.body for each in single if _is_abbreviation(each) and len(ways[each.name]) == 1}
    throwing = _unconditional([each for each in single if each.parameters and _throws(each)], masked)
    for each in single:  # another name for one of them
        if each.parameters and each.parameters[0].kind == "=":
            throwing |= _renamed(each, throwing)
    return Macros(plain, throwing, frozenset(ways))


def _last_of_preamble(
    found: list[Macro], masked: str, ways: Mapping[str, set[tuple[tuple[Parameter, ...], str]]], document: int
) -> list[Macro]:
    """Of names that are defined in several ways, before the document begins, the definition that holds there."""
    last: dict[str, Macro] = {}
    for each in found:
        if len(ways[each.name]) > 1 and (each.name not in last or not masked.startswith("\\provide", each.start)):
            last[each.name] = each
    changed = {each.name for each in found if each.start > document}
    held = _unconditional([each for each in last.values() if each.name not in changed], masked)
    return [*held.values()]


def add_styles(own: Macros, styles: str, text: str) -> Macros:
    """The macros of a paper, and of its styles those that its text uses and does not define itself."""
    if not styles:
        return own
    used = set(WORD.findall(text)) - own.defined
    matches = [match for match in _DEFINITION.finditer(styles) if _name(match) in used]
    found = _choose([_definition(match, styles, styles) for match in matches], styles)
    return own._replace(plain=found.plain | own.plain, throwing=found.throwing | own.throwing)


def _name(match: re.Match[str]) -> str:
    return next(filter(None, match.group("braced", "bare", "primitive", "document", "document_bare", "alias")))


def _definition(match: re.Match[str], text: str, masked: str) -> Macro:
    """A definition; one that cannot be read has a parameter of no kind."""
    name = _name(match)
    if match["alias"]:
        return Macro(name, (Parameter("=", match["target"]),), "", match.start(), match.end())
    end = balanced_end(masked, match.end(), MAX_MACRO_CHARS)
    if end is None:
        return Macro(name, (_UNKNOWN,), "", match.start(), match.end())
    body = _GOBBLED.sub("", _XSPACE.sub("", text[match.end() + 1 : end - 1]))
    parameters = _parameters(match)
    if not parameters and (other := _ONE_WORD.fullmatch(body)) and other[1] in _GOBBLES:
        parameters, body = (Parameter("=", other[1]),), ""
    return Macro(name, parameters, body, match.start(), end)


def _parameters(match: re.Match[str]) -> tuple[Parameter, ...]:
    if match["count"]:
        rest = (Parameter("m"),) * int(match["count"])
        return (Parameter("o", match["default"].strip()[1:-1]), *rest[1:]) if match["default"] and rest else rest
    if match["parameters"]:
        return _of_def(match["parameters"])
    return _of_document_command(match["specification"]) if match["specification"] else ()


def _of_def(text: str) -> tuple[Parameter, ...]:
    """`#1#2\\end` -> up to where each argument goes; text before the first has to stand there."""
    before, *rest = re.split(r"#[1-9]", text)
    if "#" in "".join((before, *rest)):
        return (_UNKNOWN,)
    first = (Parameter("!", before.strip()),) if before.strip() else ()
    return (*first, *(Parameter("u", part.strip()) if part.strip() else Parameter("m") for part in rest))


def _of_document_command(text: str) -> tuple[Parameter, ...]:
    """xparse: `m`, `o`, `O{default}`, `s`; `+` and `!` change nothing here."""
    found = re.findall(r"([mosv])|O\s*\{([^{}]*)\}|([^\s+!])", text)
    if any(other for _, _, other in found) or "v" in {kind for kind, _, _ in found}:
        return (_UNKNOWN,)
    return tuple(Parameter(kind or "o", default) for kind, default, _ in found)


def _may_be_taken(macro: Macro, document: int) -> bool:
    """Whether a definition is one that may be replaced; `document`: where the document begins."""
    built_in = STRUCTURE.fullmatch(macro.name)
    thrown = _THROWABLE.fullmatch(macro.name) and macro.parameters and macro.start < document
    return (not built_in or bool(thrown)) and "@" not in macro.name and _UNKNOWN not in macro.parameters


def _is_abbreviation(macro: Macro) -> bool:
    return not macro.parameters and "#" not in macro.body and is_plain(macro.name, macro.body)


def is_plain(name: str, body: str) -> bool:
    """Whether a body may stand for its macro: it does not program, nor only draw, nor call itself."""
    return not (_PROGRAM.search(body) or _DRAWN.search(body) or "##" in body or name in WORD.findall(body))


def _throws(macro: Macro) -> bool:
    """Whether it has an argument that stands nowhere in its body."""
    used = set(map(int, USE.findall(macro.body)))
    arguments = [parameter for parameter in macro.parameters if parameter.kind not in "!="]
    return any(parameter.kind != "s" and number not in used for number, parameter in enumerate(arguments, 1))


def _unconditional(found: list[Macro], masked: str) -> dict[str, Macro]:
    """{name: macro} of those that are defined in no group and in no `\\if`: TeX alone knows when such ones hold."""
    depth, offsets, depths = 0, [0], [0]
    for match in _CONDITION.finditer(masked, 0, max((each.start for each in found), default=0)):
        if step := _STEPS.get(match.lastgroup or ""):
            depth = max(0, depth + step)
            offsets.append(match.start())
            depths.append(depth)
    inner = {each.name for each in found if depths[bisect_right(offsets, each.start) - 1]}
    return {each.name: each for each in found if each.name not in inner}


def _renamed(alias: Macro, throwing: Mapping[str, Macro]) -> dict[str, Macro]:
    other = throwing.get(alias.parameters[0].text) or _GOBBLES.get(alias.parameters[0].text)
    return {alias.name: alias._replace(parameters=other.parameters, body=other.body)} if other else {}


def _disabled(text: str) -> dict[str, Macro]:
    found: dict[str, Macro] = {}
    for signs, commands in _DISABLED:
        if all(re.search(sign, text) for sign in signs):
            for name, (kinds, body) in commands.items():
                found[name] = Macro(name, tuple(map(Parameter, kinds)), body)
    return found
