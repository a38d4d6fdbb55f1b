"""Pickle the user's function and worker_data for the processes of tasks.

By name where a child can import the module: its globals then stay alive from task to task, and may
hold what can't be pickled. Else by value, see :mod:`~cloud_tasks.executors.by_value`.
"""

from __future__ import annotations

import functools
import inspect
import pickle
from dataclasses import dataclass
from typing import Any

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.executors.common.call import UserFunction
from cloud_tasks.executors.main_program import MainProgram, find_main
from cloud_tasks.worker_data import WorkerData


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """The user's function, and how a child process gets it.

    Attributes:
        function: the object itself.
        main: the main program, if a child can load it.
    """

    function: UserFunction
    main: MainProgram | None

    @property
    def name(self) -> str:
        """Name of the function for people: its qualified name."""
        return str(getattr(self.function, "__qualname__", type(self.function).__qualname__))

    def pickled(self, *, loads_main: bool = True) -> bytes:
        """Pickle the function for a process that can load the main program, or can not.

        Raises:
            ConfigurationError: it can't be pickled.
        """
        main = self.main if loads_main else None
        try:
            return serialise(self.function, main)
        except Exception as error:
            from cloud_tasks.executors.by_value import name_unsendable

            part = name_unsendable(self.function, main)
            raise ConfigurationError(
                f"the task function {self.function!r} can't be sent to another process: "
                + (f"{part}; create that in the function" if part else str(error))
                + ", move the function to a module that the program imports, "
                "or run with --executor inline"
            ) from error


def specify(function: UserFunction) -> FunctionSpec:
    """Return the spec of *function*; nothing is pickled yet.

    Raises:
        ConfigurationError: it is not callable, or a call of it would run nothing.
    """
    if not callable(function):
        raise ConfigurationError(
            "process_task must be a function of (task_id, task_data, worker_data), "
            f"not {type(function).__name__}"
        )
    kind = _kind_of_deferred(function)
    if kind is not None:
        raise ConfigurationError(
            f"process_task must be a plain function, but {function!r} is {kind}, whose call "
            "returns before any of it has run: write `def process_task` without "
            + ("yield" if kind == "a generator function" else "async, with asyncio.run() in it")
        )
    return FunctionSpec(function, find_main(function))


def _kind_of_deferred(function: Any) -> str | None:
    """Return what *function* is if its call only prepares the work; None: it does the work."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and not isinstance(function, type):
        function = type(function).__call__
    if inspect.iscoroutinefunction(function):
        return "an async function"
    if inspect.isasyncgenfunction(function):
        return "an async generator function"
    return "a generator function" if inspect.isgeneratorfunction(function) else None


def serialise(value: Any, main: MainProgram | None) -> bytes:
    """Pickle *value* by reference where a child can follow the references, else by value.

    Raises:
        Exception: neither is possible; of any class, as pickling runs the user's code.
    """
    try:
        payload = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - a __reduce__ of the user's may raise anything
        return _by_value(value, main)
    # To unpickle such a payload may be to look something up in the main program, or to talk to a
    # manager, whose key pickle leaves out.
    if (main is None and b"_main__" in payload) or b"multiprocessing.managers" in payload:
        return _by_value(value, main)
    return payload


def serialise_worker_data(worker_data: WorkerData, main: MainProgram | None) -> bytes:
    """Pickle *worker_data*.

    Raises:
        ConfigurationError: an attribute can't be pickled; the sentence names it.
    """
    try:
        return serialise(worker_data, main)
    except Exception as error:
        where, problem = _find_unpicklable(worker_data, main) or ("worker_data", error)
        raise ConfigurationError(
            f"{where} can't be sent to a child process: {problem}; set it in the task instead, "
            "or run with --executor inline"
        ) from error


def _find_unpicklable(
    worker_data: WorkerData, main: MainProgram | None
) -> tuple[str, object] | None:
    """Return the name of the first attribute that can't be pickled, and what the problem is."""
    places: list[tuple[str, Any]] = [
        (f"worker_data.{name}", value)
        for name, value in worker_data.__getstate__().items()
        if name != "args"
    ]
    arguments: dict[str, Any] = getattr(worker_data.args, "__dict__", {})
    places += [(f"worker_data.args.{name}", value) for name, value in arguments.items()]
    places.append(("worker_data.args", worker_data.args))
    for where, value in places:
        try:
            serialise(value, main)
        except Exception as error:  # noqa: BLE001 - the user's classes may raise anything
            from cloud_tasks.executors.by_value import name_unsendable

            return where, name_unsendable(value, main) or error
    return None


def _by_value(value: Any, main: MainProgram | None) -> bytes:
    from cloud_tasks.executors import by_value

    return by_value.dumps(value, main)
