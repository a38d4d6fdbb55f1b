"""Find the user's main program from a child process, and run it there once.

A child finds a function of a script by running the script once as ``__mp_main__``, as
multiprocessing does. So everything that the script defines exists, also what can't be pickled, and
a global that a task fills stays filled. The block under ``if __name__ == "__main__":`` does not
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
    """Return whether this process is running the user's script to define its functions."""
    return _loading


def describe_main() -> tuple[str, str] | None:
    """Return how and where a child finds the main program; None for a notebook or REPL.

    How is ``module`` for ``python -m`` with the module's name, or ``path`` for a script.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        # `python -m package` runs package.__main__, which has no guard and must not run twice;
        # multiprocessing leaves it alone, too.
        return None if spec.name.endswith(".__main__") else ("module", spec.name)
    path = getattr(main, "__file__", None)
    if path is None or path == "<stdin>" or not str(path).endswith((".py", ".pyc", ".pyw")):
        return None
    from pathlib import Path

    return "path", str(Path(path).resolve())


def load_main(how: str, where: str) -> None:
    """Run the main program as ``__mp_main__`` and put it in the place of ``__main__``; once."""
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
