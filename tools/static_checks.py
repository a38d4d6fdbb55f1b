"""Run the checks that only read the source, side by side, and print their output in order.

``python tools/static_checks.py`` runs all, ``python tools/static_checks.py types docs`` these two.
The output of a check is printed when it and those before it have ended. The exit code is 0 if all
succeeded, otherwise 1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Commands by the name of their check. Those that take longest come first, to be started first.
CHECKS = {
    "types": ["mypy src tests tools examples benchmarks"],
    "docs": ["sphinx-build -W -n --keep-going -q -b html docs docs/_build/html"],
    "layers": ["lint-imports --no-cache"],
    "lint": ["ruff check .", "ruff format --check ."],
}


def run(commands: Sequence[str]) -> tuple[bool, float, str]:
    """Run *commands* one after the other; return success, seconds and output."""
    begun = time.monotonic()
    succeeded = True
    with tempfile.TemporaryFile("w+") as output:
        for command in commands:
            done = subprocess.run(
                command.split(), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False
            )
            succeeded = succeeded and done.returncode == 0
        output.seek(0)
        return succeeded, time.monotonic() - begun, output.read()


def main(names: Sequence[str], checks: dict[str, list[str]] = CHECKS) -> int:
    """Run the checks of *names*, or all, on as many cores as there are; return the exit code."""
    if unknown := set(names) - set(checks):
        sys.exit(f"no such check: {', '.join(sorted(unknown))}; there are {', '.join(checks)}")
    chosen = [name for name in checks if not names or name in names]
    failed = []
    with futures.ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        for name, result in zip(chosen, pool.map(lambda n: run(checks[n]), chosen), strict=True):
            succeeded, seconds, output = result
            print(f"--- {name}: {'passed' if succeeded else 'FAILED'} in {seconds:.0f} s")
            print(output, end="", flush=True)
            if not succeeded:
                failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
