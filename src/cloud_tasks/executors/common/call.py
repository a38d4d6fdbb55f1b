"""Calling the user's function once, and turning whatever happens into a plain reply.

The only place that catches everything, in every executor. It runs in the process of the task
and imports little, since every fresh process pays for it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping

from cloud_tasks.executors.common import protocol
from cloud_tasks.task_data import TaskData
from cloud_tasks.worker_data import WorkerData

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

UserFunction: TypeAlias = "Callable[[str, dict[str, Any], WorkerData], Any]"

#: Without the check a result that contains itself is a RecursionError, as one nested too deeply.
_encode = json.JSONEncoder(allow_nan=False, check_circular=False).encode
#: Longer tracebacks lose their middle.
_MAX_TEXT = 64 * 1024
NOT_MEASURED = math.nan


class Interruption(BaseException):
    """Raised into a running task by its executor; never taken for the task's own doing."""


class BadResultError(Exception):
    """What the function returned can't be recorded."""


class Reply:
    """What one call came to, ready to travel.

    Attributes:
        kind: ``wire.DONE``, ``wire.RAISED`` or ``wire.EXITING``.
        body: the result, the exception or the exit code, see ``wire``.
        retry: the task asked for another try.
        replaced_nan: a NaN or infinity in the result became null.
        started, run_time, cpu_time: seconds; NaN where not measured.
    """

    __slots__ = ("body", "cpu_time", "kind", "replaced_nan", "retry", "run_time", "started")

    def __init__(self) -> None:
        self.kind = protocol.DONE
        self.body = b""
        self.retry = False
        self.replaced_nan = False
        self.started = self.run_time = self.cpu_time = NOT_MEASURED


def call(
    function: UserFunction,
    task_id: str,
    data: Mapping[str, Any],
    worker_data: WorkerData,
    *,
    max_result_bytes: int,
    on_start: Callable[[], object] | None = None,
    on_raise: Callable[[BaseException], object] | None = None,
    cpu_clock: Callable[[], float] = time.process_time,
    only: bool = False,
) -> Reply:
    """Run *function* over one task.

    Args:
        function: the user's.
        task_id: its first argument.
        data: becomes its second.
        worker_data: a copy becomes its third.
        max_result_bytes: a longer JSON text of the result is a failure; 0: no limit.
        on_start: called right before the function.
        on_raise: called with what the function raised; the reply waits for it.
        cpu_clock: seconds of CPU of the process, or of the thread where tasks share a process.
        only: this process runs no other task, so that it may have *worker_data* itself.

    Raises:
        Interruption: the executor ended the task.
    """
    reply = Reply()
    pid = os.getpid()
    mine = worker_data if only else worker_data.for_task()
    task_data = TaskData(task_id, data)
    reply.started = time.time()
    waited = _children_cpu()
    cpu = cpu_clock()
    begun = time.monotonic()
    try:
        if on_start is not None:
            on_start()
        returned = function(task_id, task_data, mine)
        ended = time.monotonic()
        if os.getpid() != pid:
            _end_copy(0)
        _record_return(reply, returned, max_result_bytes)
    except Interruption:
        raise
    except SystemExit as error:
        ended = time.monotonic()
        code = exit_code(error)
        if os.getpid() != pid:
            _end_copy(code)
        _print_parting_words(error)
        reply.kind = protocol.EXITING
        reply.body = b"%d" % code
    except BaseException as error:  # noqa: BLE001 - whatever a task raises is its outcome
        ended = time.monotonic()
        if os.getpid() != pid:
            _end_copy(1)
        if on_raise is not None:
            on_raise(error)
        reply.kind = protocol.RAISED
        reply.body = describe(error)
    reply.run_time = ended - begun
    reply.cpu_time = cpu_clock() - cpu + _children_cpu() - waited
    return reply


def refused(error: BaseException) -> Reply:
    """Return the reply for a task that could not be called, for *error*."""
    reply = Reply()
    reply.kind = protocol.RAISED
    reply.body = describe(error)
    return reply


def exit_code(error: SystemExit) -> int:
    """Return the exit code that Python gives a process that ends with *error*."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    return 1


def _print_parting_words(error: SystemExit) -> None:
    """Print what ``sys.exit("text")`` would: only the number goes on to the real exit."""
    import sys

    if error.code is not None and not isinstance(error.code, int):
        with contextlib.suppress(Exception):  # its __str__ is a task's code, and stderr its toy
            print(error.code, file=sys.stderr, flush=True)  # noqa: T201


def describe(error: BaseException) -> bytes:
    """Return JSON of ``[type, message, traceback]``, whatever *error* does when looked at."""
    name = type(error).__name__
    try:
        import traceback

        # The first frame is ours: nobody wants to read it.
        trace = error.__traceback__
        trace = trace.tb_next if trace is not None and trace.tb_next is not None else trace
        if isinstance(error, BadResultError):
            text, message, name = str(error), str(error), "BadResult"
        else:
            text = "".join(traceback.format_exception(type(error), error, trace))
            message = str(error)
    except BaseException:  # noqa: BLE001 - its __str__ is a task's code, too
        message = "(the exception can't be shown: its __str__ failed)"
        text = f"{name}: {message}"
    return json.dumps([name, _cut(message), _cut(text)]).encode()


def _cut(text: str) -> str:
    if len(text) <= _MAX_TEXT:
        return text
    half = _MAX_TEXT // 2
    return f"{text[:half]}\n… {len(text) - _MAX_TEXT:,} characters left out …\n{text[-half:]}"


def flush_streams() -> None:
    """Flush the standard streams, whatever a task has made of them."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - a suppressor would be two objects more in each forked process
            stream.flush()
        except Exception:  # noqa: BLE001, S110
            pass


def _end_copy(code: int) -> None:
    """End a process that the task forked and that came back here: only the original answers."""
    flush_streams()
    os._exit(code)


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _record_return(reply: Reply, returned: Any, max_result_bytes: int) -> None:
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise BadResultError(
            f"the function returned {_shown(returned)}, not a pair (retry, result)"
        )
    retry, result = returned
    reply.retry = _as_bool(retry)
    try:
        text = _encode(result)
    except (TypeError, ValueError, RecursionError) as error:
        text = _second_try(result, error)
        reply.replaced_nan = True
    reply.body = text.encode("ascii")
    if max_result_bytes and len(reply.body) > max_result_bytes:
        raise BadResultError(
            f"the result is {len(reply.body) / 2**20:.1f} MiB of JSON, more than the limit of "
            f"{max_result_bytes / 2**20:g} MiB (--max-result-size)"
        )


def _as_bool(retry: Any) -> bool:
    # NumPy's bool is no bool, but says so: its type is named bool_ or bool.
    if isinstance(retry, bool) or type(retry).__name__ in ("bool", "bool_"):
        return bool(retry)
    if isinstance(retry, int) and retry in (0, 1):
        return bool(retry)
    raise BadResultError(
        f"the function returned {_shown(retry)} for retry, the first of the pair, "
        "which must be True or False"
    )


def _second_try(result: Any, error: Exception) -> str:
    """Serialise what the encoder refused, with NaN as null; say what can't be helped."""
    problem = culprit(result)
    if problem is None:
        try:
            return json.dumps(without_nan(result), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as again:
            error = again
    raise BadResultError(f"the result can't be written as JSON: {problem or error}") from None


def _shown(value: Any) -> str:
    kind = type(value).__name__
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - its __repr__ is a task's code, too
        return f"a {kind}"
    if kind == "coroutine":
        value.close()
        return "a coroutine (the function must not be async)"
    return f"{text[:80]}{'…' if len(text) > 80 else ''} (a {kind})"


# MERGED: Results that JSON refused at first: what is wrong with them, or how to write them
# MERGED: after all.
# MERGED:
# MERGED: Apart from ``call`` because few tasks need it.

_DEEPEST = 200


def culprit(value: Any) -> str | None:
    """Name the first part of *value* that JSON can't hold, and where it is; None: there is none.

    NaN and infinities are not named: they become null.
    """
    return _search(value, "result", 0, set())


def _search(value: Any, where: str, depth: int, above: set[int]) -> str | None:
    if value is None or isinstance(value, str | int | float):
        return _unprintable_integer(value, where)
    if not isinstance(value, dict | list | tuple):
        kind = type(value)
        name = (
            kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        )
        return f"{where} is a {name}"
    if id(value) in above:
        return f"{where} contains itself"
    if depth >= _DEEPEST:
        return f"{where[:80]}… is nested more than {_DEEPEST} deep"
    above.add(id(value))
    if isinstance(value, dict):
        found = _search_mapping(value, where, depth, above)
    else:
        parts = (_search(v, f"{where}[{i}]", depth + 1, above) for i, v in enumerate(value))
        found = next((p for p in parts if p is not None), None)
    above.discard(id(value))
    return found


def _search_mapping(value: dict[Any, Any], where: str, depth: int, above: set[int]) -> str | None:
    for key, item in value.items():
        if not (key is None or isinstance(key, str | int | float)):
            return f"{where} has the key {key!r:.80}, which is a {type(key).__name__}"
        found = _search(item, f"{where}[{key!r:.80}]", depth + 1, above)
        if found is not None:
            return found
    return None


def _unprintable_integer(value: Any, where: str) -> str | None:
    if isinstance(value, int) and value.bit_length() > 10_000:
        try:
            str(value)
        except ValueError:
            return f"{where} is an integer with too many digits"
    return None


def without_nan(value: Any) -> Any:
    """Return *value* with every NaN and infinity replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value
