"""Find the user's main program from a child process, and run it there once.

A child finds a function of a script by running the script once as ``__mp_main__``, as
multiprocessing does. So everything that the script defines exists, also what can't be pickled, and
a global that a task fills stays filled. The block under ``if __name__ == "__main__":`` does not
run. ``executors/function.py`` decides in the worker how the program is to be found.
"""

from __future__ import annotations

import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GUARD_TEXT = (
    "the script starts a Worker while it is being imported by a child process: put the lines "
    'that make and run the Worker under `if __name__ == "__main__":`'
)
#: Names of the main program: as it is run, and as a child, here or of multiprocessing, loads it.
NAMES = ("__main__", "__mp_main__")

_loading = False
_is_loaded = False


def is_loading() -> bool:
    """Return whether this process is running the user's script to define its functions."""
    return _loading


def load_main(how: str, where: str) -> None:
    """Run the main program as ``__mp_main__`` and put it in the place of ``__main__``; once.

    *how* is ``module`` for a program that is run by its module's name, ``path`` for a script, a
    folder or a zip file.
    """
    global _loading, _is_loaded
    if _is_loaded:
        return
    import runpy

    module = types.ModuleType("__mp_main__")
    _loading = True
    try:
        if how == "module":
            content = runpy.run_module(where, run_name="__mp_main__", alter_sys=True)
        else:
            content = runpy.run_path(where, run_name="__mp_main__")
    finally:
        _loading = False
    _is_loaded = True
    module.__dict__.update(content)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    _rename_home(content)


def _rename_home(namespace: dict[str, Any], seen: set[int] | None = None) -> None:
    """Make ``__main__`` the module of the functions and classes in *namespace*.

    So they are named as in the program itself, in tracebacks and in what tasks pickle. Pools that
    a task uses send them as they send those of any main program: joblib, Dask and Ray by value.
    """
    seen = set() if seen is None else seen
    for value in list(namespace.values()):
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        # Not an instance of a class of the program, which has the attribute from its class.
        own = isinstance(value, type | types.FunctionType) or "__module__" in getattr(
            value, "__dict__", ()
        )
        if not own or id(value) in seen or getattr(value, "__module__", None) != "__mp_main__":
            continue
        seen.add(id(value))
        try:
            value.__module__ = "__main__"
        except (AttributeError, TypeError):
            continue  # it refuses, and keeps the other name
        if isinstance(value, type):
            _rename_home(dict(vars(value)), seen)


def global_of_main(how: str, where: str, name: str) -> Any:
    """Return what the main program calls *name*, a qualified name; called by unpickling."""
    load_main(how, where)
    found: Any = sys.modules["__main__"]
    for part in name.split("."):
        found = getattr(found, part)
    return found


def globals_of(function: Any) -> dict[str, Any]:
    """Return the globals of a function, method, partial or callable object; empty if unknown."""
    while hasattr(function, "func"):
        function = function.func
    if not hasattr(function, "__globals__"):
        # Of a method, or of the class of an object that can be called.
        function = getattr(function, "__func__", None) or type(function).__call__
    found: dict[str, Any] = getattr(function, "__globals__", {})
    return found


def adopt_globals(function: Any) -> None:
    """Put the globals of a *function* of a main program that was sent by value into ``__main__``.

    Pools that fork in a task find its helpers there, by the name under which they were defined.
    """
    namespace = globals_of(function)
    if namespace.get("__name__") == "__main__":
        mine = vars(sys.modules["__main__"])
        mine.update((k, v) for k, v in namespace.items() if not k.startswith("__"))
