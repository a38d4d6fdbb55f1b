from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from unit.report.logs import BEGAN, HOSTILE, documented, old, ours, raised, run_dir, write

from cloud_tasks.history.commands import rerun_command
from cloud_tasks.report.text import lines, memory, money, percent
from cloud_tasks.text import rate
from cloud_tasks.timestamps import timestamp

START = {
    "event": "start",
    "started": timestamp(BEGAN - 2),
    "command": ["python", "my.py", "--task-file", "t.jsonl", "--resume", "failed"],
    "function": "process_task",
    "host": "a",
    "versions": {"cloud_tasks": "0.4.0"},
    "settings": [{"name": "price_per_hour", "value": 2.0, "origin": "command line"}],
    "slots": 2,
}
END = {"event": "end", "ended": timestamp(BEGAN + 1798), "summary": {"stop_reason": "done"}}


def said(path: Path, **keywords: Any) -> str:
    return "\n".join(lines(documented(path, **keywords)))


def test_a_log_becomes_one_json_document(tmp_path: Path) -> None:
    log = write(tmp_path / "e.log", *(ours(n, 0.5, max_rss_mb=80.0) for n in range(1, 11)))
    found = json.loads(json.dumps(documented(log), allow_nan=False))
    assert found["format"] == 1
    assert found["totals"]["tries"] == found["totals"]["ok"] == 10
    assert found["totals"]["busy"] == pytest.approx(5 / 9.5, abs=1e-3)
    assert found["run_time"]["all"]["p50"] == pytest.approx(0.5, rel=0.03)
    assert found["memory_mb"]["max"] == 80
    assert sum(found["over_time"]["ok"]) == 10
    width = found["over_time"]["width"]
    assert sum(found["over_time"]["running"]) * width == pytest.approx(5, rel=0.02)
    (row,) = found["timeline"]["rows"]
    assert len(row["shades"]) == found["timeline"]["columns"]
    assert set(row["shades"]) >= {"0", "z"}
    assert [one[3] for one in found["tries"]] == [f"t-{n}" for n in range(1, 11)]
    assert found["run"]["start"] == timestamp(BEGAN + 0.5)


def test_an_empty_log_is_a_document_too(tmp_path: Path) -> None:
    log = write(tmp_path / "e.log")
    assert documented(log)["totals"]["busy"] is None
    assert said(log) == f"{log}: no task has ended yet"


def test_many_rows_have_fewer_columns(tmp_path: Path) -> None:
    events = [ours(n / 10, 0.5, slot=n % 400) for n in range(1, 4000)]
    found = documented(write(tmp_path / "e.log", *events))
    assert len(found["timeline"]["rows"]) == 400
    assert 400 * found["timeline"]["columns"] <= 131_072 + 400
    busy = sum(row["busy_seconds"] for row in found["timeline"]["rows"])
    assert busy == pytest.approx(0.5 * 3999)


def test_a_run_directory_tells_command_settings_and_cost(tmp_path: Path) -> None:
    failed = ours(3, 1, "task_exception", exception=raised("x"), task_id="it's 3")
    folder = run_dir(tmp_path / "run", ours(1, 0.5), failed, starts=[START, END])
    found = documented(folder)
    assert found["run"]["settings"] == [
        {"name": "price_per_hour", "value": "2.0", "origin": "command line"}
    ]
    assert found["run"]["start_up"] == pytest.approx(2.5)
    assert found["cost"] == {"price_per_hour": 2.0, "hours": 0.5, "usd": 1.0}
    (failure,) = found["failures"]
    assert failure["rerun"] == """python my.py --task-file t.jsonl --task-id 'it'"'"'s 3'"""
    assert "$1.00 for 30:00 of machines at $2/h" in said(folder)


def test_without_an_end_the_cost_is_that_of_the_tasks(tmp_path: Path) -> None:
    folder = run_dir(tmp_path / "run", ours(1800, 1800), starts=[START])
    assert documented(folder)["cost"]["usd"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "starts",
    [
        [b"\x00\xff\n[]\n{}\n", END],
        [{"event": "start"}],
        [{"event": "start", "command": "x", "settings": [1, {}], "versions": 3, "started": []}],
        [{**START, "settings": [{"name": "price_per_hour", "value": "free"}]}, {"event": "end"}],
        [
            {**START, "command": [1, None], "settings": 5},
            {"event": "end", "ended": 12, "summary": 1},
        ],
    ],
)
def test_a_record_of_starts_may_be_anything(tmp_path: Path, starts: list[Any]) -> None:
    folder = run_dir(tmp_path / "run", ours(1, 0.5), starts=starts)
    found = documented(folder)
    assert found["cost"] is None
    json.dumps(found)


def test_a_thousand_starts_are_not_all_kept(tmp_path: Path) -> None:
    folder = run_dir(tmp_path / "run", ours(1, 0.5), starts=[START, END] * 500)
    assert documented(folder)["run"]["starts"] == 100


@pytest.mark.parametrize(
    ("words", "ids", "command"),
    [
        ([], ["a"], "--task-id a"),
        (["py", "x.py", "--resume"], ["-a"], "py x.py --task-id=-a"),
        (["p", "--resume", "--task-id", "q", "-v"], ["a", "b"], "p -v --task-id a --task-id b"),
        (["p", "--resume=failed", "--max-num-tasks", "9", "x y"], ["a\nb"], None),
    ],
)
def test_the_command_runs_just_these_tasks(
    words: list[str], ids: list[str], command: str | None
) -> None:
    assert rerun_command(words, *ids) == (command or "p 'x y' --task-id 'a\nb'")


def test_the_summary_says_what_happened(tmp_path: Path) -> None:
    events = [
        *(ours(n, 0.5, max_rss_mb=2048.0) for n in range(1, 9)),
        *(ours(n, 1, "task_exception", exception=raised(f"{n}"), task_id=f"t{n}") for n in (9, 10)),
        ours(11, 0.5, task_id="t9"),
    ]
    text = said(write(tmp_path / "e.log", *events, b"x\n", {"event_type": "new"}, b"{"))
    for part in (
        "11 attempts in 10.5 s, 2026-11-21 19:00:00 to 2026-11-21 19:00:11 UTC",
        "done 9   failed 2   done by a later attempt 1   tasks not done 1",
        "busy 61.9 % of 1 slot",
        "max 2.0 GB",
        "2  ValueError: # (pipeline.py:12 in process_task)   first 19:00:09   e.g. t9",
        "1 line without JSON, 1 event of unknown type (new), a last line that is cut off",
    ):
        assert part in text


def test_an_old_log_is_summed_up_too(tmp_path: Path) -> None:
    text = said(
        write(
            tmp_path / "events.log",
            old(1, 1, result="x"),
            old(2, 1, "task_exited", exit_code=-11),
            old(3, 1, "task_timed_out"),
        )
    )
    assert "killed by signal 11 (SIGSEGV)" in text
    assert "busy 100 % of 1 slot" in text


def test_a_log_of_several_runs_says_how_to_see_the_last(tmp_path: Path) -> None:
    log = write(tmp_path / "e.log", ours(1, 0.5), ours(50_000, 0.5), ours(50_003, 3))
    assert "more than one run" in said(log)
    since = documented(log)["run"]["several_from"]
    from cloud_tasks.timestamps import plausible_timestamp

    later = said(log, since=plausible_timestamp(since[:19]))
    assert "more than one run" not in later
    assert "2 attempts" in later
    assert "1 earlier event left out" in later


def test_hostile_text_stays_in_its_line(tmp_path: Path) -> None:
    event = ours(
        1, 1, "task_exception", task_id=HOSTILE, hostname=HOSTILE, exception=f"E: {HOSTILE}"
    )
    text = said(write(tmp_path / "e.log", event, {"event_type": HOSTILE}))
    assert "\x1b" not in text
    assert all(line.isprintable() for line in text.split("\n"))
    assert text.count("\n") < 12


def test_causes_beyond_the_first_are_counted(tmp_path: Path) -> None:
    events = [ours(n, 0.5, "task_exited", exit_code=n) for n in range(1, 31)]
    assert "and 20 for 20 other causes" in said(write(tmp_path / "e.log", *events))


def test_figures_are_said_as_people_do() -> None:
    assert [rate(r) for r in (404.4, 2.5, 0.05, 0.001)] == ["404/s", "2.5/s", "3.0/min", "3.6/h"]
    assert [memory(m) for m in (1.25, 80.4, 1536)] == ["1.2 MB", "80 MB", "1.5 GB"]
    assert [percent(s) for s in (0, 1, 0.5, 0.9999, 0.0001)] == [
        "0 %",
        "100 %",
        "50 %",
        "> 99.9 %",
        "< 0.1 %",
    ]
    assert [money(m) for m in (1234.5, 0.5, 0.00251, 0)] == [
        "$1,234.50",
        "$0.50",
        "$0.0025",
        "$0.00",
    ]
