"""Imports point one way, heavy packages stay lazy, nothing shadows the standard library, and all of it stays small."""

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from corpora import READ_AT_LOAD

from redpajama import cli

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "redpajama"

LAYERS = [  # rooms, from the ground up: each imports what lies below it, or itself
    {
        "errors",
        "environment",
        "records",
        "hashing",
        "arrow",
        "kernels",
        "blake2",
        "extract",
        "formats",
        "mistakes",
        "tables",
        "weights",
        "visible",
        "unsigned",
        "once",
    },
    {"manifest"},
    {"raw", "engine"},
    {"corpus", "exports"},
    {"tokenize", "dedup"},
    {"quality"},
    {"pipelines", "mixers", "report"},
    {"flow", "preflight"},
    {"build"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}
GROUND = 2  # up to this floor, rooms of one floor may use each other
MODULES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    """`redpajama.raw.io` of its path."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {module_of(path) for path in MODULES}


def imported(path: Path) -> set[str]:
    """The project's modules that a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (whole & NAMES) or {node.module}
    return (found & NAMES) - {"redpajama"}


IMPORTS = {module_of(path): imported(path) for path in MODULES}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", sorted(NAMES - {"redpajama"}))
def test_imports_point_down_or_stay_in_the_room(module):
    own = room_of(module)
    for other in IMPORTS[module]:
        room = room_of(other)
        beside = RANK[room] == RANK[own] <= GROUND
        assert room == own or RANK[room] < RANK[own] or beside, f"{module} imports {other}"


def test_no_two_modules_import_each_other_by_any_way_round():
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above[above.index(module) :], module))
        if module not in done:
            for other in sorted(IMPORTS[module]):
                visit(other, (*above, module))
            done.add(module)

    for module in sorted(NAMES):
        visit(module, ())


def test_pipelines_and_mixers_quality_and_dedup_never_import_each_other():
    for one, other in [("pipelines", "mixers"), ("quality", "dedup")]:
        for module in NAMES:
            if room_of(module) in (one, other):
                assert not {room_of(each) for each in IMPORTS[module]} & ({one, other} - {room_of(module)}), module


def test_no_file_or_folder_shadows_the_standard_library():
    roots = [*ROOT.iterdir(), *(ROOT / "tests").iterdir()]
    names = {path.name.removesuffix(".py") for path in roots if path.is_dir() or path.suffix == ".py"}
    assert not names & sys.stdlib_module_names


def test_only_beam_imports_apache_beam():
    users = [path for path in MODULES if re.search("^(import|from) apache_beam", path.read_text(), re.MULTILINE)]
    assert users == [PACKAGE / "engine" / name for name in ("beam.py", "options.py")]


def test_parquet_is_opened_in_one_place():
    """`redpajama.arrow.open_parquet`: Arrow's other ways read in threads, one of which may outlive the interpreter."""
    way = re.compile(r"pq\.(ParquetFile\(|read_table|ParquetDataset|read_pandas)|pyarrow\.dataset")
    users = [path for path in MODULES if way.search(path.read_text())]
    assert users == [PACKAGE / "arrow.py"]


def test_a_command_is_one_file_and_one_line_of_the_table():
    files = [path for path in (PACKAGE / "commands").glob("*.py") if "\ndef command(" in path.read_text()]
    assert sorted(cli.COMMANDS.items()) == sorted((path.stem, module_of(path)) for path in files)


def test_help_loads_no_heavy_package():
    heavy = ("apache_beam", "pyarrow", "lxml", "numpy", "pydantic", "fsspec")
    code = f"import sys, redpajama.cli; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_build_without_near_dedup_loads_no_compiler():
    code = "import sys, redpajama.build, redpajama.engine.beam, redpajama.commands.guard; print('numba' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_no_process_is_a_copy_of_one_that_may_have_threads():
    files = [*MODULES, *(ROOT / "bench").glob("*.py"), *(ROOT / "tests").glob("*.py")]
    forks = re.compile(r"\bos\.fork|[\"']fork[\"']|\bPool\(|ProcessPool|multiprocessing\.Process|preexec_fn")
    assert [path for path in files if path.name != Path(__file__).name and forks.search(path.read_text())] == []


def lines_of(path: Path) -> list[tuple[int, str]]:
    """(lines, where) of every function of a module."""
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    return [(each.end_lineno - each.lineno + 1, f"{module_of(path)}.{each.name}") for each in functions]


def test_functions_are_short_and_no_module_has_more_than_500_lines():
    functions = sorted(each for path in MODULES for each in lines_of(path))
    sizes = [size for size, _ in functions]
    assert statistics.median(sizes) <= 8
    assert statistics.quantiles(sizes, n=10)[-1] <= 20
    assert not [each for each in functions if each[0] > 60]
    assert not [path for path in MODULES if len(path.read_text().splitlines()) > 500]


def test_tests_start_a_process_where_a_variable_is_read_as_a_module_is_loaded():
    """`corpora.cli` copies one that has loaded them."""
    at_load = re.compile(r"^[A-Z_]+(?:: \w+)? = .*environ.*\"(REDPAJAMA_\w+)\"", re.MULTILINE)
    assert {name for path in MODULES for name in at_load.findall(path.read_text())} == READ_AT_LOAD
