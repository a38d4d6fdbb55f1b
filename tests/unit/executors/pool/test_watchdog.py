from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cloud_tasks.executors.common.protocol import MARK
from cloud_tasks.executors.pool.orphan_killer import OrphanKiller
from cloud_tasks.executors.pool.watchdog import Lifeline, Watchdog
from cloud_tasks.testing import eventually

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
#: A process that was just started may have no environment to be seen yet; this one tells.
READY = [*SLEEP[:-1], f"print('ready', flush=True); {SLEEP[-1]}"]


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    watchdog = Watchdog(f"{MARK}=unit{os.getpid()}.")
    watchdog.start()
    yield watchdog
    watchdog.close()


def its_process() -> psutil.Process | None:
    word = f"{MARK}=unit{os.getpid()}."
    children = psutil.Process().children()
    return next((p for p in children if word in _words(p)), None)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # a zombie has none
        return []


def test_close_ends_it_and_kills_nobody(watchdog: Watchdog) -> None:
    with subprocess.Popen(SLEEP, start_new_session=True) as sleeper:
        watchdog.add(sleeper.pid)
        watchdog.close()
        assert its_process() is None
        assert sleeper.poll() is None
        sleeper.kill()


def test_close_may_come_twice_and_lines_after_it_are_ignored(watchdog: Watchdog) -> None:
    watchdog.close()
    watchdog.close()
    watchdog.add(12345)
    watchdog.remove(12345)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_outlives_the_signals_that_end_a_worker(watchdog: Watchdog, number: int) -> None:
    with subprocess.Popen(SLEEP, start_new_session=True) as sleeper:
        watchdog.add(sleeper.pid)
        process = eventually(its_process)
        eventually(lambda: _ignores(process.pid, number))
        process.send_signal(number)
        watchdog.remove(sleeper.pid)
        assert its_process() == process
        sleeper.kill()


def _ignores(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigIgn:")[2].split()[0], 16) >> (number - 1) & 1)


def test_a_killed_one_is_replaced_at_the_next_line(watchdog: Watchdog) -> None:
    first = eventually(its_process)
    first.kill()
    eventually(lambda: first.status() == psutil.STATUS_ZOMBIE)
    watchdog.add(2**22 + 1)
    assert eventually(its_process) != first


def test_a_stopped_one_is_killed_at_the_second_look_so_that_it_is_replaced(
    watchdog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    first = eventually(its_process)
    watchdog.kill_if_stopped()
    watchdog.kill_if_stopped()
    assert first.is_running()
    first.suspend()
    eventually(lambda: first.status() == psutil.STATUS_STOPPED)
    watchdog.kill_if_stopped()
    assert first.status() == psutil.STATUS_STOPPED
    watchdog.kill_if_stopped()
    eventually(lambda: first.status() == psutil.STATUS_ZOMBIE)
    assert "was stopped" in caplog.text
    watchdog.replace_if_dead()
    assert watchdog.pid != first.pid


def test_one_that_is_stopped_at_one_look_and_runs_at_the_next_is_left_alone(
    watchdog: Watchdog,
) -> None:
    process = eventually(its_process)
    for _ in range(2):
        process.suspend()
        eventually(lambda: process.status() == psutil.STATUS_STOPPED)
        watchdog.kill_if_stopped()
        process.resume()
        eventually(lambda: process.status() != psutil.STATUS_STOPPED)
        watchdog.kill_if_stopped()
    assert process.is_running()
    assert watchdog.pid == process.pid


def test_its_deputy_ends_what_bears_the_mark_if_the_watchdog_is_killed_with_the_worker() -> None:
    mark, lifeline = f"unit{os.getpid()}b", Lifeline()
    watchdog = Watchdog(f"{MARK}={mark}.", lifeline)
    watchdog.start()
    process = psutil.Process(watchdog.pid)
    eventually(process.children)
    (deputy,) = process.children()
    environment = {**os.environ, MARK: f"{mark}.1"}
    with subprocess.Popen(
        READY, env=environment, start_new_session=True, stdout=subprocess.PIPE
    ) as sleeper:
        assert sleeper.stdout is not None
        assert sleeper.stdout.readline() == b"ready\n"
        process.kill()
        assert sleeper.poll() is None
        lifeline.close()  # as the kernel does when a worker ends
        assert sleeper.wait(30) == -signal.SIGKILL
    eventually(lambda: not deputy.is_running())
    watchdog.close()


def test_the_deputy_ends_with_a_watchdog_that_is_closed() -> None:
    lifeline = Lifeline()
    watchdog = Watchdog("nobody", lifeline)
    watchdog.start()
    process = psutil.Process(watchdog.pid)
    eventually(process.children)
    (deputy,) = process.children()
    watchdog.close()
    assert not deputy.is_running()
    lifeline.close()


def test_the_orphan_killer_ends_what_bears_the_mark_of_a_dead_child() -> None:
    run_id = f"sweep{os.getpid()}"
    killer = OrphanKiller(run_id)
    environments = [{**os.environ, MARK: f"{run_id}.{serial}"} for serial in (1, 2, 12)]
    sleepers = [
        subprocess.Popen(READY, env=env, start_new_session=True, stdout=subprocess.PIPE)
        for env in environments
    ]
    for sleeper in sleepers:
        with sleeper.stdout as output:  # type: ignore[union-attr]  # a pipe
            assert output.readline() == b"ready\n"
    killer.add_dead(1, sleepers[0].pid)
    eventually(lambda: sleepers[0].poll() is not None)
    assert [sleeper.poll() for sleeper in sleepers[1:]] == [None, None]
    killer.close()
    assert [sleeper.wait(30) for sleeper in sleepers] == [-9, -9, -9]


def test_an_orphan_killer_with_nothing_to_do_closes_at_once() -> None:
    OrphanKiller("nobody").close()


def test_a_watchdog_that_lives_is_not_replaced(watchdog: Watchdog) -> None:
    first = watchdog.pid
    watchdog.replace_if_dead()
    assert watchdog.pid == first
