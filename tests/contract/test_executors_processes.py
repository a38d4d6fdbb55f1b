"""What tasks start ends with them, and what they do to descriptors hurts nobody else."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from contract import deaths, processes

from cloud_tasks.events.causes import cause_of
from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.executors.common import protocol
from cloud_tasks.outcome import Aborted, Completed, Exited, TimedOut
from cloud_tasks.testing import eventually
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.testing.executor_harness import WAIT, Pool, running

ALL_KINDS = ["fork", "subprocess", "new session", "daemon"]


def noted(path: Path) -> list[int]:
    """The task's process and those that it started."""
    eventually(path.exists)
    return [int(word) for word in path.read_text().split()]


def all_gone(pids: list[int]) -> bool:
    """None runs; a zombie counts as gone, since its parent may be nobody we know."""
    return not [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("kind_started", ALL_KINDS)
def test_what_a_task_started_dies_with_it_at_the_limit(
    pool: Pool, tmp_path: Path, kind_started: str
) -> None:
    pool.needs("isolates_crashes", "enforces_timeout")
    note = tmp_path / "pids"
    data = {"kinds": [kind_started], "pids": str(note), "end": "sleep"}
    # Where all is slow it takes a longer limit to get as far as to have started something.
    for limit in (1.5, 5.0, 20.0):
        pool.ends(TimedOut, processes.leaves, **data, max_runtime=limit)
        if note.exists():
            break
    pids = noted(note)
    eventually(lambda: all_gone(pids))


@pytest.mark.parametrize("kind_started", ALL_KINDS)
def test_what_a_task_started_dies_with_it_at_a_crash(
    pool: Pool, tmp_path: Path, kind_started: str
) -> None:
    pool.needs("isolates_crashes")
    note = tmp_path / "pids"
    pool.ends(Exited, processes.leaves, kinds=[kind_started], pids=str(note), end="crash")
    pids = noted(note)
    eventually(lambda: all_gone(pids))


@pytest.mark.parametrize("end", ["sleep", "return"])
def test_nothing_that_tasks_started_is_left_after_a_shutdown(
    new_executor: Callable[[], Executor], tmp_path: Path, end: str
) -> None:
    note = tmp_path / "pids"
    with running(new_executor()) as pool:
        pool.needs("isolates_crashes")
        future = pool.submit(processes.leaves, kinds=ALL_KINDS, pids=str(note), end=end)
        pids = noted(note)
        end == "sleep" or future.result(WAIT)
        pool.executor.shutdown()
        assert all_gone(pids)
    assert isinstance(future.result(0), Completed | Aborted)


@pytest.mark.parametrize("opened", [0, 1, 40])
def test_a_task_that_closes_all_descriptors_ends_alone_and_is_told_why(
    pool: Pool, tmp_path: Path, opened: int
) -> None:
    pool.needs("isolates_crashes")
    file = tmp_path / "precious"
    file.touch()
    outcome = pool.ends(Exited, processes.closes_and_goes_on, opened=opened, file=str(file))
    words = "its process is lost, the task closed or replaced the worker's descriptors"
    assert cause_of(outcome) == words
    assert file.read_bytes() == b""
    pool.still_works()


def test_what_a_task_does_to_its_descriptors_without_writing_hurts_nobody(
    pool: Pool, tmp_path: Path
) -> None:
    pool.needs("isolates_crashes", "live_flags")
    started, release = tmp_path / "started", tmp_path / "release"
    neighbour = pool.submit(tasks.holds, started=str(started), release=str(release))
    eventually(started.exists)
    assert pool.ends(Completed, processes.mistreats).result == [False, False]
    release.touch()
    assert isinstance(neighbour.result(WAIT), Completed)
    pool.still_works()


_FORGED = {
    "ready": (protocol.READY, b""),
    "boot failed": (protocol.BOOT_FAILED, b"forged"),
    "boot impossible": (protocol.BOOT_IMPOSSIBLE, b"forged"),
    "a warning": (protocol.WARNING, b"forged"),
    "a reply without a head": (protocol.DONE, b"x"),
    "a reply to another job": (
        protocol.DONE,
        protocol.REPLY_HEAD.pack(0, *[False] * 3, *[0.0] * 4),
    ),
    "to the worker's own kind": (protocol.TASK, b""),
    "of no kind": (99, b""),
    "longer than memory": (protocol.DONE, b""),
}


@pytest.mark.parametrize("forged", _FORGED)
def test_a_forged_frame_with_the_right_cookie_ends_its_task_alone(
    pool: Pool, tmp_path: Path, forged: str, caplog: pytest.LogCaptureFixture
) -> None:
    pool.needs("isolates_crashes")
    started, release = tmp_path / "started", tmp_path / "release"
    neighbour = pool.submit(tasks.holds, started=str(started), release=str(release))
    eventually(started.exists)
    kind, body = _FORGED[forged]
    length = 2**62 if forged == "longer than memory" else len(body)
    outcome = pool.ends(Exited, processes.forges, kind=kind, body=body, length=length)
    assert outcome.hint == "it wrote into the worker's own socket"
    assert "forged" not in caplog.text
    release.touch()
    assert isinstance(neighbour.result(WAIT), Completed)
    pool.still_works()


@pytest.mark.parametrize(
    ("kind_of_reply", "body"),
    [("raised", b"{"), ("raised", b"[1, 2, 3]"), ("raised", b"[" * 100_000), ("exiting", b"x")],
    ids=["no JSON", "no texts", "nested", "no number"],
)
def test_a_reply_to_the_own_job_that_makes_no_sense_ends_its_task_alone(
    pool: Pool, kind_of_reply: str, body: bytes
) -> None:
    pool.needs("isolates_crashes")
    kind = protocol.RAISED if kind_of_reply == "raised" else protocol.EXITING
    outcome = pool.ends(Exited, processes.forges_reply, kind=kind, body=body)
    assert outcome.hint == "it wrote into the worker's own socket"
    pool.still_works()


def test_a_task_that_replaces_all_descriptors_gets_none_of_our_bytes_in_its_file(
    pool: Pool, tmp_path: Path
) -> None:
    pool.needs("isolates_crashes")
    file = tmp_path / "precious"
    pool.ends(Exited, processes.replaces_everything, file=str(file))
    assert file.read_bytes() == b""
    pool.still_works()


@pytest.mark.parametrize(
    "garbage", [b"x", b"\0" * 17, b"garbage " * 9000], ids=["a byte", "a head of zeros", "a lot"]
)
def test_garbage_in_our_descriptors_forges_nothing_and_hurts_nobody_else(
    pool: Pool, tmp_path: Path, garbage: bytes
) -> None:
    pool.needs("isolates_crashes")
    started, release = tmp_path / "started", tmp_path / "release"
    neighbour = pool.submit(tasks.holds, started=str(started), release=str(release))
    eventually(started.exists)
    outcome = pool.ends(Exited, processes.writes_everywhere, garbage=garbage)
    assert "socket" in (outcome.hint or "")
    release.touch()
    assert isinstance(neighbour.result(WAIT), Completed)
    pool.still_works()


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_task_may_use_multiprocessing(new_executor: Callable[[], Executor], method: str) -> None:
    with running(new_executor(), ExecutorOptions(slots=1)) as pool:
        pool.needs("isolates_crashes")
        outcome = pool.ends(Completed, processes.uses_multiprocessing, method=method)
        assert outcome.result == [1, 2, 3]


def test_a_thread_that_a_task_leaves_holds_up_neither_the_pool_nor_its_end(
    new_executor: Callable[[], Executor],
) -> None:
    with running(new_executor(), ExecutorOptions(slots=1, exit_grace=0.5)) as pool:
        pool.needs("isolates_crashes")
        pool.ends(Completed, processes.leaves_thread)
        pool.still_works()


def test_killing_one_task_leaves_the_others_alone(pool: Pool, tmp_path: Path) -> None:
    pool.needs("isolates_crashes")
    started, release = tmp_path / "started", tmp_path / "release"
    neighbour = pool.submit(tasks.holds, started=str(started), release=str(release))
    eventually(started.exists)
    for n in range(3):
        victim = pool.submit(deaths.notes_pid, task_id=str(n), folder=str(tmp_path), seconds=60)
        os.kill(eventually(partial(_pid_in, tmp_path / str(n))), 9)
        outcome = victim.result(WAIT)
        assert isinstance(outcome, Exited)
        assert outcome.exit_code == -9
    release.touch()
    assert isinstance(neighbour.result(WAIT), Completed)


def _pid_in(path: Path) -> int:
    text = path.read_text() if path.exists() else ""
    return int(text or 0)


@pytest.mark.timeout(300)  # dozens of processes die and are started anew
def test_a_kill_before_the_call_is_not_the_tasks_end(pool: Pool) -> None:
    pool.needs("isolates_crashes")
    for _ in range(10):
        children = psutil.Process().children()
        # Not more than two of them. They may all live on for a moment and be given the same task,
        # and a task whose process dies three times before the call is given up.
        victims = [child for child in children if "CLOUD_TASKS_CHILD" in _environment(child)][:2]
        for child in victims:
            child.kill()
        pool.still_works()
        eventually(partial(all_gone, [child.pid for child in victims]))


def _environment(process: psutil.Process) -> dict[str, Any]:
    try:
        return process.environ()
    except psutil.Error:
        return {}
