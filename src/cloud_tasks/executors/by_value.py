"""Pickle by value what a child process can't import: lambdas, closures, functions of notebooks.

With cloudpickle, and with three differences. What the main program defines is sent by name if a
child can load that program. Code keeps the name of its file, for tracebacks. Proxies of a manager
bring its key along, as they do where multiprocessing starts the process.

Apart from :mod:`~cloud_tasks.executors.function`, which imports it when it is needed.
"""

from __future__ import annotations

import functools
import io
import marshal
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

import cloudpickle

from cloud_tasks.executors.common.main_module import NAMES, global_of_main
from cloud_tasks.executors.main_program import MainProgram


def dumps(value: Any, main: MainProgram | None) -> bytes:
    """Pickle *value*; *main*: the main program, if a child can load it.

    Raises:
        Exception: it can't be pickled; of any class, as pickling runs the user's code.
    """
    file = io.BytesIO()
    _Pickler(file, main).dump(value)
    return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, main: MainProgram | None) -> None:
        super().__init__(file)
        self._main = main

    def reducer_override(self, value: Any) -> Any:
        """Return how to pickle *value*, if not as pickle and cloudpickle do."""
        kind = type(value)
        if kind is CodeType:
            # cloudpickle drops the file's name. Both ends have the same version of Python.
            return marshal.loads, (marshal.dumps(value),)
        main = self._main
        if main is not None and isinstance(value, type | FunctionType) and main.defines(value):
            return global_of_main, (main.how, main.where, value.__qualname__)
        managers = sys.modules.get("multiprocessing.managers")
        if managers is not None and isinstance(value, managers.BaseProxy):
            return _reduce_proxy(value)
        if kind.__name__ == "AuthenticationString":
            return kind, (bytes(value),)
        return super().reducer_override(value)


def _reduce_proxy(proxy: Any) -> Any:
    from multiprocessing import context

    # A proxy reveals its manager's key only to a process that is being started.
    before = context.get_spawning_popen()
    context.set_spawning_popen(proxy)
    try:
        return proxy.__reduce__()
    finally:
        context.set_spawning_popen(before)


def name_unsendable(value: Any, main: MainProgram | None) -> str | None:
    """Describe the part of *value*, often a function, that can't be pickled, and why.

    ``the global 'LOCK', which process_task uses: cannot pickle ...``; None: no part can be named.
    """
    return _name_unsendable(value, main, set())


def _name_unsendable(value: Any, main: MainProgram | None, seen: set[int]) -> str | None:
    seen.add(id(value))
    for name, part in _parts(value):
        if id(part) in seen:
            continue
        try:
            dumps(part, main)
        except Exception as error:  # noqa: BLE001 - the user's classes may raise anything
            return _name_unsendable(part, main, seen) or f"{name}: {error}"
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is pickled with *value*, and what each part is."""
    if isinstance(value, functools.partial):
        yield "its function", value.func
        yield from ((f"its argument {part!r:.80}", part) for part in value.args)
        yield from ((f"its argument {name!r}", part) for name, part in value.keywords.items())
    elif isinstance(value, MethodType):
        yield "its object", value.__self__
    elif isinstance(value, FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, type):
        if value.__module__ in NAMES:
            for name, part in vars(value).items():
                yield f"{value.__name__}.{name}", getattr(part, "__func__", part)
    else:
        yield f"the class {type(value).__name__}", type(value)
        for name, part in getattr(value, "__dict__", {}).items():
            yield f"the attribute {name!r} of a {type(value).__name__}", part


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    who = function.__name__
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            yield f"the global {name!r}, which {who} uses", function.__globals__[name]
    cells = function.__closure__ or ()
    for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
        yield f"the variable {name!r}, which {who} uses", cell.cell_contents
    yield from ((f"a default of {who}", part) for part in function.__defaults__ or ())


def _global_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)
