"""Define the third argument of a user's function: settings and live flags of the worker."""

from __future__ import annotations

import copy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class LiveFlags(Protocol):
        """A place from which the two live flags are read, see ``executors.common.flag_page``."""

        @property
        def termination_notice(self) -> bool:
            """Return True once the provider has announced the end of this machine."""

        @property
        def shutdown_request(self) -> bool:
            """Return True once the worker was asked to stop."""


#: Names of the settings, with the values that they have outside a run.
DEFAULTS: dict[str, Any] = {
    "provider": None,
    "project_id": None,
    "job_id": None,
    "queue_name": None,
    "exactly_once_queue": False,
    "event_log_to_queue": False,
    "event_log_queue_name": None,
    "event_log_to_file": False,
    "event_log_file": None,
    "keepalive_interval": None,
    "instance_type": None,
    "num_cpus": None,
    "memory_gb": None,
    "local_ssd_gb": None,
    "boot_disk_gb": None,
    "is_spot": False,
    "price_per_hour": None,
    "num_simultaneous_tasks": 1,
    "max_runtime": None,
    "max_memory_allowed_per_task": None,
    "shutdown_grace_period": None,
    "retry_on_exit": False,
    "retry_on_exception": False,
    "retry_on_timeout": False,
    "simulate_spot_termination_after": None,
    "simulate_spot_termination_delay": None,
}


class WorkerData:
    """The settings and live flags of the worker, as a task sees them.

    Settings are plain attributes, ``args`` is the whole parsed Namespace (including a program's
    own arguments), and attributes that a program sets before ``start()`` reach every task. Each
    task gets a shallow copy of its own, and of ``args``.

    Args:
        args: the Namespace, or any other object with attributes.
        **values: settings by the names of :data:`DEFAULTS`.

    Raises:
        TypeError: a keyword is not the name of a setting.
    """

    def __init__(self, args: Any = None, **values: Any) -> None:
        unknown = values.keys() - DEFAULTS.keys()
        if unknown:
            raise TypeError(f"WorkerData has no setting {sorted(unknown)[0]!r}")
        self.args = args
        self._flags: LiveFlags | None = None
        self.__dict__.update(DEFAULTS)
        self.__dict__.update(values)

    # Settings, and what a program adds, are attributes of any type to a type checker.
    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"worker_data has no attribute {name!r}")

    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...

    @property
    def received_termination_notice(self) -> bool:
        """Return True once the provider has announced the end of this machine."""
        return self._flags is not None and self._flags.termination_notice

    @property
    def received_shutdown_request(self) -> bool:
        """Return True once the worker was asked to stop."""
        return self._flags is not None and self._flags.shutdown_request

    def connect(self, flags: LiveFlags | None) -> None:
        """Read the live flags from *flags* from now on; with None both are False."""
        self._flags = flags

    def for_task(self) -> WorkerData:
        """Return a copy for one task, whose changes to it no other task sees."""
        mine = WorkerData.__new__(WorkerData)
        mine.__dict__.update(self.__dict__)
        mine.__dict__["args"] = _shallow_copy(self.args)
        return mine

    def __getstate__(self) -> dict[str, Any]:
        # Flags are a page of shared memory: the process that receives the copy connects its own.
        return {**self.__dict__, "_flags": None}

    def __repr__(self) -> str:
        shown = {k: v for k, v in self.__dict__.items() if not k.startswith("_")}
        return f"WorkerData({', '.join(f'{k}={v!r}' for k, v in sorted(shown.items()))})"


def _shallow_copy(args: Any) -> Any:
    kind: Any = type(args)
    if kind.__name__ != "Namespace" or not hasattr(args, "__dict__"):
        return copy.copy(args)
    # Does what copy.copy does with an argparse.Namespace, in a quarter of the time.
    mine = kind.__new__(kind)
    mine.__dict__.update(args.__dict__)
    return mine
