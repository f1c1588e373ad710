"""What begins a comment, and what is read as it is."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpajama.extract.latex_pieces import ENVIRONMENTS, Braces, find_syntax, lex, split_pieces


@pytest.mark.parametrize(
    "code",
    [
        "\\verb+%+",
        "\\verb*!50%!",
        "\\verb |%|",
        "\\Verb[x=1]|%|",
        "\\lstinline!x % y!",
        "\\lstinline[language=C, style=x]|x % y|",
        "\\lstinline{x % {y}}",
        "\\lstinline [a=b] {x % y}",
        '\\lstinline{printf("%d\\n", x)}',
        "\\mintinline{c}{x % y}",
        "\\mintinline[x]{c}|x % y|",
        "\\SaveVerb{name}|x % y|",
        "\\url{http://a.b/%7E}",
        "\\url {http://a.b/%7E}",
        "\\url|http://a.b/%7E|",
        "\\path{C:%x}",
        "\\path|C:%x|",
        "\\nolinkurl{a%b}",
        "\\href{http://a.b/%7E}{text}",
        "\\href[page=2]{http://a.b/%7E}{text}",
        "\\doi{10.1/%x}",
        "\\hyperimage{http://a.b/%7E}",
        "\\hyperref{http://a.b/%7E}{}{}{text}",
        "\\lstinline[language={[ANSI]C}, style={\\color[rgb]{0,0,1}}]|x % y|",
    ],
)
def test_a_percent_sign_in_inline_code_is_no_comment(code):
    assert lex(f"a {code} b % gone").text == f"a {code} b "
    assert "%" not in lex(f"a {code} b").masked


@pytest.mark.parametrize("name", [*ENVIRONMENTS.replace(" comment", "").split(), "verbatim*", "filecontents*"])
def test_a_percent_sign_in_a_verbatim_environment_is_no_comment(name):
    text = f"a % gone\n\\begin{{{name}}}\nx % y\n\\end{{{name}}}\nb"
    assert lex(text).text == text.replace("% gone", "")


@pytest.mark.parametrize(
    ("definition", "code"),
    [
        ("\\DefineVerbatimEnvironment{prog}{Verbatim}{fontsize=\\small}", "\\begin{prog}\n%\n\\end{prog}"),
        ("\\lstnewenvironment{prog}[1][]{\\lstset{#1}}{}", "\\begin{prog}\n%\n\\end{prog}"),
        ("\\newenvironment{prog}{\\small\\verbatim}{\\endverbatim}", "\\begin{prog}\n%\n\\end{prog}"),
        ("\\newtcblisting{prog}{listing only}", "\\begin{prog}\n%\n\\end{prog}"),
        ("\\newminted{perl}{}", "\\begin{perlcode}\n%\n\\end{perlcode}"),
        ("\\newminted[prog]{perl}{}", "\\begin{prog}\n%\n\\end{prog}"),
        ("\\newmintinline{perl}{}", "\\perlinline|%|"),
        ("\\newmint{perl}{}", "\\perl|%|"),
        ("\\newcommand{\\prog}{\\lstinline[language=perl]}", "\\prog{%}"),
        ("\\def\\prog{\\verb}", "\\prog|%|"),
        ("\\let\\prog=\\lstinline", "\\prog|%|"),
        ("\\DeclareUrlCommand\\prog{\\urlstyle{tt}}", "\\prog{%}"),
        ("\\NewDocumentCommand{\\prog}{v}{\\texttt{#1}}", "\\prog|%|"),
        ("\\MakeShortVerb{\\|}", "|%|"),
        ("\\newcommand{\\prog}{\\mintinline{perl}}", "\\prog|%|"),
        ("\\newcommand{\\prog}[1][]{\\lstinline[language=C,#1]}", "\\prog[x]{%}"),
        ("\\NewDocumentCommand{\\prog}{O{} v}{\\texttt{#2}}", "\\prog[x]|%|"),
        ("\\newverbcommand{\\prog}{\\color{red}}{}", "\\prog|%|"),
        ("\\let\\prog\\verbatim\\let\\endprog=\\endverbatim", "\\begin{prog}\n%\n\\end{prog}"),
        ("\\def\\prog{\\small\\verbatim}\\def\\endprog{\\endverbatim}", "\\begin{prog}\n%\n\\end{prog}"),
        ("\\NewDocumentEnvironment{prog}{O{x}}{\\verbatim}{\\endverbatim}", "\\begin{prog}\n%\n\\end{prog}"),
        ("\\newverbatim{prog}{}{}{}{}", "\\begin{prog}\n%\n\\end{prog}"),
        ("\\newenvironment{prog}%\n  {\\small\\begin{alltt}}%\n  {\\end{alltt}}", "\\begin{prog}\n%\n\\end{prog}"),
        ("\\newenvironment{prog}{\\tt\\catcode`\\%=12 }{}", "\\begin{prog}\n%\n\\end{prog}"),
        ("\\lstMakeShortInline[x]!", "!%!"),
    ],
)
def test_what_a_paper_defines_is_verbatim_too(definition, code):
    text = f"a {code} b"
    assert lex(text, find_syntax([definition])).text == text
    assert lex(text, find_syntax(["% " + definition])).text != text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the \\verb command % gone", "the \\verb command "),
        ("\\path (0,0) -- (1,1); % gone", "\\path (0,0) -- (1,1); "),
        ("\\lstinline{never closed % gone\n\nb", "\\lstinline{never closed \n\nb"),
        ("\\verb|never closed % gone\n|", "\\verb|never closed \n|"),
        ("line\\\\verb|a % gone", "line\\\\verb|a "),
        ("\\urlstyle{tt} % gone", "\\urlstyle{tt} "),
        ("\\hyperref[a]{text % gone\n}", "\\hyperref[a]{text \n}"),
        ("\\begin{listing}[h]\nx % gone\n\\end{listing}", "\\begin{listing}[h]\nx \n\\end{listing}"),
        ("\\begin{listing}[2]{1}\nx % y\n\\end{listing}", "\\begin{listing}[2]{1}\nx % y\n\\end{listing}"),
        ("\\newenvironment{prog}{\\small}{} % gone", "\\newenvironment{prog}{\\small}{} "),
    ],
)
def test_what_only_looks_like_code_is_text(text, expected):
    assert lex(text, find_syntax([text])).text == expected


@given(st.text(alphabet="\\%{}|ab \n", max_size=60) | st.sampled_from(["\\verb|%|", "\\iffalse x\\else y\\fi"]))
def test_pieces_are_the_text_and_masks_have_its_length(text):
    assert "".join(piece.text for piece in split_pieces(text)) == text
    lexed = lex(text)
    assert len(lexed.masked) == len(lexed.text)
    assert all(one == other or one == " " for one, other in zip(lexed.masked, lexed.text, strict=True))


@given(st.text(alphabet="\\{}a", max_size=40))
def test_braces_belong_together_as_counting_says(text):
    ends = Braces(text).ends
    for start, end in ends.items():
        depth, at = 0, start
        while at < end:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            assert depth > 0 or at == end - 1
            at += 2 if text[at] == "\\" else 1
        assert depth == 0


@pytest.mark.parametrize(
    "text",
    [
        "\\lstinline{" * 50_000,
        "\\url{" * 100_000,
        "\\verb|a\n" * 50_000,
        "\\mintinline{c}" * 50_000,
        "\\begin{prog}" * 50_000,
        "\\lstinline[" * 50_000,
        "\\lstinline[" + "{a}" * 100_000,
        "\\lstinline[{" * 50_000 + "}" * 50_000,
        "\\def\\endprog{" * 30_000,
        "\\NewDocumentEnvironment{prog}{" + "{}" * 50_000,
    ],
)
def test_hostile_code_takes_time_in_proportion_to_its_length(text):
    started = time.process_time()
    lex(text, find_syntax(["\\lstnewenvironment{prog}{}{}", text]))
    assert time.process_time() - started < 20
