import gzip
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from balanced import damaged, read_balanced, tree_files
from conftest import SHARED, needs_shared, raw_file, write_raw
from hypothesis import given
from hypothesis import strategies as st
from packing import pack_bigquery_rows, pack_tar

from redpajama.licenses import identify, is_license_name
from redpajama.pipelines import github
from redpajama.records import Reason
from redpajama.sourcecode import language_of, strip_license_header, suffix_of

MIT = """MIT License

Copyright (c) 2020 A. Author

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use it.

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.
"""
GPL = "GNU GENERAL PUBLIC LICENSE\n  Version 3, 29 June 2007\n"
ROW = {
    "repo_name": "owner/repo",
    "ref": "refs/heads/master",
    "path": "src/a.py",
    "mode": "33188",
    "id": "0123",
    "size": "12",
    "binary": False,
    "copies": "3",
    "content": "print('hi')\n",
    "license": "mit",
    "language": [{"name": "Python", "bytes": "12"}],
}


def rows(*changes: dict) -> bytes:
    return b"".join(json.dumps(ROW | change).encode() + b"\n" for change in changes)


def read_bytes(tmp_path, data: bytes, name: str = "github_0.json", **options):
    return read_balanced(github, [write_raw(tmp_path, name, data)], **options)


def tarball(*members: tuple[str, str | bytes], top: str = "repo-2c8cd3ac958a/") -> bytes:
    files = [(top + path, data.encode() if isinstance(data, str) else data) for path, data in members]
    return gzip.compress(pack_tar(files), mtime=0)


def reasons(tally) -> dict[str, Reason]:
    return {row.doc_id.partition("@2c8cd3ac958a/")[2] or row.evidence.get("member"): row.reason for row in tally.rows}


# ---- rows


def test_a_row_becomes_a_document_with_the_meta_of_the_release(tmp_path):
    (document,), _ = read_bytes(tmp_path, rows({}))
    assert document.doc_id == "src/owner/repo/src/a.py"
    assert document.text == "print('hi')\n"
    assert document.meta == {
        "content_hash": "587de76529284d0daf8eb02b14b10712",
        "timestamp": "",
        "source": "github",
        "line_count": 1,
        "max_line_length": 11,
        "avg_line_length": 11.0,
        "alnum_prop": 7 / 12,
        "repo_name": "owner/repo",
        "id": "0123",
        "size": 12,
        "binary": False,
        "copies": 3,
        "ref": "refs/heads/master",
        "path": "src/a.py",
        "mode": 33188,
        "license": "mit",
        "language": [{"name": "Python", "bytes": 12}],
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"license": "gpl-3.0"}, Reason.LICENSE_NOT_ALLOWED),
        ({"license": None}, Reason.LICENSE_NOT_ALLOWED),
        ({"license": ""}, Reason.LICENSE_NOT_ALLOWED),
        ({"license": ["mit", "gpl-2.0"]}, Reason.LICENSE_NOT_ALLOWED),
        ({"license": "bsd-3-clause"}, None),
        ({"license": "apache-2.0"}, None),
        ({"path": "certs/root.crt"}, Reason.LICENSE_FILE),
        ({"path": "vendor/LICENSE"}, Reason.LICENSE_FILE),
        ({"path": "LICENSE.md"}, Reason.LICENSE_FILE),
        ({"path": "license.py"}, None),
        ({"path": "a.PY"}, Reason.WRONG_SUFFIX),
        ({"path": "a.ipynb"}, Reason.WRONG_SUFFIX),
        ({"path": "README"}, Reason.WRONG_SUFFIX),
        ({"path": "app/Dockerfile"}, None),
        ({"path": "web.Dockerfile"}, None),
        ({"path": "a.C"}, None),
        ({"binary": True, "content": None}, Reason.BINARY_FILE),
        ({"content": "a\0b"}, Reason.BINARY_FILE),
        ({"content": None}, Reason.EMPTY_TEXT),
        ({"content": " \n\t\n"}, Reason.EMPTY_TEXT),
        ({"content": "# Copyright 2020 X\n"}, Reason.EMPTY_TEXT),
        ({"path": None}, Reason.MISSING_FIELD),
        ({"repo_name": 5}, Reason.MISSING_FIELD),
        ({"content": ["x"]}, Reason.MISSING_FIELD),
        ({"size": "many", "language": "Python", "mode": {}}, None),
    ],
)
def test_rows_are_refused_by_name(tmp_path, change, reason):
    documents, tally = read_bytes(tmp_path, rows(change))
    assert [row.reason for row in tally.rows] == ([reason] if reason else [])
    assert len(documents) == (reason is None)


def test_one_blob_in_two_repositories_has_two_ids(tmp_path):
    documents, _ = read_bytes(tmp_path, rows({}, {"repo_name": "other/fork"}))
    assert [document.doc_id for document in documents] == ["src/owner/repo/src/a.py", "src/other/fork/src/a.py"]


def test_licence_prefixes_can_be_chosen(tmp_path):
    documents, tally = read_bytes(tmp_path, rows({}, {"license": "isc"}), licenses=["isc"])
    assert (len(documents), tally.dropped) == (1, {Reason.LICENSE_NOT_ALLOWED: 1})


def test_broken_lines_are_quarantined_and_the_rest_is_read(tmp_path):
    data = rows({}) + b'{"repo_name": "cut\n' + b"[1]\n\n" + b'{"path": "\xff"}\n' + rows({"path": "b.py"})
    documents, tally = read_bytes(tmp_path, data)
    assert [document.meta["path"] for document in documents] == ["src/a.py", "b.py"]
    assert [row.reason for row in tally.rows] == [Reason.INVALID_JSON, Reason.INVALID_RECORD, Reason.INVALID_JSON]


@needs_shared
def test_an_export_of_bigquery_is_read(tmp_path):
    documents, tally = read_balanced(github, [raw_file(pack_bigquery_rows(tmp_path, SHARED))])
    by_id = {document.doc_id: document for document in documents}
    assert len(by_id) == len(documents)
    assert tally.dropped[Reason.LICENSE_NOT_ALLOWED] == 40  # ranger is under the GPL
    bench = by_id["src/gorilla/mux/bench_test.go"]
    assert bench.text.startswith('package mux\n\nimport (\n\t"net/http"')
    assert [entry["name"] for entry in bench.meta["language"]] == ["Makefile", "Markdown", "Go"]
    assert all(isinstance(entry["bytes"], int) for entry in bench.meta["language"])
    assert bench.meta["license"] == "bsd-3-clause"


@needs_shared
def test_parquet_rows_with_other_column_names_are_read():
    documents, tally = read_balanced(github, [raw_file(SHARED / "github/dpk/a.parquet")])
    assert (len(documents), tally.rows) == (11, [])
    path = "robotics-paper_ark2022_3T1R-master/run_evaluation.m"
    (document,) = [d for d in documents if d.doc_id == f"src/SchapplM/robotics-paper_ark2022_3T1R/{path}"]
    assert document.text.startswith("% Run the evaluation of the simulation results for the paper\n")
    assert document.meta["id"] == "e3cdb440-8a0c-11ee-91e5-3683bc12f942"
    assert document.meta["language"] == [{"name": "unknown", "bytes": 939}]
    assert (document.meta["license"], document.meta["size"]) == ("mit", 939)


def test_parquet_of_something_else_is_quarantined_row_by_row(tmp_path):
    pq.write_table(pa.table({"url": ["a", "b"]}), tmp_path / "x.parquet")
    documents, tally = read_balanced(github, [raw_file(tmp_path / "x.parquet")])
    assert (documents, tally.quarantined) == ([], {Reason.MISSING_FIELD: 2})


# ---- licences


@needs_shared
@pytest.mark.parametrize(
    ("archive", "member", "expected"),
    [
        ("pallets__click-2c8cd3ac958a", "click-2c8cd3ac958a/LICENSE.txt", ["bsd-3-clause"]),
        ("psf__requests-1f6589ec3a1e", "requests-1f6589ec3a1e/LICENSE", ["apache-2.0"]),
        ("DapperLib__Dapper-6d48ef664acc", "Dapper-6d48ef664acc/License.txt", ["apache-2.0"]),
        ("mirage__ocaml-cohttp-7b77cc7f1877", "ocaml-cohttp-7b77cc7f1877/LICENSE.md", ["isc"]),
        ("ranger__ranger-d45f14c04dd5", "ranger-d45f14c04dd5/LICENSE", ["gpl-3.0"]),
        ("JuliaIO__JSON.jl-c59e2cc682db", "JSON.jl-c59e2cc682db/LICENSE.md", ["mit"]),
        ("redis__hiredis-29ea2791c102", "hiredis-29ea2791c102/COPYING", ["bsd-3-clause"]),
        ("psf__requests-1f6589ec3a1e", "requests-1f6589ec3a1e/docs/_themes/LICENSE", []),
    ],
)
def test_real_licences_are_identified(archive, member, expected):
    with tarfile.open(SHARED / "github/repos" / f"{archive}.tar.gz") as tar:
        assert identify(tar.extractfile(member).read().decode()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MIT, ["mit"]),
        ("// " + MIT.replace("\n", "\r\n// "), ["mit"]),
        (MIT + "The Software shall be used for Good, not Evil.", ["json"]),
        (MIT.replace("included in all", "mentioned in all"), ["mit-0"]),
        (MIT + GPL, ["gpl-3.0", "mit"]),
        (MIT + '"Commons Clause" License Condition v1.0', ["commons-clause", "mit"]),
        ("SPDX-License-Identifier: Apache-2.0\n", ["apache-2.0"]),
        ("See the MIT license.", []),
        ("", []),
    ],
)
def test_licences_are_told_by_their_wording(text, expected):
    assert identify(text) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("LICENSE a/LICENCE.txt COPYING COPYING.LESSER UNLICENSE License.md MIT-LICENSE LICENSE-APACHE", True),
        ("LICENSE.MIT LICENSE_1_0.txt license.rst", True),
        ("license.py licenses/a.c update-license.sh LICENSE.go relicense x", False),
    ],
)
def test_licence_files_are_told_by_their_names(names, expected):
    assert {name: is_license_name(name) for name in names.split()} == dict.fromkeys(names.split(), expected)


# ---- header comments


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("a.py", "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n# Copyright 2020 X\n\nimport os\n", None),
        ("a.py", "# Copyright 2020 X\n# coding: latin-1\nimport os\n", "# coding: latin-1\nimport os\n"),
        ("a.py", "# Counts the words.\nimport os\n", "same"),
        ("a.py", "# Counts.\n\n# Copyright 2020 X\nimport os\n", "# Counts.\n\nimport os\n"),
        ("a.py", '"""Module.\n\nCopyright 2020 X\n"""\n', "same"),
        ("a.py", "import os\n# Copyright 2020 X\n", "same"),
        ("a.c", "/* Copyright 2020 X */\n#include <stdio.h>\n#define A 1\n", "#include <stdio.h>\n#define A 1\n"),
        ("a.c", "#include <stdio.h>\n/* Copyright */\n", "same"),
        ("a.c", "/* Counts words. */\n/* Copyright 2020 X */\n", "/* Counts words. */\n"),
        ("a.c", "/* never closed, copyright\nint a;\n", "same"),
        ("a.c", "/* (c) 2020 */ int a;\n", " int a;\n"),
        ("a.h", "// SPDX-License-Identifier: MIT\n\n/* (C) 2020 X */\n#pragma once\n", "#pragma once\n"),
        ("a.go", "// Copyright 2012 X\n\n// Package a counts.\npackage a\n", "// Package a counts.\npackage a\n"),
        ("a.go", "// Copyright 2012 X\n//go:build linux\npackage a\n", "//go:build linux\npackage a\n"),
        ("a.rs", "//! Licensed under MIT, says the crate's page.\nfn a() {}\n", "same"),
        ("a.js", "#!/usr/bin/env node\n/**\n * @license MIT\n */\nf();\n", "#!/usr/bin/env node\nf();\n"),
        ("a.php", "<?php\n/**\n * Licensed under the MIT License\n */\necho 1;\n", "<?php\necho 1;\n"),
        ("a.html", "<!DOCTYPE html>\n<!-- Copyright X -->\n<p>", "<!DOCTYPE html>\n<p>"),
        ("a.xml", '<?xml version="1.0"?>\n<!--\nAll rights reserved\n-->\n<a/>', '<?xml version="1.0"?>\n<a/>'),
        ("a.md", "# Copyright\n\nWhat it means.\n", "same"),
        ("a.md", "<!-- Copyright X -->\n# Title\n", "# Title\n"),
        ("a.rst", "Copyright\n=========\n", "same"),
        ("a.lua", "--[[ Copyright X\n]]\n-- Counts.\n", "-- Counts.\n"),
        ("a.hs", "{- Copyright X -}\nmodule A where\n", "module A where\n"),
        ("a.sql", "-- Copyright X\nSELECT 1;\n", "SELECT 1;\n"),
        ("a.m", "% Copyright X\nfunction a\n", "function a\n"),
        ("a.m", "// Copyright X\n#import <A.h>\n", "#import <A.h>\n"),
        ("a.f90", "! Copyright X\nprogram a\n", "program a\n"),
        ("a.bat", "@echo off\nrem Copyright X\ndir\n", "@echo off\ndir\n"),
        ("a.rb", "# frozen_string_literal: true\n# Copyright X\nputs 1\n", "# frozen_string_literal: true\nputs 1\n"),
        ("Makefile", "# This file is part of X, see LICENSE file\n\nall:\n", "all:\n"),
        ("a.py", "# Copyright X\r\n\r\nimport os\r\n", "import os\r\n"),
        ("a.py", "# Copyright X", ""),
        ("a.py", "", ""),
        ("notes", "# Copyright X\n", "same"),
    ],
)
def test_only_a_leading_licence_comment_is_cut(path, text, expected):
    if expected is None:
        expected = "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\nimport os\n"
    assert strip_license_header(text, path) == (text if expected == "same" else expected)


def test_suffixes_are_matched_by_case_and_longest_first():
    assert [suffix_of(path) for path in ["a.c++", "a.H", "x/Makefile", "a.tsx", "a.CPP"]] == [
        *(".c++", ".H", "Makefile", ".tsx", ""),
    ]
    assert [language_of(path) for path in ["a.h", "a.H", "a.jl", "a"]] == ["C", "C++", "Julia", ""]


# ---- trees


def test_the_files_of_a_tarball_each_have_an_outcome(tmp_path):
    data = tarball(
        ("LICENSE", MIT),
        ("src/a.py", "import os\n"),
        ("src/latin.py", "# caf\xe9\n".encode("latin-1")),
        ("src/bin.py", b"\0\1"),
        ("src/empty.py", ""),
        ("logo.png", b"\x89PNG\0"),
        ("../evil.py", "evil"),
    )
    documents, tally = read_bytes(tmp_path, data, "owner__repo-2c8cd3ac958a.tar.gz")
    assert [(document.doc_id, document.text) for document in documents] == [
        ("src/owner/repo@2c8cd3ac958a/src/a.py", "import os\n")
    ]
    assert tally.read == 7
    assert reasons(tally) == {
        "LICENSE": Reason.LICENSE_FILE,
        "src/latin.py": Reason.INVALID_UTF8,
        "src/bin.py": Reason.BINARY_FILE,
        "src/empty.py": Reason.EMPTY_TEXT,
        "logo.png": Reason.WRONG_SUFFIX,
        "repo-2c8cd3ac958a/../evil.py": Reason.UNSAFE_PATH,
    }


def test_the_meta_of_a_tree_has_bigquerys_columns(tmp_path):
    data = tarball(("LICENSE", MIT), ("a.py", "hello\n"))
    (document,), _ = read_bytes(tmp_path, data, "owner__repo-2c8cd3ac958a.tar.gz")
    expected = {"repo_name": "owner/repo", "ref": "2c8cd3ac958a", "path": "a.py", "license": "mit", "mode": 33188}
    assert expected.items() <= document.meta.items()
    assert document.meta["id"] == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    assert document.meta["language"] == [{"name": "Python", "bytes": 6}]
    assert "copies" not in document.meta


@pytest.mark.parametrize(
    ("url", "folder", "expected"),
    [
        ("data/pallets__click-2c8cd3ac958a.tar.gz", "click-2c8cd3ac958a", ("pallets/click", "2c8cd3ac958a")),
        ("https://codeload.github.com/pallets/click/tar.gz/2c8cd3a", "click-2c8cd3a", ("pallets/click", "2c8cd3a")),
        ("https://codeload.github.com/a/b/legacy.tar.gz/refs/heads/main", "a-b-2c8cd3a", ("a/b", "main")),
        ("https://github.com/a/b.js/archive/refs/tags/v1.0.tar.gz", "b.js-1.0", ("a/b.js", "v1.0")),
        ("https://api.github.com/repos/a/b/tarball/v2", "a-b-2c8cd3a", ("a/b", "v2")),
        ("data/click.tar.gz", "click-2c8cd3ac958a", ("click", "2c8cd3ac958a")),
        ("data/click.tar.gz", "", ("click", "")),
        ("data/a__b/", "", ("", "")),
    ],
)
def test_a_tarball_is_named_by_its_url_or_its_folder(url, folder, expected):
    assert github.repository_of(url, folder) == expected


def test_the_nearest_licence_above_a_file_counts(tmp_path):
    data = tarball(
        ("LICENSE", MIT),
        ("a.py", "x"),
        ("docs/license.md", "# MIT\n\nSee ../LICENSE"),
        ("docs/b.py", "x"),
        ("vendor/gpl/COPYING", GPL),
        ("vendor/gpl/deep/c.py", "x"),
        ("vendor/own/LICENSE", "Copyright 2020 X. All rights reserved."),
        ("vendor/own/d.py", "x"),
        ("vendor/e.py", "x"),
    )
    documents, tally = read_bytes(tmp_path, data, "owner__repo-2c8cd3ac958a.tar.gz")
    assert [document.meta["path"] for document in documents] == ["a.py", "docs/b.py", "vendor/e.py"]
    assert tally.dropped == {Reason.LICENSE_FILE: 2, Reason.LICENSE_NOT_ALLOWED: 4}


@pytest.mark.parametrize(
    ("licenses", "kept"),
    [
        ((), 0),
        ((("LICENSE-MIT", MIT), ("LICENSE-APACHE", "http://www.apache.org/licenses/LICENSE-2.0")), 1),
        ((("LICENSE", MIT), ("COPYING", GPL)), 0),
        ((("LICENSE", "Do as we say. Copyright X"),), 0),
        ((("src/LICENSE", MIT),), 0),
    ],
)
def test_a_tree_needs_licences_that_are_all_allowed(tmp_path, licenses, kept):
    documents, _ = read_bytes(tmp_path, tarball(*licenses, ("a.py", "x")), "r.tar.gz")
    assert len(documents) == kept


def test_a_licence_that_stands_last_in_the_tar_counts(tmp_path):
    documents, _ = read_bytes(tmp_path, tarball(("a.py", "x"), ("LICENSE", MIT)), "r.tar.gz")
    assert len(documents) == 1


def test_a_tar_is_told_by_its_content_under_any_name(tmp_path):
    documents, _ = read_bytes(tmp_path, tarball(("LICENSE", MIT), ("a.py", "x")), "download")
    assert [document.doc_id for document in documents] == ["src/repo@2c8cd3ac958a/a.py"]


REAL = {  # (files, documents) of sample repositories
    "pallets__click-2c8cd3ac958a": (166, 118),
    "psf__requests-1f6589ec3a1e": (130, 75),
    "gorilla__mux-db9d1d0073d2": (27, 19),
    "redis__hiredis-29ea2791c102": (79, 59),
    "ranger__ranger-d45f14c04dd5": (164, 0),
    "mirage__ocaml-cohttp-7b77cc7f1877": (271, 0),
}


@needs_shared
@pytest.mark.parametrize("name", REAL)
def test_real_repositories_give_their_source_files(name):
    path = SHARED / "github/repos" / f"{name}.tar.gz"
    documents, tally = read_balanced(github, [raw_file(path)])
    assert (tally.read, len(documents)) == REAL[name]
    assert len({document.doc_id for document in documents}) == len(documents)
    assert not tally.quarantined
    with tarfile.open(path) as archive:
        raw = {info.name.partition("/")[2]: archive.extractfile(info).read() for info in archive if info.isreg()}
    for document in documents:  # nothing is added; what is cut stands at the top
        text = raw[document.meta["path"]].decode()
        assert text.endswith(document.text[-2000:])
        assert len(document.text) <= len(text)


@needs_shared
def test_a_directory_input_reads_as_the_tarball_does(tmp_path):
    path = SHARED / "github/repos/gorilla__mux-db9d1d0073d2.tar.gz"
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "mux-db9d1d0073d2"
    from_tree, tally = read_balanced(github, tree_files(folder, "repos/gorilla__mux-db9d1d0073d2/"))
    from_tar, _ = read_balanced(github, [raw_file(path)])
    assert sorted(d[:2] for d in from_tree) == sorted(d[:2] for d in from_tar)
    assert tally.read == 27


# ---- damage


def test_a_truncated_tarball_keeps_what_came_before(tmp_path):
    files = [("LICENSE", MIT), *((f"{index}.py", f"x = {index}\n" * 5000) for index in range(10))]
    plain = gzip.decompress(tarball(*files))
    documents, tally = read_bytes(tmp_path, plain[: len(plain) // 2], "r.tar")
    assert 0 < len(documents) < 10
    assert tally.quarantined == {Reason.TRUNCATED: 1}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("r.tar.gz", b""),
        ("r.tar.gz", b"<html>404</html>"),
        ("r.tar.gz", gzip.compress(b"<html>404</html>" * 100)),
        ("r.parquet", b"<html>404</html>"),
        ("r.parquet", b""),
        ("r.json.gz", b"PK\3\4" + bytes(100)),
    ],
)
def test_the_wrong_format_is_on_record(tmp_path, name, data):
    documents, tally = read_bytes(tmp_path, data, name)
    assert documents == []
    assert sum(tally.quarantined.values()) + sum(tally.damaged.values()) == 1


def test_a_bomb_is_cut_off(tmp_path):
    bomb = tarball(("LICENSE", MIT), ("a.py", b"\n" * (200 << 20)))
    documents, tally = read_bytes(tmp_path, bomb, "r.tar.gz")
    assert documents == []
    assert tally.damaged == {Reason.EXPANSION_LIMIT: 1}


@needs_shared
def test_random_damage_of_a_real_tarball_never_stops_the_reader(tmp_path):
    data = (SHARED / "github/repos/docker-library__python-4f07059567fa.tar.gz").read_bytes()
    for broken in [*damaged(data, 15), *damaged(gzip.decompress(data), 15)]:
        read_bytes(tmp_path, broken, "docker-library__python-4f07059567fa.tar.gz")


@needs_shared
def test_random_damage_of_rows_never_stops_the_reader(tmp_path):
    data = pack_bigquery_rows(tmp_path, SHARED, per_repository=5).read_bytes()
    for broken in damaged(data, 15):
        read_bytes(tmp_path, broken, "github_0.json.gz")
    for broken in damaged(gzip.decompress(data), 15):
        read_bytes(tmp_path, broken)


@given(st.text() | st.text("aZ09 _\n²٣é字"))
def test_letters_and_digits_are_counted_as_python_does(text):
    assert github.alnum_chars(text) == sum(map(str.isalnum, text))
