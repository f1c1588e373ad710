"""The screens of the demo at 80 columns, on a terminal and in a pipe, as they are stored in tests/screens.

What changes from run to run or with a stage's version (seconds, hashes, bytes on disk) is masked.
REDPAJAMA_SCREENS=write stores them anew.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from terminal import in_terminal

ROOT = Path(__file__).parents[1]
SCREENS = Path(__file__).with_name("screens")
COPY = "https://www.paperboat.example/notes/second-copy"
COMMANDS = {
    "build": ("build", "manifests/demo.toml", "--out", "demo"),
    "status": ("status", "demo"),
    "plan": ("plan", "manifests/demo.toml", "--out", "demo"),
    "plan-new": ("plan", "manifests/other.toml", "--out", "demo"),
    "plan-offline": ("plan", "manifests/demo.toml", "--out", "demo", "--offline"),
    "doctor": ("doctor", "manifests/demo.toml"),
    "show": ("show", "demo", "c4", "-n", "1"),
    "why": ("why", "demo", COPY),
    "clusters": ("clusters", "near", "--top", "2"),
    "diff": ("diff", "demo", "near"),
    "sources": ("sources",),
    "sources-rows": ("sources", "rows"),
    "verify": ("verify", "demo"),
    "gc": ("gc", "demo"),
    "explore": ("explore", "demo", "--to", "page.html"),
}
WHOLE_LINES = {"build", "plan", "plan-new", "show", "why", "clusters", "diff"}  # in a pipe, of prose
MASKS = [
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sha256>"),
    (re.compile(r"(?<=-)[0-9a-f]{16}\b"), "<fingerprint>"),
    (re.compile(r"[\d.]+ s\b"), "N s"),
    (re.compile(r"[\d,]+ files, [\d.,]+ MB: "), "N files, N MB: "),
    (re.compile(r"~0\.\d\d(?=  )"), "~0.NN"),  # core-seconds of reading
    (re.compile(r"[\d.]+ core-seconds"), "N core-seconds"),
    (re.compile(r"page\.html: [\d.]+ MB"), "page.html: N MB"),
    (re.compile(r"^(core-seconds|disk, MB) .*$", re.MULTILINE), r"\1 …"),
    (re.compile(r" +$", re.MULTILINE), ""),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the demo's manifest and files, its build, one with near-dedup, and a manifest of another rule."""
    found = tmp_path_factory.mktemp("screens")
    shutil.copytree(ROOT / "manifests", found / "manifests")
    text = (found / "manifests/demo.toml").read_text()
    (found / "manifests/near.toml").write_text(text.replace("[dedup]\n", '[dedup]\nnear = "fineweb"\n'))
    (found / "manifests/other.toml").write_text(text.replace("min_chars = 300", "min_chars = 400"))
    for name in ("demo", "near"):
        in_pipe(found, "build", f"manifests/{name}.toml", "--out", name)
    return found


def in_pipe(folder: Path, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "redpajama", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def masked(said: str) -> str:
    for mask, instead in MASKS:
        said = mask.sub(instead, said)
    return said


PLACES = [
    (name, place) for name in COMMANDS for place in ("terminal", "pipe") if (name, place) != ("build", "terminal")
]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_screen_is_as_it_is_stored(folder, name, place):
    said = {"terminal": in_terminal, "pipe": in_pipe}[place](folder, *COMMANDS[name])
    if place == "terminal":
        check_width(said)
    said = masked(said.replace(str(folder), "<folder>"))
    own, both = SCREENS / f"{name}.{place}.txt", SCREENS / f"{name}.txt"
    if os.environ.get("REDPAJAMA_SCREENS") == "write":
        (both if name not in WHOLE_LINES else own).write_text(said)
    assert said == (own if name in WHOLE_LINES else both).read_text()


def check_width(said: str) -> None:
    """Only a word that has no room of its own, and an example to be copied, are wider than the screen."""
    for line in said.splitlines():
        assert cell_len(line.rstrip()) <= 80 or max(map(len, line.split())) > 60 or line.startswith("options."), line


def test_signals_fit_too(folder):
    said = in_terminal(folder, "signals")
    check_width(said)
    assert "rps_doc_frac_chars_dupe_10grams  (redpajama-v2, fraction)\n" in said


def test_a_screen_of_120_columns_has_the_same_words(folder):
    narrow, wide = (in_terminal(folder, "status", "demo", columns=columns).split() for columns in (80, 120))
    assert sorted(narrow) == sorted(wide)
