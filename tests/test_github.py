import codecs
import gzip
import json
import tarfile
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from balanced import damaged, read_balanced, tree_files
from conftest import SHARED, needs_shared, raw_file, write_raw
from hypothesis import given
from hypothesis import strategies as st
from packing import pack_bigquery_rows, pack_tar

from redpajama.extract.licenses import identify, is_license_name
from redpajama.extract.sourcecode import language_of, strip_license_header, suffix_of
from redpajama.extract.spdx import is_allowed
from redpajama.pipelines import github
from redpajama.records import Reason

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
    return read_balanced(github.PIPELINE, [write_raw(tmp_path, name, data)], **options)


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
    documents, tally = read_balanced(github.PIPELINE, [raw_file(pack_bigquery_rows(tmp_path, SHARED))])
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
    documents, tally = read_balanced(github.PIPELINE, [raw_file(SHARED / "github/dpk/a.parquet")])
    assert (len(documents), tally.rows) == (11, [])
    path = "robotics-paper_ark2022_3T1R-master/run_evaluation.m"
    (document,) = [d for d in documents if d.doc_id == f"src/SchapplM/robotics-paper_ark2022_3T1R/{path}"]
    assert document.text.startswith("% Run the evaluation of the simulation results for the paper\n")
    assert document.meta["id"] == "e3cdb440-8a0c-11ee-91e5-3683bc12f942"
    assert document.meta["language"] == [{"name": "unknown", "bytes": 939}]
    assert (document.meta["license"], document.meta["size"]) == ("mit", 939)


def test_parquet_of_something_else_is_quarantined_row_by_row(tmp_path):
    pq.write_table(pa.table({"url": ["a", "b"]}), tmp_path / "x.parquet")
    documents, tally = read_balanced(github.PIPELINE, [raw_file(tmp_path / "x.parquet")])
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
        ("SPDX-License-Identifier: MIT AND GPL-3.0-only\n\nCopyright 2020 X\n", ["mit and gpl-3.0-only"]),
        ("/* SPDX-License-Identifier: (MIT OR GPL-2.0+) */\n", ["(mit or gpl-2.0+)"]),
        ("<!-- SPDX-License-Identifier: Apache-2.0 -->\n", ["apache-2.0"]),
        ("SPDX-License-Identifier: MIT OR GPL-3.0-only\n" + MIT + GPL, ["mit or gpl-3.0-only"]),
        ("This software is dual-licensed.\n" + MIT + GPL, ["gpl-3.0 or mit"]),
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


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ("Non-Commercial Clause: no commercial use without permission.", "non-commercial"),
        ("The Software may not be used for commercial purposes.", "non-commercial"),
        ("Commercial use is strictly prohibited.", "non-commercial"),
        ("This is licensed for noncommercial research.", "non-commercial"),
        ("For academic purposes only.", "limited-use"),
        ("It is provided solely for personal use.", "limited-use"),
        ("The Software shall be used for good and not evil.", "field-of-use"),
        ("It must not be used by any military or weapons maker.", "field-of-use"),
        ("You may not use it to train artificial intelligence.", "field-of-use"),
        ("You may not offer a product that competes with it.", "no-competition"),
        ("You may not offer it as a hosted service.", "no-competition"),
        ("You may not sell the Software.", "no-sale"),
        ("The Software may not be modified.", "no-derivatives"),
        ("It is forbidden to use this code for commercial gain.", "non-commercial"),
        ("Commercial redistribution is strictly prohibited.", "non-commercial"),
        ("To sell it, obtain a commercial license.", "non-commercial"),
        ("Any use is permitted, excluding commercial use.", "non-commercial"),
        ("Die kommerzielle Nutzung ist untersagt.", "non-commercial"),
        ("L'utilisation commerciale est interdite.", "non-commercial"),
        ("禁止商业用途。", "non-commercial"),
        ("商用利用は禁止します。", "non-commercial"),
        ("For commercial use you must obtain prior written permission.", "non-commercial"),
        ("The above applies unless the Software is used commercially.", "non-commercial"),
        ("For-profit companies need a paid license.", "non-commercial"),
        ("Usage is restricted to educational institutions.", "limited-use"),
        ("The Software may only be used for educational purposes.", "limited-use"),
        ("Permission is granted for academic research only.", "limited-use"),
        ("Use by law enforcement is prohibited.", "field-of-use"),
        ("You may not use this software to harm humans.", "field-of-use"),
        ("It may not be used by companies with more than 100 employees.", "no-persons"),
        ("You are not allowed to sell this software.", "no-sale"),
        ("Redistribution of modified versions is not permitted.", "no-derivatives"),
    ],
)
def test_a_permissive_licence_with_a_restriction_is_another(tmp_path, terms, name):
    assert identify(MIT + terms) == sorted(["mit", name])
    documents, tally = read_bytes(tmp_path, tarball(("LICENSE", MIT + terms), ("a.py", "x")), "r.tar.gz")
    assert (documents, tally.dropped[Reason.LICENSE_NOT_ALLOWED]) == ([], 2)


@pytest.mark.parametrize(
    "terms",
    [
        "It may be used for commercial and non-commercial purposes.",
        "It may be used for non-commercial as well as commercial purposes.",
        "IN NO EVENT SHALL X BE LIABLE FOR COMMERCIAL DAMAGES OR LOSSES.",
        "X shall not be liable for any other commercial loss.",
        "The names of its authors may not be used to endorse products.",
        "You may sell copies, and offer a service.",
        "The name may not be used to endorse commercial products.",
        "Commercial support is available from X.",
        "Commercial distributions must retain this notice.",
        "Damages include, but are not limited to personal injury.",
        "Permission is given for any purpose, including commercial purposes.",
        "This software is not designed or intended for use in nuclear facilities.",
    ],
)
def test_what_permissive_texts_say_of_trade_is_no_restriction(terms):
    assert identify(MIT + terms) == ["mit"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("mit", True),
        ("GPL-3.0", False),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT or GPL-3.0-only", True),
        ("GPL-2.0-only OR (MIT AND BSD-2-Clause)", True),
        ("MIT AND (GPL-2.0-only OR BSD-2-Clause)", True),
        ("MIT OR GPL-2.0-only AND GPL-3.0-only", True),
        ("(MIT OR GPL-2.0-only) AND GPL-3.0-only", False),
        ("MIT/Apache-2.0", True),
        ("GPL-3.0/MIT", True),
        ("GPL-2 | MIT", True),
        ("Apache-2.0+", True),
        ("GPL-2.0+", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("MIT WITH Commons-Clause", False),
        ("MIT AND", False),
        ("(MIT", False),
        ("MIT OR OR GPL-2.0", False),
        ("NOASSERTION", False),
        ("MIT License", True),
        ('BSD 3-Clause "New" or "Revised" License', True),
        ("Apache License, Version 2.0", True),
        ("MIT and GPL licences", False),
        ("", False),
        ("(" * 5000 + "MIT" + ")" * 5000, False),
    ],
)
def test_an_expression_is_allowed_as_a_whole(tmp_path, expression, expected):
    assert is_allowed(expression, github.Options().permits) == expected
    documents, _ = read_bytes(tmp_path, rows({"license": expression}))
    assert len(documents) == expected


LICENSES = st.sampled_from(["MIT", "GPL-2.0"])


@given(st.recursive(LICENSES, lambda each: st.tuples(each, st.sampled_from("&|"), each), max_leaves=12))
def test_expressions_are_evaluated_as_python_does(tree):
    def write(node, texts):
        if isinstance(node, str):
            return texts[node]
        left, operator, right = node
        return f"({write(left, texts)} {texts[operator]} {write(right, texts)})"

    text = write(tree, {"MIT": "MIT", "GPL-2.0": "GPL-2.0", "&": "AND", "|": "OR"})
    value = eval(write(tree, {"MIT": "True", "GPL-2.0": "False", "&": "and", "|": "or"}))
    assert is_allowed(text, github.Options().permits) == value


CRAN = "YEAR: 2020\nCOPYRIGHT HOLDER: A. Author\n"
DESCRIPTION = "Package: lamp\nTitle: Lamps\nLicense: {}\nEncoding: UTF-8\n"


@pytest.mark.parametrize(
    ("files", "kept"),
    [
        ((("LICENSE", CRAN), ("LICENSE.md", MIT)), 1),
        ((("LICENSE", CRAN), ("DESCRIPTION", DESCRIPTION.format("MIT + file LICENSE"))), 1),
        ((("LICENSE", CRAN), ("DESCRIPTION", DESCRIPTION.format("BSD_3_clause + file LICENSE"))), 1),
        ((("LICENSE", CRAN), ("DESCRIPTION", DESCRIPTION.format("GPL-2 | MIT + file LICENSE"))), 1),
        ((("DESCRIPTION", DESCRIPTION.format("Apache License (>= 2.0)")),), 1),
        ((("DESCRIPTION", DESCRIPTION.format("GPL (>= 2)")),), 0),
        ((("LICENSE", CRAN), ("DESCRIPTION", DESCRIPTION.format("file LICENSE"))), 0),
        ((("LICENSE", CRAN), ("DESCRIPTION", "License: MIT\nof no package\n")), 0),
        ((("LICENSE", CRAN),), 0),
        ((("COPYING", "Copyright 2020 X\nSee LICENSE-MIT.\n"), ("LICENSE-MIT", MIT)), 1),
        ((("COPYING", "Copyright 2020 X. All rights reserved.\n"), ("LICENSE-MIT", MIT)), 0),
        ((("LICENSE", "SPDX-License-Identifier: MIT AND GPL-3.0-only\n"),), 0),
        ((("LICENSE", "SPDX-License-Identifier: MIT OR GPL-3.0-only\n"),), 1),
        ((("LICENSE", "Under MIT or GPL-3.0, at your option.\n"), ("LICENSE-MIT", MIT), ("LICENSE-GPL", GPL)), 1),
        ((("LICENSE", "This is dual-licensed.\n"), ("LICENSE-MIT", MIT), ("LICENSE-GPL", GPL)), 1),
        ((("LICENSE", "Under MIT and GPL-3.0.\n"), ("LICENSE-MIT", MIT), ("LICENSE-GPL", GPL)), 0),
        ((("LICENSE", "Under MPL-2.0 or GPL-3.0, at your option.\n"), ("LICENSE-GPL", GPL)), 0),
    ],
)
def test_a_stub_says_nothing_beside_a_licence(tmp_path, files, kept):
    documents, _ = read_bytes(tmp_path, tarball(*files, ("src/a.c", "int a;\n")), "r.tar.gz")
    assert len(documents) == kept


# ---- the file's own licence


@pytest.mark.parametrize(
    ("header", "declared"),
    [
        (
            "This program is free software; you can redistribute it\nunder the terms of the GNU General Public License",
            "gpl",
        ),
        ("Licensed under the GNU Lesser General Public License v2.1", "lgpl"),
        ("Distributed under the GNU Affero General Public License", "agpl"),
        ("License: GPLv3", "gpl"),
        ("This Source Code Form is subject to the terms of the Mozilla Public\nLicense, v. 2.0.", "mpl"),
        ("are made available under the terms of the Eclipse Public License v1.0", "epl"),
        ("Copyright X. Licensed under CC BY-NC 4.0", "cc-by-nc"),
        ("Copyright X. For non-commercial use only", "non-commercial"),
        ("Copyright X. Proprietary and confidential", "proprietary"),
        ("Copyright X. Unauthorized copying of this file is strictly prohibited", "proprietary"),
        ("Taken from a forum, CC-BY-SA 3.0", "cc-by-sa"),
        ("subject to the terms of the MPL, v. 2.0", "mpl"),
        ("Copyright X. Do not distribute.", "proprietary"),
        ("Ce logiciel est régi par la licence CeCILL", "cecill"),
        ("SPDX-License-Identifier: GPL-2.0-only", "gpl-2.0-only"),
        ("SPDX-License-Identifier: MIT AND GPL-2.0-only", "mit and gpl-2.0-only"),
        ("Dual licensed under the LGPL and GPL licenses", "gpl or lgpl"),
        ("Copyright X. All rights reserved.", None),
        ("Copyright X. All rights reserved.\nUse of this source code is governed by a BSD-style license", None),
        ("SPDX-License-Identifier: GPL-2.0-only OR MIT", None),
        ("Dual licensed under the MIT and GPL licenses", None),
        ("License: MIT/GPL", None),
        ("Licensed under the Apache License, Version 2.0\nhttp://www.apache.org/licenses/LICENSE-2.0", None),
        ("Loads GPL-compatible modules.\nLicensed under the MIT license", None),
    ],
)
@pytest.mark.parametrize(("name", "before", "after"), [("a.c", "/*\n", "\n*/\n"), ("a.py", '"""', '"""\n')])
def test_a_file_goes_by_its_own_header(tmp_path, header, declared, name, before, after):
    data = tarball(("LICENSE", MIT), ("ok.c", "int ok;\n"), (name, f"{before}{header}{after}int a;\n"))
    documents, tally = read_bytes(tmp_path, data, "owner__repo-2c8cd3ac958a.tar.gz")
    assert [document.meta["path"] for document in documents] == ["ok.c", *([] if declared else [name])]
    refused = [row.evidence.get("header") for row in tally.rows if row.reason == Reason.LICENSE_NOT_ALLOWED]
    assert refused == ([declared] if declared else [])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.h", "#ifndef A_H\n#define A_H\n/* Licensed under the GNU General Public License. */\nint a;\n"),
        ("a.h", "#pragma once\n\n// License: GPLv3\nint a;\n"),
        ("a.c", "#include <a.h>\n// SPDX-License-Identifier: GPL-2.0-only\n"),
        ("a.rst", ".. SPDX-License-Identifier: GPL-2.0-only\n\nTitle\n"),
        ("a.py", 'import os\n\n__license__ = "GPL v3"\n'),
        ("a.rs", "//! Counts boats.\n//!\n//! Licensed under the GPL-3.0.\nfn a() {}\n"),
        ("a.go", "package a\n\n// Distributed under the GNU Affero General\n// Public License.\nimport b\n"),
        ("a.m", "function y = a(x)\n% Released under the GNU General Public License.\ny = x;\n"),
        ("a.c", "#include <a.h>\n" + "int a;\n" * 2_000 + 'MODULE_LICENSE("GPL v2");\n'),
    ],
)
def test_a_licence_may_be_declared_below_the_first_lines(tmp_path, path, text):
    documents, tally = read_bytes(tmp_path, rows({"path": path, "content": text}))
    assert (documents, tally.dropped) == ([], {Reason.LICENSE_NOT_ALLOWED: 1})


@pytest.mark.parametrize(
    "line",
    [
        '__license__ = "MIT"\n',
        "# SPDX-License-Identifier: MIT\n",
        "# Distributed under the MIT license.\n",
        "# Detects which packages are under the GPL.\n",
        'MODULE_LICENSE("Dual BSD/GPL");\n',
    ],
)
def test_an_allowed_declaration_takes_nothing(tmp_path, line):
    (document,), _ = read_bytes(tmp_path, rows({"path": "a.py", "content": f"import os\n\n{line}"}))
    assert document.text == f"import os\n\n{line}"


def test_a_licence_in_utf_16_is_read(tmp_path):
    data = tarball(("LICENSE", codecs.BOM_UTF16_LE + MIT.encode("utf-16-le")), ("a.py", "x"))
    documents, _ = read_bytes(tmp_path, data, "r.tar.gz")
    assert len(documents) == 1


def test_licences_that_the_code_speaks_of_are_not_its_own(tmp_path):
    code = 'int a;\nconst char *text = "under the terms of the GNU General Public License";\n'
    documents, _ = read_bytes(tmp_path, rows({"path": "a.c", "content": code}))
    assert documents[0].text == code


# ---- encodings and line ends


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("a = 'café'\r\nb\rc\n".encode(), "a = 'café'\nb\nc\n", None),
        (codecs.BOM_UTF8 + "a\n\ufeffb\n".encode(), "a\nb\n", None),
        (codecs.BOM_UTF16_LE + "é\r\n".encode("utf-16-le"), "é\n", "utf-16-le"),
        (codecs.BOM_UTF16_BE + "é\n".encode("utf-16-be"), "é\n", "utf-16-be"),
        (codecs.BOM_UTF32_LE + "é\n".encode("utf-32-le"), "é\n", "utf-32-le"),
        ("a = 'café'\n".encode("latin-1"), "a = 'café'\n", "cp1252"),
        ("a = 'Größe'\n".encode("latin-1"), "a = 'Größe'\n", "cp1252"),
        ("a = '“café”'\n".encode("cp1252"), "a = '“café”'\n", "cp1252"),
        ("#!/bin/x\n# -*- coding: koi8-r -*-\nа = 'чай'\n".encode("koi8-r"), None, "koi8-r"),
        ("# vim: set fileencoding=iso-8859-2 :\na = 'żółć'\n".encode("iso8859-2"), None, "iso8859-2"),
        ("a = 'чай'\n# vim: fenc=cp1251\n".encode("cp1251"), None, "cp1251"),
        ('<?xml version="1.0" encoding="windows-1251"?>\n<a>чай</a>\n'.encode("cp1251"), None, "cp1251"),
        ("# coding: latin-1-unix\né = 'ÀÉÈ'\n".encode("latin-1"), None, "cp1252"),
    ],
)
def test_source_files_are_decoded_as_they_declare(tmp_path, data, text, encoding):
    name = "a.xml" if data.startswith(b"<?xml") else "a.py"
    (document,), tally = read_bytes(tmp_path, tarball(("LICENSE", MIT), (name, data)), "r.tar.gz")
    assert document.text == (text or data.decode(encoding))
    assert document.meta.get("encoding") == encoding
    assert (document.meta["size"], tally.quarantined) == (len(data), {})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("a = 'чай'\n".encode("cp1251"), Reason.UNDECODABLE),
        ("a = '汉字'\n".encode("gb2312"), Reason.UNDECODABLE),
        ("a = '中'\n".encode("gbk"), Reason.UNDECODABLE),
        ("a = 'かな'\n".encode("shift_jis"), Reason.UNDECODABLE),
        ("# coding: utf-8\na = '漢字'\n".encode("euc-jp"), Reason.UNDECODABLE),
        ("# coding: rot13\na = 'чай'\n".encode("cp1251"), Reason.UNDECODABLE),
        (b"a = '\x81\xe9'\n", Reason.UNDECODABLE),
        (codecs.BOM_UTF16_LE + b"abc", Reason.UNDECODABLE),
        ("é\n".encode("utf-16-le"), Reason.BINARY_FILE),
    ],
)
def test_what_no_encoding_explains_is_dropped_and_is_no_damage(tmp_path, data, reason):
    documents, tally = read_bytes(tmp_path, tarball(("LICENSE", MIT), ("a.py", data)), "r.tar.gz")
    assert (documents, tally.quarantined, tally.damaged) == ([], {}, {})
    assert tally.dropped == {Reason.LICENSE_FILE: 1, reason: 1}


def test_rows_have_unix_line_ends_too(tmp_path):
    (document,), _ = read_bytes(tmp_path, rows({"content": "\ufeffa\r\nb\rc"}))
    assert document.text == "a\nb\nc"


# ---- header comments


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("a.py", "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n# Copyright 2020 X\n\nimport os\n", None),
        ("a.py", "# Copyright 2020 X\n# coding: latin-1\nimport os\n", "# coding: latin-1\nimport os\n"),
        ("a.py", "# Counts the words.\nimport os\n", "same"),
        ("a.py", "# Counts.\n\n# Copyright 2020 X\nimport os\n", "# Counts.\n\nimport os\n"),
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
    assert strip_license_header(text, path).text == (text if expected == "same" else expected)


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
        ("src/cyrillic.py", "# \u0447\u0430\u0439\n".encode("koi8-r")),
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
        "src/cyrillic.py": Reason.UNDECODABLE,
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


@pytest.mark.parametrize("name", ["utils-main", "utils-20230101", "utils-202301011200", "utils"])
def test_trees_of_one_name_at_two_places_share_no_id(tmp_path, name):
    data = tarball(("LICENSE", MIT), ("a.py", "x"), top=f"{name}/")
    places = [f"{owner}/{name}" for owner in ("alice", "bob")]
    found = []
    for place in places:
        path = write_raw(tmp_path, f"{place.partition('/')[0]}.tar.gz", data)
        found += read_balanced(github.PIPELINE, [replace(path, url=f"{place}.tar.gz")])[0]
    assert [document.doc_id for document in found] == [f"src/{place}/a.py" for place in places]


def test_a_commit_is_an_identity_wherever_the_tree_lies(tmp_path):
    top = f"utils-{'2c8cd3ac958a' * 3}0123/"
    for place in ("alice", "bob"):
        path = write_raw(tmp_path, f"{place}.tar.gz", tarball(("LICENSE", MIT), ("a.py", "x"), top=top))
        ((document,), _) = read_balanced(github.PIPELINE, [path])
        assert document.doc_id == "src/utils@2c8cd3ac958a/a.py"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://example.org/x/utils.tar.gz?raw=1", "example.org/x/utils"),
        ("s3://bucket/utils.tgz", "bucket/utils"),
        ("../dumps/utils/", "dumps/utils/"),
        ("/data/utils.tar", "data/utils"),
    ],
)
def test_a_place_is_a_url_without_scheme_and_ending(url, place):
    assert github.place_of(url) == place


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
    documents, tally = read_balanced(github.PIPELINE, [raw_file(path)])
    assert (tally.read, len(documents)) == REAL[name]
    assert len({document.doc_id for document in documents}) == len(documents)
    assert not tally.quarantined
    with tarfile.open(path) as archive:
        raw = {info.name.partition("/")[2]: archive.extractfile(info).read() for info in archive if info.isreg()}
    for document in documents:  # nothing is added but the end of a comment; what is cut stands at the top
        text = raw[document.meta["path"]].decode().replace("\r\n", "\n")
        assert text.endswith(document.text.rpartition("*/")[2][-2000:])
        assert len(document.text) <= len(text)


@needs_shared
def test_a_directory_input_reads_as_the_tarball_does(tmp_path):
    path = SHARED / "github/repos/gorilla__mux-db9d1d0073d2.tar.gz"
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "mux-db9d1d0073d2"
    from_tree, tally = read_balanced(github.PIPELINE, tree_files(folder, "repos/gorilla__mux-db9d1d0073d2/"))
    from_tar, _ = read_balanced(github.PIPELINE, [raw_file(path)])
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
