"""Pickle the user's function and worker_data for the processes of tasks.

By name where a child can import the module: its globals then stay alive from task to task, and may
hold what can't be pickled. Else by value with cloudpickle (which loky requires): for lambdas,
closures and functions of notebooks.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.executors.common.call import UserFunction
from cloud_tasks.executors.common.main_module import describe_main
from cloud_tasks.worker_data import WorkerData


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """The user's function, and how a child process gets it.

    Attributes:
        function: the object itself.
        main: how a child finds the main program, see ``main_module``; None: it can't.
    """

    function: UserFunction
    main: tuple[str, str] | None

    @property
    def name(self) -> str:
        """Name of the function for people: its qualified name."""
        return str(getattr(self.function, "__qualname__", type(self.function).__qualname__))

    def pickled(self, *, loads_main: bool = True) -> bytes:
        """Pickle the function for a process that can load the main program, or can not.

        Raises:
            ConfigurationError: it can't be pickled.
        """
        try:
            return serialise(self.function, self.main if loads_main else None)
        except Exception as error:
            raise ConfigurationError(
                f"the task function {self.function!r} can't be sent to another process: {error}; "
                "define it at the top level of a module, or run with --executor inline"
            ) from error


def specify(function: UserFunction) -> FunctionSpec:
    """Return the spec of *function*; nothing is pickled yet.

    Raises:
        ConfigurationError: it is not callable.
    """
    if not callable(function):
        raise ConfigurationError(
            "process_task must be a function of (task_id, task_data, worker_data), "
            f"not {type(function).__name__}"
        )
    return FunctionSpec(function, describe_main())


def serialise(value: Any, main: tuple[str, str] | None) -> bytes:
    """Pickle *value* by reference where a child can follow the references, else by value.

    Raises:
        Exception: neither is possible; of any class, as pickling runs the user's code.
    """
    try:
        payload = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - a __reduce__ of the user's may raise anything
        return _by_value(value)
    # To unpickle such a payload may be to look something up in the main program.
    return _by_value(value) if main is None and b"__main__" in payload else payload


def serialise_worker_data(worker_data: WorkerData, main: tuple[str, str] | None) -> bytes:
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
    worker_data: WorkerData, main: tuple[str, str] | None
) -> tuple[str, Exception] | None:
    """Return the name of the first attribute that can't be pickled, and the error."""
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
            return where, error
    return None


def _by_value(value: Any) -> bytes:
    import cloudpickle

    payload: bytes = cloudpickle.dumps(value)
    return payload
