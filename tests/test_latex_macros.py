"""What macros throw away, what they only draw, and macros of a paper's own styles."""

import time

import pytest

from redpajama.extract.latex_expand import drop_environments, expand
from redpajama.extract.latex_macros import add_styles, take_macros
from redpajama.extract.latex_pieces import lex


def expanded(text: str, styles: str = "") -> str:
    macros, rest = take_macros(lex(text))
    return expand(drop_environments(rest, styles), add_styles(macros, styles, rest.text)).text


@pytest.mark.parametrize(
    ("definition", "call"),
    [
        ("\\newcommand{\\memo}[1]{}", "\\memo{gone}"),
        ("\\newcommand\\memo[1]{}", "\\memo{gone {in groups} \\} too}"),
        ("\\renewcommand*{\\memo}[1]{{}}", "\\memo {gone}"),
        ("\\providecommand{\\memo}[1]{\\relax\\ignorespaces}", "\\memo{gone}"),
        ("\\DeclareRobustCommand{\\memo}[1]{\\unskip}", "\\memo{gone}"),
        ("\\newcommand{\\memo}[3]{}", "\\memo{gone}{gone} {gone}"),
        ("\\newcommand{\\memo}[2][]{}", "\\memo[gone]{gone}"),
        ("\\newcommand{\\memo}[2][]{}", "\\memo{gone}"),
        ("\\def\\memo#1{}", "\\memo{gone}"),
        ("\\long\\def\\memo#1#2{}", "\\memo{gone\n\ngone}{gone}"),
        ("\\global\\long\\gdef\\memo#1{}", "\\memo{gone}"),
        ("\\long\\def\\memo#1\\endmemo{}", "\\memo gone {\\endmemo} gone\\endmemo"),
        ("\\def\\memo[#1]#2{}", "\\memo[gone]{gone}"),
        ("\\NewDocumentCommand{\\memo}{m}{}", "\\memo{gone}"),
        ("\\DeclareDocumentCommand\\memo{s O{x} +m}{}", "\\memo*[gone]{gone}"),
        ("\\let\\memo\\@gobble", "\\memo{gone}"),
        ("\\let\\memo=\\@gobbletwo", "\\memo{gone}{gone}"),
        ("\\newcommand{\\memo}{\\@gobble}", "\\memo{gone}"),
        ("\\newcommand{\\skip@}[1]{}\\newcommand{\\drop}[1]{}\\let\\memo\\drop", "\\memo{gone}"),
        ("\\newcommand{\\memo}[1]{\\iffalse #1\\fi}", "\\memo{gone}"),
        ("\\newcommand{\\memo}[1]{% #1\n}", "\\memo{gone}"),
        ("\\newcommand{\\memo}[1]{}", "\\memo{gone \\memo{gone} \\url{gone%20} gone}"),
        ("\\newcommand{\\memo}[1]{}", "\\memo\n{gone}"),
        ("\\newcommand{\\memo}[1]{{\\bf #1}}\\renewcommand{\\memo}[1]{}", "\\memo{gone}"),
        ("\\newcommand{\\memo}[1]{{\\bf #1}}\\let\\memo\\@gobble", "\\memo{gone}"),
        ("\\def\\memo#1{}\\providecommand{\\memo}[1]{#1}", "\\memo{gone}"),
        ("\\newcommand{\\memo}[1]{\\@gobble{#1}}", "\\memo{gone}"),
        ("\\newcommand{\\memo}[1]{\\typeout{To do: #1}}", "\\memo{gone}"),
        ("\\newcommand{\\memo}[1]{\\setbox0=\\hbox{#1}}", "\\memo{gone}"),
        ("\\newcommand{\\memo}[1]{\\sbox0{#1}}", "\\memo{gone}"),
        ("\\edef\\memo#1{}", "\\memo{gone}"),
        ("\\NewDocumentEnvironment{memo}{O{} +b}{}{}", "\\begin{memo}gone\\end{memo}"),
        ("\\newenvironment{memo}{\\expandafter\\comment}{\\endcomment}", "\\begin{memo}gone\\end{memo}"),
        ("\\documentclass[final]{article}\\usepackage[obeyFinal]{todonotes}", "\\todo{gone}"),
        ("\\usepackage[finalnew]{trackchanges}", "\\remove[me]{gone}"),
        ("\\usepackage[disable]{todonotes}", "\\todo[inline]{gone}"),
        ("\\usepackage[final]{changes}", "\\deleted[id=A]{gone}"),
        ("\\renewcommand{\\footnote}[1]{}\\begin{document}", "\\footnote{gone}"),
        ("\\excludecomment{memo}", "\\begin{memo}gone\\end{memo}"),
        ("\\excludeversion{memo}", "\\begin{memo}gone\\end{memo}"),
        ("\\NewEnviron{memo}{}", "\\begin{memo}gone\\end{memo}"),
        ("\\newenvironment{memo}{\\comment}{\\endcomment}", "\\begin{memo}gone\\end{memo}"),
        ("\\newenvironment{memo}[1]{\\setbox0\\vbox\\bgroup}{\\egroup}", "\\begin{memo}{x}gone\\end{memo}"),
        ("\\NewDocumentEnvironment{memo}{+b}{}{}", "\\begin{memo}gone\\end{memo}"),
        ("\\let\\memo\\comment\\let\\endmemo\\endcomment", "\\begin{memo}gone\\end{memo}"),
    ],
)
def test_what_a_macro_throws_away_goes_with_it(definition, call):
    text = expanded(f"{definition}\nbefore {call} after")
    assert "gone" not in text
    assert "memo" not in text.rpartition("\n")[2]
    assert text.endswith("before  after")


@pytest.mark.parametrize(
    ("definition", "call", "expected"),
    [
        ("\\newcommand{\\change}[2]{#2}", "\\change{old}{new}", "new"),
        ("\\newcommand{\\change}[2]{{\\color{red}#1}}", "\\change{new}{old}", "{\\color{red}new}"),
        ("\\newcommand{\\change}[2]{#2}", "\\change{a}{b \\change{c}{d}}", "b d"),
        ("\\newcommand{\\change}[3][me]{#1: #3}", "\\change{a}{b} \\change[you]{a}{b}", "me: b you: b"),
        ("\\newcommand{\\change}[2]{\\ifmmode x\\fi #2}", "\\change{old}{new}", "\\change{}{new}"),
        ("\\newcommand{\\change}[2]{\\raisebox{1pt}{#2}}", "\\change{old}{new}", "\\change{}{new}"),
        ("\\def\\change#1\\to#2.{#2}", "\\change old\\to new. x", "new x"),
        ("\\newcommand{\\one}[1]{1}", "\\one x \\one\\beta \\one", "1 1 \\one"),
        ("\\newcommand{\\memo}[1]{}", "$\\alpha\\memo{x}b$", "$\\alpha b$"),
        ("\\newcommand{\\memo}[1]{}", "a\n  \\memo{x}\nb", "a\n  b"),
        ("\\newcommand{\\memo}[1]{}", "a \\memo{x}\nb", "a \nb"),
        (
            "\\newcommand{\\memo}[1]{}",
            "\\\\memo{x} \\memory{y} \\verb|\\memo{x}|",
            "\\\\memo{x} \\memory{y} \\verb|\\memo{x}|",
        ),
        ("\\usepackage[final]{changes}", "\\added{a} \\replaced{new}{old}", "a new"),
    ],
)
def test_what_is_left_of_a_macro_stays(definition, call, expected):
    assert expanded(f"{definition}\n{call}").rpartition(definition)[2].lstrip("\n ") == expected


@pytest.mark.parametrize(
    "text",
    [
        "\\newcommand{\\note}[1]{\\emph{#1}} \\note{kept}",
        "\\ifdraft\\newcommand{\\memo}[1]{}\\fi \\memo{kept}",
        "\\newif\\ifshort\\ifshort\\def\\memo#1{}\\else x\\fi \\memo{kept}",
        "{\\def\\memo#1{}} \\memo{kept}",
        "\\AtBeginDocument{\\newcommand{\\memo}[1]{}} \\memo{kept}",
        "\\newcommand{\\memo}[1]{}\\renewcommand{\\memo}[1]{#1} \\memo{kept}",
        "\\newcommand{\\memo}[1]{} \\memo{never closed, kept",
        "\\newcommand{\\memo}[1]{#1}\\begin{document}\\renewcommand{\\memo}[1]{} \\memo{kept}",
        "\\newcommand{\\memo}[1]{#1}\\ifdraft\\else\\renewcommand{\\memo}[1]{}\\fi \\memo{kept}",
        "\\newcommand{\\memo}[1]{#1}\\newcommand{\\hide}{\\let\\memo\\@gobble} \\memo{kept}",
        "\\newcommand{\\memo}[1]{#1}\\providecommand{\\memo}[1]{} \\memo{kept}",
        "\\usepackage[obeyFinal]{todonotes} \\todo{kept}",
        "\\newcommand{\\section}[1]{} \\section{kept}",
        "\\begin{document}\\renewcommand{\\footnote}[1]{} \\footnote{kept}",
        "\\usepackage{todonotes} \\todo{kept}",
        "\\excludecomment{memo}\\includecomment{memo} \\begin{memo}kept\\end{memo}",
        "\\newenvironment{memo}{\\begin{quote}}{\\end{quote}} \\begin{memo}kept\\end{memo}",
    ],
)
def test_what_may_be_shown_is_not_thrown_away(text):
    assert "kept" in expanded(text)


@pytest.mark.parametrize(
    "body",
    [
        "\\mathchoice{a}{b}{c}{d}",
        "\\mathpalette\\foo{x}",
        "\\raisebox{1pt}{$\\cdot$}",
        "\\mathrel{\\raise1pt\\hbox{x}}",
        "\\lower2pt\\hbox{x}",
        "x\\kern-1pt/",
        "\\mathbin{\\ooalign{a\\cr b}}",
        "\\hbox to 0pt{x}",
        "\\mathrlap{x}",
        "\\rotatebox{90}{x}",
        "\\scalebox{.5}{x}",
        "\\vcenter{x}",
        "\\rule{1pt}{2pt}",
        "1\\hspace{-0.25em}\\mathrm{l}",
        "\\stackon[1pt]{x}{\\sim}",
        '\\mathchar"710B',
        "\\smash{x}",
        "\\tikz \\draw (0,0);",
        "\\includegraphics{logo}",
        "\\begin{picture}(1,1)\\end{picture}",
    ],
)
def test_a_macro_that_only_draws_stays_as_it_is_written(body):
    text = f"\\newcommand{{\\sym}}{{{body}}} $a\\sym b$"
    assert expanded(text) == text


@pytest.mark.parametrize(
    "body", ["\\mathrm{Tr}", "\\hbox{Tr}", "\\mathop{\\rm Tr}\\nolimits", "\\mbox{Tr}", "\\ensuremath{x}"]
)
def test_an_abbreviation_is_expanded(body):
    assert expanded(f"\\newcommand{{\\sym}}{{{body}}}$a\\sym b$") == f"$a{body} b$"


def test_macros_of_own_styles_are_read_and_the_papers_own_come_first():
    styles = "\\newcommand{\\R}{\\mathbb{R}}\\newcommand{\\memo}[1]{}\\def\\own{style}\\ifdraft\\def\\z#1{}\\fi"
    text = "\\def\\own{paper}$\\R$ \\memo{gone} \\own \\z{kept}"
    assert expanded(text, styles) == "$\\mathbb{R}$  paper \\z{kept}"


def test_arguments_may_hold_verbatim_text():
    text = "\\newcommand{\\change}[2]{#2}\\change{\\verb|}|}{\\url{a%b}\\def\\x{y}} z"
    assert expanded(text).startswith("\\url{a%b}")


@pytest.mark.parametrize(
    "text",
    [
        "\\newcommand{\\memo}[1]{}" + "\\memo{" * 100_000,
        "\\newcommand{\\memo}[1]{}" + "\\memo{" * 50_000 + "}" * 50_000,
        "\\newcommand{\\change}[2]{#2#2}" + "\\change{a}{" * 20_000 + "}" * 20_000,
        "\\newcommand{\\change}[2]{#2#2}" + "\\change{a}{b}" * 20_000,
        "\\def\\memo#1\\end#2\\stop{}" + "\\memo x\\end" * 20_000,
        "\\def\\memo#1!#2?{}" + "\\memo{x}" * 20_000 + "!",
        "\\excludecomment{memo}" + "\\begin{memo}" * 50_000,
        "\\newcommand" + " " * 300_000,
        "\\newcommand{\\memo}[1]{#1}" * 10_000 + "\\renewcommand{\\memo}[1]{}" + "\\memo{x}" * 20_000,
        "\\newcommand{\\memo}" + " " * 300_000 + "[1]" + " " * 300_000,
        "\\NewDocumentEnvironment{memo}{" + "b" * 300_000,
        "\\usepackage[" + "disable " * 100_000,
        "\\def\\memo" + "#1" * 100_000,
        "".join(f"\\excludecomment{{memo{'x' * (index % 500)}}}\\begin{{memo}}" for index in range(20_000)),
        "".join(f"\\def\\a{''.join(chr(97 + int(digit)) for digit in str(index))}{{x}}" for index in range(20_000)) * 2,
        "".join(f"\\def\\a{chr(97 + index % 26)}{chr(97 + index // 26)}#1{{}}" for index in range(600))
        + "\\aab" * 50_000,
    ],
)
def test_hostile_macros_take_time_in_proportion_to_their_length(text):
    started = time.process_time()
    result = expanded(text)
    assert time.process_time() - started < 20
    assert len(result) <= 3 * len(text) + 20_000
