"""``cloud_tasks failures``, as a person types it, on logs of all kinds."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from e2e.command import run_command
from e2e.program import WAIT, Program, environment

from cloud_tasks.events.records import data_digest

TRACEBACK = """\
Traceback (most recent call last):
  File "/opt/venv/lib/python3.11/site-packages/cloud_tasks/worker/worker.py", line 880, in _run
    retry, result = user_worker_function(task_id, data, worker)
  File "/home/u/work.py", line {line}, in load
    raise ValueError("bad header in {n}")
ValueError: bad header in {n}
"""
MARS = "img\n\x1b[2J\x1b]0;title\x07/1"


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_command("failures", *args, cwd=cwd, env=environment())


def cells(row: str) -> list[str]:
    """Return what is in a line of a table that is written into a pipe."""
    return re.split(r"  +", row.strip())


def old_event(kind: str, task_id: Any, **fields: Any) -> dict[str, Any]:
    """Return an event with nothing but what the older system writes."""
    return {
        "timestamp": "2026-11-21T10:00:00.123456",
        "hostname": "old",
        "event_type": f"task_{kind}",
        "task_id": task_id,
        "retry": False,
        "elapsed_time": 1.5,
        **fields,
    }


def old_log(path: Path) -> Path:
    """Write a log of the older system, in which four tasks have failed in the end."""
    lines = [
        json.dumps(event)
        for event in (
            old_event("exception", "a", exception=TRACEBACK.format(line=12, n=1)),
            old_event("exception", MARS, exception=TRACEBACK.format(line=12, n=2)),
            old_event("timed_out", "b"),
            old_event("completed", "b", result="x"),
            old_event("exited", "c", exit_code=-9),
            old_event("completed", "d", retry=True, result="x"),
            old_event("timed_out", "e"),
            {"event_type": "spot_termination"},
        )
    ]
    odd = ["no JSON", "[1]", '{"event_type": "task_sneezed", "task_id": "a"}', "{}"]
    path.write_text("\n".join([*lines, *odd, '{"event_type": "task_exc']))
    return path


def written(path: Path) -> dict[str, Any]:
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(set(entry) == {"task_id", "data", "cause"} for entry in entries)
    return {entry["task_id"]: entry["data"] for entry in entries}


@pytest.mark.parametrize("compressed", [False, True])
def test_a_log_of_the_older_system_is_grouped(tmp_path: Path, compressed: bool) -> None:
    log = old_log(tmp_path / "events.log")
    if compressed:
        log = tmp_path / "events.log.gz"
        log.write_bytes(gzip.compress((tmp_path / "events.log").read_bytes()))
    done = run(log.name, cwd=tmp_path)
    assert done.returncode == 0
    head, _, *rows, last = done.stdout.splitlines()
    assert head == "4 tasks failed, 3 causes"
    assert [row.split()[:2] for row in rows] == [["1", "2"], ["2", "1"], ["3", "1"]]
    assert cells(rows[0])[:4] == ["1", "2", "ValueError: bad header in #", "work.py:12 in load"]
    assert last == "to be run again: 1 task: asked for another try (1)"
    assert "2 lines without a JSON object" in done.stderr
    assert "task_sneezed" in done.stderr
    assert "cut off" in done.stderr


def test_nothing_of_a_log_reaches_the_terminal_as_it_is(tmp_path: Path) -> None:
    old_log(tmp_path / "events.log")
    done = run("events.log", cwd=tmp_path)
    assert "\x1b" not in done.stdout + done.stderr
    assert r"img\n\x1b[2J" in done.stdout


def test_a_program_is_told_the_same(tmp_path: Path) -> None:
    old_log(tmp_path / "events.log")
    told = json.loads(run("events.log", "--json", cwd=tmp_path).stdout)
    assert told["failed"] == 4
    assert told["causes"][0] == {
        "number": 1,
        "cause": "ValueError: bad header in #",
        "where": "work.py:12 in load",
        "count": 2,
        "first": "2026-11-21T10:00:00.123456",
        "last": "2026-11-21T10:00:00.123456",
        "examples": ["a", MARS],
    }
    assert told["to_run_again"] == {"asked for another try": 1}
    assert told["log"] == {
        "lines": 13,
        "not_json": 2,
        "torn": True,
        "unknown": {"task_sneezed": 1, "(none)": 1},
        "nameless": 0,
    }


@pytest.mark.parametrize(
    ("cause", "count"), [("bad header", 2), ("2", 1), ("signal 9", 1), ("ran too", 1)]
)
def test_a_cause_is_chosen_by_its_text_or_number(tmp_path: Path, cause: str, count: int) -> None:
    old_log(tmp_path / "events.log")
    told = json.loads(run("events.log", "--cause", cause, "--json", cwd=tmp_path).stdout)
    assert [group["count"] for group in told["causes"]] == [count]


def test_a_cause_that_nothing_has_is_told(tmp_path: Path) -> None:
    old_log(tmp_path / "events.log")
    done = run("events.log", "--cause", "moon", cwd=tmp_path)
    assert done.returncode == 2
    assert "no cause of failure contains 'moon'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ten_thousand_causes_are_a_table_of_twenty(tmp_path: Path) -> None:
    with (tmp_path / "events.log").open("w") as file:
        for n in range(10_000):
            word = "".join(chr(97 + int(digit)) for digit in str(n))
            for _ in range(2 if n == 5000 else 1):
                event = old_event("exception", f"t{n}-{_}", exception=f"Error: {word}")
                file.write(json.dumps(event) + "\n")
    done = run("events.log", cwd=tmp_path)
    head, _, first, *rows = done.stdout.splitlines()
    assert head == "10,001 tasks failed, 10,000 causes"
    assert "Error: faaa" in first
    assert len(rows) == 20
    assert rows[-1] == "and 9,980 tasks for 9,980 other causes: --all lists them"
    assert len(run("events.log", "--all", cwd=tmp_path).stdout.splitlines()) == 10_002


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_failed_tasks_of_the_older_system_are_found_in_its_task_file(
    tmp_path: Path, suffix: str
) -> None:
    old_log(tmp_path / "events.log")
    if suffix == "json":
        tasks = [{"task_id": i, "data": {"n": i}} for i in ("x", "a", "b", MARS, "c", "e", "c")]
        (tmp_path / "tasks.json").write_text(json.dumps(tasks))
        expected = {i: {"n": i} for i in ("a", MARS, "c", "e")}
    else:
        (tmp_path / "tasks.csv").write_text(f'task_id,n\na,1\nb,2\n"{MARS}",3\nc,4\ne,5\n')
        expected = {"a": {"n": "1"}, MARS: {"n": "3"}, "c": {"n": "4"}, "e": {"n": "5"}}
    name = f"tasks.{suffix}"
    done = run("events.log", "-o", "again.jsonl", "--task-file", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert written(tmp_path / "again.jsonl") == expected
    assert "wrote" in done.stderr


def test_only_the_tasks_of_one_cause_are_written(tmp_path: Path) -> None:
    old_log(tmp_path / "events.log")
    tasks = [{"task_id": i, "data": {}} for i in ("a", "b", MARS, "c", "e")]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    args = ("--cause", "ran too long", "-o", "again.jsonl", "--task-file", "tasks.json")
    assert run("events.log", *args, cwd=tmp_path).returncode == 0
    assert written(tmp_path / "again.jsonl") == {"e": {}}


def test_what_is_not_found_is_told_and_the_rest_is_written(tmp_path: Path) -> None:
    old_log(tmp_path / "events.log")
    (tmp_path / "tasks.json").write_text('[{"task_id": "a", "data": {}}]')
    done = run("events.log", "-o", "again.jsonl", "--task-file", "tasks.json", cwd=tmp_path)
    assert done.returncode == 1
    assert written(tmp_path / "again.jsonl") == {"a": {}}
    assert "3 of 4 failed tasks could not be written: 3 whose data were found nowhere" in (
        done.stderr
    )


def test_without_a_task_file_the_flag_for_it_is_told(tmp_path: Path) -> None:
    old_log(tmp_path / "events.log")
    done = run("events.log", "-o", "again.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert "--task-file FILE" in done.stderr
    assert not (tmp_path / "again.jsonl").exists()


def test_a_task_file_that_is_gone_is_told(tmp_path: Path) -> None:
    old_log(tmp_path / "events.log")
    done = run("events.log", "-o", "a.jsonl", "--task-file", "gone.json", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "gone.json" in done.stderr
    output = json.loads(done.stdout)["output"]
    assert (output["written"], output["missing"], len(output["problems"])) == (0, 4, 1)


def make_run(folder: Path, *, fail: dict[str, dict[str, Any]], **start: Any) -> Path:
    """Write a run directory in which the tasks *fail* failed."""
    directory = folder / "run"
    directory.mkdir()
    with (directory / "events.jsonl").open("w") as events:
        for task_id, data in fail.items():
            event = old_event("timed_out", task_id, data_digest=data_digest(data))
            events.write(json.dumps(event) + "\n")
    settings = [{"name": name, "value": value} for name, value in start.pop("settings", {}).items()]
    entry = {"event": "start", "cwd": str(folder), "settings": settings, **start}
    (directory / "runs.jsonl").write_text(json.dumps(entry) + "\n" + '{"event": "sta')
    return directory


@pytest.mark.parametrize("name", ["run", "run/events.jsonl"])
def test_the_run_tells_where_its_tasks_came_from(tmp_path: Path, name: str) -> None:
    make_run(
        tmp_path,
        fail={"a": {"n": 2}},
        settings={"task_file": "sub/tasks.json", "task_format": None},
        command=["python", "my prog.py", "--tasks", "sub/tasks.json", "--resume", "--debug"],
    )
    (tmp_path / "sub").mkdir()
    tasks = [{"task_id": "a", "data": {"n": n}} for n in (1, 2, 3)]
    (tmp_path / "sub" / "tasks.json").write_text(json.dumps(tasks))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    here = run(name, "-o", "again.jsonl", cwd=tmp_path)
    there = run(f"../{name}", "-o", "again.jsonl", cwd=elsewhere)
    assert written(tmp_path / "again.jsonl") == written(elsewhere / "again.jsonl")
    assert written(tmp_path / "again.jsonl") == {"a": {"n": 2}}
    command = "python 'my prog.py' --debug --task-file again.jsonl"
    assert here.stderr.splitlines()[-1].endswith(f"run them again with:  {command}")
    file = shlex.quote(str(elsewhere / "again.jsonl"))
    command = f"cd {tmp_path} && python 'my prog.py' --debug --task-file {file}"
    assert there.stderr.splitlines()[-1].endswith(command)


def test_data_that_have_changed_since_are_not_taken_for_those_that_failed(tmp_path: Path) -> None:
    make_run(tmp_path, fail={"a": {"n": 1}}, settings={"task_file": "tasks.json"})
    (tmp_path / "tasks.json").write_text('[{"task_id": "a", "data": {"n": 2}}]')
    done = run("run", "-o", "again.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert "1 whose id was found with other data only" in done.stderr


def test_files_of_the_run_and_its_tasks_are_never_written_over(tmp_path: Path) -> None:
    make_run(tmp_path, fail={"a": {"n": 1}}, settings={"task_file": "tasks.jsonl"})
    (tmp_path / "tasks.jsonl").write_text('{"task_id": "a", "data": {"n": 1}}\n')
    (tmp_path / "run" / "failures.jsonl").write_text("")
    (tmp_path / "link.jsonl").symlink_to("tasks.jsonl")
    (tmp_path / "others.jsonl").write_text('{"task_id": "a", "data": {"n": 1}, "cause": "x"}\n')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    for name in ("run/failures.jsonl", "run/events.jsonl", "run/runs.jsonl"):
        done = run("run", "-o", name, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "belongs to the run itself" in done.stderr
    for name in ("tasks.jsonl", "link.jsonl", "run/../tasks.jsonl"):
        done = run("run", "-o", name, cwd=tmp_path)
        assert done.returncode == 2
        assert "is the task file that the tasks came from" in done.stderr
    done = run("run", "-o", "others.jsonl", "--task-file", "others.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")} == before


def test_a_name_that_tells_another_format_is_refused(tmp_path: Path) -> None:
    old_log(tmp_path / "events.log")
    done = run("events.log", "-o", "again.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "ends in .jsonl" in done.stderr


def test_a_file_that_is_no_event_log_is_not_taken_for_a_run_without_failures(
    tmp_path: Path,
) -> None:
    (tmp_path / "tasks.jsonl").write_text('{"task_id": "a", "data": {}}\nmore\n{')
    done = run("tasks.jsonl", cwd=tmp_path)
    assert done.returncode == 4
    assert "is no event log: none of its 3 lines is an event" in done.stderr
    (tmp_path / "empty.log").touch()
    assert run("empty.log", cwd=tmp_path).stdout == "no task has failed\n"


@pytest.mark.parametrize("name", ["gone", ""])
def test_a_run_that_is_not_there_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    done = run(name or str(tmp_path), cwd=tmp_path)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1


SCRIPT = """
import os, sys
from pathlib import Path
from cloud_tasks.worker import Worker

def check(n):
    if n % 3 == 0 and not Path("mended").exists():
        raise ValueError(f"no luck with {n}")

def process_task(task_id, data, worker_data):
    check(data["n"])
    if data["n"] == 4 and not Path("mended").exists():
        os._exit(3)
    return False, data["n"]

if __name__ == "__main__":
    Worker(process_task, args=sys.argv[1:]).main()
"""


def test_a_run_is_mended_by_the_command_that_it_is_told(tmp_path: Path) -> None:
    program = Program(tmp_path, SCRIPT)
    program.tasks(*({"n": n} for n in range(8)))
    assert program.run("--run-dir", "run")[0] == 1
    with (tmp_path / "run" / "failures.jsonl").open("a") as file:
        file.write('{"task_id": "t9", "da')  # the worker died in the middle of it
    # All is known to the run itself: the task file is not needed any more.
    (tmp_path / "tasks.json").unlink()
    done = run("run", "-o", "again.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    row = cells(done.stdout.splitlines()[2])
    assert row[1:4] == ["3", "ValueError: no luck with #", "program.py:8 in check"]
    assert written(tmp_path / "again.jsonl") == {f"t{n}": {"n": n} for n in (0, 3, 4, 6)}
    (tmp_path / "mended").touch()
    command = done.stderr.partition("run them again with:")[2].strip()
    words = shlex.split(command)
    assert words[1:] == ["program.py", "--run-dir", "run", "--task-file", "again.jsonl"]
    repeated = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=WAIT,
        check=False,
    )
    assert repeated.returncode == 0, repeated.stderr
    done = run("run", "-o", "again.jsonl", cwd=tmp_path)
    assert done.stdout == "no task has failed\n"
    assert (tmp_path / "again.jsonl").read_text() == ""
