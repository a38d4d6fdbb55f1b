"""Programs that are killed, or told to end, and gone on with."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from e2e.program import Program

SCRIPT = """
import itertools, sys, time
from pathlib import Path
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    while int(task_id[1:]) >= int(Path("limit").read_text()):
        time.sleep(0.005)
    time.sleep(data["seconds"])
    return False, "x" * data["size"]

def endless():
    for n in itertools.count():
        if n == 1000:
            Path("started").touch()
        yield {"task_id": f"t{n}", "data": {}}

if __name__ == "__main__":
    source = endless if "endless" in sys.argv else None
    args = [arg for arg in sys.argv[1:] if arg != "endless"]
    Worker(process_task, args=args, task_source=source).main()
"""
#: Reading what is done is held up in its middle, until the worker has been told to end.
HELD = SCRIPT.replace(
    """
def process_task(""",
    """from cloud_tasks.selection.finished import FinishedTasks

read = FinishedTasks.read

def held(self, stopped):
    def wait():
        Path("reading").touch()
        deadline = time.monotonic() + 30
        while not stopped() and time.monotonic() < deadline:
            time.sleep(0.005)
        return stopped()

    read(self, wait)

FinishedTasks.read = held

def process_task(""",
)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path, SCRIPT)


def lines(program: Program) -> int:
    """Return how many tasks have ended, by the log."""
    return program.log.read_bytes().count(b'"task_id"') if program.log.exists() else 0


@pytest.mark.slow  # a dozen runs
@pytest.mark.timeout(150)
def test_killed_again_and_again_each_task_has_one_final_event(program: Program) -> None:
    rng = random.Random()
    program.tasks(
        *({"seconds": rng.uniform(0, 0.02), "size": rng.choice([1, 9_000])} for _ in range(400))
    )
    flags = ["--resume", "--num-simultaneous-tasks", "2"]
    limit = program.folder / "limit"
    for kill in range(10):
        before = lines(program)
        # It goes no further than that, however late the kill comes.
        limit.write_text(str(before + 38))
        process = program.start(*flags)
        enough = before + rng.randint(0, 30)
        # Where that is no line at all, before it has begun; else while more of them are written.
        program.until(lambda enough=enough: lines(program) >= enough)  # type: ignore[misc]
        assert process.poll() is None, f"it was over before kill {kill}: {program.end()}"
        program.signal(signal.SIGKILL)
        program.end()
    before = lines(program)
    limit.write_text("400")
    code, err = program.run(*flags)
    assert code == 0, err
    assert f"done {before}" in err.replace(",", "") or before == 0
    ends = Counter(program.endings())
    assert ends == Counter((f"t{n}", "task_completed") for n in range(400))


@pytest.mark.parametrize("executor", ["inline", "loky"])
def test_looking_for_a_task_that_never_comes_can_be_ended(program: Program, executor: str) -> None:
    program.start("endless", "--task-id", "never", "--executor", executor)
    program.until("started")
    program.signal(signal.SIGINT)
    code, err = program.end()
    assert code == 130
    assert "Traceback" not in err
    assert program.events() == []


@pytest.mark.parametrize("executor", ["inline", "loky"])
def test_reading_what_is_done_can_be_ended(tmp_path: Path, executor: str) -> None:
    program = Program(tmp_path, HELD)
    count = 20_000
    program.tasks(*({"n": n} for n in range(count)))
    event = {"timestamp": "2026", "event_type": "task_completed", "retry": False}
    with program.log.open("w") as log:
        log.writelines(json.dumps({**event, "task_id": f"t{n}"}) + "\n" for n in range(count))
    program.start("--resume", "--executor", executor)
    program.until("reading")
    program.signal(signal.SIGINT)
    code, err = program.end()
    assert code == 130
    assert "Traceback" not in err
    assert lines(program) == count


def test_a_log_that_is_none_is_one_clean_message(program: Program) -> None:
    program.tasks({"seconds": 0, "size": 1})
    (program.folder / "limit").write_text("1")
    code, err = program.run("--resume", "--event-log-file", "program.py")
    assert code == 4
    assert "Traceback" not in err
    assert err.count("error: the event log 'program.py' has no event in it") == 1
    assert (program.folder / "program.py").read_text() == SCRIPT
