"""``--pdb``: the debugger where a task raised, driven by a person at a terminal."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.program import Program
from e2e.terminal import Terminal, on_a_terminal

pytestmark = pytest.mark.interpreter

_SCRIPT = """
import sys
from cloud_tasks.worker import Worker

def invert(numbers, at):
    return 1 / numbers[at]

def process_task(task_id, data, worker_data):
    if data.get("leave"):
        sys.exit(data["leave"])
    if data.get("pair"):
        return "no pair"
    number_of_this_task = data["number"]
    return False, invert([number_of_this_task], 0)

if __name__ == "__main__":
    Worker(process_task, args=sys.argv[1:]).main()
"""
_PROMPT = "(Pdb) "


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path, _SCRIPT)


def words(*args: str) -> list[str]:
    return [sys.executable, "program.py", "--task-file", "tasks.json", "--pdb", *args]


def answer(terminal: Terminal, question: str) -> str:
    """Type at the debugger's prompt and return what comes until the next one."""
    terminal.type(question)
    return terminal.wait_for(_PROMPT)


def test_a_person_looks_at_the_frames_and_the_run_goes_on(program: Program) -> None:
    program.tasks({"number": 1}, {"number": 0}, {"number": 4})
    with on_a_terminal(words(), program.folder) as (process, terminal):
        shown = terminal.wait_for(_PROMPT)
        # The error first, from the user's function on, and then the place.
        assert "ZeroDivisionError" in shown
        assert "call.py" not in shown
        assert "invert()" in shown
        assert "[0]" in answer(terminal, "p numbers")
        answer(terminal, "up")
        assert "'t1', 0" in answer(terminal, "p task_id, number_of_this_task")
        assert "Oldest frame" in answer(terminal, "up")
        terminal.type("q")
        assert process.wait(40) == 1
    assert program.endings() == [
        ("t0", "task_completed"),
        ("t1", "task_exception"),
        ("t2", "task_completed"),
    ]


def test_no_time_limit_strikes_while_a_person_looks(program: Program) -> None:
    program.tasks({"number": 0})
    # Real seconds: the limit must pass while the prompt waits.
    with on_a_terminal(words("--max-runtime", "1"), program.folder) as (process, terminal):
        terminal.wait_for(_PROMPT)
        # Longer than the limit, and than the time after which it would strike again.
        shown = answer(terminal, "import time; time.sleep(2.5); print('slept', 6 * 7)")
        assert "slept 42" in shown
        assert "Overdue" not in shown
        terminal.type("c")
        assert process.wait(40) == 1
    (event,) = [event for event in program.events() if "task_id" in event]
    assert event["event_type"] == "task_exception"
    assert "ZeroDivisionError" in event["exception"]


def test_what_is_no_exception_of_the_task_opens_no_debugger(program: Program) -> None:
    program.tasks({"leave": 3}, {"pair": 1})
    with on_a_terminal(words(), program.folder) as (process, terminal):
        said = terminal.wait_for("completed 0")
        process.wait(40)
    assert _PROMPT not in said
    assert [kind for _, kind in program.endings()] == ["task_exited", "task_exception"]


def test_without_a_terminal_the_run_says_so_once_and_goes_on(program: Program) -> None:
    program.tasks({"number": 0}, {"number": 0}, {"number": 1})
    code, said = program.run("--pdb", stdin=subprocess.DEVNULL)
    assert code == 1
    assert said.count("the debugger needs a terminal") == 1
    assert len(program.endings()) == 3


def test_a_worker_that_is_stopped_ends_the_debugger_and_the_task_has_raised(
    program: Program,
) -> None:
    program.tasks({"number": 0}, {"number": 1})
    flags = ["--shutdown-grace-period", "0"]
    with on_a_terminal(words(*flags), program.folder) as (process, terminal):
        terminal.wait_for(_PROMPT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 143
    assert program.endings() == [("t0", "task_exception")]
    assert "ZeroDivisionError: division by zero" in program.log.read_text()


def test_no_line_about_the_progress_comes_between_the_words_of_the_debugger(
    program: Program,
) -> None:
    program.tasks({"number": 1}, {"number": 0})
    with on_a_terminal(words("--progress", "on"), program.folder) as (process, terminal):
        terminal.wait_for(_PROMPT)
        # Half of the work is done, of which a line would tell within a second.
        shown = answer(terminal, "import time; time.sleep(2.5); print('slept', 6 * 7)")
        assert "slept 42" in shown
        assert "done=" not in shown
        terminal.type("c")
        assert process.wait(40) == 1
