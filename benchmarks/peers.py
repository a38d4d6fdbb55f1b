"""The environment of the peers: never a dependency of the package, nor beside it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
#: Where it is by default.
FOLDER = HERE / ".venv"
LIST = HERE / "peers.txt"


def python(folder: Path) -> Path:
    """Return the interpreter of the environment in *folder*, whether it is there or not."""
    return folder / "bin" / "python"


def names() -> list[str]:
    """Return the names of all packages of the list."""
    lines = LIST.read_text().splitlines()
    return list(dict.fromkeys(re.split(r"[=<>;\s]", line)[0] for line in lines if line[:1] != "#"))


def make(folder: Path) -> None:
    """Make the environment of this Python, or bring the one that is there to the list.

    Raises:
        subprocess.CalledProcessError: a package can't be had.
    """
    if not python(folder).exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(python(folder)), "-m", "pip", "install", "--quiet", "--requirement", str(LIST)]
    subprocess.run(install, check=True)
    print(f"the peers are in {folder}")
