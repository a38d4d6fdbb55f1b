"""Many tasks, many kills, many starts: nothing is lost, blamed wrongly or left."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from concurrent.futures import Future, wait
from functools import partial
from operator import le
from pathlib import Path

import psutil
import pytest
from contract import deaths

from cloud_tasks import registry
from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.executors.common.protocol import MARK
from cloud_tasks.outcome import Completed, Exited, Outcome, TimedOut
from cloud_tasks.testing import eventually
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.testing.executor_harness import WAIT, Pool, running

#: Some of them start a hundred processes, which a busy machine does in a minute or so.
pytestmark = pytest.mark.timeout(300)


class Killer(threading.Thread):
    """Kills a process that has run tasks, every few milliseconds, until *n* are dead."""

    def __init__(self, n: int, folder: Path, chance: random.Random) -> None:
        super().__init__()
        self.killed: set[int] = set()
        self.enough = threading.Event()
        self._n = n
        self._folder = folder
        self._chance = chance

    def run(self) -> None:
        while len(self.killed) < self._n and not self.enough.wait(self._chance.random() * 0.03):
            ran = {int(path.name.removeprefix("ran-")) for path in self._folder.glob("ran-*")}
            alive = [pid for pid in ran - self.killed if psutil.pid_exists(pid)]
            if alive:
                victim = self._chance.choice(sorted(alive))
                os.kill(victim, 9)
                self.killed.add(victim)


@pytest.mark.slow  # two thousand tasks
@pytest.mark.timeout(600)
def test_of_2000_tasks_and_200_kills_only_the_killed_are_touched(tmp_path: Path) -> None:
    seed = int(os.environ.get("CLOUD_TASKS_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"CLOUD_TASKS_TEST_SEED={seed}")
    chance = random.Random(seed)
    killer = Killer(200, tmp_path, chance)
    told: Counter[int] = Counter()

    def tell(n: int, _: Future[Outcome]) -> None:
        told[n] += 1

    with running(registry.load("executor", "loky")(), ExecutorOptions(slots=4)) as pool:
        futures = []
        for n in range(2000):
            future = pool.submit(
                deaths.notes_pid,
                task_id=str(n),
                folder=str(tmp_path),
                seconds=chance.random() * 0.03,
            )
            future.add_done_callback(partial(tell, n))
            futures.append(future)
        killer.start()
        assert not wait(futures, timeout=500).not_done
        killer.enough.set()
        killer.join()
        pool.still_works()
    outcomes = [future.result() for future in futures]
    exited = {n for n, outcome in enumerate(outcomes) if isinstance(outcome, Exited)}
    rest = [(n, outcome) for n, outcome in enumerate(outcomes) if n not in exited]
    assert all(isinstance(o, Completed) and o.result == str(n) for n, o in rest)
    # The one end that need not be a task's own: its processes died before the call, three times.
    given_up = {n for n in exited if "before the call" in (getattr(outcomes[n], "hint", "") or "")}
    assert not {n for n in given_up if (tmp_path / str(n)).exists()}
    assert {getattr(outcomes[n], "exit_code", None) for n in exited - given_up} == {-9}
    # The process that an exited task noted down is one that was killed.
    notes = [tmp_path / str(n) for n in exited]
    noted = {int(note.read_text() or 0) for note in notes if note.exists()}
    assert noted - {0} <= killer.killed
    assert len(exited) > 50
    assert len(exited) + 2 * len(given_up) <= len(killer.killed)
    assert set(told.values()) == {1}
    assert len(told) == 2000


@pytest.mark.slow  # dozens of pools
@pytest.mark.parametrize(("name", "cycles"), [("loky", 15), ("spawn", 50), ("forkserver", 30)])
def test_many_starts_and_stops_leave_no_process_and_no_descriptor(name: str, cycles: int) -> None:
    def cycle() -> None:
        with running(registry.load("executor", name)(), ExecutorOptions(slots=1)) as pool:
            pool.ends(Completed, tasks.returns, value=(False, 1))

    cycle()
    before = _resources()
    for _ in range(cycles):
        cycle()
    # What earlier tests left to its own end may end meanwhile: fewer than before are no leak.
    eventually(lambda: all(map(le, _resources(), before)), what=f"no more than {before}")


def _resources() -> tuple[int, int, int]:
    me = psutil.Process()
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(me.children())


@pytest.mark.slow  # hundreds of processes die
@pytest.mark.parametrize("name", ["loky", "spawn", "forkserver"])
def test_a_storm_of_time_limits_hits_every_task_once(name: str) -> None:
    with running(registry.load("executor", name)(), ExecutorOptions(slots=4)) as pool:
        futures = [
            pool.submit(tasks.sleeps, max_runtime=0.02)
            if n % 3 == 0
            else pool.submit(tasks.returns, value=(False, n))
            for n in range(60)
        ]
        outcomes = [future.result(WAIT) for future in futures]
    assert [isinstance(outcome, TimedOut) for outcome in outcomes] == [
        n % 3 == 0 for n in range(60)
    ]


@pytest.fixture(params=["loky", "spawn", "forkserver"])
def pool(request: pytest.FixtureRequest) -> object:
    """Two slots, results of any size."""
    options = ExecutorOptions(slots=2, max_result_bytes=0)
    with running(registry.load("executor", request.param)(), options) as pool:
        yield pool


@pytest.mark.parametrize(
    ("number", "ending", "limit"), [(9, Exited, None), (19, TimedOut, 5.0)], ids=["kill", "stop"]
)
def test_an_end_in_the_middle_of_a_huge_result_hurts_no_neighbour(
    pool: Pool, tmp_path: Path, number: int, ending: type, limit: float | None
) -> None:
    started, release = tmp_path / "started", tmp_path / "release"
    neighbour = pool.submit(tasks.holds, started=str(started), release=str(release))
    eventually(started.exists)
    size = int(os.environ.get("CLOUD_TASKS_TEST_RESULT_MIB", "100")) * 2**20
    outcome = pool.run(deaths.dies_during_the_result, size=size, signal=number, max_runtime=limit)
    assert type(outcome) is ending
    assert getattr(outcome, "exit_code", -9) == -9
    release.touch()
    assert isinstance(neighbour.result(WAIT), Completed)
    pool.still_works()


def test_a_huge_result_arrives_whole(pool: Pool) -> None:
    outcome = pool.ends(Completed, tasks.returns, value=(False, "x" * (100 * 2**20)))
    assert len(outcome.result_json) == 100 * 2**20 + 2


def test_huge_task_data_for_a_child_that_does_not_read_blocks_nobody(pool: Pool) -> None:
    # It stops itself, so that only the limit ends it.
    stopped = pool.submit(deaths.killed_by, signal=19, max_runtime=1.0, ballast="x" * (50 * 2**20))
    pool.ends(Completed, tasks.returns, value=(False, 1), ballast="x" * (50 * 2**20))
    assert isinstance(stopped.result(WAIT), TimedOut)


def test_a_killed_watchdog_is_replaced(pool: Pool) -> None:
    pool.still_works()
    for _ in range(3):
        watchdog = eventually(_watchdog)
        watchdog.kill()
        eventually(partial(_is_dead, watchdog))
        pool.ends(Exited, deaths.os_exit, code=1)
        pool.still_works()
        assert eventually(_watchdog) != watchdog


def _is_dead(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # reaped already
        return True


def _watchdog() -> psutil.Process | None:
    found = [p for p in psutil.Process().children() if any(MARK in word for word in _words(p))]
    return found[0] if found else None


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
