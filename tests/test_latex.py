import time
from itertools import pairwise

import pytest
from conftest import SHARED, needs_shared

from redpajama.extract import latex, latex_expand, latex_files, latex_macros, latex_pieces
from redpajama.extract.latex_files import Project
from redpajama.extract.latex_pieces import lex


def clean(text: str) -> str:
    """The text of one file that is a paper."""
    return latex.clean(lex(text)).text


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
    assert latex_pieces.lex(text).text == expected


def test_pieces_are_the_text():
    text = "a % b\n\\verb+%+ \\begin{minted}{c}\n%\n\\end{minted} \\% \\url{%} \\begin{comment}x\\end{comment}"
    assert "".join(piece.text for piece in latex_pieces.split_pieces(text)) == text
    lexed = latex_pieces.lex(text)
    assert len(lexed.masked) == len(lexed.text)


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
    assert latex_files.choose_main(Project(texts), frozenset(toplevel)) == expected


def merge(texts: dict[str, str], main: str = "main.tex") -> tuple[str, list[str]]:
    text, used = latex_files.merge_inputs(main, Project(texts))
    return latex_files.unmark(text.text), used


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
    assert len(used) == latex_files.MAX_INPUT_DEPTH + 1
    assert text.endswith(f"\\input{{{latex_files.MAX_INPUT_DEPTH + 1}}}")


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
    macros, rest = latex_macros.take_macros(lex(definition + use))
    assert rest.text == use
    assert latex_expand.expand(rest, macros).text == expected


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
        "\\edef\\x{\\the\\catcode`a} \\x",
        "\\newcommand{\\arraystretch@}{1} \\x",
        "\\def\\x{" + "long " * 200 + "} \\x",
    ],
)
def test_other_definitions_are_left_alone(text):
    macros, rest = latex_macros.take_macros(lex(text))
    assert rest.text == text
    assert latex_expand.expand(rest, macros).text == text


def test_macros_that_explode_are_not_expanded():
    names = "abcdefghij"
    definitions = "".join(f"\\def\\{a}{{" + f"\\{b}" * 50 + "}" for a, b in pairwise(names))
    macros, rest = latex_macros.take_macros(lex(definitions + "\\def\\j{x}" + "\\a" * 1000))
    assert len(latex_expand.expand(rest, macros).text) <= latex_expand.MAX_GROWTH * len(rest.text) + 10_000


# ---- the whole text


def test_a_paper_keeps_its_abstract_and_body():
    text = (
        "\\documentclass{article}\\newcommand{\\x}{EX}\n\\title{T}\\author{A}\\begin{document}\\maketitle\n"
        "\\begin{abstract}About \\x.\\end{abstract}\n\\section{One}\nBody.\n\\bibliography{refs}\n\\section{Lost}"
        "\\end{document} after"
    )
    assert clean(text) == "\\begin{abstract}About EX.\\end{abstract}\n\n\\section{One}\nBody."


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
    assert clean(DOCUMENT % body) == expected


def test_an_abstract_in_the_preamble_is_kept():
    text = "\\documentclass{jss}\\Abstract{About it.}\\begin{document}\\section{One} x\\end{document}"
    assert clean(text) == "\\Abstract{About it.}\n\n\\section{One} x"


def test_a_fragment_without_a_document_is_cleaned_too():
    assert clean("\\magnification=1200 \\section{A} x \\bye") == "\\magnification=1200 \\section{A} x \\bye"


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
    assert latex_files.looks_like_tex(text) is expected


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
    clean(text)
    latex_files.merge_inputs("a.tex", Project({"a.tex": text}))
    assert time.process_time() - started < 20  # quadratic work would take hours


@needs_shared
def test_the_cleaner_agrees_with_arxiv_latex_cleaner_on_its_own_sample():
    folder = SHARED / "arxiv/arxiv-latex-cleaner/test_data/tex"
    ours = latex_pieces.lex((folder / "main.tex").read_text()).text
    assert "comment" not in ours.replace("% content after this line", "")
    assert "This is a percent \\%." in ours
    assert "Expect me (else block of iffalse)!" in ours
    assert "I shall be gone (iffalse block)" not in ours
    assert "figure_not_included" not in ours


# ---- the front

FRONT = "\\documentclass{article}\\begin{document}\\title{T}\\author{A}%s\\section{One} x\\end{document}"


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("\\begin {abstract} Ab. \\end {abstract}", "\\begin {abstract} Ab. \\end {abstract}"),
        ("\\begin{abstract}[short] Ab.\\end{abstract}", "\\begin{abstract}[short] Ab.\\end{abstract}"),
        ("\\begin{ abstract }Ab.\\end{ abstract }", "\\begin{ abstract }Ab.\\end{ abstract }"),
        ("\\begin{abstract*}Ab.\\end{abstract*}", "\\begin{abstract*}Ab.\\end{abstract*}"),
        ("\\begin{Abstract}Ab.\\end{Abstract}", "\\begin{Abstract}Ab.\\end{Abstract}"),
        ("\\begin{abstracts}Ab.\\end{abstracts}", "\\begin{abstracts}Ab.\\end{abstracts}"),
        ("\\begin{onecolabstract}Ab.\\end{onecolabstract}", "\\begin{onecolabstract}Ab.\\end{onecolabstract}"),
        ("\\begin{resume}Ab.\\end{resume}", "\\begin{resume}Ab.\\end{resume}"),
        ("\\abstract {Ab.}", "\\abstract {Ab.}"),
        ("\\abstract*{Ab.}", "\\abstract*{Ab.}"),
        ("\\Abstract{Ab.}", "\\Abstract{Ab.}"),
        ("\\ABSTRACT{Ab.}", "\\ABSTRACT{Ab.}"),
        ("\\abstracts{Ab.}", "\\abstracts{Ab.}"),
        ("\\abst{Ab.}", "\\abst{Ab.}"),
        ("\\abstract[Sum]{Ab.}", "\\abstract[Sum]{Ab.}"),
        ("\\abstract{C}{A}{M}{R}{S}", "\\abstract{C}{A}{M}{R}{S}"),
        ("\\abstract\n  {C}\n  {A}\n  {M}\n  {R}\n  {S}", "\\abstract\n  {C}\n  {A}\n  {M}\n  {R}\n  {S}"),
        ("\\abstract{}{A}{M}{R}{}", "\\abstract{}{A}{M}{R}{}"),
        ("\\abstract Ab. \\endabstract", "\\abstract Ab. \\endabstract"),
        ("\\abstract{One.}\\abstract{Two.}", "\\abstract{One.}\n\n\\abstract{Two.}"),
        (
            "\\begin{abstract}\\section*{Aims} a\\section*{Results} r\\end{abstract}",
            "\\begin{abstract}\\section*{Aims} a\\section*{Results} r\\end{abstract}",
        ),
        (
            "\\begin{abstract}One.\\end{abstract}\\begin{abstract}Two.\\end{abstract}",
            "\\begin{abstract}One.\\end{abstract}\n\n\\begin{abstract}Two.\\end{abstract}",
        ),
    ],
)
@pytest.mark.parametrize("title", ["%s\\maketitle ", "\\maketitle %s", "%s "])
def test_all_of_an_abstract_in_any_shape_is_kept(front, expected, title):
    assert clean(FRONT % (title % front)) == f"{expected}\n\n\\section{{One}} x"


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("\\abstract\nAb.\n\\maketitle", "\\abstract\nAb."),
        ("{\\abstract Ab.}\n\\maketitle", "\\abstract Ab."),
        ("\\Abstract Ab. \\endAbstract\\maketitle", "\\Abstract Ab. \\endAbstract"),
        ("\\beginabstract Ab. \\endabstract\\maketitle", "\\beginabstract Ab. \\endabstract"),
        ("\\centerline{\\bf Abstract} Ab.\n\\maketitle", "\\centerline{\\bf Abstract} Ab."),
        (
            "\\begin{quotation}{\\bf Abstract.} Ab.\\end{quotation}\\maketitle",
            "\\begin{quotation}{\\bf Abstract.} Ab.\\end{quotation}",
        ),
        ("\\noindent\\textbf{Summary:} Ab.\n\\maketitle", "\\noindent\\textbf{Summary:} Ab."),
        ("\\begin{annotation}Ab.\\end{annotation}\\maketitle", "\\begin{annotation}Ab.\\end{annotation}"),
        ("\\title{Abstract lamps}\\maketitle", ""),
    ],
)
def test_an_abstract_before_the_title_is_made_is_kept_in_any_shape(front, expected):
    assert clean(FRONT % front) == f"{expected}\n\n\\section{{One}} x".strip()


def test_a_second_title_far_below_is_no_front():
    body = "\\maketitle " + "Opening. " * 500
    assert clean(DOCUMENT % (body + "\\title{Two}\\maketitle End.")).startswith("Opening. ")


@pytest.mark.parametrize(
    "definition",
    ["\\def\\abstract{\\centerline{No}}", "\\newcommand\\abstract{No}", "\\renewenvironment{abstract}{No}{}"],
)
def test_the_definition_of_an_abstract_is_none(definition):
    text = "\\documentclass{article}" + definition + "\\begin{document}\\section{One} x\\end{document}"
    assert clean(text) == "\\section{One} x"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("Opening. \\section*{Thanks} t", "Opening. \\section*{Thanks} t"),
        ("{\\bf Title}\n\nOpening. \\section*{Thanks} t", "{\\bf Title}\n\nOpening. \\section*{Thanks} t"),
        ("\\title[a]{T}\n\\author{A \\and B}\\date{} Opening. \\section{S}", "Opening. \\section{S}"),
        (
            "\\begin{abstract}A\\end{abstract} Opening. \\section{S}",
            "\\begin{abstract}A\\end{abstract}\n\nOpening. \\section{S}",
        ),
        ("\\maketitle Opening. \\section{S}", "Opening. \\section{S}"),
        ("Opening. \\section{S} x \\maketitle y", "Opening. \\section{S} x \\maketitle y"),
        (
            "\\maketitle " + "Text. " * 2000 + "\\begin{abstract}Late.\\end{abstract} End.",
            "Text. " * 2000 + "\\begin{abstract}Late.\\end{abstract} End.",
        ),
        (
            "\\begin{abstract}never closed. Opening. \\section{S}",
            "\\begin{abstract}never closed. Opening. \\section{S}",
        ),
    ],
)
def test_a_body_is_kept_from_its_beginning(body, expected):
    assert clean(DOCUMENT % body) == expected


@pytest.mark.parametrize(
    "text",
    [
        "\\begin{abstract}\\section{a}\\end{abstract}" * 20_000,
        "\\begin{abstract}" * 50_000,
        "\\abstract{a}" * 50_000,
        "\\abstract " * 50_000,
        "\\abstract" + " " * 300_000,
        "\\abstract{a}" + " " * 300_000,
        "\\title" + " " * 300_000,
        "\\begin" + " " * 300_000,
        "\\title{" * 50_000,
        "{\\bf " * 50_000 + "\\maketitle",
        "\\noindent" + " " * 300_000 + "\\maketitle",
        "\\maketitle" * 50_000,
    ],
)
def test_hostile_fronts_take_time_in_proportion_to_their_length(text):
    started = time.process_time()
    clean(DOCUMENT % text)
    assert time.process_time() - started < 20
