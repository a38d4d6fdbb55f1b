from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cloud_tasks.history.commands import rerun_with_file
from cloud_tasks.history.starts import Start, chosen_log, starts_with_files


def start(task_file: Any, **more: Any) -> dict[str, Any]:
    settings = [{"name": "task_file", "value": task_file}, {"name": "task_format", "value": None}]
    return {"event": "start", "cwd": "/home/u", "settings": settings, **more}


def of(tmp_path: Path, *entries: Any) -> list[tuple[str, Start]]:
    runs = tmp_path / "runs.jsonl"
    runs.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"event": "st')
    return starts_with_files(runs)


def test_the_last_start_comes_first(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        start("one.json", command=["python", "x.py"]),
        {"event": "end"},
        start("/data/two.json"),
    )
    assert [(name, one.task_format, one.command, one.cwd) for name, one in found] == [
        ("/data/two.json", None, [], "/home/u"),
        ("/home/u/one.json", None, ["python", "x.py"], "/home/u"),
    ]


def test_an_address_is_no_path(tmp_path: Path) -> None:
    ((name, _),) = of(tmp_path, start("s3://bucket/tasks.json"))
    assert name == "s3://bucket/tasks.json"


def test_what_tells_of_no_task_file_is_passed_over(tmp_path: Path) -> None:
    odd = [5, [], {"event": "start"}, {"event": "start", "settings": {"a": 1}}]
    odd += [start(None), start("-"), start(7), {"event": "start", "settings": [5, {"name": []}]}]
    assert of(tmp_path, *odd) == []
    assert starts_with_files(tmp_path / "gone") == []


def test_a_command_gets_another_task_file_in_place_of_its_own() -> None:
    words = ["python", "my prog.py", "--tasks=a.csv", "--task-format", "csv", "--debug"]
    words += ["--resume", "failed", "--task-id", "x", "--max-num-tasks=3", "-v"]
    assert rerun_with_file(words, "b c.jsonl") == (
        "python 'my prog.py' --debug -v --task-file 'b c.jsonl'"
    )


def test_another_task_file_goes_before_what_is_no_flag() -> None:
    words = ["python", "my.py", "--tasks", "a", "--", "b"]
    assert rerun_with_file(words, "c.jsonl") == "python my.py --task-file c.jsonl -- b"


def starts(folder: Path, *logs: tuple[str, str]) -> Path:
    """Write down starts with these names of an event log, and who gave them."""
    runs = folder / "runs.jsonl"
    entries = [
        {
            "event": "start",
            "cwd": str(folder),
            "settings": [{"name": "event_log_file", "value": name, "origin": origin}],
        }
        for name, origin in logs
    ]
    runs.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return runs


def test_the_event_log_that_the_last_start_was_given_is_known(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.touch()
    assert chosen_log(starts(tmp_path, ("a.log", "command line"))) == log
    assert chosen_log(starts(tmp_path, ("a.log", "derived"))) is None
    assert chosen_log(starts(tmp_path, ("a.log", "environment"), ("b", "derived"))) is None
    assert chosen_log(starts(tmp_path, ("gone.log", "command line"))) is None
    assert chosen_log(tmp_path / "gone.jsonl") is None
