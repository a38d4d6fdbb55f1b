from __future__ import annotations

import errno
import threading

import pytest

from cloud_tasks.system.shortage import is_shortage, start_thread, tells_of_shortage, wait_out

SHORT = [
    OSError(errno.EAGAIN, "Resource temporarily unavailable"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError(errno.EMFILE, "Too many open files"),
    MemoryError(),
    RuntimeError("can't start new thread"),
]
OTHER = [OSError(errno.ENOENT, "No such file"), RuntimeError("threads can only be started once")]


@pytest.mark.parametrize("error", SHORT, ids=repr)
def test_a_shortage_is_recognised(error: Exception) -> None:
    assert is_shortage(error)
    assert tells_of_shortage(f"Traceback\n{type(error).__name__}: {error}")


@pytest.mark.parametrize("error", OTHER, ids=repr)
def test_another_error_is_none(error: Exception) -> None:
    assert not is_shortage(error)
    assert not tells_of_shortage(f"MemoryError\n{type(error).__name__}: {error}")


@pytest.mark.parametrize("error", SHORT, ids=repr)
def test_a_shortage_is_waited_out(error: Exception) -> None:
    left = [error]

    def act() -> int:
        if left:
            raise left.pop()
        return 7

    assert wait_out(act, "nothing could be done") == 7


@pytest.mark.parametrize("error", OTHER, ids=repr)
def test_another_error_is_raised_at_once(error: Exception) -> None:
    def act() -> None:
        raise error

    with pytest.raises(type(error)):
        wait_out(act, "nothing could be done")


def test_a_thread_is_started_once() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.set)
    start_thread(thread)
    assert done.wait(30)
    with pytest.raises(RuntimeError, match="once"):
        start_thread(thread)
