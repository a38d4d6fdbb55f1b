"""``cloud_tasks logs``, as a person types it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from e2e.program import WAIT, Program, environment

from cloud_tasks.testing import eventually
from cloud_tasks.timestamps import timestamp


class Run:
    """A run directory, made by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "run"
        self.logs = self.directory / "logs"
        self.logs.mkdir(parents=True)
        self.events = self.directory / "events.jsonl"
        self.events.touch()
        (self.directory / "runs.jsonl").touch()
        self._now = time.time()

    def _moment(self) -> float:
        """Return a time after that of everything before: the machine's clock may be set back."""
        self._now += 1
        return self._now

    def begin(self, task_id: str, *, slot: int = 0, started: float = 0.0) -> None:
        log = self.logs / f"slot-{slot:03}.log"
        log.touch()
        with (self.logs / f"slot-{slot:03}.idx").open("a") as index:
            entry = [log.stat().st_size, task_id, started or self._moment()]
            index.write(json.dumps(entry) + "\n")

    def put(self, output: bytes, *, slot: int = 0) -> None:
        with (self.logs / f"slot-{slot:03}.log").open("ab") as log:
            log.write(output)

    def end(self, task_id: str, **fields: Any) -> None:
        event = {
            "timestamp": timestamp(self._moment()),
            "hostname": "h",
            "event_type": "task_completed",
            "task_id": task_id,
            **fields,
        }
        with self.events.open("a") as file:
            file.write(json.dumps(event) + "\n")

    def show(self, *args: str, name: str = "run") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command(name, *args),
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            timeout=WAIT,
            check=False,
        )


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "cloud_tasks", "logs", *args]


@pytest.fixture
def a_run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_the_output_of_a_task_is_given_as_it_was(a_run: Run) -> None:
    odd = b"\xff\x00 bytes\r\n\x1b[2J no line end"
    a_run.begin("a")
    a_run.put(odd)
    a_run.begin("b")
    a_run.put(b"of b\n")
    done = a_run.show("a")
    assert (done.returncode, done.stdout, done.stderr) == (0, odd, b"")
    assert a_run.show("b", name="run/events.jsonl").stdout == b"of b\n"


@pytest.mark.parametrize("task_id", ["two\nlines", "\x1b[31mred", 'q"uote', "grüße", "a b"])
def test_an_id_may_be_any_text(a_run: Run, task_id: str) -> None:
    a_run.begin(task_id)
    a_run.put(b"it was me\n")
    assert a_run.show(task_id).stdout == b"it was me\n"
    told = json.loads(a_run.show(task_id, "--json").stdout)
    assert (told["task_id"], told["output"]) == (task_id, "it was me\n")


def test_an_id_that_begins_with_a_hyphen_is_given_after_two(a_run: Run) -> None:
    a_run.begin("-f")
    a_run.put(b"odd\n")
    assert a_run.show("--", "-f").stdout == b"odd\n"


def test_of_several_attempts_the_last_is_shown_and_all_are_listed(a_run: Run) -> None:
    a_run.begin("a", slot=1, started=100.0)
    a_run.put(b"first", slot=1)
    a_run.begin("a", slot=0, started=200.0)
    a_run.put(b"second", slot=0)
    done = a_run.show("a")
    assert done.stdout == b"second"
    lines = done.stderr.decode().splitlines()
    assert lines == [
        "cloud_tasks: attempt 1   1970-01-01 00:01:40   slot 1   5 bytes",
        "cloud_tasks: attempt 2   1970-01-01 00:03:20   slot 0   6 bytes   (shown here)",
    ]
    assert a_run.show("a", "--attempt", "1").stdout == b"first"
    told = json.loads(a_run.show("a", "--attempt", "1", "--json").stdout)
    assert (told["attempt"], told["output"], len(told["attempts"])) == (1, "first", 2)
    for number in ("0", "3", "-1"):
        done = a_run.show("a", f"--attempt={number}")
        assert done.returncode == 4
        assert b"the task logs have 2 attempts" in done.stderr


def test_a_task_that_has_printed_nothing_is_told_so(a_run: Run) -> None:
    a_run.begin("a")
    done = a_run.show("a")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"printed nothing" in done.stderr


def test_an_unknown_task_is_told_with_what_was_meant(a_run: Run) -> None:
    for n in range(100):
        a_run.begin(f"img-{n:04}")
    done = a_run.show("img_0042")
    assert done.returncode == 4
    assert b"did you mean 'img-0042'?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_without_task_logs_says_what_would_keep_them(tmp_path: Path) -> None:
    (tmp_path / "events.log").write_text("")
    words, env = command("events.log", "a"), environment()
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, check=False)
    assert done.returncode == 4
    assert b"run it with --task-logs" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_task_that_never_ran_has_the_last_lines_of_its_event(a_run: Run) -> None:
    a_run.end("a", event_type="task_exited", exit_code=-9, last_output="loading\n\x1b[31mgr\ud800")
    done = a_run.show("a")
    assert done.returncode == 0
    assert done.stdout == b"loading\n\x1b[31mgr?\n"
    assert b"from the event" in done.stderr


def test_a_log_that_is_gone_is_told(a_run: Run) -> None:
    a_run.begin("a")
    (a_run.logs / "slot-000.log").unlink()
    done = a_run.show("a")
    assert done.returncode == 4
    assert b"slot-000.log" in done.stderr


def test_flags_that_contradict_each_other_are_refused(a_run: Run) -> None:
    assert a_run.show("a", "-f", "--json").returncode == 2
    assert a_run.show("a", "-f", "--attempt", "1").returncode == 2


def on_terminal(a_run: Run, *args: str, **environ: str) -> str:
    """Return what a terminal gets."""
    mine, its = pty.openpty()
    env = {k: v for k, v in environment().items() if k not in ("NO_COLOR", "TERM")}
    process = subprocess.Popen(
        command("run", *args),
        cwd=a_run.folder,
        stdout=its,
        stderr=subprocess.DEVNULL,
        env={**env, "TERM": "xterm", **environ},
    )
    os.close(its)
    got = b""
    deadline = time.monotonic() + WAIT
    try:
        while time.monotonic() < deadline:
            if select.select([mine], [], [], 0.1)[0]:
                try:
                    piece = os.read(mine, 65536)
                except OSError:  # the other end is closed
                    break
                if not piece:
                    break
                got += piece
    finally:
        os.close(mine)
        process.kill()
        process.wait()
    return got.decode()


def test_on_a_terminal_colours_stay_and_all_else_is_only_shown(a_run: Run) -> None:
    a_run.begin("a")
    a_run.put(b"\x1b[1;31mred\x1b[0m\ttab\n\x1b[2J\x1b]0;title\x07\x9b2J\x08\xc2\x9b2J ok\n")
    assert on_terminal(a_run, "a") == (
        "\x1b[1;31mred\x1b[0m\ttab\r\n\\x1b[2J\\x1b]0;title\\x07\ufffd2J\\x08\\x9b2J ok\r\n\x1b[0m"
    )


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_go_where_they_are_not_wanted(a_run: Run, environ: dict[str, str]) -> None:
    a_run.begin("a")
    a_run.put(b"\x1b[1;31mred\x1b[0m\n")
    assert on_terminal(a_run, "a", **environ) == "red\r\n"


def test_a_progress_bar_becomes_lines(a_run: Run) -> None:
    a_run.begin("a")
    a_run.put(b"10 %\r20 %\r\nend\r\r\n")
    assert on_terminal(a_run, "a") == "10 %\r\n20 %\r\nend\r\n"


class Follower:
    """The command with ``-f``, in the background."""

    def __init__(self, a_run: Run, task_id: str) -> None:
        self.out = a_run.folder / "followed.out"
        self.err = a_run.folder / "followed.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                command("run", task_id, "-f"),
                cwd=a_run.folder,
                stdout=out,
                stderr=err,
                env=environment(),
            )

    def has(self, output: bytes) -> None:
        eventually(lambda: self.out.read_bytes() == output, WAIT, what=f"{self.out.read_bytes()!r}")

    def says(self, text: str) -> None:
        eventually(lambda: text in self.err.read_text(), WAIT, what=text)

    def end(self) -> int:
        try:
            return self.process.wait(WAIT)
        finally:
            self.process.kill()
            self.process.wait()


def test_a_running_task_is_followed_until_its_event(a_run: Run) -> None:
    a_run.end("a")  # of a try before
    a_run.begin("a")
    a_run.put(b"one\n")
    follower = Follower(a_run, "a")
    follower.has(b"one\n")
    a_run.put(b"two\n")
    follower.has(b"one\ntwo\n")
    a_run.end("another")
    a_run.put(b"three\n")
    a_run.end("a", slot=0)
    assert follower.end() == 0
    assert follower.out.read_bytes() == b"one\ntwo\nthree\n"


def test_a_running_task_is_followed_until_its_slot_begins_another(a_run: Run) -> None:
    a_run.begin("a")
    follower = Follower(a_run, "a")
    a_run.put(b"one\n")
    follower.has(b"one\n")
    a_run.put(b"two\n")
    a_run.begin("b")
    a_run.put(b"of b\n")
    assert follower.end() == 0
    assert follower.out.read_bytes() == b"one\ntwo\n"


def test_a_task_that_is_over_is_not_followed_for_ever(a_run: Run) -> None:
    a_run.begin("a")
    a_run.put(b"one\n")
    a_run.end("a")
    follower = Follower(a_run, "a")
    assert follower.end() == 0
    assert follower.out.read_bytes() == b"one\n"


def test_a_task_that_has_not_begun_is_waited_for(a_run: Run) -> None:
    follower = Follower(a_run, "a")
    follower.says("waiting for the task 'a' to begin")
    a_run.begin("b")
    a_run.begin("a", slot=3)
    a_run.put(b"here\n", slot=3)
    follower.has(b"here\n")
    a_run.end("a")
    assert follower.end() == 0


def test_a_task_that_ends_without_having_begun_is_not_waited_for(a_run: Run) -> None:
    follower = Follower(a_run, "a")
    follower.says("waiting")
    a_run.end("a", event_type="task_aborted")
    assert follower.end() == 0
    follower.says("ended without")


def test_following_ends_at_ctrl_c(a_run: Run) -> None:
    a_run.begin("a")
    a_run.put(b"one\n")
    follower = Follower(a_run, "a")
    follower.has(b"one\n")
    follower.process.send_signal(signal.SIGINT)
    assert follower.end() == 130
    assert follower.err.read_text() == ""


SCRIPT = """
import os, subprocess, sys, time
from pathlib import Path
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    print("python of", task_id, flush=True)
    if data.get("hold"):
        Path("started").touch()
        deadline = time.monotonic() + 30
        while not Path("release").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        print("released", flush=True)
    else:
        subprocess.run(["echo", "child of " + task_id])
    return False, 1

if __name__ == "__main__":
    Worker(process_task, args=sys.argv[1:]).main()
"""


@pytest.mark.parametrize("where", [["--run-dir", "run"], ["--event-log-file", "run/my.log"]])
def test_what_a_real_run_printed_is_found(tmp_path: Path, where: list[str]) -> None:
    a_run = Run(tmp_path)
    program = Program(tmp_path, SCRIPT)
    program.tasks(*({"n": n} for n in range(20)))
    code, said = program.run(*where, "--task-logs", "--num-simultaneous-tasks", "2")
    assert code == 0, said
    name = "run" if where[0] == "--run-dir" else "run/my.log"
    for n in (0, 7, 19):
        done = a_run.show(f"t{n}", name=name)
        assert done.stdout == f"python of t{n}\nchild of t{n}\n".encode()


def test_a_task_of_a_real_run_is_followed_to_its_end(tmp_path: Path) -> None:
    a_run = Run(tmp_path)
    program = Program(tmp_path, SCRIPT)
    program.tasks({"hold": True})
    program.start("--run-dir", "run", "--task-logs")
    program.until("started")
    follower = Follower(a_run, "t0")
    follower.has(b"python of t0\n")
    (tmp_path / "release").touch()
    assert follower.end() == 0
    assert follower.out.read_bytes() == b"python of t0\nreleased\n"
    assert program.end()[0] == 0
