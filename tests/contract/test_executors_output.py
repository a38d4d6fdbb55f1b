"""What tasks print is kept, each task's apart, and tells of those whose process died."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract import printing

from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.outcome import Completed, CrashInfo, Exited, TimedOut
from cloud_tasks.testing import eventually
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.testing.executor_harness import WAIT, Pool, running


class Logs:
    """The folder of task logs of a pool with one slot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log, self.index = folder / "slot-000.log", folder / "slot-000.idx"

    def calls(self) -> list[tuple[str, float]]:
        """The ids and start times of all calls."""
        lines = [json.loads(line) for line in self.index.read_text().splitlines()]
        return [(task_id, started) for _, task_id, started in lines]

    def printed(self) -> list[tuple[str, str]]:
        """What was printed in each call, with the task's id."""
        text = self.log.read_bytes()
        lines = [json.loads(line) for line in self.index.read_text().splitlines()]
        ends = [offset for offset, _, _ in lines[1:]] + [len(text)]
        return [
            (task_id, text[offset:end].decode(errors="replace"))
            for (offset, task_id, _), end in zip(lines, ends, strict=True)
        ]


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    folder = tmp_path / "logs"
    folder.mkdir()
    return Logs(folder)


@pytest.fixture
def logged(new_executor: Callable[[], Executor], logs: Logs) -> Iterator[Pool]:
    """A pool of one slot that keeps what tasks print."""
    with open_pool(new_executor, logs) as pool:
        yield pool


@contextlib.contextmanager
def open_pool(new_executor: Callable[[], Executor], logs: Logs) -> Iterator[Pool]:
    options = ExecutorOptions(slots=1, task_logs=str(logs.folder), exit_grace=3.0)
    with running(new_executor(), options) as pool:
        pool.needs("captures_output")
        yield pool


def crash_info_of(outcome: Exited | TimedOut) -> CrashInfo:
    assert outcome.crash_info is not None
    return outcome.crash_info


def test_what_a_task_prints_is_its_own_whoever_writes_it(logged: Pool, logs: Logs) -> None:
    names = ["first", "second", "third"]
    for task_id in names:
        logged.ends(Completed, printing.in_every_way, task_id=task_id)
    logged.executor.shutdown()
    printed = logs.printed()
    assert [task_id for task_id, _ in printed] == names
    for task_id, text in printed:
        ways = ("python", "stderr", "raw", "subprocess", "copy")
        for line in [f"{way} {task_id}\n" for way in ways]:
            assert line in text
        assert f"c {task_id}, the end without a line end" in text
        assert [name for name in names if name in text] == [task_id]


def test_the_index_tells_when_a_task_was_called(logged: Pool, logs: Logs) -> None:
    begun = time.time()
    outcome = logged.ends(Completed, tasks.returns, value=(False, 1), task_id='odd "\n\ud800 ü')
    ((task_id, started),) = logs.calls()
    assert task_id == 'odd "\n\ud800 ü'
    assert begun <= started <= time.time()
    assert abs(started - (outcome.measures.started or 0)) < 1
    assert logs.printed() == [(task_id, "")]


def test_a_line_that_a_dead_task_left_unfinished_is_not_the_next_ones(
    logged: Pool, logs: Logs
) -> None:
    logged.ends(Exited, printing.dies_in_mid_line, task_id="dead")
    logged.ends(Completed, printing.prints, text="a whole line", task_id="next")
    assert logs.printed() == [("dead", "half a li"), ("next", "a whole line\n")]


def test_what_python_has_not_written_out_yet_comes_before_the_next_task(
    logged: Pool, logs: Logs
) -> None:
    for n in range(3):
        logged.ends(Completed, printing.prints, text=f"no line end {n}", end="", task_id=str(n))
    assert logs.printed() == [(str(n), f"no line end {n}") for n in range(3)]


def test_a_second_run_writes_behind_the_first(
    new_executor: Callable[[], Executor], logs: Logs
) -> None:
    for n in range(2):
        with open_pool(new_executor, logs) as pool:
            pool.ends(Completed, printing.prints, text=f"run {n}", task_id=str(n))
    assert logs.printed() == [("0", "run 0\n"), ("1", "run 1\n")]


def test_a_torn_line_of_an_index_spoils_no_other(logged: Pool, logs: Logs) -> None:
    logs.index.write_bytes(b'[0, "torn')
    logged.ends(Completed, printing.prints, text="fine", task_id="next")
    torn, line = logs.index.read_bytes().splitlines()
    assert torn == b'[0, "torn'
    assert json.loads(line)[:2] == [0, "next"]


to_descriptors = pytest.mark.parametrize(
    "change",
    [printing.closes_standard_descriptors, printing.redirects_standard_descriptors],
    ids=lambda change: change.__name__,
)


@to_descriptors
def test_without_task_logs_the_next_task_has_the_descriptors_that_there_were(
    new_executor: Callable[[], Executor], tmp_path: Path, change: Callable[..., object]
) -> None:
    with running(new_executor(), ExecutorOptions(slots=1)) as pool:
        pool.needs("isolates_crashes")
        before = pool.ends(Completed, printing.tells_standard_descriptors).result
        pool.ends(Completed, change, file=str(tmp_path / "file"))
        assert pool.ends(Completed, printing.tells_standard_descriptors).result == before
    assert not (tmp_path / "file").exists() or (tmp_path / "file").read_bytes() == b""


@to_descriptors
def test_what_a_task_does_to_its_descriptors_does_not_hide_the_next_ones_output(
    logged: Pool, logs: Logs, tmp_path: Path, change: Callable[..., object]
) -> None:
    file = tmp_path / "file"
    logged.run(change, file=str(file))
    logged.ends(Completed, printing.in_every_way, task_id="next")
    logged.executor.shutdown()
    text = dict(logs.printed())["next"]
    assert "python next\n" in text
    assert "subprocess next\n" in text
    assert not file.exists() or file.read_bytes() == b""


def test_a_crash_in_c_tells_which_function_it_was_in(logged: Pool) -> None:
    for _ in range(2):
        outcome = logged.ends(Exited, printing.crashes_in_c)
        traceback = crash_info_of(outcome).traceback or ""
        assert traceback.startswith("Fatal Python error: Segmentation fault")
        assert traceback.count("Fatal Python error") == 1
        assert "in reads_from_nowhere" in traceback
        assert "in crashes_in_c" in traceback
        assert "child.py" not in traceback


def test_a_crash_is_told_without_task_logs_too(pool: Pool) -> None:
    pool.needs("isolates_crashes")
    found = crash_info_of(pool.ends(Exited, printing.crashes_in_c))
    assert "in reads_from_nowhere" in (found.traceback or "")
    assert found.last_output is None
    without = (
        pool.ends(Exited, printing.prints_and_exits, bytes=b"printed").crash_info or CrashInfo()
    )
    assert (without.traceback, without.last_output) == (None, None)


@pytest.mark.parametrize("on", [False, True], ids=["off", "to stderr"])
def test_a_crash_is_told_whatever_an_earlier_task_did_to_the_fault_handler(
    logged: Pool, on: bool
) -> None:
    logged.ends(Completed, printing.turns_the_fault_handler, on=on)
    found = crash_info_of(logged.ends(Exited, printing.crashes_in_c))
    assert "in crashes_in_c" in (found.traceback or "")


@pytest.mark.parametrize("name", ["SIGABRT", "SIGKILL"])
def test_the_crash_of_a_forked_copy_is_not_taken_for_the_tasks(logged: Pool, name: str) -> None:
    number = int(signal.Signals[name])
    found = crash_info_of(logged.ends(Exited, printing.dies_after_its_copy, signal=number))
    assert ("Aborted" in (found.traceback or "")) == (name == "SIGABRT")
    assert "reads_from_nowhere" not in (found.traceback or "")
    assert "in reads_from_nowhere" in (found.last_output or "")  # there it is no secret


@pytest.mark.parametrize(
    ("printed", "last"),
    [
        (b"one\ntwo\n", "one\ntwo"),
        (b"no end", "no end"),
        (b"".join(b"%d\n" % n for n in range(100)), "\n".join(str(n) for n in range(80, 100))),
        ((b"x" * 3000 + b"\n") * 3, "x" * 3000),
        (b"y" * 9000, "y" * 4096),
        (b"\rbar  1 %\rbar 99 %\nend\r\n", "bar 99 %\nend"),
        (b"\xff\xfe not text\n", "\ufffd\ufffd not text"),
        (b"", None),
    ],
    ids=["lines", "no end", "many", "long", "one very long", "progress bar", "no text", "nothing"],
)  # fmt: skip
def test_the_last_lines_of_a_dead_task_are_told(
    logged: Pool, printed: bytes, last: str | None
) -> None:
    logged.ends(Completed, printing.prints, text="of another task")
    outcome = logged.ends(Exited, printing.prints_and_exits, bytes=printed)
    assert (outcome.crash_info or CrashInfo()).last_output == last


def test_the_last_lines_of_a_task_over_its_time_are_told(logged: Pool) -> None:
    # Enough for the printing, even if the process is put aside before it.
    outcome = logged.ends(TimedOut, printing.prints_and_sleeps, max_runtime=4.0)
    assert crash_info_of(outcome).last_output == "about to sleep"


def test_the_last_words_of_a_task_that_exits_are_told(logged: Pool) -> None:
    outcome = logged.ends(Exited, printing.exits_with_words)
    assert crash_info_of(outcome).last_output == "a line before\nso be it"


def test_memory_of_a_dead_task_and_what_was_free_are_told(pool: Pool) -> None:
    pool.needs("isolates_crashes", "enforces_timeout")
    # Without a limit of memory the next measurement may come 4 s after the last one.
    found = crash_info_of(pool.ends(TimedOut, tasks.sleeps, max_runtime=4.0))
    assert 2**20 < (found.memory or 0) < 2**30
    assert (found.free_memory or 0) > (found.memory or 0)


def warned(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    records = [r for r in caplog.records if "can't be kept" in r.getMessage()]
    assert len(records) <= 1
    return bool(records) and words in records[0].getMessage()


@pytest.mark.parametrize("linked", ["log", "index"])
def test_a_planted_link_is_not_written_through_fails_no_task_and_is_told_once(
    logged: Pool, logs: Logs, caplog: pytest.LogCaptureFixture, tmp_path: Path, linked: str
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    getattr(logs, linked).symlink_to(precious)
    with caplog.at_level(logging.WARNING):
        for n in range(3):
            logged.ends(Completed, printing.prints, text="x" * 100_000 * n, task_id=str(n))
        logged.executor.shutdown()
    assert warned(caplog, "symbolic link")
    assert precious.read_text() == "precious"


def test_a_task_is_heard_again_when_there_is_room(
    logged: Pool, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    logged.ends(Completed, printing.prints_without_room, task_id="first")
    logged.ends(Completed, printing.prints, text="second text", task_id="second")
    first, second = logs.printed()
    assert first[0] == "first"
    assert first[1].startswith("before\nxxxxx")
    assert first[1].endswith("after\n")
    assert len(first[1]) < 100
    assert second == ("second", "second text\n")
    eventually(lambda: warned(caplog, "File too large"))


def test_a_line_of_the_index_that_finds_no_room_is_left_out(logged: Pool, logs: Logs) -> None:
    taker = logged.ends(Completed, printing.leaves_no_room, task_id="taker")
    logged.ends(Completed, printing.prints, text="x", task_id="next")
    if getattr(logged.executor, "reused", False):  # else another process runs the next task
        endless = resource.RLIM_INFINITY
        resource.prlimit(taker.result, resource.RLIMIT_FSIZE, (1, endless))
        logged.ends(Completed, printing.prints, text="lost", task_id="unlucky")
        resource.prlimit(taker.result, resource.RLIMIT_FSIZE, (endless, endless))
    logged.ends(Completed, printing.prints, text="y", task_id="after")
    # The limit that a task sets for itself ends with it.
    assert [task_id for task_id, _ in logs.calls()] == ["taker", "next", "after"]
    assert logs.printed()[-1] == ("after", "y\n")


def test_a_folder_that_goes_away_fails_no_task_and_is_told_once(
    logged: Pool, logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    logged.ends(Completed, printing.removes, folder=str(logs.folder))
    for _ in range(3):
        logged.ends(Completed, printing.in_every_way)
    if not getattr(logged.executor, "reused", False):
        eventually(lambda: warned(caplog, "No such file"))
    logged.executor.shutdown()


def test_a_running_task_can_be_seen(new_executor: Callable[[], Executor], tmp_path: Path) -> None:
    with running(new_executor(), ExecutorOptions(slots=2)) as pool:
        pool.needs("captures_output")  # of ours, the same ones can tell
        release = tmp_path / "release"
        assert pool.executor.running() == []
        futures = []
        for name in ("one", "two"):
            started = tmp_path / name
            futures.append(
                pool.submit(
                    printing.waits_for, task_id=name, started=str(started), release=str(release)
                )
            )
            eventually(started.exists)
        seen = pool.executor.running()
        assert {(r.task_id, r.slot) for r in seen} <= {
            (name, slot) for name in ("one", "two") for slot in (0, 1)
        }
        assert sorted(r.task_id for r in seen) == ["one", "two"]
        assert {r.slot for r in seen} == {0, 1}
        seconds = {r.task_id: r.seconds for r in seen}
        assert 0 <= seconds["two"] <= seconds["one"] < WAIT
        release.touch()
        assert all(isinstance(future.result(WAIT), Completed) for future in futures)
        assert pool.executor.running() == []


def test_every_task_has_the_variables_that_the_executor_was_given(
    new_executor: Callable[[], Executor],
) -> None:
    environment = {"OMP_NUM_THREADS": "3", "TEST_MORE": "ü ="}
    options = ExecutorOptions(slots=1, environment=environment)
    with running(new_executor(), options) as pool:
        pool.needs("captures_output")
        for _ in range(3):
            names = list(environment)
            assert pool.ends(Completed, printing.tells_environment, names=names).result == (
                environment
            )
    assert "TEST_MORE" not in os.environ
