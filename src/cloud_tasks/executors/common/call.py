"""Call the user's function for one task, and turn whatever happens into a plain reply.

    returns (retry, result) ──► DONE     the result as JSON
    raises, returns no pair ──► RAISED   JSON of [type, message, traceback]
    sys.exit(code)          ──► EXITING  the exit code
    Interruption            ──► raised on: the executor itself ended the task

Every executor calls tasks through :func:`call`, the only place that catches everything. It runs in
the process of the task and imports little, because each fresh process pays for an import.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.exception_text import (
    Interruption,
    frames_of,
    message_of,
    name_of,
    traceback_of,
)
from cloud_tasks.task_data import TaskData
from cloud_tasks.worker_data import WorkerData

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

UserFunction: TypeAlias = "Callable[[str, dict[str, Any], WorkerData], Any]"

#: Without the check a result that contains itself is a RecursionError, as one nested too deeply.
_encode = json.JSONEncoder(allow_nan=False, check_circular=False).encode
#: Characters of a message or traceback; a longer one loses its middle.
_MAX_TEXT = 64 * 1024
#: Levels of nesting that are counted for a message; a cycle has no end.
_MAX_DEPTH = 100_000
NOT_MEASURED = math.nan


class BadResultError(Exception):
    """The function returned a value that can't be recorded."""


class Reply:
    """The result of one call, as bytes and numbers that can be sent to the worker.

    Attributes:
        kind: ``protocol.DONE``, ``protocol.RAISED`` or ``protocol.EXITING``.
        body: the result, the exception or the exit code, see ``protocol``.
        retry: the task asked for another try.
        replaced_nan: a NaN or infinity in the result became null.
        started, run_time, cpu_time: seconds, *started* since the epoch; NaN where not measured.
    """

    __slots__ = ("body", "cpu_time", "kind", "replaced_nan", "retry", "run_time", "started")

    def __init__(self, kind: int, body: bytes) -> None:
        self.kind = kind
        self.body = body
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
    single_use: bool = False,
) -> Reply:
    """Call *function* for one task, in the calling thread.

    It gets *task_id*, a copy of *data*, and a copy of *worker_data*, or that itself if
    *single_use*: this process runs no other task. A result of more than *max_result_bytes* of JSON
    is a failure; 0: no limit. *on_start* is called right before the function, *on_raise* with the
    exception that it raised. *cpu_clock* returns the seconds of CPU of the process, or of the
    thread where tasks share a process.

    Raises:
        Interruption: the executor ended the task.
    """
    reply = Reply(protocol.DONE, b"")
    pid = os.getpid()
    mine = worker_data if single_use else worker_data.for_task()
    task_data = TaskData(task_id, data)
    reply.started = time.time()
    waited = _children_cpu()
    cpu = cpu_clock()
    begun = time.monotonic()
    try:
        if on_start is not None:
            on_start()
        # In a context of its own: the next task does not see the variables that this one sets.
        returned = copy_context().run(function, task_id, task_data, mine)
        ended = time.monotonic()
        if os.getpid() != pid:
            _exit_fork(0)
        _record_return(reply, returned, max_result_bytes)
    except Interruption:
        raise
    except SystemExit as error:
        ended = time.monotonic()
        code = exit_code(error)
        if os.getpid() != pid:
            _exit_fork(code)
        _print_exit_message(error)
        reply.kind = protocol.EXITING
        reply.body = b"%d" % code
    except BaseException as error:  # noqa: BLE001 - any exception of a task is its outcome
        ended = time.monotonic()
        if os.getpid() != pid:
            _exit_fork(1)
        if on_raise is not None:
            on_raise(error)
        reply.kind = protocol.RAISED
        reply.body = describe(error)
    reply.run_time = ended - begun
    reply.cpu_time = cpu_clock() - cpu + _children_cpu() - waited
    return reply


def exit_code(error: SystemExit) -> int:
    """Return the exit code that Python gives a process that ends with *error*."""
    code = _code(error)
    if code is None:
        return 0
    return int.__and__(code, 0xFF) if isinstance(code, int) else 1


def _code(error: SystemExit) -> object:
    # Not the attribute of a subclass, which may raise.
    code: object = vars(SystemExit)["code"].__get__(error)
    return code


def _print_exit_message(error: SystemExit) -> None:
    """Print the text of ``sys.exit("text")``, because only a number is passed to the real exit."""
    code = _code(error)
    if code is not None and not isinstance(code, int):
        # The task may have replaced stderr, and its __str__ may raise.
        with contextlib.suppress(Exception):
            print(code, file=sys.stderr, flush=True)  # noqa: T201


def describe(error: BaseException) -> bytes:
    """Return JSON of ``[type, message, traceback]``, even if the methods of *error* fail."""
    name, message = name_of(error), message_of(error)
    if type(error) is BadResultError:
        name, text = "BadResult", message
    else:
        # The first frame is that of call(), which tells the user nothing.
        frames = frames_of(error)
        frames = frames.tb_next if frames is not None and frames.tb_next is not None else frames
        text = traceback_of(error, frames)
    return json.dumps([name, _cut(message), _cut(text)]).encode()


def _cut(text: str) -> str:
    if len(text) <= _MAX_TEXT:
        return text
    half = _MAX_TEXT // 2
    return f"{text[:half]}\n… {len(text) - _MAX_TEXT:,} characters left out …\n{text[-half:]}"


def flush_streams() -> None:
    """Flush the standard streams, ignoring errors: a task may have closed or replaced them."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - a suppressor makes two more objects in each forked process
            stream.flush()
        except Exception:  # noqa: BLE001, S110
            pass


def _exit_fork(code: int) -> None:
    """End a process that the task forked and that returned to here: only the original replies."""
    flush_streams()
    os._exit(code)


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _record_return(reply: Reply, returned: Any, max_result_bytes: int) -> None:
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise BadResultError(f"the function returned {_show(returned)}, not a pair (retry, result)")
    retry, result = returned
    reply.retry = _as_bool(retry)
    try:
        # The encoder makes its C part anew at each call (1 µs), but for strings; None is common.
        text = "null" if result is None else _encode(result)
    except (TypeError, ValueError, RecursionError) as error:
        text = _encode_refused(result, error)
        reply.replaced_nan = True
    reply.body = text.encode("ascii")
    if max_result_bytes and len(reply.body) > max_result_bytes:
        raise BadResultError(
            f"the result is {len(reply.body) / 2**20:.1f} MiB of JSON, more than the limit of "
            f"{max_result_bytes / 2**20:g} MiB (--max-result-size)"
        )


def _as_bool(retry: Any) -> bool:
    # NumPy's bool is no subclass of bool; its type is named bool_ (1.x) or bool (2.x).
    if isinstance(retry, bool) or type(retry).__name__ in ("bool", "bool_"):
        return bool(retry)
    if isinstance(retry, int) and retry in (0, 1):
        return bool(retry)
    raise BadResultError(
        f"the function returned {_show(retry)} for retry, the first of the pair, "
        "which must be True or False"
    )


def _show(value: Any) -> str:
    kind = type(value).__name__
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - its __repr__ is the user's code
        return f"a {kind}"
    if kind == "coroutine":
        value.close()
        return "a coroutine (the function must not be async)"
    return f"{text[:80]}{'…' if len(text) > 80 else ''} (a {kind})"


def _encode_refused(result: Any, error: Exception) -> str:
    """Encode a *result* that the encoder refused with *error*, with null for NaN and infinities.

    Raises:
        BadResultError: it holds something else that JSON can't hold.
    """
    problem = None
    try:
        problem = find_unencodable(result)
        if problem is None:
            return json.dumps(replace_nan(result), allow_nan=False)
    except RecursionError:
        problem = f"it is nested {_depth(result)} deep"
    except (TypeError, ValueError) as second_error:
        error = second_error
    raise BadResultError(f"the result can't be written as JSON: {problem or error}") from None


def find_unencodable(value: Any, where: str = "result", above: tuple[int, ...] = ()) -> str | None:
    """Describe the first part of *value* that JSON can't hold, and where it is; None: no such part.

    NaN and infinities do not count: they become null, but as keys. *above* has the ids of the
    values that contain *value*.

    Raises:
        RecursionError: it is nested too deeply.
    """
    if value is None or isinstance(value, str | int | float):
        return _check_integer(value, where)
    if not isinstance(value, dict | list | tuple):
        kind = type(value)
        name = (
            kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        )
        return f"{where} is a {name}"
    if id(value) in above:
        return f"{where} contains itself"
    above = (*above, id(value))
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if not (key is None or isinstance(key, str | int | float)):
            return f"{where} has the key {key!r:.80}, which is a {type(key).__name__}"
        if isinstance(key, float) and isinstance(value, dict) and not math.isfinite(key):
            return f"{where} has the key {key!r}, which is no finite number"
        found = find_unencodable(item, f"{where}[{key!r:.80}]", above)
        if found is not None:
            return found
    return None


def _depth(value: Any) -> int:
    """Return how many lists and mappings are inside each other in *value*."""
    level = [value]
    for depth in range(_MAX_DEPTH):
        level = [one for one in level if isinstance(one, dict | list | tuple)]
        if not level:
            return depth
        inner = [part for one in level for part in (one.values() if isinstance(one, dict) else one)]
        level = list({id(part): part for part in inner}.values())  # a part may be in many places
    return _MAX_DEPTH


def _check_integer(value: Any, where: str) -> str | None:
    if isinstance(value, int) and value.bit_length() > 10_000:
        try:
            str(value)
        except ValueError:
            return f"{where} is an integer with too many digits"
    return None


def replace_nan(value: Any) -> Any:
    """Return a copy of *value* with None for every NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: replace_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_nan(item) for item in value]
    return value
