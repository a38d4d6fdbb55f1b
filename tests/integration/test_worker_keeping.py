"""What a run keeps beside its events, and the limit of failures."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from integration.jobs import Site, additions, task

from cloud_tasks.errors import CloudTasksError, EventLogError
from cloud_tasks.summary import RunSummary, StopReason
from cloud_tasks.worker import Worker


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def run_dir(site: Site) -> Path:
    return site.folder / "deep" / "run"


def in_directory(site: Site, run_dir: Path, tasks: Any, *args: str, **keywords: Any) -> Worker:
    """Make a worker that keeps its events in *run_dir*."""
    site.log = run_dir / "events.jsonl"
    return site.worker(tasks, "--run-dir", str(run_dir), *args, **keywords)


def test_a_run_directory_is_made_and_tells_how_it_began_and_ended(
    site: Site, run_dir: Path
) -> None:
    in_directory(site, run_dir, additions(2), "--max-runtime", "77").run()
    assert len(site.ids()) == 2
    start, end = lines(run_dir / "runs.jsonl")
    assert (start["event"], start["function"], start["slots"]) == ("start", "perform", 1)
    origins = {s["name"]: (s["value"], s["origin"]) for s in start["settings"]}
    assert origins["max_runtime"] == (77.0, "command line")
    assert start["versions"]["cloud_tasks"]
    assert (end["event"], end["summary"]["completed"]) == ("end", 2)
    assert end["summary"]["exit_code"] == 0


def test_failed_tasks_are_kept_as_a_task_file_that_runs(site: Site, run_dir: Path) -> None:
    tasks = [
        task("good", a=1),
        task("bad", do="raise", text="no 7"),
        task("gone", do="exit", code=3),
    ]
    in_directory(site, run_dir, tasks).run()
    kept = lines(run_dir / "failures.jsonl")
    assert [(entry["task_id"], entry["cause"]) for entry in kept] == [
        ("bad", "ValueError: no #"),
        ("gone", "exit code 3"),
    ]
    again = site.worker(str(run_dir / "failures.jsonl")).run()
    assert (again.completed, again.failed) == (0, 2)


def test_what_no_task_file_can_hold_is_told_and_the_run_goes_on(
    site: Site, run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = [task("odd", do="raise", text=object()), task("bad", do="raise", text="x")]
    summary = in_directory(site, run_dir, tasks).run()
    assert summary.failed == 2
    assert [entry["task_id"] for entry in lines(run_dir / "failures.jsonl")] == ["bad"]
    assert "the failed task 'odd' can't be kept" in caplog.text


def test_a_second_worker_is_kept_out_of_a_run_directory(site: Site, run_dir: Path) -> None:
    first = in_directory(site, run_dir, [site.hold("t0")], executor="loky")
    errors: list[str] = []

    def intrude() -> None:
        other = Worker(
            lambda *_: (False, 1), task_source=list, args=["--run-dir", str(run_dir), "--debug"]
        )
        with pytest.raises(EventLogError) as caught:
            other.run()
        errors.append(str(caught.value))
        site.release()

    from integration.test_worker_stopping import meanwhile

    thread = meanwhile(site, intrude)
    assert first.run().completed == 1
    thread.join()
    assert "another worker writes to the run directory" in errors[0]


@pytest.mark.parametrize("flag", ["--run-dir", "--task-logs"])
def test_a_place_that_can_not_be_a_folder_is_one_clear_error(site: Site, flag: str) -> None:
    (site.folder / "events.logs").write_text("in the way")
    (site.folder / "file").write_text("in the way")
    args = ["--run-dir", str(site.folder / "file")] if flag == "--run-dir" else ["--task-logs"]
    with pytest.raises(EventLogError, match="can't be written"):
        site.worker(additions(1), *args, executor="loky").run()
    assert site.ids() == []


def test_a_run_that_goes_on_in_its_directory_adds_to_it(site: Site, run_dir: Path) -> None:
    for _ in range(2):
        in_directory(site, run_dir, additions(1)).run()
    assert [entry["event"] for entry in lines(run_dir / "runs.jsonl")] == ["start", "end"] * 2
    assert len(site.ids()) == 2


@pytest.mark.parametrize("executor", ["inline", "loky"])
def test_a_run_ends_when_so_many_tasks_have_failed(site: Site, executor: str) -> None:
    tasks = [*additions(2), *(task(f"bad{n}", do="raise", text="no") for n in range(50))]
    summary = site.worker(tasks, "--max-failures", "3", executor=executor).run()
    assert (summary.stop_reason, summary.exit_code) == (StopReason.TOO_MANY_FAILURES, 3)
    assert 3 <= summary.failed < 50
    assert set(site.types()) == {"task_completed", "task_exception"}


def test_a_run_ends_when_such_a_share_of_a_file_has_failed(site: Site) -> None:
    tasks = [task(f"t{n}", do="raise", text="no") if n % 2 else task(f"t{n}") for n in range(40)]
    summary = site.worker(tasks, "--max-failures", "10%").run()
    assert (summary.stop_reason, summary.failed) == (StopReason.TOO_MANY_FAILURES, 5)
    assert summary.not_started == 30


def test_a_share_of_the_first_few_is_no_share_where_nobody_knows_the_end(site: Site) -> None:
    tasks = (task(f"t{n}", do="raise", text="no") for n in range(10))
    summary = site.worker(lambda: tasks, "--max-failures", "50%").run()
    assert (summary.stop_reason, summary.failed) == (StopReason.DONE, 10)


def test_a_run_with_fewer_failures_is_not_disturbed(site: Site) -> None:
    summary = site.worker(
        [task("bad", do="raise", text="no"), *additions(3)], "--max-failures", "2"
    )
    assert summary.run().exit_code == 1


def closing(site: Site, caplog: pytest.LogCaptureFixture, *args: str, tasks: Any) -> str:
    with caplog.at_level(logging.INFO, "cloud_tasks.console"):
        run(site, *args, tasks=tasks)
    return caplog.text


def run(site: Site, *args: str, tasks: Any) -> RunSummary:
    return site.worker(tasks, *args).run()


def test_the_end_names_the_commands_that_tell_more(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    said = closing(site, caplog, tasks=[task("bad", do="raise", text="no")])
    assert f"cloud_tasks failures {site.log}" in said
    assert f"cloud_tasks report {site.log}" in said


def test_the_end_of_a_run_without_failures_is_calm(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    assert "see:" not in closing(site, caplog, tasks=additions(2))


def test_a_run_that_could_not_begin_suggests_no_going_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CloudTasksError):
        closing(site, caplog, tasks=site.path("missing.json"))
    assert "go on with" not in caplog.text
    assert "failed: 0 tasks" in caplog.text


def test_the_end_names_no_command_where_there_is_no_event_log(
    site: Site, run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    args = ["--run-dir", str(run_dir), "--no-event-log-to-file"]
    said = closing(site, caplog, *args, tasks=[task("bad", do="raise", text="no")])
    assert "not done, by cause" in said
    assert "see:" not in said


def test_an_executor_that_keeps_no_output_says_so(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    note = "does not keep what tasks print (--task-logs)"
    assert note not in closing(site, caplog, tasks=additions(1))
    assert note in closing(site, caplog, "--task-logs", tasks=additions(1))


def test_what_a_crash_has_torn_spoils_no_later_line(site: Site, run_dir: Path) -> None:
    run_dir.mkdir(parents=True)
    for name in ("runs.jsonl", "failures.jsonl"):
        (run_dir / name).write_text('{"event": "sta')
    in_directory(site, run_dir, [task("bad", do="raise", text="no")]).run()
    for name, count in (("runs.jsonl", 2), ("failures.jsonl", 1)):
        torn, *whole = (run_dir / name).read_text().splitlines()
        assert torn == '{"event": "sta'
        assert len(list(map(json.loads, whole))) == count


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit for the size of a file")
def test_a_line_that_finds_no_room_is_left_out_whole(site: Site, run_dir: Path) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "runs.jsonl").write_text("\n" * 4096)
    code = (
        "import resource, sys; from cloud_tasks.worker import Worker\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))\n"
        "Worker(lambda *_: (False, 1), task_source=list).run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--debug", "--run-dir", str(run_dir)],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "runs.jsonl can't be written" in done.stderr
    left = (run_dir / "runs.jsonl").read_text().strip("\n").splitlines()
    assert [json.loads(line)["event"] for line in left] == ["end"]
