import time
from itertools import pairwise

import pytest
from conftest import SHARED, needs_shared

from redpajama import latex


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Text % note\nmore", "Text \nmore"),
        ("Text% note", "Text"),
        ("a\n% whole line\nb", "a\nb"),
        ("a\n  % one\n  % two\nb", "a\n    b"),
        ("50\\% of it % really\n", "50\\% of it \n"),
        ("line\\\\% break\nnext", "line\\\\\nnext"),
        ("\\url{http://a.b/c%20d} % x", "\\url{http://a.b/c%20d} "),
        ("\\href{http://a.b/%7Ed}{text} % x", "\\href{http://a.b/%7Ed}{text} "),
        ("\\verb|%| stays % goes", "\\verb|%| stays "),
        ("\\begin{verbatim}\n% stays\n\\end{verbatim}% goes", "\\begin{verbatim}\n% stays\n\\end{verbatim}"),
        ("\\begin{lstlisting}\nx = 1 % 2\n\\end{lstlisting}", "\\begin{lstlisting}\nx = 1 % 2\n\\end{lstlisting}"),
        ("a\n% \\begin{verbatim}\nb % c\n", "a\nb \n"),
        ("a\n\\begin{comment}\nnot this\n\\end{comment}\nb", "a\nb"),
        ("a \\begin{verbatim} never closed % gone", "a \\begin{verbatim} never closed "),
        ("a \\iffalse hidden \\fi b", "a b"),
        ("\\iffalse no\\else yes\\fi", " yes"),
        ("\\iffalse a \\ifx b \\fi c \\fi", "\\iffalse a \\ifx b \\fi c \\fi"),
        ("\\iffalse a \\iff b \\fi", "\\iffalse a \\iff b \\fi"),
        ("", ""),
        ("%", ""),
    ],
)
def test_comments_go_and_nothing_else(text, expected):
    assert latex.strip_comments(text) == expected


def test_pieces_are_the_text():
    text = "a % b\n\\verb+%+ \\begin{minted}{c}\n%\n\\end{minted} \\% \\url{%} \\begin{comment}x\\end{comment}"
    assert "".join(piece.text for piece in latex.split_pieces(text)) == text
    assert len(latex.mask(text)) == len(text)


# ---- main file and inputs

DOCUMENT = "\\documentclass{article}\\begin{document}%s\\end{document}"
EMPTY = DOCUMENT % ""


@pytest.mark.parametrize(
    ("texts", "toplevel", "expected"),
    [
        ({"a.tex": "\\section{A}", "z.tex": EMPTY}, (), "z.tex"),
        ({"a.tex": EMPTY, "b.tex": EMPTY + "longer"}, (), "b.tex"),
        ({"a.tex": EMPTY, "b.tex": EMPTY}, (), "a.tex"),
        ({"a.tex": EMPTY + "longer", "ms.tex": EMPTY}, (), "ms.tex"),
        ({"old/main.tex": EMPTY + "longer", "main.tex": EMPTY}, (), "main.tex"),
        ({"ms.tex": EMPTY, "b.tex": EMPTY}, ("b.tex",), "b.tex"),
        ({"ms.tex": "text only", "b.tex": EMPTY}, ("ms.tex",), "b.tex"),
        ({"a.tex": "%" + EMPTY, "b.tex": "\\section{B}"}, (), "b.tex"),
        ({"a.tex": "\\documentstyle{article}\\begin{document}"}, (), "a.tex"),
        ({"a.tex": "\\input b", "b.tex": "plain TeX, as long as \\bye"}, (), "b.tex"),
        ({"figure.sty": EMPTY, "readme": EMPTY}, (), None),
        ({}, (), None),
    ],
)
def test_the_main_file_is_chosen(texts, toplevel, expected):
    assert latex.choose_main(texts, frozenset(toplevel)) == expected


def merge(texts: dict[str, str], main: str = "main.tex") -> tuple[str, list[str]]:
    return latex.merge_inputs(main, texts)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("\\input{part}", "part.tex"),
        ("\\input{part.tex}", "part.tex"),
        ("\\input{./part}", "part.tex"),
        ("\\input{part.inc}", "part.inc"),
        ('\\input{"two words"}', "two words.tex"),
        ("\\input part", "part.tex"),
        ("\\include{part}", "part.tex"),
        ("\\subfile{sections/part}", "sections/part.tex"),
        ("\\import{sections/}{part}", "sections/part.tex"),
    ],
)
def test_inputs_stand_in_their_places(command, name):
    assert merge({"main.tex": f"a {command} b", name: "PART"}) == ("a PART b", ["main.tex", name])


def test_inputs_nest_from_the_main_folder_and_from_their_own():
    texts = {
        "src/main.tex": "\\input{sections/one}",
        "src/sections/one.tex": "1 \\input{two} \\input{sections/three}",
        "src/sections/two.tex": "2",
        "src/sections/three.tex": "3",
    }
    assert merge(texts, "src/main.tex")[0] == "1 2 3"


@pytest.mark.parametrize(
    "command",
    [
        "\\input{missing}",
        "\\input{../../etc/passwd}",
        "\\input{/etc/passwd}",
        "\\input{}",
        "\\includegraphics{part}",
        "\\verb|\\input{part}|",
        "\\begin{verbatim}\\input{part}\\end{verbatim}",
    ],
)
def test_what_is_no_input_of_the_project_stays(command):
    assert merge({"main.tex": command, "part.tex": "PART"}) == (command, ["main.tex"])


def test_loops_end_and_a_file_is_merged_once():
    texts = {"main.tex": "\\input{a}\\input{a}", "a.tex": "A\\input{b}", "b.tex": "B\\input{a}\\input{main}"}
    assert merge(texts) == ("AB", ["main.tex", "a.tex", "b.tex"])


def test_a_deep_chain_of_inputs_ends():
    texts = {f"{index}.tex": f"{index} \\input{{{index + 1}}}" for index in range(5000)}
    text, used = merge(texts, "0.tex")
    assert len(used) == latex.MAX_INPUT_DEPTH + 1
    assert text.endswith(f"\\input{{{latex.MAX_INPUT_DEPTH + 1}}}")


def test_an_input_that_compiles_alone_gives_its_body_and_ends_at_endinput():
    texts = {"main.tex": "a \\input{b} \\input{c}", "b.tex": DOCUMENT % "B", "c.tex": "C\\endinput never"}
    assert merge(texts)[0] == "a B C"


# ---- macros


@pytest.mark.parametrize(
    ("definition", "use", "expected"),
    [
        ("\\newcommand{\\LCDM}{$\\Lambda$CDM}", "in \\LCDM, and", "in $\\Lambda$CDM, and"),
        ("\\newcommand\\eps{\\varepsilon}", "$\\eps_0$", "$\\varepsilon_0$"),
        ("\\newcommand*{\\eps}\n  {\\varepsilon}", "$\\eps$", "$\\varepsilon$"),
        ("\\def\\be{\\begin{equation}}", "\\be x", "\\begin{equation} x"),
        ("\\renewcommand{\\phi}{\\varphi}", "$\\phi$", "$\\varphi$"),
        ("\\newcommand{\\bert}{\\textsc{BERT}\\xspace}", "\\bert is", "\\textsc{BERT} is"),
        ("\\newcommand{\\two}{one\n\n two {nested {deep}} \\} }", "\\two.", "one\n\n two {nested {deep}} \\} ."),
        ("\\def\\a{x\\b}\\def\\b{y}", "\\a", "xy"),
        ("\\def\\x{abc}", "\\mathbf\\x", "\\mathbf{abc}"),
        ("\\def\\x{abc}", "\\xy \\x1 \\\\x \\x", "\\xy abc1 \\\\x abc"),
        ("\\def\\x{abc}", "\\verb|\\x| \\x", "\\verb|\\x| abc"),
    ],
)
def test_macros_without_arguments_are_expanded(definition, use, expected):
    macros, rest = latex.take_macros(definition + use)
    assert rest == use
    assert latex.expand(rest, macros) == expected


@pytest.mark.parametrize(
    "text",
    [
        "\\newcommand{\\red}[1]{{\\color{red} #1}} \\red{x}",
        "\\def\\pair#1#2{(#1,#2)} \\pair ab",
        "\\def\\x{\\ifmmode a\\else b\\fi} \\x",
        "\\def\\section{no} \\section{A}",
        "\\def\\x{1 \\x} \\x",
        "\\def\\x{1}\\def\\x{2} \\x",
        "\\def\\x{unclosed \\x",
        "\\newcommand{\\arraystretch@}{1} \\x",
        "\\def\\x{" + "long " * 200 + "} \\x",
    ],
)
def test_other_definitions_are_left_alone(text):
    macros, rest = latex.take_macros(text)
    assert rest == text
    assert latex.expand(rest, macros) == text


def test_macros_that_explode_are_not_expanded():
    names = "abcdefghij"
    definitions = "".join(f"\\def\\{a}{{" + f"\\{b}" * 50 + "}" for a, b in pairwise(names))
    macros, rest = latex.take_macros(definitions + "\\def\\j{x}" + "\\a" * 1000)
    assert len(latex.expand(rest, macros)) <= latex.MAX_GROWTH * len(rest) + 10_000


# ---- the whole text


def test_a_paper_keeps_its_abstract_and_body():
    text = (
        "\\documentclass{article}\\newcommand{\\x}{EX}\n\\title{T}\\author{A}\\begin{document}\\maketitle\n"
        "\\begin{abstract}About \\x.\\end{abstract}\n\\section{One}\nBody.\n\\bibliography{refs}\n\\section{Lost}"
        "\\end{document} after"
    )
    assert latex.clean(text) == "\\begin{abstract}About EX.\\end{abstract}\n\n\\section{One}\nBody."


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("\\title{T}\\section{One} x", "\\section{One} x"),
        ("\\title{T}\\section*{One} x", "\\section*{One} x"),
        ("\\title{T}\\paragraph{One} x", "\\paragraph{One} x"),
        ("\\title{T}\\subsection[short]{One} x", "\\subsection[short]{One} x"),
        ("A letter without any heading.", "A letter without any heading."),
        ("\\title{T}\\maketitle Introduction. \\section{One} x", "Introduction. \\section{One} x"),
        ("\\abstract{Ab \\{x\\}.} \\section{One} x", "\\abstract{Ab \\{x\\}.}\n\n\\section{One} x"),
        ("\\section{One} x \\appendix \\section{A}", "\\section{One} x"),
        ("\\section{One} \\appendixname x", "\\section{One} \\appendixname x"),
        ("\\section{One} x \\begin{thebibliography}{9} \\bibitem{a} b \\end{thebibliography}", "\\section{One} x"),
        ("\\section{One} x \\begin{references} y \\end{references}", "\\section{One} x"),
        ("\\section{One} x\n\n\\bibliographystyle{apj}\n\\clearpage\n\\bibliography{a}", "\\section{One} x"),
        ("\\section{One} x \\bibliographystyle{apj} y", "\\section{One} x \\bibliographystyle{apj} y"),
        ("\\section{One} \\verb|\\appendix| y", "\\section{One} \\verb|\\appendix| y"),
        (
            "\\begin{frontmatter}\\begin{abstract}A\\end{abstract}\\end{frontmatter} I",
            "\\begin{abstract}A\\end{abstract}\n\nI",
        ),
        ("a  \n\n\n\n b \n", "a\n\n b"),
        ("\\appendix x", ""),
    ],
)
def test_front_and_back_matter_are_cut(body, expected):
    assert latex.clean(DOCUMENT % body) == expected


def test_an_abstract_in_the_preamble_is_kept():
    text = "\\documentclass{jss}\\Abstract{About it.}\\begin{document}\\section{One} x\\end{document}"
    assert latex.clean(text) == "\\Abstract{About it.}\n\n\\section{One} x"


def test_a_fragment_without_a_document_is_cleaned_too():
    assert latex.clean("\\magnification=1200 \\section{A} x \\bye") == "\\section{A} x \\bye"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\documentclass{article}", True),
        ("Dear editor, see \\section{A}", True),
        ("\\input harvmac", True),
        ("\\magnification=\\magstep1", True),
        ("%!PS-Adobe-2.0\n/def { \\def } ", False),
        ("<html><body>moved</body></html>", False),
        ("a letter", False),
    ],
)
def test_tex_is_told_from_other_text(text, expected):
    assert latex.looks_like_tex(text) is expected


@pytest.mark.parametrize(
    "text",
    [
        "\\begin{verbatim}" * 50_000,
        "\\verb|" * 100_000,
        "\\newcommand{\\a}{" * 10_000,
        "{" * 200_000 + "}" * 200_000,
        "\\iffalse " * 100_000,
        "\\iffalse " + "x" * 500_000,
        "\\section[" * 50_000,
        "%" * 300_000,
        "%\n" * 200_000,
        "\\input{a}" * 50_000,
        "\\abstract{" * 50_000,
        "\\def\\x{y}" * 20_000 + "\\x" * 50_000,
    ],
)
def test_hostile_sources_take_time_in_proportion_to_their_length(text):
    started = time.process_time()
    latex.clean(latex.strip_comments(text))
    latex.merge_inputs("a.tex", {"a.tex": text})
    assert time.process_time() - started < 20  # quadratic work would take hours


@needs_shared
def test_the_cleaner_agrees_with_arxiv_latex_cleaner_on_its_own_sample():
    folder = SHARED / "arxiv/arxiv-latex-cleaner/test_data/tex"
    ours = latex.strip_comments((folder / "main.tex").read_text())
    assert "comment" not in ours.replace("% content after this line", "")
    assert "This is a percent \\%." in ours
    assert "Expect me (else block of iffalse)!" in ours
    assert "I shall be gone (iffalse block)" not in ours
    assert "figure_not_included" not in ours
