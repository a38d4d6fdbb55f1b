"""Running an example as its user does, and reading what it left."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
#: Seconds that one example may take on a busy machine.
LIMIT = 120.0

Event = dict[str, Any]


def run(folder: Path, example: str, *flags: str) -> tuple[int, list[Event]]:
    """Run an example in *folder*; returns its exit code and events."""
    done = subprocess.run(command(example, *flags), cwd=folder, timeout=LIMIT, check=False)
    return done.returncode, events(folder)


def printed(folder: Path, example: str, *flags: str, **variables: Any) -> tuple[int, str, str]:
    """Run an example in *folder*; returns its exit code and both its outputs."""
    done = subprocess.run(
        command(example, *flags),
        cwd=folder,
        timeout=LIMIT,
        capture_output=True,
        text=True,
        check=False,
        **variables,
    )
    return done.returncode, done.stdout, done.stderr


def command(example: str, *flags: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / example / f"{example}.py"), *flags]


def events(folder: Path) -> list[Event]:
    """Return the events of tasks."""
    found = [json.loads(line) for line in (folder / "events.log").read_text().splitlines()]
    return [event for event in found if "task_id" in event]


def results(found: list[Event]) -> dict[str, Any]:
    return {event["task_id"]: event["result"] for event in found}


def load(example: str) -> Any:
    """Import the program of an example."""
    file = EXAMPLES / example / f"{example}.py"
    specification = importlib.util.spec_from_file_location(f"example_{example}", file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
