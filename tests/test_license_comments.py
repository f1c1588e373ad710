import time

import pytest

from redpajama.extract.license_notices import own_licenses
from redpajama.extract.sourcecode import strip_license_header

MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY.
"""
APACHE = """Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
"""
GPL = """This file is part of Weirs.

Weirs is free software; you can redistribute it and/or modify
it under the terms of the GNU General Public License as published by
the Free Software Foundation; either version 2, or (at your option)
any later version.

Weirs is distributed in the hope that it will be useful,
but WITHOUT ANY WARRANTY; without even the implied warranty of
MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
GNU General Public License for more details.

You should have received a copy of the GNU General Public License
along with Weirs; see the file COPYING.  If not, write to
the Free Software Foundation, 59 Temple Place, Boston, MA 02111-1307
"""
BSD = """Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice.
2. Neither the name of X nor the names of its contributors may be used to
   endorse or promote products.

THIS SOFTWARE IS PROVIDED BY X "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES
ARE DISCLAIMED.
"""
LINES = {"a.py": "#", "a.rs": "//", "a.hs": "--", "a.m": "%", "a.f90": "!", "a.vb": "'", "a.f": "C", "a.bat": "rem"}
BLOCKS = {
    "a.c": ("/*", "*/"),
    "a.html": ("<!--", "-->"),
    "a.hs": ("{-", "-}"),
    "a.jl": ("#=", "=#"),
    "a.lua": ("--[[", "]]"),
}
BLOCKS |= {"a.ps1": ("<#", "#>"), "a.py": ('"""', '"""'), "a.m": ("%{", "%}"), "a.rb": ("=begin", "=end")}


def as_lines(mark: str, text: str) -> str:
    return "".join(f"{mark} {line}".rstrip() + "\n" for line in text.split("\n"))


@pytest.mark.parametrize("licence", [MIT, APACHE, GPL, BSD])
@pytest.mark.parametrize("path", LINES)
def test_of_comment_lines_the_documentation_stays(path, licence):
    text = as_lines(
        LINES[path], f"Counts the boats.\n\nCopyright (c) 2020 A. Author\n\n{licence}\nIt keeps a ring of slots."
    )
    expected = as_lines(LINES[path], "Counts the boats.\n\nIt keeps a ring of slots.")
    assert strip_license_header(text + "\ncode\n", path).text == expected + "\ncode\n"


@pytest.mark.parametrize("licence", [MIT, APACHE, GPL, BSD])
@pytest.mark.parametrize("path", BLOCKS)
def test_of_a_block_the_documentation_stays(path, licence):
    opening, closing = BLOCKS[path]
    notice = f"Copyright (c) 2020 A. Author\n{licence}\n"
    above, below = f"{opening}\nCounts the boats.\n\n", f"It keeps a ring of slots.\n{closing}\ncode\n"
    assert strip_license_header(above + notice + below, path).text == above + below


@pytest.mark.parametrize("licence", [MIT, APACHE, GPL, BSD])
@pytest.mark.parametrize("path", BLOCKS)
def test_a_block_of_the_licence_alone_goes(path, licence):
    opening, closing = BLOCKS[path]
    text = f"{opening}\nCopyright (c) 2020 A. Author. All rights reserved.\n\n{licence}{closing}\n\ncode\n"
    assert strip_license_header(text, path).text == "code\n"


@pytest.mark.parametrize(
    ("path", "comment", "expected"),
    [
        (  # fields
            "a.hs",
            "{- |\nModule      : Weir\nCopyright   : (c) 2020 X,\n              Y and Z\nLicense     : MIT\n"
            "Stability   : stable\n-}\n",
            "{- |\nModule      : Weir\nStability   : stable\n-}\n",
        ),
        (
            "a.php",
            "<?php\n/**\n * Counts boats.\n *\n * @copyright X\n * @license MIT\n * @see Weir\n */\n",
            "<?php\n/**\n * Counts boats.\n *\n * @see Weir\n */\n",
        ),
        (
            "a.py",
            '"""\nCounts boats.\n\n:copyright: (c) 2020 X.\n:license: MIT, see LICENSE.\n"""\n',
            '"""\nCounts boats.\n"""\n',
        ),
        ("a.c", "/* a.c: counts boats. Copyright (C) 2020 X. */\nint a;\n", "/* a.c: counts boats. */\nint a;\n"),
        ("a.js", "// Counts boats. Licensed under MIT.\nlet a;\n", "// Counts boats.\nlet a;\n"),
        (
            "a.py",
            "# 统计船只数量的脚本\n# 版权所有 (c) 2020 某公司\n# 输入文件名\n",
            "# 统计船只数量的脚本\n# 输入文件名\n",
        ),
        (
            "a.c",
            "/*\n * Zählt die Boote\n * Alle Rechte vorbehalten. (c) 2020 X\n */\n",
            "/*\n * Zählt die Boote\n */\n",
        ),
        ("a.el.c", "/* Counts boats.\n   Copyright (C) 2020 X */\n", "/* Counts boats.\n */\n"),
        (
            "a.cs",
            "// <copyright file='A.cs'>\n//   Copyright (c) X.\n// </copyright>\n// <summary>Counts boats.</summary>\n",
            "// <summary>Counts boats.</summary>\n",
        ),
        # notices before documentation, without a blank line
        (
            "a.go",
            "// Copyright 2020 X\n// Package weir counts.\npackage weir\n",
            "// Package weir counts.\npackage weir\n",
        ),
        ("a.c", "/* Copyright 2020 X,\n * Y Inc.\n * Counts boats. */\n", "/*\n * Counts boats. */\n"),
        ("a.c", "/* Copyright 2020 X\n *\n * Counts boats.\n */\n", "/*\n * Counts boats.\n */\n"),
        ("a.py", '"""Copyright 2020 X\n\nCounts boats."""\n', '"""\nCounts boats."""\n'),
        ("a.py", '"""Counts boats.\n\nCopyright 2020 X"""\n', '"""Counts boats.\n"""\n'),
        ("a.py", '"""Copyright 2020 X"""\nimport os\n', "import os\n"),
        ("a.py", "# Counts boats.\n#\n# Copyright 2020 X\n\nimport os\n", "# Counts boats.\n\nimport os\n"),
        (
            "a.py",
            "# Counts boats.\n# Copyright 2020 X\n# pylint: disable=all\n",
            "# Counts boats.\n# pylint: disable=all\n",
        ),
        # sentences in a paragraph
        ("a.c", "/* Counts boats. It is licensed\n * under the MIT license. */\n", ""),
        (
            "a.c",
            "/* Counts boats.\n * Licensed under the MIT license.\n * Slots are sixteen.\n */\n",
            "/* Counts boats.\n * Slots are sixteen.\n */\n",
        ),
        ("a.c", "/*****\n * Counts boats.\n *\n * (c) 2020 X\n *****/\n", "/*****\n * Counts boats.\n *****/\n"),
        ("a.js", "/*!\n * weir\n * Copyright(c) 2020 X\n * MIT Licensed\n */\n", ""),
        # no comment about licences
        (
            "a.c",
            "/* Redistributes load,\n * without warranty. */\n",
            "/* Redistributes load,\n * without warranty. */\n",
        ),
        ("a.py", '"""Checks licences of users."""\n', '"""Checks licences of users."""\n'),
    ],
)
def test_only_what_is_about_copyright_and_licence_goes(path, comment, expected):
    assert strip_license_header(comment, path).text == expected


def test_the_notices_are_told_as_they_were():
    comment = "/* Counts boats.\n * Copyright 2020 X\n * Licensed under the GPL.\n */\n"
    stripped = strip_license_header(f"// Weirs.\n\n{comment}int a;\n", "a.c")
    assert stripped.notices == (comment,)
    assert own_licenses(comment) == ("gpl",)


@pytest.mark.parametrize(
    "comment",
    [
        "/*\n * copyright " + "word\n * " * 200_000 + "*/",
        "/* copyright " + "http://" * 200_000 + " */",
        "/* copyright\n" + " * may not " * 100_000 + "*/",
        "# copyright\n" + "#\n" * 300_000,
        "# copyright\n" + "# a: b\n" * 100_000,
        '"""copyright ' + "non commercial " * 100_000 + '"""',
    ],
)
def test_time_grows_as_the_comment_does(comment):
    started = time.process_time()
    strip_license_header(comment, "a.c" if comment.startswith("/") else "a.py")
    own_licenses(comment[:20_000])
    assert time.process_time() - started < 8
