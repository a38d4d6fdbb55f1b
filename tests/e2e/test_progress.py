"""The progress as a person sees it: a program on a terminal, and an emulator that shows it."""

from __future__ import annotations

import os
import re
import signal
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.program import Program
from emulator import Emulator

SCRIPT = """
import os, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    for n in range(data.get("lines", 0)):
        kind = n % 3
        if kind == 0:
            print(f"<{task_id} {n}>")
        elif kind == 1:
            print(f"<{task_id} {n}>", file=sys.stderr)
        else:
            os.write(1, f"<{task_id} {n}>\\n".encode())
    if "say" in data:
        subprocess.run(["sh", "-c", data["say"]])
    if "unfinished" in data:
        print(data["unfinished"], end="", flush=True)
    if "raise" in data:
        raise ValueError(data["raise"])
    if "kill" in data:
        while not Path(data["after"]).exists():
            time.sleep(0.005)
        os.kill(os.getpid(), data["kill"])
    if "started" in data:
        Path(data["started"]).touch()
        release = Path(data["started"]).with_name("release")
        while not release.exists() and not worker_data.received_shutdown_request:
            time.sleep(0.005)
    return False, None

if __name__ == "__main__":
    if sys.argv[1] == "threads":
        with ThreadPoolExecutor(2) as pool:
            Worker(process_task, executor=pool, args=sys.argv[2:]).main()
    print("before")
    Worker(process_task, args=sys.argv[1:]).run()
    print("after", flush=True)
    Worker(process_task, args=sys.argv[1:]).main()
"""
ONCE = SCRIPT.replace(
    """    print("before")
    Worker(process_task, args=sys.argv[1:]).run()
    print("after", flush=True)
""",
    "",
)
#: A terminal that can do all, and a Python that writes a line in one go.
ABLE = {
    "TERM": "xterm-256color",
    **dict.fromkeys(("CI", "NO_COLOR", "COLUMNS", "LINES", "PYTHONUNBUFFERED"), ""),
}


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path, ONCE)
    yield program
    if program.process is not None and program.process.poll() is None:
        os.killpg(program.process.pid, signal.SIGKILL)
        program.process.wait()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    emulator = Emulator()
    yield emulator
    emulator.close()


_TAKE_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"


def start(program: Program, emulator: Emulator, *args: str, **keywords: Any) -> None:
    """Start on the terminal, as a shell would."""
    env = {**ABLE, **keywords.pop("env", {})}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), emulator.its)
    program.start(*args, env=env, **{"prepare": _TAKE_TERMINAL, **streams, **keywords})
    emulator.let_go()


def end(program: Program, emulator: Emulator) -> int:
    """Release what runs; wait for the end; return the exit code."""
    (program.folder / "release").touch()
    code = program.end()[0]
    emulator.wait_for_end()
    return code


def printed(emulator: Emulator) -> list[str]:
    return [line for line in emulator.everything if line.startswith("<")]


def test_it_is_drawn_while_tasks_run_and_gone_at_the_end(
    program: Program, emulator: Emulator
) -> None:
    # So many more that not all of them are taken from the file ahead, and counted.
    program.tasks({}, {}, {"say": "echo hello from a process"}, program.hold(), *[{}] * 8)
    start(program, emulator)
    shown = emulator.when(
        r" process_task  ━.*  25\.0 %    3 / ~12",
        r" .*elapsed.*",
        r" ok +3   failed 0   running 1/1",
        r" cpu +\d+ %   mem +[\d.]+/[\d.]+ GB   task p50.*",
        r" oldest t3   slot 0   .* of 10:00",
    )
    assert "hello from a process" in shown[:-5]
    assert emulator.cursor_is_shown
    assert end(program, emulator) == 0
    after = emulator.lines
    assert not [line for line in after if "━" in line or "elapsed" in line]
    assert after[-3].startswith("done: 12 tasks")
    assert emulator.cursor_is_shown
    assert emulator.cursor_is_at_line_begin


def test_20_columns_are_enough(program: Program, tmp_path: Path) -> None:
    emulator = Emulator(20, 24)
    program.tasks({"raise": "no such file"}, program.hold(), {})
    start(program, emulator)
    emulator.when(
        r" .*━.* 33\.3 %", r".*", r" ok 0   failed 1", r".*", r" oldest t1.*",
        r" 1 cause.*|.*ValueError.*",
    )  # fmt: skip
    assert end(program, emulator) == 1
    assert "elapsed" not in emulator.text
    emulator.close()


@pytest.mark.parametrize(
    "env", [{"TERM": "dumb"}, {"TERM": ""}, {"CI": "true"}], ids=["dumb", "none", "CI"]
)
def test_where_it_cannot_be_drawn_there_are_plain_lines(
    program: Program, emulator: Emulator, env: dict[str, str]
) -> None:
    program.tasks({"lines": 3}, {"raise": "no"}, *[{}] * 7, program.hold())
    start(program, emulator, env=env)
    emulator.until("progress done=9/10 pct=90.0 ok=8 failed=1")
    assert end(program, emulator) == 1
    assert b"\x1b" not in emulator.raw
    assert printed(emulator) == ["<t0 0>", "<t0 1>", "<t0 2>"]
    assert "t1: ValueError: no" in "\n".join(emulator.everything)


@pytest.mark.parametrize("mode", ["off", "auto", "on"])
def test_it_can_be_chosen(program: Program, emulator: Emulator, mode: str) -> None:
    program.tasks({"lines": 3}, *[{}] * 8, program.hold())
    start(program, emulator, "--progress", mode, env={"CI": "true"})
    program.until("started")
    if mode == "on":
        emulator.until("oldest t9")
    if mode == "auto":
        emulator.until("progress done=9/10")
    assert end(program, emulator) == 0
    assert (b"\x1b" in emulator.raw) == (mode == "on")
    assert (b"progress done=" in emulator.raw) == (mode == "auto")
    assert printed(emulator) == ["<t0 0>", "<t0 1>", "<t0 2>"]


def test_without_colours_it_is_drawn_without_colours(program: Program, emulator: Emulator) -> None:
    program.tasks({"raise": "no"}, program.hold())
    start(program, emulator, env={"NO_COLOR": "1"})
    emulator.until("oldest t1")
    assert end(program, emulator) == 1
    assert not re.search(rb"\x1b\[[0-9;]*(?:3[0-9]|38;[0-9;]*)m", emulator.raw)


def test_without_standard_output_it_is_drawn_all_the_same(
    program: Program, emulator: Emulator
) -> None:
    program.tasks({"say": "echo for nobody; echo for me >&2"}, program.hold())
    start(program, emulator, prepare=f"{_TAKE_TERMINAL}; import os; os.close(1)")
    emulator.until("for me")
    emulator.until("oldest t1")
    assert end(program, emulator) == 0
    assert "for nobody" not in emulator.text


def test_errors_that_go_to_a_file_are_not_drawn_into_it(
    program: Program, emulator: Emulator, tmp_path: Path
) -> None:
    program.tasks({"say": "echo out; echo err >&2"}, {})
    with (tmp_path / "err").open("wb") as err:
        start(program, emulator, "--progress", "on", stderr=err)
        assert end(program, emulator) == 0
    assert emulator.everything == ["out"]
    said = (tmp_path / "err").read_bytes()
    assert b"err\n" in said
    assert b"\x1b" not in said


def test_output_that_goes_to_a_file_stays_out_of_the_screen(
    program: Program, emulator: Emulator, tmp_path: Path
) -> None:
    program.tasks({"say": "echo out; echo err >&2"}, program.hold())
    with (tmp_path / "out").open("wb") as out:
        start(program, emulator, stdout=out)
        emulator.until("oldest t1")
        assert end(program, emulator) == 0
    assert (tmp_path / "out").read_bytes() == b"out\n"
    assert "err" in emulator.everything


@pytest.mark.parametrize("executor", ["loky", "spawn", "threads"])
def test_nothing_that_a_task_prints_is_lost_or_torn(
    program: Program, emulator: Emulator, executor: str
) -> None:
    program.tasks(*[{"lines": 300, "say": "echo '<end>'"}] * 8)
    if executor == "threads":
        start_threads(program, emulator)
    else:
        start(program, emulator, "--executor", executor, "--num-simultaneous-tasks", "2")
    assert end(program, emulator) == 0
    wanted = [f"<t{task} {n}>" for task in range(8) for n in range(300)] + ["<end>"] * 8
    assert sorted(printed(emulator)) == sorted(wanted)


def start_threads(program: Program, emulator: Emulator) -> None:
    import subprocess

    from e2e.program import environment, prepared

    flags = ["--task-file", "tasks.json", "--progress", "on"]
    program.process = subprocess.Popen(
        prepared(_TAKE_TERMINAL, [sys.executable, "program.py", "threads", *flags]),
        cwd=program.folder, env={**environment(), **ABLE}, text=True, start_new_session=True,
        stdin=emulator.its, stdout=emulator.its, stderr=emulator.its,
    )  # fmt: skip
    emulator.let_go()


def test_a_storm_of_lines_goes_through(program: Program, emulator: Emulator) -> None:
    program.tasks(*[{"lines": 20_000}] * 4)
    start(program, emulator, "--num-simultaneous-tasks", "2")
    assert end(program, emulator) == 0
    assert len(printed(emulator)) == 80_000
    assert emulator.lines[-3].startswith("done: 4 tasks")


def test_ctrl_c_in_the_middle_leaves_the_screen_sane(program: Program, emulator: Emulator) -> None:
    before = termios.tcgetattr(emulator.its)
    program.tasks({"lines": 50}, program.hold(), *[{}] * 50)
    its = os.dup(emulator.its)
    start(program, emulator)
    # That t1 runs may be drawn before the last of them: the echo of ^C would stand among them.
    emulator.until(lambda: len(printed(emulator)) == 50)
    emulator.until("oldest t1")
    emulator.type(b"\x03")
    assert program.end()[0] == 130
    emulator.until("exit code 130")
    assert termios.tcgetattr(its) == before
    os.close(its)
    emulator.wait_for_end()
    assert emulator.cursor_is_shown
    assert emulator.cursor_is_at_line_begin
    assert "━" not in emulator.text
    assert "Traceback" not in emulator.text
    assert len(printed(emulator)) == 50


def test_a_kill_leaves_a_cursor_behind(program: Program, emulator: Emulator) -> None:
    program.tasks(program.hold())
    start(program, emulator)
    emulator.until("oldest t0")
    program.signal(signal.SIGKILL)
    program.end()
    assert emulator.cursor_is_shown


def test_a_terminal_that_goes_away_ends_the_run_in_order(
    program: Program, emulator: Emulator
) -> None:
    program.tasks(program.hold(), {"lines": 10_000}, {})
    start(program, emulator)
    emulator.until("oldest t0")
    emulator.hang_up()
    # 120 is Python's own, for a standard stream that can't be flushed at its end.
    assert program.end()[0] in (143, 120)
    assert program.endings() == [("t0", "task_completed")]


def test_a_failure_is_told_once_and_counted(program: Program, emulator: Emulator) -> None:
    tasks = [{"raise": f"bad header in img_{n}"} for n in range(20)]
    program.tasks(*tasks, {"raise": "no such file"}, program.hold())
    start(program, emulator, "--task-logs")
    emulator.until("oldest t21")
    emulator.until("ValueError: bad header in img_# (20) · ValueError: no such file (1)")
    emulator.until("failed 21")
    # The counts may be drawn a moment before the words.
    emulator.until(" x t20: ValueError: no such file")
    assert end(program, emulator) == 1
    told = [line for line in emulator.everything if line.startswith(" x ")]
    assert told == [" x t0: ValueError: bad header in img_0", " x t20: ValueError: no such file"]
    assert "   see: cloud_tasks logs events.log t0" in emulator.everything


@pytest.mark.parametrize("drawn", [True, False])
def test_a_crash_is_explained_with_the_command_that_runs_it_alone(
    program: Program, emulator: Emulator, drawn: bool
) -> None:
    # Before that nobody can say that the other one runs.
    other = program.hold()
    program.tasks({"kill": signal.SIGSEGV, "after": other["started"]}, other)
    start(
        program, emulator, "--num-simultaneous-tasks", "2", "--progress", "on" if drawn else "off"
    )
    emulator.until("why did my task die")
    text = " ".join(" ".join(emulator.everything).split())
    assert "t0: killed by signal 11 (SIGSEGV), after" in text
    assert "Native code accessed invalid memory (segmentation fault)." in text
    assert "The other running task was not affected." in text
    assert re.search(
        r"run it alone python\S* program.py --task-file tasks.json .*--task-id t0", text
    )
    assert end(program, emulator) == 1


def test_hostile_output_cannot_spoil_the_area(program: Program, emulator: Emulator) -> None:
    evil = r"printf '\033[2J\033[H\033[?25l\033[?1049hstill\007 here\n'"
    program.tasks({"say": evil}, {"say": r"printf '10 %%\r20 %%\r30 %%\n'"}, program.hold())
    start(program, emulator)
    emulator.until("oldest t2")
    emulator.until(lambda: {"still here", "30 %"} <= set(emulator.lines))
    assert emulator.cursor_is_shown
    assert end(program, emulator) == 0


def test_a_line_without_an_end_is_shown_after_a_while(program: Program, emulator: Emulator) -> None:
    program.tasks({**program.hold(), "unfinished": "<what now?>"})
    start(program, emulator)
    emulator.until("<what now?>")
    emulator.until("oldest t0")
    assert end(program, emulator) == 0
    assert printed(emulator) == ["<what now?>"]


def test_the_terminal_is_the_programs_again_after_a_run(tmp_path: Path, emulator: Emulator) -> None:
    program = Program(tmp_path, SCRIPT)
    program.tasks({"lines": 2})
    start(program, emulator)
    assert end(program, emulator) == 0
    said = emulator.everything
    summary = next(n for n, line in enumerate(said) if line.startswith("done: 1 task"))
    assert said[0] == "before"
    assert said.index("<t0 0>") < summary < said.index("after")
    assert len(printed(emulator)) == 4
    assert said[-3].startswith("done: 1 task")


def test_tasks_in_this_process_have_the_terminal_for_themselves(
    program: Program, emulator: Emulator
) -> None:
    program.tasks({"lines": 3}, {})
    start(program, emulator, "--debug")
    assert end(program, emulator) == 0
    assert b"\x1b" not in emulator.raw
    assert len(printed(emulator)) == 3


def test_a_terminal_that_gets_smaller_is_followed(program: Program, emulator: Emulator) -> None:
    program.tasks(program.hold())
    its = os.dup(emulator.its)
    start(program, emulator)
    emulator.until("oldest t0")
    emulator.its = its
    emulator.resize(30, 24)
    mark = len(emulator.raw)
    emulator.until(lambda: emulator.raw.count(b"oldest", mark) > 2)
    drawn = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", emulator.raw[mark:]).decode()
    assert max(map(len, re.split(r"[\r\n]+", drawn.rpartition("process_task")[2]))) < 30
    emulator.let_go()
    assert end(program, emulator) == 0
