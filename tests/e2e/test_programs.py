"""Programs under signals: every end is orderly, no process and no event is lost."""

from __future__ import annotations

import os
import pty
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from e2e.program import SCRIPT, WAIT, Program

from cloud_tasks.testing import eventually

#: Some start many programs, one after the other, and a busy machine takes seconds for each.
pytestmark = [pytest.mark.interpreter, pytest.mark.timeout(240)]

EXECUTORS = pytest.mark.parametrize("executor", ["inline", "loky"])


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@EXECUTORS
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_the_first_signal_lets_what_runs_finish(
    program: Program, executor: str, number: int, code: int
) -> None:
    program.tasks(program.hold(obeys=True), {}, {})
    program.start("--executor", executor)
    program.until("started")
    program.signal(number)
    returned, err = program.end()
    assert returned == code
    assert "Traceback" not in err
    assert [event["result"] for event in program.events()] == ["stopped early"]


@EXECUTORS
def test_the_second_signal_kills_at_once(program: Program, executor: str) -> None:
    program.tasks(program.hold(), {}, {})
    program.start("--executor", executor)
    program.until("started")
    program.signal(signal.SIGINT)
    program.until("asked")
    program.signal(signal.SIGINT)
    returned, err = program.end()
    assert returned == 130
    assert "Traceback" not in err
    assert program.endings() == [("t0", "task_aborted")]
    assert program.events()[0]["retry"] is True


# A signal that comes after the run is the program's: this one takes it, and lives until the last.
_OUTLIVES_BURST = f"""{SCRIPT.partition("if __name__")[0]}
import signal

if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        Worker(process_task, args=sys.argv[1:]).main()
    finally:
        deadline = time.monotonic() + 30
        while not Path("sent").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
"""


def test_a_burst_of_signals_is_no_trouble(tmp_path: Path) -> None:
    program = Program(tmp_path, _OUTLIVES_BURST)
    program.tasks(program.hold(), {})
    program.start()
    program.until("started")
    for _ in range(50):
        program.signal(signal.SIGINT)
        program.signal(signal.SIGTERM)
    (tmp_path / "sent").touch()
    returned, err = program.end()
    assert returned in (130, 143)
    assert "Traceback" not in err
    assert program.endings() == [("t0", "task_aborted")]


_IGNORE_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


@EXECUTORS
def test_started_with_sigint_ignored_it_obeys_sigterm_only(program: Program, executor: str) -> None:
    program.tasks(program.hold(obeys=True), {})
    program.start("--executor", executor, prepare=_IGNORE_SIGINT)
    program.until("started")
    program.signal(signal.SIGINT)
    program.signal(signal.SIGTERM)
    assert program.end()[0] == 143
    assert [event["result"] for event in program.events()] == ["stopped early"]


_WITH_CHILD = """
import subprocess, sys
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    code = "import time, pathlib, sys; pathlib.Path('started').touch(); " \\
        "[time.sleep(0.01) for _ in iter(lambda: pathlib.Path('asked').exists(), True)]"
    child = subprocess.Popen([sys.executable, "-c", code])
    while not worker_data.received_shutdown_request and child.poll() is None:
        pass
    open("asked", "w").close()
    return False, child.wait()

if __name__ == "__main__":
    Worker(process_task, args=sys.argv[1:]).main()
"""


def test_ctrl_c_at_a_terminal_spares_the_tasks_own_processes(tmp_path: Path) -> None:
    program = Program(tmp_path, _WITH_CHILD)
    program.tasks({}, {})
    ours, theirs = pty.openpty()
    # A session of its own whose terminal is the pty: Ctrl-C goes to its foreground group.
    process = program.start(stdin=theirs, stdout=theirs, stderr=theirs, prepare=_TAKE_TERMINAL)
    os.close(theirs)
    program.until("started")
    os.write(ours, b"\x03")
    said = read_all(ours)
    assert process.wait(WAIT) == 130
    assert "Traceback" not in said
    assert [event["result"] for event in program.events()] == [0]


_TAKE_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"


def read_all(terminal: int) -> str:
    said = b""
    try:
        while part := os.read(terminal, 65536):
            said += part
    except OSError:  # how a terminal ends whose last user is gone
        pass
    os.close(terminal)
    return said.decode()


def starts() -> list[Any]:
    """Make 24 moments of the start-up for a signal, in milliseconds, one in each step of 25."""
    rng = random.Random(4711)
    return [
        (25 * n + rng.randrange(25), rng.choice([signal.SIGINT, signal.SIGTERM])) for n in range(24)
    ]


_SAYS_WHEN = """
import sys
def process_task(task_id, data, worker_data):
    return False, None
if __name__ == "__main__":
    from cloud_tasks.worker import Worker
    worker = Worker(process_task, args=sys.argv[1:])
    print("constructed", flush=True)
    worker.main()
"""


@EXECUTORS
def test_a_signal_at_any_moment_of_the_start_is_a_clean_end(tmp_path: Path, executor: str) -> None:
    program = Program(tmp_path, _SAYS_WHEN)
    program.tasks(*[{}] * 2000)
    for milliseconds, number in starts()[:: 1 if executor == "loky" else 2]:
        process = program.start("--executor", executor)
        try:
            process.wait(milliseconds / 1000)
        except subprocess.TimeoutExpired:
            program.signal(number)
        out, err = process.communicate(timeout=WAIT)
        said = f"after {milliseconds} ms, {number!r}: {process.returncode}\n{err}"
        # Before the run, and after it, Python itself or the system ends the program.
        ours = "events go to" in err and "exit code" not in err
        assert process.returncode in {0, 130, 143, *([] if ours else [1, -number])}, said
        if "events go to" in err:
            # Python prints an exception that a signal raised where it can't be raised, as while
            # a module is imported; what comes after the banner is ours.
            run = err.partition("events go to")[2].partition("exit code")[0]
            assert "Traceback" not in run, said
            assert "constructed" in out
        program.events()  # whole lines only
        program.log.unlink(missing_ok=True)


def test_it_lives_in_no_more_than_its_own_processes_after_kill_9(program: Program) -> None:
    # They would go on for longer than anybody waits here: only a kill can end them.
    program.tasks(program.hold(patience=100), program.hold(patience=100), {})
    program.start("--num-simultaneous-tasks", "2")
    program.until("started")
    program.signal(signal.SIGKILL)
    program.end()
    with program.log.open("ab") as log:
        log.write(b'{"timestamp": "torn by the kill')
    eventually(lambda: not others_in(program.folder), WAIT, what="all processes are gone")
    program.log.with_name("release").touch()
    returned, err = program.run()
    assert returned == 0
    assert "middle of a line" in err
    assert [name for name, _ in program.endings()] == ["t0", "t1", "t2"]


def others_in(folder: Path) -> list[str]:
    """Return the processes that work in *folder*."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "cwd").readlink() == folder:
                    found.append(entry.name)
            except OSError:
                continue
    return found
