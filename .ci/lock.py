"""Makes requirements.lock anew: `make lock`, or `make lock LOCK="--upgrade-package numpy"` for newer versions.

uv resolves pyproject.toml for all platforms at once and keeps the pins that are there. Of what it finds, the lock names
the one wheel that pip prefers for each Python and platform below: every machine gets the same files, none is compiled,
and whether a Python has all of its wheels can be read from the lock alone. Its head says so, for `fits.py`.
"""

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
BUILD = "setuptools>=77\n"  # what `pip install --no-build-isolation -e .` builds with
PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
GLIBC, MACOS = (2, 28), (12, 0)  # the oldest systems; newer ones take the same wheels


class Environment(NamedTuple):
    """A Python on a platform."""

    python: tuple[int, int]
    system: str  # as `sys.platform` has it
    machine: str

    @property
    def name(self) -> str:
        """`3.11 linux-x86_64`."""
        return f"{self.python[0]}.{self.python[1]} {self.system}-{self.machine}"

    def tags(self) -> list[Tag]:
        """What pip accepts there, what it prefers first."""
        interpreter, platforms = f"cp{self.python[0]}{self.python[1]}", self._platforms()
        return [
            *cpython_tags(self.python, platforms=platforms),
            *compatible_tags(self.python, interpreter=interpreter, platforms=platforms),
        ]

    def _platforms(self) -> list[str]:
        if self.system == "darwin":
            return list(mac_platforms(MACOS, self.machine))
        legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}  # PEP 600
        found = []
        for minor in range(GLIBC[1], 16 if self.machine == "aarch64" else 4, -1):
            found += [f"manylinux_2_{minor}_{self.machine}"]
            found += [f"{legacy[minor]}_{self.machine}"] if minor in legacy else []
        return found

    def wants(self, marker: Marker | None) -> bool:
        """Whether a requirement with this marker is installed there."""
        version = ".".join(map(str, self.python))
        values = {
            "python_version": version,
            "python_full_version": f"{version}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{version}.0",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "sys_platform": self.system,
            "platform_system": {"linux": "Linux", "darwin": "Darwin"}[self.system],
            "platform_machine": self.machine,
        }
        return marker is None or marker.evaluate(values)

    def best(self, wheels: Iterable[str]) -> str | None:
        """The file name that pip prefers there; None where no wheel fits."""
        ranks = {tag: rank for rank, tag in reversed(list(enumerate(self.tags())))}
        fitting = []
        for name in wheels:
            build, tags = parse_wheel_filename(name)[2:]
            if places := [ranks[tag] for tag in tags if tag in ranks]:
                fitting.append((min(places), [-number for number in build[:1]], name))
        return min(fitting)[2] if fitting else None


MACHINES = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
ENVIRONMENTS = [Environment(python, *machine) for machine in MACHINES for python in PYTHONS]


class Pinned(NamedTuple):
    """One requirement of the lock."""

    pin: str  # `name==version`
    marker: Marker | None
    wheels: dict[str, str]  # file name -> SHA-256


# ---- the lock's text


def write(packages: list[Pinned]) -> str:
    """The lock of some packages, each with all wheels that there are."""
    wanted = [package for package in packages if any(each.wants(package.marker) for each in ENVIRONMENTS)]
    return "\n".join([*_head(wanted), *map(_block, wanted), ""])


def _head(packages: list[Pinned]) -> Iterator[str]:
    yield "# Made by `make lock` (.ci/lock.py). Above each requirement stand its wheels, in the order of their hashes."
    yield f"# oldest linux: glibc {GLIBC[0]}.{GLIBC[1]}"
    yield f"# oldest darwin: macOS {MACOS[0]}.{MACOS[1]}"
    for environment in ENVIRONMENTS:
        yield f"# python {environment.name}: {state(packages, environment)}"


def state(packages: list[Pinned], environment: Environment) -> str:
    """`all`, or which requirements have no wheel there."""
    wanted = [package for package in packages if environment.wants(package.marker)]
    missing = [package.pin for package in wanted if not environment.best(package.wheels)]
    return f"no wheel of {', '.join(missing)}" if missing else "all"


def _block(package: Pinned) -> str:
    fitting = [each.best(package.wheels) for each in ENVIRONMENTS if each.wants(package.marker)]
    names = sorted({name for name in fitting if name})
    marker = f" ; {package.marker}" if package.marker else ""
    hashes = [f"    --hash=sha256:{package.wheels[name]}" for name in names]
    return "\n".join([*(f"# {name}" for name in names), " \\\n".join([f"{package.pin}{marker}", *hashes])])


def read(text: str) -> list[Pinned]:
    """The requirements of a lock."""
    found: list[Pinned] = []
    names: list[str] = []
    for line in text.replace(" \\\n", " ").splitlines():
        if line.endswith(".whl"):
            names.append(line.removeprefix("# "))
        elif not line.startswith("#"):
            requirement, *hashes = line.split(" --hash=sha256:")
            parsed = Requirement(requirement)
            pin = f"{parsed.name}{parsed.specifier}"
            found.append(Pinned(pin, parsed.marker, dict(zip(names, map(str.strip, hashes), strict=True))))
            names = []
    return found


# ---- what uv finds


def resolve(arguments: list[str]) -> list[Pinned]:
    """All requirements with all of their wheels; asks the index."""
    with tempfile.TemporaryDirectory() as folder:
        pins, found = Path(folder, "requirements.txt"), Path(folder, "pylock.toml")
        pins.write_text("".join(f"{package.pin}\n" for package in read(LOCK.read_text())))  # uv keeps what it can
        _compile(pins, *arguments)
        _compile(found, "--constraint", str(pins))
        packages = tomllib.loads(found.read_text())["packages"]
    return [_pinned(package) for package in packages]


def _compile(output: Path, *arguments: str) -> None:
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--only-binary", ":all:"]
    command += ["--extra", "test", "pyproject.toml", "-", "--output-file", str(output), *arguments]
    subprocess.run(command, input=BUILD, text=True, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def _pinned(package: dict) -> Pinned:
    wheels = {each["url"].rpartition("/")[2]: each["hashes"]["sha256"] for each in package.get("wheels", [])}
    marker = Marker(package["marker"]) if "marker" in package else None
    return Pinned(f"{package['name']}=={package['version']}", marker, wheels)


if __name__ == "__main__":
    LOCK.write_text(write(resolve(sys.argv[1:])))
