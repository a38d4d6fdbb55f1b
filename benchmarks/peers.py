"""Make the environment of the peers, which are never installed beside the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
#: Its default folder.
FOLDER = HERE / ".venv"
LIST = HERE / "peers.txt"


def python(folder: Path) -> Path:
    """Return the interpreter of the environment in *folder*, which may not exist."""
    return folder / "bin" / "python"


def names() -> list[str]:
    """Return the names of all packages of the list."""
    lines = LIST.read_text().splitlines()
    return list(dict.fromkeys(re.split(r"[=<>;\s]", line)[0] for line in lines if line[:1] != "#"))


def make(folder: Path) -> None:
    """Create the environment, or install the listed versions into the existing one.

    Raises:
        subprocess.CalledProcessError: a package can't be installed.
    """
    if not python(folder).exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(python(folder)), "-m", "pip", "install", "--quiet", "--requirement", str(LIST)]
    subprocess.run(install, check=True)
    print(f"the peers are in {folder}")
