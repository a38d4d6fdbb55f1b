"""Write the events of a run as lines of JSON with stable keys.

``timestamp``, ``hostname`` and ``event_type`` come first, in that order. No key is ever renamed.
A result is copied as the JSON text that the task's process made, unparsed.

The functions build text instead of dicts, because one event is written for every task.
"""

from __future__ import annotations

import binascii
import functools
import itertools
import json
import os
import socket
from collections.abc import Mapping
from datetime import date
from json.encoder import encode_basestring_ascii
from typing import Any

from cloud_tasks import __version__
from cloud_tasks.clock import Clock
from cloud_tasks.errors import unreachable
from cloud_tasks.events.causes import signal_name
from cloud_tasks.masking import masked
from cloud_tasks.outcome import (
    Aborted,
    Completed,
    CrashInfo,
    Exited,
    Measures,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)
from cloud_tasks.summary import RunSummary
from cloud_tasks.task import Delivery
from cloud_tasks.timestamps import timestamp

_MIB, _GIB = 2**20, 2**30
#: The counts of a run that the event of its end has, by their names in :class:`RunSummary`.
_COUNTS = (
    "completed",
    "exceptions",
    "timed_out",
    "exited",
    "over_memory",
    "aborted",
    "retry_requested",
    "not_done",
    "given_up",
    "bad_entries",
    "skipped",
    "finished_before",
    "failed_before",
)


def date_as_text(value: Any) -> str:
    """Return the text for a date in JSON: the only type of YAML's that JSON lacks.

    For ``default`` of ``json.dumps``. Data that are written so keep their digest.

    Raises:
        TypeError: *value* is not a date.
    """
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not a type of JSON")


#: Encodes data so that equal data give equal text. Without the check, data that contain
#: themselves are a RecursionError.
_encode_canonical = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), default=date_as_text, check_circular=False
).encode


class Recorder:
    """Build the events of one run; any thread may call it.

    Args:
        hostname: name of this machine, by default that of the operating system.
        job_id: of the job that it works for; None: it has no name.

    Attributes:
        worker: identifies this run of a worker; the first part of each ``event_id``.
    """

    def __init__(
        self, clock: Clock, hostname: str | None = None, *, job_id: str | None = None
    ) -> None:
        self._clock = clock
        self._job_id = job_id
        self.worker = os.urandom(6).hex()
        # Its `next` is atomic, as the outcomes of several threads need.
        self._numbers = itertools.count(1)
        self._host = encode_basestring_ascii(hostname or socket.gethostname())

    def task_event(
        self, delivery: Delivery, outcome: Outcome, *, retry: bool, lease_lost: bool = False
    ) -> bytes:
        """Return the event for the end of *delivery*'s task, which should be run again if *retry*.

        *lease_lost*: the lease had run out, so the task runs elsewhere, too.
        """
        event_type, detail = _detail(outcome)
        measures = outcome.measures
        head = (
            f"{self._head(event_type)}, "
            f'"task_id": {encode_basestring_ascii(delivery.task.task_id)}, '
            f'"elapsed_time": {measures.elapsed_time:.6f}, "retry": {"true" if retry else "false"}'
        )
        attempt = "" if delivery.attempt is None else f', "attempt": {delivery.attempt}'
        tail = f"{self._identity()}{_measured(measures)}{attempt}{_digest(delivery)}"
        tail += ', "lease_lost": true}' if lease_lost else "}"
        return b"".join((head.encode(), detail, tail.encode()))

    def task_dead(self, delivery: Delivery, reason: str) -> bytes:
        """Return the event for a task that is given up."""
        attempts = "null" if delivery.attempt is None else str(delivery.attempt)
        return (
            f"{self._head('task_dead')}, "
            f'"task_id": {encode_basestring_ascii(delivery.task.task_id)}, '
            f'"attempts": {attempts}{_text("reason", reason).decode()}{self._identity()}'
            f"{_digest(delivery)}}}"
        ).encode()

    def keep_alive(
        self, instance_id: str, *, running: int, slots: int, waiting: int, draining: bool
    ) -> bytes:
        """Return the event that shows that this worker is alive.

        *running* tasks have a slot, *waiting* ones were received and have none. *instance_id* is
        the name of this machine.
        """
        return self._other(
            "keep_alive",
            instance_id=instance_id,
            running=running,
            slots=slots,
            waiting=waiting,
            draining=draining,
            worker=self.worker,
            job_id=self._job_id,
        )

    def worker_started(self, slots: int) -> bytes:
        """Return the event that begins the part of this worker in a log."""
        return self._other(
            "worker_started",
            worker=self.worker,
            slots=slots,
            version=__version__,
            pid=os.getpid(),
            job_id=self._job_id,
        )

    def worker_stopped(self, summary: RunSummary) -> bytes:
        """Return the event that ends the part of this worker in a log."""
        return self._other(
            "worker_stopped",
            worker=self.worker,
            reason=summary.stop_reason.value,
            exit_code=summary.exit_code,
            elapsed_time=round(summary.elapsed, 6),
            **{name: getattr(summary, name) for name in _COUNTS},
        )

    def spot_termination(self, kind: str, instance_id: str) -> bytes:
        """Return the event for a notice that the machine *instance_id* will be taken away."""
        return self._other("spot_termination", kind=kind, instance_id=instance_id)

    def non_fatal_exception(self, exception: str, stack_trace: str = "") -> bytes:
        """Return the event for a problem that did not end the worker, without secrets."""
        return self._problem("non_fatal_exception", exception, stack_trace)

    def fatal_exception(self, exception: str, stack_trace: str = "") -> bytes:
        """Return the event for a problem that ends the worker, without secrets."""
        return self._problem("fatal_exception", exception, stack_trace)

    def _problem(self, event_type: str, exception: str, stack_trace: str) -> bytes:
        # A stack trace has the words of other libraries, too.
        return self._other(event_type, exception=masked(exception), stack_trace=masked(stack_trace))

    def _other(self, event_type: str, **fields: str | float | bool | None) -> bytes:
        body = "".join(f', "{key}": {json.dumps(value)}' for key, value in fields.items())
        return f"{self._head(event_type)}{body}{self._identity()}}}".encode()

    def _head(self, event_type: str) -> str:
        return (
            f'{{"timestamp": "{timestamp(self._clock.wall())}", "hostname": {self._host}, '
            f'"event_type": "{event_type}"'
        )

    def _identity(self) -> str:
        return f', "event_id": "{self.worker}-{next(self._numbers)}"'


def _detail(outcome: Outcome) -> tuple[str, bytes]:
    """Return the event type and the fields that belong to this outcome only."""
    match outcome:
        case Completed():
            return "task_completed", b', "result": ' + outcome.result_json
        case Raised():
            return "task_exception", _text("exception", outcome.traceback)
        case TimedOut():
            return "task_timed_out", _last_output(outcome.crash_info)
        case Exited():
            return "task_exited", _exit(outcome)
        case OverMemory():
            text = _text("exception", memory_text(outcome))
            return "task_exception", text + _last_output(outcome.crash_info)
        case Aborted():
            return "task_aborted", _text("reason", outcome.reason)
        case _:
            unreachable(outcome)


def memory_text(outcome: OverMemory) -> str:
    """Return a sentence with the memory limit and the memory that was used."""
    return (
        f"MemoryError: the task's processes used {outcome.used / _GIB:.3g} GB, "
        f"more than the limit of {outcome.limit / _GIB:.3g} GB (--max-memory-allowed-per-task)"
    )


def _exit(outcome: Exited) -> bytes:
    code = "null" if outcome.exit_code is None else str(outcome.exit_code)
    crash_info = outcome.crash_info or CrashInfo()
    parts = [f', "exit_code": {code}'.encode()]
    for key, text in (("signal", signal_name(outcome.exit_code)), ("hint", outcome.hint)):
        if text is not None:
            parts.append(_text(key, text))
    for key, size in (("memory_mb", crash_info.memory), ("free_memory_mb", crash_info.free_memory)):
        if size is not None:
            parts.append(f', "{key}": {size / _MIB:.1f}'.encode())
    # Fields that may be long come last, where ``events.truncation`` looks for them.
    if crash_info.traceback is not None:
        parts.append(_text("traceback", crash_info.traceback))
    parts.append(_last_output(crash_info))
    return b"".join(parts)


def _last_output(crash_info: CrashInfo | None) -> bytes:
    if crash_info is None or crash_info.last_output is None:
        return b""
    return _text("last_output", crash_info.last_output)


def _text(key: str, value: str) -> bytes:
    return f', "{key}": {encode_basestring_ascii(value)}'.encode()


def _measured(measures: Measures) -> str:
    slot, _, started, run_time, cpu_time, peak = measures
    text = "" if slot is None else f', "slot": {slot}'
    if started is not None:
        text += f', "started": "{timestamp(started)}"'
    if run_time is not None:
        text += f', "run_time": {run_time:.6f}'
    if cpu_time is not None:
        text += f', "cpu_time": {cpu_time:.6f}'
    return text if peak is None else f'{text}, "max_rss_mb": {peak:.1f}'


def _digest(delivery: Delivery) -> str:
    digest = data_digest(delivery.task.data)
    return "" if digest is None else f', "data_digest": "{digest}"'


def data_digest(data: Mapping[str, Any]) -> str | None:
    """Return a hash of *data*, 8 bytes in base64; None where JSON can't express its content.

    Equal data give equal digests in every run, on every machine and version of Python.
    """
    try:
        text = _encode_canonical(data if type(data) is dict else dict(data))
    except (TypeError, ValueError, RecursionError):
        return None
    digest = _hash().copy()
    digest.update(text.encode())
    return binascii.b2a_base64(digest.digest(), newline=False).decode("ascii")


@functools.cache
def _hash() -> Any:
    # Imported late: hashlib loads OpenSSL, which is not needed here.
    import hashlib

    return hashlib.blake2b(digest_size=8)
