"""``cloud_tasks worker``: run a function of a module, without a program around it."""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
from pathlib import Path
from typing import Any

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.settings.resolve import add_arguments
from cloud_tasks.worker import Worker


def main(argv: list[str]) -> int:
    """Run the function that *argv* names, and exit with the exit code of the run.

    Raises:
        ConfigurationError: there is no such function.
        SystemExit: the run is over, or the command line is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="cloud_tasks worker",
        description="Run a function of (task_id, task_data, worker_data) over tasks.",
    )
    parser.add_argument(
        "function",
        metavar="MODULE:FUNCTION",
        help="what to run: package.module:function, or path/to/file.py:function",
    )
    add_arguments(parser)
    target = parser.parse_args(argv).function
    # All objects so far belong to Python's modules and ours, and stay. Hidden from the cycle
    # collector they save most of the time that Python takes to exit.
    gc.freeze()
    Worker(load(target), args=argv, argparser=parser).main()


def load(target: str) -> Any:
    """Import the function named *target*; the current folder is searched first.

    Raises:
        ConfigurationError: there is none.
    """
    module_name, colon, name = target.rpartition(":")
    if not colon or not module_name or not name:
        raise ConfigurationError(f"{target!r} is not of the form MODULE:FUNCTION")
    if module_name.endswith(".py"):
        file = Path(module_name)
        if not file.is_absolute():
            file = _current_folder() / file
        if not file.is_file():
            raise ConfigurationError(f"there is no file {module_name!r}")
        folder, module_name = file.resolve().parent, file.stem
    else:
        folder = _current_folder()
    _check_name(folder, module_name)
    sys.path.insert(0, str(folder))
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigurationError(f"there is no module {module_name!r} in {folder}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"the module {module_name!r} has no {name!r}")
        found = getattr(found, part)
    return found


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigurationError(
            "the current folder has been deleted: change to another one, then start again"
        ) from None


def _check_name(folder: Path, module_name: str) -> None:
    """Check that a module in *folder* does not have the name of one that is found before it.

    Raises:
        ConfigurationError: it does; children could not tell the two apart.
    """
    top = module_name.partition(".")[0]
    places = (folder / f"{top}.py", folder / top / "__init__.py")
    mine = next((place for place in places if place.exists()), None)
    if mine is None:
        return
    origin = getattr(sys.modules.get(top), "__file__", None)
    if origin is not None and Path(origin).resolve() == mine.resolve():
        return
    if top in sys.stdlib_module_names or top in sys.modules:
        whose = "the standard library" if top in sys.stdlib_module_names else f"{origin}"
        raise ConfigurationError(
            f"{mine} has the name of a module of {whose}, which is found in its place: rename it"
        )
