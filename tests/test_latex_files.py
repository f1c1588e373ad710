"""Which file of a project is the paper, and what it inputs."""

import time

import pytest

from redpajama.extract.latex_files import Project, choose_main, find_styles, merge_inputs, merge_styles, unmark

DOCUMENT = "\\documentclass{article}\\begin{document}%s\\end{document}"
LONG = "and so on " * 200


def main_of(texts: dict[str, str]) -> str | None:
    return choose_main(Project(texts))


def merge(texts: dict[str, str]) -> str:
    return unmark(merge_inputs("main.tex", Project(texts))[0].text)


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("\\input{b}", "b.tex"),
        ("\\input b", "b.tex"),
        ("\\include{parts/b}", "parts/b.tex"),
        ("\\subfile{parts/b}", "parts/b.tex"),
        ("\\import{parts/}{b}", "parts/b.tex"),
        ("\\subincludefrom{parts/}{b}", "parts/b.tex"),
        ("\\includestandalone[width=1cm]{b}", "b.tex"),
        ("\\InputIfFileExists{b}{}{}", "b.tex"),
    ],
)
def test_a_file_that_a_document_inputs_is_never_the_main_one(command, part):
    texts = {"z.tex": DOCUMENT % command, part: DOCUMENT % LONG}
    assert main_of(texts) == "z.tex"


def test_parts_of_parts_are_no_main_files():
    texts = {"z.tex": DOCUMENT % "\\input{y}", "y.tex": "\\input{a}", "a.tex": DOCUMENT % LONG}
    assert main_of(texts) == "z.tex"


def test_an_editors_word_for_the_root_counts():
    assert (
        main_of({"z.tex": DOCUMENT % "\\input{\\here/a}", "a.tex": "% !TEX root = z.tex\n" + DOCUMENT % LONG})
        == "z.tex"
    )


@pytest.mark.parametrize(
    "texts",
    [
        {"z.tex": "\\input{a}\\begin{document}x\\end{document}", "a.tex": "\\documentclass{article}" + LONG},
        {"z.tex": "\\input{a} x \\end{document}", "a.tex": "\\documentclass{article}\\begin{document}" + LONG},
        {"z.tex": "\\documentclass{article}\\input{a}", "a.tex": "\\begin{document}" + LONG + "\\end{document}"},
    ],
)
def test_class_and_document_may_stand_in_an_input_file(texts):
    assert main_of(texts) == "z.tex"


def test_a_preamble_with_the_beginning_of_the_document_is_no_frame_of_its_own():
    texts = {"main.tex": "\\input{a}x\\end{document}", "a.tex": "\\documentclass{article}\\begin{document}"}
    assert merge(texts) == "\\documentclass{article}\\begin{document}x\\end{document}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("b.tex", "\\documentclass[11pt]{letter}\\begin{document}\\opening{Sir}%s\\end{document}"),
        ("b.tex", "\\documentclass[z.tex]{subfiles}\\begin{document}%s\\end{document}"),
        ("b.tex", "\\documentclass[tikz]{standalone}\\begin{document}%s\\end{document}"),
        ("b.tex", "\\documentclass{beamer}\\begin{document}%s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\begin{document}Dear Editor, %s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\title{Response to the referees}\\begin{document}%s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\begin{document}{\\Large Supplementary Material} %s\\end{document}"),
        (
            "b.tex",
            "\\documentclass{article}\\renewcommand{\\thefigure}{S\\arabic{figure}}\\begin{document}%s\\end{document}",
        ),
        ("b.tex", "\\documentclass{article}\\begin{document}\\lipsum[1-9]%s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\providecommand{\\DIFadd}[1]{#1}\\begin{document}%s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\begin{document}Dear Dr. Smith, %s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\begin{document}Sehr geehrte Damen und Herren, %s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\begin{document}\\section*{List of changes} %s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\begin{document}We thank the second referee for %s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\begin{document}{\\bf Reviewer \\#2:} %s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\begin{document}\\section*{Declaration of interests} %s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\begin{document}\\section{Supplementary Methods} %s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\begin{document}\\appendix\\section{Proofs} %s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\title{Birds (Appendix)}\\begin{document}%s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\title{Instructions for Proceedings}\\begin{document}%s\\end{document}"),
        ("b.tex", "\\documentclass{article}\\title{Insert your title here}\\begin{document}%s\\end{document}"),
        ("paper-S1.tex", DOCUMENT),
        ("changes.tex", DOCUMENT),
        ("aux_SI.tex", DOCUMENT),
        ("suppl/b.tex", DOCUMENT),
        ("some-journal-template.tex", DOCUMENT),
        ("reply_to_referee2.tex", DOCUMENT),
        ("cover_letter.tex", DOCUMENT),
        ("chapter3.tex", DOCUMENT),
        ("Anhang.tex", DOCUMENT),
        ("old/z.tex", DOCUMENT),
    ],
)
def test_companions_of_a_paper_step_back(name, text):
    assert main_of({name: text % LONG, "z.tex": DOCUMENT % "x"}) == "z.tex"
    assert main_of({name: text % LONG, "notes": ""}) == name


def test_an_abstract_and_a_bibliography_of_its_name_speak_for_a_file():
    abstract = DOCUMENT % "\\begin{abstract}x\\end{abstract}"
    assert main_of({"a.tex": DOCUMENT % LONG, "z.tex": abstract}) == "z.tex"
    assert main_of({"a.tex": abstract, "z.tex": DOCUMENT % "x", "z.bbl": "\\begin{thebibliography}"}) == "z.tex"


def test_a_title_and_references_speak_for_a_file():
    proofs = DOCUMENT % ("\\section{Proof of Lemma 1}" + LONG)
    assert main_of({"a.tex": proofs, "z.tex": DOCUMENT % "\\title{T}\\maketitle x"}) == "z.tex"
    assert main_of({"a.tex": proofs, "z.tex": DOCUMENT % "x \\bibliography{r}"}) == "z.tex"


def test_an_input_may_have_any_name():
    preamble = {"z.tex": "\\input{set.inc}\\begin{document}x\\end{document}", "set.inc": "\\documentclass{article}"}
    assert main_of({"a.tex": "\\section{A}" + LONG, **preamble}) == "z.tex"


def test_what_a_document_lists_is_no_paper():
    assert main_of({"a.tex": DOCUMENT % LONG, "z.tex": DOCUMENT % "\\lstinputlisting[x]{a.tex}"}) == "z.tex"


@pytest.mark.parametrize(
    "main",
    [
        "\\newcommand{\\here}{parts}\\input{\\here/b}",
        "\\def\\here{parts/}\\input{\\here b}",
        "\\makeatletter\\def\\input@path{{figures/}{parts/}}\\makeatother\\input{b}",
        "\\input{Parts/B}",
    ],
)
def test_inputs_are_found_as_tex_finds_them(main):
    assert merge({"main.tex": main, "parts/b.tex": "PART"}).endswith("PART")


def test_lengths_are_those_of_the_merged_documents():
    texts = {"a.tex": DOCUMENT % ("x" * 500), "z.tex": DOCUMENT % "\\input{b}\\input{c}", "b.tex": LONG, "c.tex": LONG}
    assert main_of(texts) == "z.tex"


def test_a_circle_of_inputs_has_a_main_file():
    assert main_of({"a.tex": "a \\input{z}", "z.tex": DOCUMENT % "\\input{a}"}) == "z.tex"
    assert main_of({"a.tex": DOCUMENT % "\\input{z}", "z.tex": DOCUMENT % "\\input{a}" + LONG}) == "a.tex"


def test_an_input_in_verbatim_text_is_none():
    assert main_of({"a.tex": DOCUMENT % LONG, "z.tex": DOCUMENT % "\\verb|\\input{a}|"}) == "a.tex"


def test_own_styles_are_found_through_each_other():
    texts = {
        "src/main.tex": "",
        "src/one.sty": "\\RequirePackage[x]{two} % \\RequirePackage{three}\n50\\% A",
        "two.sty": "B",
        "three.sty": "C",
        "own.cls": "\\LoadClass{article} D",
    }
    text = "\\documentclass[12pt]{own}\\usepackage{graphicx, one}"
    assert find_styles(text, "src/main.tex", texts) == ["own.cls", "src/one.sty"]
    merged = merge_styles(text, "src/main.tex", Project(texts))
    assert ("50\\% A" in merged, "B" in merged, "D" in merged, "three" in merged) == (True, True, True, False)


@pytest.mark.parametrize("count", [2_000, 20_000])
def test_many_files_take_time_in_proportion(count):
    names = [f"{index}.tex" for index in range(count)]
    texts = {name: DOCUMENT % "\\input{hub}" for name in names} | {"hub.tex": "\\input{0}" + LONG}
    started = time.process_time()
    main = choose_main(Project(texts))
    assert main is not None
    merge_inputs(main, Project(texts))
    assert time.process_time() - started < 60 * count / 20_000  # pairs of them would take minutes
