"""Find out how a child process can load the main program: the worker's side.

    python script.py, python script, pdb, coverage     the script's path
    python folder, python archive.zip                   the path of its __main__, of the archive
    python -m module, python -m package                 the module's name
    cProfile, trace                                     the script whose globals the function has
    notebook, python -c, python < script                it can't: functions are sent by value

:mod:`~cloud_tasks.executors.common.main_module` is the child's side.
"""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_tasks.executors.common.main_module import NAMES, globals_of

#: The line that keeps a program from running when it is imported.
_GUARD = re.compile(r"^\s*if\b.*(__name__.*__main__|__main__.*__name__)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MainProgram:
    """The main program, which a child can load.

    Attributes:
        how, where: see :func:`~cloud_tasks.executors.common.main_module.load_main`.
        namespace: its globals here. Profilers and the like run a program in a dictionary of their
            own, so that ``sys.modules["__main__"]`` is not the program.
    """

    how: str
    where: str
    namespace: Mapping[str, Any]

    def defines(self, value: Any) -> bool:
        """Return whether *value*, a class or function, is what the program calls by its name."""
        if getattr(value, "__module__", None) not in NAMES:
            return False
        first, *others = value.__qualname__.split(".")
        found = self.namespace.get(first)
        for name in others:
            found = getattr(found, name, None)
        return found is value


def find_main(function: Any) -> MainProgram | None:
    """Return how a child loads the main program, for *function*; None: it can't."""
    namespace = globals_of(function)
    if namespace.get("__name__") not in NAMES:
        namespace = vars(sys.modules["__main__"])
    elif _is_typed_in(function):
        return None
    spec = namespace.get("__spec__")
    path = namespace.get("__file__")
    name = getattr(spec, "name", "__main__")
    if name != "__main__":
        # The __main__ of a package often has no guard, and must not run twice then.
        loads = not name.endswith(".__main__") or _has_guard(path, namespace)
        return MainProgram("module", name, namespace) if loads else None
    if not path or str(path).startswith("<"):
        return None
    try:
        return _find_script(Path(path).resolve(), namespace)
    except FileNotFoundError:  # a relative path, and the current folder has been deleted
        return None


def _find_script(path: Path, namespace: dict[str, Any]) -> MainProgram | None:
    is_script = path.suffix in (".py", ".pyc", ".pyw") and path.name != "__main__.py"
    if not is_script and not _has_guard(str(path), namespace):
        return None
    if not path.is_file():
        path = path.parent  # of a zip file
    return MainProgram("path", str(path), namespace) if path.is_file() else None


def _has_guard(path: str | None, namespace: dict[str, Any]) -> bool:
    lines = linecache.getlines(path, namespace) if path else []
    return _GUARD.search("".join(lines)) is not None


def _is_typed_in(function: Any) -> bool:
    """Return whether *function* was made by ``python -i`` or ``exec``, so is in no file."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename.startswith("<")
