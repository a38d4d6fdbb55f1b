"""What a worker leaves about itself: begin and end in the log, no secret, nothing behind a link."""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration.jobs import Site, additions, perform, task

from cloud_tasks import __version__
from cloud_tasks.cli import main as command
from cloud_tasks.errors import CloudTasksError, EventLogError
from cloud_tasks.summary import RunSummary, StopReason
from cloud_tasks.testing import eventually
from cloud_tasks.testing.metadata_server import INSTANCE_ID, NAME, MetadataServer
from cloud_tasks.worker import Worker

# -- begin and end


def raises(*tasks: Any) -> Callable[[], Any]:
    def generate() -> Any:
        yield from tasks
        raise ZeroDivisionError("ours")

    return generate


ENDS: dict[str, tuple[Any, list[str], tuple[str, int]]] = {
    "all done": (additions(3), [], ("done", 0)),
    "no task": ([], [], ("done", 0)),
    "some failed": ([*additions(2), task("x", do="raise", text="no")], [], ("done", 1)),
    "a limit": (additions(9), ["--max-num-tasks", "2"], ("max_num_tasks", 0)),
    "too many failures": (
        [task(f"x{n}", do="raise", text="no") for n in range(9)],
        ["--max-failures", "2"],
        ("too_many_failures", 3),
    ),
    "a bad entry": ([*additions(2), 7], [], ("done", 4)),
    "the source failed": (raises(*additions(2)), [], ("failed", 4)),
    "a notice": (
        [task("t0", do="watch", started="started")],
        ["--simulate-spot-termination-after", "0"],
        ("spot_termination", 75),
    ),
}


def summary_of(worker: Worker) -> RunSummary:
    """Return how the run ended, well or not."""
    try:
        return worker.run()
    except CloudTasksError as error:
        if error.summary is None:
            raise
        return error.summary


@pytest.mark.parametrize("executor", ["inline", "loky"])
@pytest.mark.parametrize("name", ENDS)
def test_each_run_is_framed_by_its_worker(name: str, executor: str, site: Site) -> None:
    tasks, flags, (reason, code) = ENDS[name]
    flags = ["--num-simultaneous-tasks", "2", *flags]
    summary = summary_of(site.worker(tasks, *flags, executor=executor))
    events = site.all_events()
    first, last = events[0], events[-1]
    assert (first["event_type"], last["event_type"]) == ("worker_started", "worker_stopped")
    assert [event["event_type"].startswith("worker_") for event in events[1:-1]].count(True) == 0
    assert first["worker"] == last["worker"]
    assert {event["event_id"].rpartition("-")[0] for event in events} == {first["worker"]}
    assert (first["slots"], first["version"]) == (1 if executor == "inline" else 2, __version__)
    assert (last["reason"], last["exit_code"]) == (reason, code)
    assert (summary.stop_reason.value, summary.exit_code) == (reason, code)
    assert last["completed"] == summary.completed
    assert last["not_done"] == summary.not_done


def test_a_second_stop_is_told_too(site: Site) -> None:
    worker = site.worker([site.hold("t0"), site.hold("t1")], executor="loky")

    def stop() -> None:
        eventually(lambda: site.started, 30)
        worker.stop()
        worker.stop()

    stopping = threading.Thread(target=stop)
    stopping.start()
    worker.run()
    stopping.join()
    last = site.all_events()[-1]
    assert (last["event_type"], last["reason"]) == ("worker_stopped", "requested")
    assert (last["aborted"], last["exit_code"]) == (1, 1)


def test_runs_that_share_a_log_have_names_of_their_own(site: Site) -> None:
    for resume in ([], ["--resume"]):
        site.worker(additions(3), "--max-num-tasks", "2", *resume).run()
    found = [(e["event_type"], e["worker"]) for e in site.all_events() if "worker" in e]
    assert [kind for kind, _ in found] == ["worker_started", "worker_stopped"] * 2
    assert found[0][1] == found[1][1] != found[2][1] == found[3][1]
    assert sorted(site.ids()) == ["t0", "t1", "t2"]


@pytest.mark.parametrize(
    ("provider", "name"), [("AWS", INSTANCE_ID), ("GCP", NAME), ("AZURE", NAME)]
)
def test_a_notice_names_the_machine_as_its_manager_does(
    provider: str, name: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MetadataServer() as server:
        monkeypatch.setenv("RMS_CLOUD_TASKS_METADATA_ENDPOINT", server.address)
        flags = ["--provider", provider, "--simulate-spot-termination-after", "0"]
        site.worker([site.watch("t0")], *flags, executor="loky").run()
    (event,) = [e for e in site.events() if e["event_type"] == "spot_termination"]
    assert (event["kind"], event["instance_id"]) == ("simulated", name)


def test_without_a_provider_a_notice_names_the_host(site: Site) -> None:
    site.worker([site.watch("t0")], "--simulate-spot-termination-after", "0").run()
    (event,) = [e for e in site.events() if e["event_type"] == "spot_termination"]
    assert event["instance_id"] == socket.gethostname()


# -- secrets

SECRET = "5ec2e7"
ADDRESS = f"http://me:{SECRET}@127.0.0.1:1/tasks.json?X-Amz-Signature={SECRET}&page=2"
WORDS = ["--api-key", SECRET, f"--db-password={SECRET}", "--region", "north"]


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    for flag in ("--api-key", "--db-password", "--region"):
        parser.add_argument(flag)
    return parser


def kept(folder: Path) -> str:
    """Return all that the files in *folder* hold."""
    return "\n".join(path.read_text() for path in folder.rglob("*") if path.is_file())


def test_no_secret_is_printed_or_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = site.folder / "run"
    flags = [*WORDS, "--task-file", ADDRESS, "--run-dir", str(run_dir), "-v"]
    flags += ["--endpoint-url", f"http://me:{SECRET}@127.0.0.1:1"]
    monkeypatch.setattr("sys.orig_argv", ["/usr/bin/python", "program.py", *flags])
    monkeypatch.setattr("sys.argv", ["program.py", *flags])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    worker = Worker(perform, argparser=parser(), executor="inline")
    with pytest.raises(CloudTasksError, match="can't be fetched") as caught:
        worker.run()
    assert SECRET not in str(caught.value)
    assert command(["report", str(run_dir)]) == 0
    assert command(["report", str(run_dir), "--json"]) == 0
    monkeypatch.setattr("sys.argv", ["cloud_tasks"])
    for more in ([], ["--json"]):
        assert command(["settings", *flags[len(WORDS) :], *more]) == 0
    printed = capsys.readouterr()
    files = kept(run_dir)
    assert SECRET not in printed.out + printed.err + files
    for text in (printed.err, files):
        assert "127.0.0.1:1/tasks.json?X-Amz-Signature=***&page=2" in text
    start = json.loads((run_dir / "runs.jsonl").read_text().splitlines()[0])
    assert start["command"][:6] == [
        *("python", "program.py", "--api-key", "***", "--db-password=***", "--region"),
    ]
    assert "fatal_exception" in files
    for name in ("runs.jsonl", "report.html"):
        assert stat.S_IMODE((run_dir / name).stat().st_mode) == 0o600


def test_a_suggested_command_says_what_to_fill_in(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = site.file([task("x", do="exit", code=3), *additions(2)])
    flags = [*WORDS, "--task-file", file, "--run-dir", "run", "--max-failures", "1"]
    monkeypatch.setattr("sys.orig_argv", ["/usr/bin/python", "program.py", *flags])
    monkeypatch.setattr("sys.argv", ["program.py", *flags])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    args = Worker(perform, argparser=parser(), executor="loky")
    assert args.data.args.api_key == SECRET
    args.run()
    assert command(["failures", "run", "-o", "again.jsonl"]) == 0
    printed = capsys.readouterr().err
    assert SECRET not in printed
    lines = printed.splitlines()
    for start in ("go on with:  python program.py --api-key '***'", "run them again with:"):
        (at,) = [n for n, line in enumerate(lines) if start in line]
        assert "*** stands for a secret" in lines[at + 1]


def test_failures_of_a_task_file_with_a_secret_say_which_flag_is_needed(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = site.folder / "run"
    site.log = run_dir / "events.jsonl"
    site.worker([task("x", do="raise", text="no")], "--run-dir", str(run_dir)).run()
    (run_dir / "failures.jsonl").unlink()
    runs = run_dir / "runs.jsonl"
    start, end = runs.read_text().splitlines()
    begun = json.loads(start)
    for row in begun["settings"]:
        if row["name"] == "task_file":
            row.update(value="https://h.example/tasks.json?sig=***", origin="command line")
    runs.write_text(f"{json.dumps(begun)}\n{end}\n")
    assert command(["failures", str(run_dir), "-o", str(site.folder / "again.jsonl")]) == 1
    assert "give it with --task-file" in capsys.readouterr().err


# -- links


LINKS = ["run/events.jsonl", "run/runs.jsonl", "run/failures.jsonl", "run/logs", "events.log"]


@pytest.mark.parametrize("name", LINKS)
def test_a_planted_link_is_refused_in_one_sentence(name: str, site: Site) -> None:
    place = site.folder / name
    place.parent.mkdir(exist_ok=True)
    precious = site.folder / "precious"
    if name.endswith("logs"):
        precious.mkdir()
    else:
        precious.write_text("precious")
    place.symlink_to(precious)
    flags = ["--run-dir", "run"] if name.startswith("run") else []
    worker = Worker(
        perform,
        task_source=lambda: additions(2),
        args=[*flags, "--task-logs"],
        executor="loky",
    )
    with pytest.raises(EventLogError, match="it is a symbolic link"):
        worker.run()
    assert precious.is_dir() or precious.read_text() == "precious"
    assert not precious.is_dir() or not list(precious.iterdir())


def test_a_link_that_the_user_names_is_followed(site: Site) -> None:
    (site.folder / "elsewhere").mkdir()
    site.log.symlink_to(site.folder / "elsewhere" / "my.log")
    site.worker(additions(2)).run()
    assert site.log.is_symlink()
    assert site.ids() == ["t0", "t1"]


def test_a_page_takes_the_place_of_a_link(site: Site) -> None:
    site.worker(additions(2), "--run-dir", "run").run()
    precious = site.folder / "precious"
    precious.write_text("precious")
    page = site.folder / "run" / "report.html"
    page.symlink_to(precious)
    assert command(["report", "run"]) == 0
    assert not page.is_symlink()
    assert precious.read_text() == "precious"


# -- an event log that others cut or remove during a run


@pytest.mark.parametrize("harm", ["cut", "removed"])
def test_what_others_do_to_the_log_is_told_and_resumed_from(
    harm: str, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def tasks() -> Any:
        yield task("t0", a=1)
        yield task("t1", a=1)
        eventually(lambda: len(site.ids()) == 2, 30)
        if harm == "cut":
            os.truncate(site.log, 10)
        else:
            site.log.unlink()
        yield task("t2", a=1)

    summary = site.worker(tasks, executor="loky").run()
    assert (summary.completed, summary.exit_code) == (3, 0)
    text = site.log.read_text()
    events = [json.loads(line) for line in text.splitlines()[harm == "cut" :]]
    types = [event["event_type"] for event in events]
    assert sorted(types) == ["non_fatal_exception", "task_completed", "worker_stopped"]
    (told,) = [event for event in events if event["event_type"] == "non_fatal_exception"]
    assert f"was {harm}" in told["exception"]
    assert "--resume" in told["exception"]
    assert caplog.text.count(told["exception"]) == 1
    again = site.worker([task(f"t{n}", a=1) for n in range(3)], "--resume").run()
    assert (again.finished_before, again.completed) == (1, 2)
    assert again.stop_reason is StopReason.DONE
