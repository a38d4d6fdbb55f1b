"""Going on with a run, and running some of its tasks: real workers over one event log."""

from __future__ import annotations

import io
import itertools
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.jobs import Site, additions, task

from cloud_tasks import HistoryError, SourceError
from cloud_tasks.summary import RunSummary, StopReason
from cloud_tasks.worker import WorkerData


@pytest.fixture(autouse=True)
def _hear_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def fails_until_mended(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    if data.get("broken") and not Path("mended").exists():
        raise ValueError("broken")
    return False, task_id


def run(site: Site, tasks: Any, *args: str, **keywords: Any) -> RunSummary:
    return site.worker(tasks, *args, **keywords).run()


def resume(site: Site, tasks: Any, *args: str, **keywords: Any) -> RunSummary:
    return run(site, tasks, "--resume", *args, **keywords)


def counts(summary: RunSummary) -> tuple[int, int, int]:
    return summary.completed, summary.finished_before, summary.failed_before


def pipe_of(content: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put *content* into standard input; return its name."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    return "-"


#: Ways in which the same list of tasks can come.
Maker = Callable[[Site, list[dict[str, Any]], pytest.MonkeyPatch], Any]
WAYS: dict[str, Maker] = {
    "json": lambda site, tasks, _: site.file(tasks),
    "jsonl": lambda site, tasks, _: site.file(
        "".join(json.dumps(t) + "\n" for t in tasks), "t.jsonl"
    ),
    "list": lambda site, tasks, _: tasks,
    "generator": lambda site, tasks, _: lambda: iter(tasks),
    "stdin": lambda site, tasks, monkeypatch: pipe_of(json.dumps(tasks), monkeypatch),
}


@pytest.mark.parametrize("executor", ["inline", "loky"])
@pytest.mark.parametrize("way", WAYS)
def test_what_was_left_over_is_run_and_nothing_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch, way: str, executor: str
) -> None:
    def source() -> Any:
        return WAYS[way](site, additions(10), monkeypatch)

    run(site, source(), "--max-num-tasks", "4", executor=executor)
    summary = resume(site, source(), executor=executor)
    assert counts(summary) == (6, 4, 0)
    assert (summary.exit_code, summary.stop_reason) == (0, StopReason.DONE)
    assert sorted(site.ids()) == sorted(f"t{n}" for n in range(10))
    assert counts(resume(site, source(), executor=executor)) == (0, 10, 0)
    assert len(site.ids()) == 10


def test_the_counts_are_said_first_for_a_file(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    bad = [task("bad", do="raise", text="no")]
    run(site, site.file([*additions(1_200), *bad]))
    caplog.clear()
    resume(site, site.file([*additions(1_500), *bad]))
    messages = [record.getMessage() for record in caplog.records]
    (at,) = (n for n, text in enumerate(messages) if text.startswith("resuming from"))
    log = str(site.log)
    assert messages[at] == f"resuming from {log}: done 1,200 · failed 1 · to run 300"
    assert not [text for text in messages[:at] if "t1200" in text]
    assert "done before 1,200   failed before 1" in caplog.text


def test_the_counts_in_the_log_are_said_first_for_a_generator(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    run(site, additions(3))
    caplog.clear()
    resume(site, lambda: iter(additions(5)))
    assert "it has done 3 · failed 0; tasks are compared as they come" in caplog.text


def test_failed_tasks_are_left_out_and_keep_the_exit_code_from_zero(site: Site) -> None:
    tasks = site.file([task("good"), task("bad", broken=True), task("ugly", do="exit", code=9)])
    run(site, tasks, function=fails_until_mended)
    Path("mended").touch()
    summary = resume(site, tasks, function=fails_until_mended)
    assert counts(summary) == (0, 2, 1)
    assert summary.exit_code == 1
    assert summary.to_dict()["failed_before"] == 1


def test_failed_tasks_are_run_again_on_request_until_they_are_done(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = site.file([task("good"), task("bad", broken=True), task("new")])
    run(site, tasks, "--max-num-tasks", "2", function=fails_until_mended)
    still = run(site, tasks, "--resume", "failed", function=fails_until_mended)
    assert (*counts(still), still.failed) == (1, 1, 0, 1)
    assert "done 1 · failed 1 (run again) · to run 2" in caplog.text
    Path("mended").touch()
    mended = run(site, tasks, "--resume", "failed", function=fails_until_mended)
    assert (*counts(mended), mended.exit_code) == (1, 2, 0, 0)
    # That it failed before is of no weight now.
    assert counts(resume(site, tasks, function=fails_until_mended)) == (0, 3, 0)


def test_a_task_that_asked_for_another_try_is_not_finished(site: Site) -> None:
    tasks = site.file([task("a", do="retry"), task("b", a=1)])
    run(site, tasks)
    summary = resume(site, tasks)
    assert (summary.retry_requested, summary.finished_before) == (1, 1)


@pytest.mark.parametrize("way", WAYS)
def test_changed_data_are_named_and_run(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    def source(last: int) -> Any:
        tasks = [*additions(20), task("new\nish", a=last), task("other", a=last)]
        return WAYS[way](site, tasks, monkeypatch)

    run(site, source(1))
    caplog.clear()
    assert counts(resume(site, source(2))) == (2, 20, 0)
    assert "2 tasks have other data than when last run, so run again: " in caplog.text
    assert r"'new\\nish', 'other'" in caplog.text
    caplog.clear()
    assert counts(resume(site, source(2))) == (0, 22, 0)
    assert "other data" not in caplog.text


def test_changed_tasks_are_counted_in_the_line_for_a_file(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    run(site, site.file(task(f"t{n}", n=n) for n in range(9)))
    resume(site, site.file(task(f"t{n}", n=-n) for n in range(9)))
    assert "done 1 · failed 0 · to run 8 · changed 8" in caplog.text
    assert "so run again: 't1', 't2', 't3' and 5 more" in caplog.text


@pytest.mark.parametrize("way", WAYS)
def test_repeated_ids_are_run_as_often_as_they_are_there(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    tasks = [task("same", a=n // 3) for n in range(12)]

    def source() -> Any:
        return WAYS[way](site, tasks, monkeypatch)

    run(site, source(), "--max-num-tasks", "5")
    assert counts(resume(site, source(), "--max-num-tasks", "2")) == (2, 5, 0)
    assert counts(resume(site, source())) == (5, 7, 0)
    assert Counter(event["result"] for event in site.events()) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert "other data" not in caplog.text


@pytest.mark.parametrize("way", WAYS)
def test_skipping_and_limits_go_together_with_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def go(*args: str) -> tuple[int, int, int]:
        summary = run(site, WAYS[way](site, additions(20), monkeypatch), *args)
        return summary.skipped, summary.finished_before, summary.completed

    assert go("--tasks-to-skip", "5", "--max-num-tasks", "4") == (5, 0, 4)
    skipped, before, completed = go("--tasks-to-skip", "7", "--max-num-tasks", "3", "--resume")
    assert (skipped, before, completed) == (7, 2, 3)
    assert sorted(site.ids(), key=lambda name: int(name[1:])) == [f"t{n}" for n in range(5, 12)]
    assert go("--resume") == (0, 7, 13)
    assert len(set(site.ids())) == len(site.ids()) == 20


def test_a_limit_is_told_in_the_counts(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    tasks = site.file(additions(20))
    run(site, tasks, "--max-num-tasks", "5")
    resume(site, tasks, "--max-num-tasks", "0")
    assert "done 5 · failed 0 · to run 0 of 15 (--max-num-tasks)" in caplog.text
    assert len(site.ids()) == 5


def test_a_log_of_the_older_system_is_resumed_by_id(site: Site) -> None:
    head = {"timestamp": "2025-03-01T10:00:00.000000", "hostname": "old"}
    rest = {"elapsed_time": 1.0, "retry": False}
    events: list[dict[str, Any]] = [
        {**head, "event_type": "task_completed", "task_id": "t0", **rest, "result": "ok"},
        {**head, "event_type": "task_exception", "task_id": "t1", **rest, "exception": "E"},
        {**head, "event_type": "task_timed_out", "task_id": "t2", **rest, "retry": True},
    ]
    site.log.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert counts(resume(site, site.file(additions(4)))) == (2, 1, 1)
    assert site.ids() == ["t0", "t1", "t2", "t2", "t3"]


def test_a_torn_log_is_mended_and_its_last_task_run(site: Site) -> None:
    tasks = site.file(additions(5))
    run(site, tasks, "--max-num-tasks", "3")
    os.truncate(site.log, site.log.read_bytes().rindex(b'{"timestamp"') - 20)
    assert counts(resume(site, tasks)) == (3, 2, 0)
    assert site.ids() == [f"t{n}" for n in range(5)]


def test_lines_that_are_no_events_are_counted(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    tasks = site.file(additions(2))
    run(site, tasks)
    with site.log.open("a") as file:
        file.write('what is this?\n{"event_type": "of the future"}\n')
    assert counts(resume(site, tasks)) == (0, 2, 0)
    assert "2 lines in" in caplog.text


@pytest.mark.parametrize("way", WAYS)
def test_the_log_of_another_file_is_warned_of_by_both_names(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    run(site, additions(3))
    caplog.clear()
    source = WAYS[way](site, [task("other", a=1), task("another", a=1)], monkeypatch)
    worker = site.worker(source, "--resume")
    assert counts(worker.run()) == (2, 0, 0)
    (text,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert "none of the tasks in" in text
    assert str(site.log) in text
    first_line = next(r.getMessage() for r in caplog.records if " over " in r.getMessage())
    assert first_line.partition(" over ")[2] in text


@pytest.mark.parametrize("content", [None, ""], ids=["missing", "empty"])
def test_without_a_log_everything_is_run_and_that_is_said(
    site: Site, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    if content is not None:
        site.log.write_text(content)
    assert counts(resume(site, site.file(additions(3)))) == (3, 0, 0)
    assert caplog.text.count("nothing to resume") == 1
    assert "to run" not in caplog.text


@pytest.mark.parametrize("executor", ["inline", "loky"])
def test_a_file_that_is_no_log_ends_the_run_and_stays_as_it_is(site: Site, executor: str) -> None:
    content = json.dumps(additions(3), indent=1)
    site.log.write_text(content)
    with pytest.raises(HistoryError, match="has no event in it") as caught:
        resume(site, site.file(additions(3)), executor=executor)
    assert caught.value.summary is not None
    assert (caught.value.summary.exit_code, caught.value.summary.ended) == (4, 0)
    assert site.log.read_text() == content


def test_a_task_file_that_breaks_is_resumed_as_far_as_it_goes(site: Site) -> None:
    whole = json.dumps(additions(10))
    run(site, site.file(additions(10)), "--max-num-tasks", "3")
    with pytest.raises(SourceError) as caught:
        resume(site, site.file(whole[: whole.index('"t7"') - 14]))
    assert caught.value.summary is not None
    assert counts(caught.value.summary) == (4, 3, 0)


def test_bad_entries_are_told_of_though_all_tasks_are_done(site: Site) -> None:
    tasks = [*additions(3), {"task_id": "bad"}]
    for finished in (0, 3):
        with pytest.raises(SourceError, match="has no 'data'") as caught:
            resume(site, site.file(tasks))
        assert caught.value.summary is not None
        assert caught.value.summary.finished_before == finished
        assert caught.value.summary.bad_entries == 1


# -- just some tasks


@pytest.mark.parametrize("way", WAYS)
def test_all_tasks_of_an_id_are_run_and_no_others(
    site: Site, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    tasks = [*additions(5), task("t2", a=40)]
    source = WAYS[way](site, tasks, monkeypatch)
    summary = run(site, source, "--task-id", "t2", "--task-id=t4")
    results = [(event["task_id"], event["result"]) for event in site.events()]
    if way in ("list", "generator"):  # which may be endless
        results.append(("t2", 40))
        assert sorted(set(results)) == [("t2", 3), ("t2", 40), ("t4", 5)]
    else:
        assert results == [("t2", 3), ("t4", 5), ("t2", 40)]
    assert summary.exit_code == 0


@pytest.mark.parametrize("executor", ["inline", "loky"])
def test_an_endless_generator_is_read_until_each_id_was_found(site: Site, executor: str) -> None:
    def endless() -> Iterator[dict[str, Any]]:
        return (task(f"t{n}", a=n) for n in itertools.count())

    run(site, endless, "--task-id", "t70", "--task-id", "t7", executor=executor)
    assert sorted(site.ids()) == ["t7", "t70"]


def test_an_id_that_is_not_there_is_an_error_when_the_others_have_run(site: Site) -> None:
    with pytest.raises(SourceError, match=r"'t77' \(did you mean 't7'\?\)") as caught:
        run(site, site.file(additions(9)), "--task-id", "t77", "--task-id", "t1")
    assert caught.value.summary is not None
    assert (caught.value.summary.completed, caught.value.summary.exit_code) == (1, 4)
    assert site.types() == ["task_completed", "fatal_exception"]


def test_a_task_that_is_asked_for_is_run_though_it_is_finished(site: Site) -> None:
    tasks = site.file(additions(3))
    run(site, tasks)
    summary = resume(site, tasks, "--task-id", "t1")
    assert counts(summary) == (1, 0, 0)
    assert site.ids() == ["t0", "t1", "t2", "t1"]


def test_skipped_tasks_are_no_sign_of_the_log_of_another_job(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    run(site, site.file(additions(4)), "--max-num-tasks", "2")
    assert counts(resume(site, site.file(additions(4)), "--tasks-to-skip", "2")) == (2, 0, 0)
    assert "another job" not in caplog.text
