"""Imports point one way, heavy packages stay lazy, and nothing shadows the standard library."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "redpajama"

LAYERS = [
    {"records", "hashing"},
    {"manifest", "artifacts", "columns", "stages", "verdicts", "workers", "beam"}
    | {"io", "hosts", "download", "dumps", "decompress", "codecs", "bzip2", "kernels"},
    {"archives", "markup", "latex", "licenses", "license_lists", "posthtml", "sourcecode", "warc", "wikitext"},
    {"tokenize"},
    {"quality", "dedup"},
    {"pipelines", "mixers", "report"},
    {"build"},
    {"doctor"},
    {"screen"},
    {"drive"},
    {"cli"},
    {"__main__"},
]
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("redpajama.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "redpajama":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found - {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_or_stay_in_the_room(path):
    own = room_of(path)
    if own == "__init__":
        return
    for room in imported_rooms(path) - {own}:
        same_layer_of_files = RANK[room] == RANK[own] and RANK[own] <= 2
        assert RANK[room] < RANK[own] or same_layer_of_files, f"{path}: imports {room}"


def test_pipelines_and_mixers_quality_and_dedup_never_import_each_other():
    for one, other in [("pipelines", "mixers"), ("quality", "dedup")]:
        for path in MODULES:
            if room_of(path) in (one, other):
                assert not imported_rooms(path) & ({one, other} - {room_of(path)}), path


def test_no_file_or_folder_shadows_the_standard_library():
    roots = [*ROOT.iterdir(), *(ROOT / "tests").iterdir()]
    names = {path.name.removesuffix(".py") for path in roots if path.is_dir() or path.suffix == ".py"}
    assert not names & sys.stdlib_module_names


def test_only_beam_imports_apache_beam():
    users = [path for path in MODULES if re.search("^(import|from) apache_beam", path.read_text(), re.MULTILINE)]
    assert users == [PACKAGE / "beam.py"]


def test_help_loads_no_heavy_package():
    heavy = ("apache_beam", "pyarrow", "lxml", "numpy")
    code = f"import sys, redpajama.cli; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_build_without_near_dedup_loads_no_compiler():
    code = "import sys, redpajama.build, redpajama.beam, redpajama.drive; print('numba' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_no_function_is_longer_than_sixty_lines():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}:{node.lineno} {node.name}"
