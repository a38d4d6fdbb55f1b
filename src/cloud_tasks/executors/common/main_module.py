"""The user's main program, in a child process.

A function of a script is found by running the script once as ``__mp_main__``, as
multiprocessing does, so that what the script defines exists, also what can't be pickled, and a
global that a task fills stays filled. The block under ``if __name__ == "__main__":`` does not
run.
"""

from __future__ import annotations

import sys
import types

GUARD_TEXT = (
    "the script starts a Worker while it is being imported by a child process: put the lines "
    'that make and run the Worker under `if __name__ == "__main__":`'
)

_loading = False
_loaded = False


def is_loading() -> bool:
    """True while this process runs the user's script to get at its functions."""
    return _loading


def describe_main() -> tuple[str, str] | None:
    """Say how a child finds the main program: ``(how, where)``, or None for a notebook or REPL.

    *how* is ``module`` for ``python -m``, ``path`` for a script.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        # `python -m package` runs package.__main__, which must not be run a second time as if
        # it were guarded; multiprocessing leaves it alone, too.
        return None if spec.name.endswith(".__main__") else ("module", spec.name)
    path = getattr(main, "__file__", None)
    if path is None or path == "<stdin>" or not str(path).endswith((".py", ".pyc", ".pyw")):
        return None
    from pathlib import Path

    return "path", str(Path(path).resolve())


def load_main(how: str, where: str) -> None:
    """Run the main program as ``__mp_main__`` and let it stand for ``__main__``; once."""
    global _loading, _loaded
    if _loaded:
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
    _loaded = True
    module.__dict__.update(content)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
