"""Where the peers of a benchmark are installed, apart from the project's own environment."""

import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def peer_python(name: str, packages: Sequence[str], alone: Sequence[str] = ()) -> str:
    """The interpreter of .venv-bench-<name>, made when it is not there, with these packages; `alone`: --no-deps."""
    folder = ROOT / f".venv-bench-{name}"
    interpreter = str(folder / "bin" / "python")
    if not Path(interpreter).exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([interpreter, "-m", "pip", "install", "--quiet", *packages], check=True)
    if alone:
        subprocess.run([interpreter, "-m", "pip", "install", "--quiet", "--no-deps", *alone], check=True)
    return interpreter
