import gzip
import io
import tarfile

import pytest
from balanced import damaged, read_balanced, tree_files
from conftest import SHARED, needs_shared, raw_file, write_raw
from packing import pack_arxiv_bulk_tar, pack_tar

from redpajama.extract.latex_encodings import decode
from redpajama.pipelines import arxiv
from redpajama.records import Reason

PAPER = "\\documentclass{article}\\begin{document}\\section{One} %s\\end{document}"


def eprint(*members: tuple[str, bytes | str]) -> bytes:
    return gzip.compress(
        pack_tar([(name, data.encode() if isinstance(data, str) else data) for name, data in members]), mtime=0
    )


def read_one(tmp_path, data: bytes, name: str = "2301.00001.gz"):
    return read_balanced(arxiv.PIPELINE, [write_raw(tmp_path, name, data)])


def reasons(tally) -> dict[str, Reason]:
    return {row.evidence.get("member", row.doc_id): row.reason for row in tally.rows}


# ---- ids


@pytest.mark.parametrize(
    ("name", "key", "arxiv_id", "yymm"),
    [
        ("2301.00001.gz", "2301.00001", "2301.00001", "2301"),
        ("0704.0001.gz", "0704.0001", "0704.0001", "0704"),
        ("1911.02782v2.tar.gz", "1911.02782v2", "1911.02782", "1911"),
        ("hep-th9901001.gz", "hep-th/9901001", "hep-th/9901001", "9901"),
        ("astro-ph0001001.pdf", "astro-ph/0001001", "astro-ph/0001001", "0001"),
        ("math.GT0309136.gz", "math/0309136", "math/0309136", "0309"),
        ("cond-mat_9912345.gz", "cond-mat/9912345", "cond-mat/9912345", "9912"),
        ("my-thesis.tar.gz", "my-thesis", "", ""),
        ("2301.00001.extra.gz", "2301.00001.extra", "", ""),
    ],
)
def test_names_tell_the_id(name, key, arxiv_id, yymm):
    assert arxiv.identify(name)[:3] == (key, arxiv_id, yymm)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1_594_166_827, "2020-07-08T00:07:07Z"), (0, ""), (-5, ""), (1e30, ""), (0.5, "1970-01-01T00:00:00Z")],
)
def test_times_are_utc_and_impossible_ones_are_none(seconds, expected):
    assert arxiv.timestamp(seconds) == expected


# ---- e-prints


@needs_shared
def test_a_real_eprint_gives_one_paper():
    (document,), tally = read_balanced(arxiv.PIPELINE, [raw_file(SHARED / "arxiv/raw/1911.02782.gz")])
    assert document.doc_id == "src/1911.02782"
    assert document.meta == {
        "timestamp": "2020-07-08T00:07:07Z",
        "yymm": "1911",
        "arxiv_id": "1911.02782",
        "language": "",
        "url": "https://arxiv.org/abs/1911.02782",
        "source": "arxiv",
        "encoding": "utf-8",
    }
    assert document.text.startswith("\\begin{abstract}\nWe introduce \\textsc{S2ORC},\\footnote{Instructions")
    assert "\\section{Constructing the corpus}" in document.text
    assert document.text.endswith("team for assisting with data access and system infrastructure.")
    assert "81.1M English-language academic papers" in document.text
    assert "\\gorc" not in document.text
    assert "\\appendix" not in document.text
    assert (tally.read, dict(tally.dropped)) == (9, {Reason.NOT_TEX: 8})


def test_a_lone_tex_file_is_a_paper_and_its_gzip_time_counts(tmp_path):
    data = gzip.compress((PAPER % "Text.").encode(), mtime=1_000_000_000)
    (document,), _ = read_one(tmp_path, data, "hep-th9901001.gz")
    assert document.doc_id == "src/hep-th/9901001"
    assert document.text == "\\section{One} Text."
    assert document.meta["timestamp"] == "2001-09-09T01:46:40Z"
    assert document.meta["url"] == "https://arxiv.org/abs/hep-th/9901001"


def test_plain_tex_and_plain_tar_are_read_without_gzip(tmp_path):
    (lone,), _ = read_one(tmp_path, (PAPER % "Text.").encode(), "2301.00001")
    (project,), _ = read_one(tmp_path, pack_tar([("ms.tex", (PAPER % "Text.").encode())]), "2301.00002.tar")
    assert (lone.text, project.text) == ("\\section{One} Text.",) * 2


def test_each_file_of_a_project_has_its_outcome(tmp_path):
    documents, tally = read_one(
        tmp_path,
        eprint(
            ("main.tex", PAPER % "a \\input{part} b"),
            ("part.tex", "PART"),
            ("draft.tex", PAPER % "draft"),
            ("figure.png", b"\x89PNG"),
            ("notes.pdf", b"%PDF-1.5"),
            ("../evil.tex", "evil"),
        ),
    )
    assert [document.text for document in documents] == ["\\section{One} a PART b"]
    assert (tally.read, tally.kept, tally.merged) == (6, 1, 1)
    assert reasons(tally) == {
        "draft.tex": Reason.NOT_INCLUDED,
        "figure.png": Reason.NOT_TEX,
        "notes.pdf": Reason.NOT_TEX,
        "../evil.tex": Reason.UNSAFE_PATH,
    }


def test_inputs_never_leave_the_project(tmp_path):
    inputs = "\\input{/etc/hostname} \\input{../../etc/hostname}"
    (document,), _ = read_one(tmp_path, eprint(("ms.tex", PAPER % inputs)))
    assert document.text == "\\section{One} " + inputs


def test_latin_1_is_read_and_recorded(tmp_path):
    documents, _ = read_one(
        tmp_path, eprint(("ms.tex", PAPER % "caf\\'e \\input{b}"), ("b.tex", "Poincaré".encode("latin-1")))
    )
    assert [(document.text, document.meta["encoding"]) for document in documents] == [
        ("\\section{One} caf\\'e Poincaré", "latin-1")
    ]


def test_files_are_read_in_the_encodings_that_they_declare(tmp_path):
    main = b"\\documentclass{article}\\usepackage[koi8-r]{inputenc}\\begin{document}\\section{One} "
    (document,), _ = read_one(
        tmp_path,
        eprint(
            (
                "ms.tex",
                main + "Лемма ".encode("koi8-r") + b"\\input{b}\\inputencoding{latin2}\\input{c}\\end{document}",
            ),
            ("b.tex", "и доказательство ".encode("koi8-r")),
            ("c.tex", "żółw".encode("iso8859-2")),
            ("notes.txt", b"\xff\xfe"),
        ),
    )
    assert document.text == "\\section{One} Лемма и доказательство \\inputencoding{latin2}żółw"
    assert document.meta["encoding"] == "iso8859-2, koi8-r"


@pytest.mark.parametrize(
    ("body", "parts", "merged", "cut"),
    [
        ("x \\appendix \\input{b}", {"b.tex": "B"}, 0, ["b.tex"]),
        ("x \\bibliography{r} \\input{b}", {"b.tex": "B"}, 0, ["b.tex"]),
        ("x \\input{b} \\input{c}", {"b.tex": "B \\appendix", "c.tex": "C"}, 1, ["c.tex"]),
        ("x \\appendix \\input{b}", {"b.tex": "B \\input{c}", "c.tex": "C"}, 0, ["b.tex", "c.tex"]),
        ("x \\input{b}", {"b.tex": "\\input{c}", "c.tex": "C"}, 2, []),
        ("x \\end{document} \\input{b}", {"b.tex": "B"}, 0, ["b.tex"]),
        ("x \\input{ms.bbl}", {"ms.bbl": "\\begin{thebibliography}{1}\\end{thebibliography}"}, 0, ["ms.bbl"]),
        ("x \\newcommand{\\memo}[1]{}\\memo{\\input{b}}", {"b.tex": "B"}, 0, ["b.tex"]),
        ("x \\input{b} \\R", {"b.tex": "\\def\\R{r}"}, 1, []),
    ],
)
def test_a_file_that_is_input_where_the_text_is_cut_has_a_row(tmp_path, body, parts, merged, cut):
    documents, tally = read_one(tmp_path, eprint(("ms.tex", PAPER % body), *parts.items()))
    assert (len(documents), tally.merged) == (1, merged)
    assert reasons(tally) == dict.fromkeys(cut, Reason.NOT_INCLUDED)
    assert all(row.evidence["cut"] for row in tally.rows)


def test_a_file_of_the_front_has_a_row_and_one_of_the_preamble_or_of_the_abstract_has_none(tmp_path):
    main = (
        "\\documentclass{article}\\input{macros}\\begin{document}\\input{authors}\\maketitle"
        "\\begin{abstract}\\input{about}\\end{abstract}\\section{One} x\\end{document}"
    )
    files = [("ms.tex", main), ("macros.tex", "\\usepackage{x}"), ("authors.tex", "\\author{A}"), ("about.tex", "Ab.")]
    (document,), tally = read_one(tmp_path, eprint(*files))
    assert document.text == "\\begin{abstract}Ab.\\end{abstract}\n\n\\section{One} x"
    assert (tally.merged, reasons(tally)) == (2, {"authors.tex": Reason.NOT_INCLUDED})


def test_macros_and_code_of_own_styles_and_classes_are_read(tmp_path):
    main = "\\documentclass{own}\\usepackage{more}\\begin{document}\\section{One} $\\R$\\memo{gone}\n"
    main += "\\begin{prog}\nx % y\n\\end{prog}\\end{document}"
    style = "\\newcommand{\\memo}[1]{}\\lstnewenvironment{prog}{}{}"
    (document,), tally = read_one(
        tmp_path, eprint(("ms.tex", main), ("own.cls", "\\newcommand{\\R}{\\mathbb{R}}"), ("more.sty", style))
    )
    assert document.text == "\\section{One} $\\mathbb{R}$\n\\begin{prog}\nx % y\n\\end{prog}"
    assert reasons(tally) == {"own.cls": Reason.NOT_TEX, "more.sty": Reason.NOT_TEX}


def test_line_ends_of_all_systems_become_one():
    assert decode(b"\xef\xbb\xbfa\r\nb\rc") == ("a\nb\nc", {"utf-8"})


@pytest.mark.parametrize(
    "readme",
    [
        ("00README.XXX", "b.tex toplevelfile\na.tex ignore\n"),
        ("00README.json", '{"sources": [{"filename": "b.tex", "usage": "toplevel"}]}'),
    ],
)
def test_the_readme_of_arxiv_names_the_main_file(tmp_path, readme):
    (document,), _ = read_one(tmp_path, eprint(("a.tex", PAPER % "A longer"), ("b.tex", PAPER % "B"), readme))
    assert document.text == "\\section{One} B"


@pytest.mark.parametrize("readme", ['{"sources": 5}', "[1]", "{", '{"sources": [5]}', "\xff"])
def test_a_broken_readme_is_passed_over(tmp_path, readme):
    (document,), _ = read_one(tmp_path, eprint(("a.tex", PAPER % "A"), ("00README.json", readme)))
    assert document.text == "\\section{One} A"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (gzip.compress(b"%auto-ignore\nThis paper has been withdrawn by the author."), Reason.WITHDRAWN),
        (gzip.compress(b"%PDF-1.4 ..."), Reason.PDF_ONLY),
        (b"%PDF-1.4 ...", Reason.PDF_ONLY),
        (gzip.compress(b"%!PS-Adobe-2.0\n/def"), Reason.NOT_TEX),
        (gzip.compress(b"<html>moved</html>"), Reason.NOT_TEX),
        (gzip.compress(b"\\documentclass\0\1\2"), Reason.NOT_TEX),
        (b"%\n", Reason.NOT_TEX),
        (eprint(("ms.tex", "\\documentclass{article}\\begin{document}\\maketitle\\end{document}")), Reason.EMPTY_TEXT),
        (eprint(("paper.pdf", b"%PDF-1.4")), Reason.PDF_ONLY),
        (eprint(("ms.tex", b"\\documentclass\0")), Reason.NOT_TEX),
    ],
)
def test_what_has_no_tex_text_is_dropped_by_name(tmp_path, data, reason):
    documents, tally = read_one(tmp_path, data)
    assert (documents, tally.dropped) == ([], {reason: 1})


def test_ignored_files_are_never_the_main_one(tmp_path):
    (document,), tally = read_one(tmp_path, eprint(("ms.tex", "%auto-ignore\n" + PAPER % "no"), ("b.tex", PAPER % "B")))
    assert document.text == "\\section{One} B"
    assert reasons(tally) == {"ms.tex": Reason.NOT_INCLUDED}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.WRONG_FORMAT),
        (gzip.compress(b""), Reason.WRONG_FORMAT),
        (gzip.compress(b" \n"), Reason.WRONG_FORMAT),
        (eprint(), Reason.NOT_TEX),
        (eprint(("ms.tex", PAPER % "x" * 1000))[:-30], Reason.TRUNCATED),
        (gzip.compress(pack_tar([("ms.tex", b"x" * 9000)])[:5000]), Reason.TRUNCATED),
        (eprint(("ms.tex", b"x" * 9000))[:-8] + b"\0" * 8, Reason.DAMAGED),
        (gzip.compress(gzip.compress(bytes(100 << 20))), Reason.EXPANSION_LIMIT),
    ],
)
def test_an_eprint_that_cannot_be_opened_is_one_bad_unit(tmp_path, data, reason):
    documents, tally = read_one(tmp_path, data)
    assert (documents, tally.read) == ([], 1)
    assert {**tally.quarantined, **tally.dropped} == {reason: 1}


def test_a_member_that_comes_twice_is_the_later_one(tmp_path):
    (document,), tally = read_one(tmp_path, eprint(("ms.tex", PAPER % "old"), ("ms.tex", PAPER % "new")))
    assert (document.text, tally.read) == ("\\section{One} new", 2)


def test_an_oversized_tex_file_is_quarantined_and_the_paper_is_read(tmp_path):
    (document,), tally = read_one(tmp_path, eprint(("ms.tex", PAPER % "x"), ("big.tex", b"y" * (17 << 20))))
    assert document.text == "\\section{One} x"
    assert reasons(tally) == {"big.tex": Reason.EXPANSION_LIMIT}


# ---- bulk tars


@needs_shared
def test_a_bulk_tar_gives_its_papers(tmp_path):
    documents, tally = read_balanced(arxiv.PIPELINE, [raw_file(pack_arxiv_bulk_tar(tmp_path, SHARED))])
    assert [document.doc_id for document in documents] == [
        "src/1911.02782",
        "src/1911.00002",
        "src/1911.00003",
        "src/astro-ph/9911004",
    ]
    assert {document.meta["timestamp"] for document in documents} == {"2019-11-29T04:00:00Z"}
    assert documents[1].text.startswith("\\begin{abstract}\n    In this paper we propose a new method for learning")
    assert documents[2].text.startswith("\\begin{abstract}\n  We establish necessary and sufficient conditions")
    assert documents[3].text.startswith("\\begin{abstract}\nThe Ophiuchus stellar stream is peculiar")
    assert tally.dropped[Reason.PDF_ONLY] == 1
    assert tally.merged == 17 + 2


def test_a_bulk_tar_is_told_by_its_members_under_any_name(tmp_path):
    data = pack_tar([("2301/2301.00001.gz", gzip.compress((PAPER % "x").encode()))], mtime=1_000_000_000)
    (document,), _ = read_one(tmp_path, data, "january.tar")
    assert (document.doc_id, document.meta["timestamp"]) == ("src/2301.00001", "2001-09-09T01:46:40Z")


def test_one_bad_eprint_or_header_costs_a_bulk_tar_no_other_paper(tmp_path):
    good = gzip.compress((PAPER % "x").encode())
    names = [f"2301/2301.0000{index}.gz" for index in range(5)]
    data = bytearray(pack_tar(list(zip(names, [good, good[:-5], good, good, good], strict=True))))
    data[3 * 1024 + 5] ^= 0xFF  # the header of the fourth member
    documents, tally = read_one(tmp_path, bytes(data), "arXiv_src_2301_001.tar")
    assert [document.doc_id for document in documents] == ["src/2301.00000", "src/2301.00002", "src/2301.00004"]
    assert tally.quarantined == {Reason.TRUNCATED: 1, Reason.DAMAGED: 1}


def test_hostile_members_of_a_bulk_tar_are_quarantined(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, target in [("2301/link.gz", "/etc/passwd"), ("2301/up", "../../x")]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    data = buffer.getvalue()[:1024] + pack_tar([("/2301/2301.00001.gz", b"x")])
    documents, tally = read_one(tmp_path, data, "arXiv_src_2301_001.tar")
    assert (documents, tally.quarantined) == ([], {Reason.UNSAFE_PATH: 3})


@pytest.mark.parametrize("data", [b"<Error>no such key</Error>" * 100, b"\0" * 5000 + b"x" * 600])
def test_what_is_no_bulk_tar_is_quarantined(tmp_path, data):
    documents, tally = read_one(tmp_path, data, "arXiv_src_2301_001.tar")
    assert documents == []
    assert sum(tally.quarantined.values()) >= 1


# ---- trees


@needs_shared
@pytest.mark.parametrize(
    ("folder", "merged", "start", "end"),
    [
        ("EricDarve__existence_of_lu", 2, "\\begin{abstract}\n  We establish necessary", "of rank deficiency."),
        ("adrn__Ophiuchus-paper", 0, "\\begin{abstract}\nThe Ophiuchus stellar", "\\end{landscape}"),
        ("canmod__macpan2-ms", 1, "\\begin{abstract}\n  TBD", "DJDE was supported by an NSERC Discovery Grant."),
        ("daffidwilde__edo-paper", 17, "\\begin{abstract}\n    In this paper we propose", "in the examples provided."),
    ],
)
def test_a_tree_is_one_paper(folder, merged, start, end):
    url = f"papers/{folder}/"
    (document,), tally = read_balanced(arxiv.PIPELINE, tree_files(SHARED / "arxiv/papers" / folder, url))
    assert document.doc_id == f"src/{folder}"
    assert document.text.startswith(start)
    assert document.text.endswith(end)
    assert tally.merged == merged
    assert document.meta["arxiv_id"] == document.meta["timestamp"] == ""


@needs_shared
def test_an_introduction_without_a_heading_is_kept():
    folder = SHARED / "arxiv/papers/EricDarve__existence_of_lu"
    (document,), _ = read_balanced(arxiv.PIPELINE, tree_files(folder, "papers/lu/"))
    assert "This paper extends the work of Okunev and Johnson~\\cite{okunev_necessary_2005}" in document.text
    assert document.text.index("This paper extends") < document.text.index("\\section{General necessary")


# ---- damage


@needs_shared
def test_random_damage_of_a_real_eprint_never_stops_the_reader(tmp_path):
    data = (SHARED / "arxiv/raw/1911.02782.gz").read_bytes()[:200_000]
    for broken in damaged(data, 30):
        read_one(tmp_path, broken, "1911.02782.gz")


def test_random_damage_of_a_bulk_tar_never_stops_the_reader(tmp_path):
    project = eprint(("ms.tex", PAPER % "\\input{b} \\def\\x{y} \\x"), ("b.tex", "% c\n\\verb|%|" * 50))
    data = pack_tar([(f"2301/2301.{index:05}.gz", project) for index in range(10)])
    for broken in damaged(data, 60):
        read_one(tmp_path, broken, "arXiv_src_2301_001.tar")


def test_random_damage_of_tex_never_stops_the_reader(tmp_path):
    for broken in damaged((PAPER % "\\input{b} \\def\\x{y} \\x % c\n\\begin{verbatim}\n" * 20).encode(), 60):
        read_one(tmp_path, broken, "2301.00001")
