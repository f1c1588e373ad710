"""What mypy passes over: kernels, whose types Numba finds, and nothing else. The list of their files only shrinks."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OVERRIDES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
LENIENT = [each for each in OVERRIDES if each.get("disallow_untyped_defs") is False]
KERNELS = [module for each in LENIENT for module in each["module"]]
COMPILERS = {"compiled", "intrinsic"}


def functions(module: str) -> list[ast.FunctionDef]:
    """The functions at the top of a module."""
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def is_typed(function: ast.FunctionDef) -> bool:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return function.returns is not None and all(each.annotation for each in arguments)


def is_kernel(function: ast.FunctionDef) -> bool:
    return any(isinstance(each, ast.Name) and each.id in COMPILERS for each in function.decorator_list)


@pytest.mark.parametrize("module", KERNELS)
def test_a_module_of_kernels_has_kernels_and_all_else_in_it_is_typed(module):
    bare = [each for each in functions(module) if not is_typed(each)]
    assert bare, f"{module} needs no leniency any more: take it off the list"
    assert not [each.name for each in bare if not is_kernel(each)]


def test_no_error_is_passed_over():
    assert not [each for each in OVERRIDES if each.get("ignore_errors")]
    assert not [path for path in (ROOT / "redpajama").rglob("*.py") if "type: ignore" in path.read_text()]
    assert not [each for each in OVERRIDES if each.get("check_untyped_defs") is False and each not in LENIENT]
