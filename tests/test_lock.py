"""The lock: for each Python and platform all wheels or the name of what is missing, and no Python is let in without."""

import importlib.util
import platform
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "requirements.lock").read_text(encoding="utf-8")
FITS = ROOT / ".ci" / "fits.py"


def load_lock():
    spec = importlib.util.spec_from_file_location("lock", ROOT / ".ci" / "lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lock = load_lock()
PACKAGES = lock.read(TEXT)
VERSIONS = {name: Version(version) for name, version in (package.pin.split("==") for package in PACKAGES)}
EACH = pytest.mark.parametrize("environment", lock.ENVIRONMENTS, ids=lambda environment: environment.name)


@EACH
def test_each_requirement_has_a_wheel_for_each_python_and_platform_or_the_head_names_it(environment):
    wanted = [package for package in PACKAGES if environment.wants(package.marker)]
    lacking = [package.pin for package in wanted if not environment.best(package.wheels)]
    assert len(wanted) > 140
    said = re.search(rf"^# python {environment.name}: (.*)$", TEXT, re.MULTILINE)[1]
    assert said == (f"no wheel of {', '.join(lacking)}" if lacking else "all")


def test_the_lock_is_what_is_written_of_what_it_says():
    assert lock.write(PACKAGES) == TEXT


def test_each_wheel_is_one_that_some_python_prefers_and_there_is_no_address():
    for package in PACKAGES:
        best = {each.best(package.wheels) for each in lock.ENVIRONMENTS if each.wants(package.marker)}
        assert set(package.wheels) == best - {None}
        assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in package.wheels.values())
    assert "//" not in TEXT
    assert "--index" not in TEXT


@EACH
def test_what_a_requirement_requires_is_in_the_lock_too(environment):
    """By the metadata of what is installed here, which hardly differ among the wheels of a version."""
    checked = 0
    pinned = {package.pin.split("==")[0] for package in PACKAGES if environment.wants(package.marker)}
    for each in distributions():
        if canonicalize_name(each.name) in pinned:
            for needed in map(Requirement, each.requires or []):
                if environment.wants(needed.marker):
                    checked += 1
                    assert_is_pinned(needed, pinned)
    assert checked > 150


def test_what_the_project_requires_is_in_the_lock():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    asked = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    asked += [each for name in ("test", "s3", "perplexity", "substrings") for each in extras[name]]
    for needed in map(Requirement, asked):
        if needed.name != "redpajama":
            assert_is_pinned(needed, set(VERSIONS))


def assert_is_pinned(needed: Requirement, pinned: set[str]) -> None:
    name = canonicalize_name(needed.name)
    assert name in pinned, needed
    assert needed.specifier.contains(VERSIONS[name], prereleases=True), needed


# ---- who is let in


def fits(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, FITS, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_this_python_is_let_in():
    assert (fits(ROOT / "requirements.lock").returncode, fits(ROOT / "requirements.lock").stderr) == (0, "")


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")


@pytest.mark.parametrize(
    ("said", "instead", "message"),
    [
        ("{own}: all", "{own}: no wheel of numpy==2.4.6", "no wheel of numpy==2.4.6; {others} will do: make PYTHON="),
        ("# python {own}: all\n", "", "not among what requirements.lock is made for; {others} will do"),
        pytest.param("glibc 2.28", "glibc 9.1", "needs glibc 9.1, this is glibc", marks=ON_LINUX),
    ],
)
def test_a_python_that_cannot_have_all_wheels_is_refused_in_one_line(tmp_path, said, instead, message):
    version = "{}.{}".format(*sys.version_info)
    here = next(each.name.split()[1] for each in lock.ENVIRONMENTS if is_here(each))
    others = ", ".join(other for other in ("3.11", "3.12", "3.13") if other != version)
    words = {"own": f"{version} {here}", "others": others}
    assert said.format(**words) in TEXT
    (tmp_path / "lock").write_text(TEXT.replace(said.format(**words), instead.format(**words)))
    refused = fits(tmp_path / "lock")
    assert refused.returncode == 1
    assert message.format(**words) in refused.stderr
    assert refused.stderr.count("\n") == 1


def is_here(environment) -> bool:
    return (environment.system, environment.machine) == (sys.platform, platform.machine())


# ---- the table of the README


RAN_ON = ("linux", "x86_64")
RAN = {"3.11": "all tests", **dict.fromkeys(("3.12", "3.13"), "demo, layout, golden")}  # as `.ci/run` says at its end


def test_the_readme_says_what_ci_ran_what_only_resolves_and_what_is_missing():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (3\.\d+) \| (.*) \| (.*) \| (.*) \|$", readme, re.MULTILINE)
    assert [row[0] for row in rows] == [f"{major}.{minor}" for major, minor in lock.PYTHONS]
    for python, *cells in rows:
        for (system, machine), cell in zip(lock.MACHINES, cells, strict=True):
            said = re.search(rf"^# python {python} {system}-{machine}: (.*)$", TEXT, re.MULTILINE)[1]
            ran = RAN.get(python, "") if (system, machine) == RAN_ON else "resolves"
            assert cell == (ran if said == "all" else said.partition("==")[0]), (python, system)
