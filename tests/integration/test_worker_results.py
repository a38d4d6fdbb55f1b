from __future__ import annotations

import argparse
import asyncio
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from integration.jobs import Multiply, Site, additions, task

from cloud_tasks import ConfigurationError, RunSummary, Worker, WorkerData
from cloud_tasks.executors.inline import InlineExecutor
from cloud_tasks.summary import StopReason

MIXED = [
    task("good", a=1),
    task("raises", do="raise", text="bad pixel"),
    task("exits", do="exit", code=3),
    task("again", do="retry"),
    task("slow", do="sleep", seconds=50),
    task("last", a=2),
]


def check_mixed(site: Site, summary: RunSummary) -> None:
    assert (summary.completed, summary.exceptions, summary.exited) == (3, 1, 1)
    assert (summary.timed_out, summary.not_done, summary.retry_requested) == (1, 4, 1)
    assert (summary.stop_reason, summary.exit_code) == (StopReason.DONE, 1)
    events = {event["task_id"]: event for event in site.events()}
    assert len(events) == len(site.events()) == 6
    assert {name: event["event_type"] for name, event in events.items()} == {
        "good": "task_completed", "raises": "task_exception", "exits": "task_exited",
        "again": "task_completed", "slow": "task_timed_out", "last": "task_completed",
    }  # fmt: skip
    assert events["good"]["result"] == 1
    assert events["again"]["retry"] is True
    assert "ValueError: bad pixel" in events["raises"]["exception"]
    assert events["exits"]["exit_code"] == 3


@pytest.mark.parametrize("executor", ["inline", "loky"])
def test_every_task_ends_in_one_event_and_is_counted(site: Site, executor: str) -> None:
    # The quick tasks must not meet the limit even if nobody lets them run for a while.
    worker = site.worker(
        MIXED, "--max-runtime", "5", "--num-simultaneous-tasks", "2", executor=executor
    )
    check_mixed(site, asyncio.run(worker.start()))


def test_two_workers_can_run_one_after_the_other(site: Site) -> None:
    for executor in ("inline", "loky"):
        assert site.worker(additions(5), executor=executor).run().completed == 5
    assert site.ids() == [f"t{n}" for n in range(5)] * 2


def test_one_worker_runs_once(site: Site) -> None:
    worker = site.worker(additions(1))
    worker.run()
    with pytest.raises(ConfigurationError, match="runs once"):
        worker.run()


def test_it_runs_where_an_event_loop_runs_already(site: Site) -> None:
    async def notebook() -> RunSummary:
        return site.worker(additions(3)).run()

    assert asyncio.run(notebook()).completed == 3


def test_it_runs_off_the_main_thread(site: Site) -> None:
    results: list[RunSummary] = []
    for executor in ("inline", "loky"):
        worker = site.worker(additions(2), executor=executor)
        thread = threading.Thread(target=lambda w=worker: results.append(w.run()))
        thread.start()
        thread.join(50)
    assert [summary.completed for summary in results] == [2, 2]


def test_closures_lambdas_and_callable_instances_serve_as_functions(site: Site) -> None:
    factor = 3
    for executor in ("inline", "loky"):
        for function in (Multiply(3), lambda i, d, w: (False, factor * d["a"])):
            worker = site.worker([task("t", a=5)], function=function, executor=executor)
            assert worker.run().completed == 1
    assert [event["result"] for event in site.events()] == [15] * 4


def test_attributes_set_before_the_start_reach_every_task(site: Site) -> None:
    tell = task("t", do="tell", names=["colour", "size", "job_id"])
    for executor in ("inline", "loky"):
        worker = site.worker([tell, tell], "--job-id", "j7", executor=executor)
        worker.data.colour = "red"
        worker._data.size = {"x": 1}
        worker.run()
    assert [event["result"] for event in site.events()] == [["red", {"x": 1}, "j7"]] * 4


def test_an_attribute_that_can_not_be_sent_is_named(site: Site) -> None:
    worker = site.worker(additions(2), executor="loky")
    worker.data.my_lock = threading.Lock()
    with pytest.raises(ConfigurationError, match="my_lock"):
        worker.run()
    assert not site.ids()


def test_the_programs_own_arguments_stand_beside_ours(site: Site) -> None:
    def tells(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
        args = worker_data.args
        return False, [args.volumes, args.max_runtime, args.event_log_file]

    parser = argparse.ArgumentParser()
    parser.add_argument("volumes", nargs="+")
    args = ("v1", "v2", "--max-runtime", "7")
    worker = site.worker([task("t")], *args, function=tells, argparser=parser)
    assert worker.data.args.volumes == ["v1", "v2"]
    worker.run()
    assert site.events()[0]["result"] == [["v1", "v2"], 7.0, str(site.log)]


def test_objects_serve_as_executors(site: Site) -> None:
    assert site.worker(additions(3), executor=InlineExecutor()).run().completed == 3
    with ThreadPoolExecutor(2) as pool:
        summary = site.worker(additions(9), "--num-simultaneous-tasks", "2", executor=pool).run()
    assert summary.completed == 9
    assert len(site.events()) == 12


def test_what_is_no_executor_is_refused_in_one_sentence(site: Site) -> None:
    with pytest.raises(ConfigurationError, match="type dict"):
        site.worker(additions(1), executor={}).run()
    with pytest.raises(ConfigurationError, match=r"lokey.*loky"):
        site.worker(additions(1), executor="lokey")
    with pytest.raises(ConfigurationError, match="not str"):
        Worker("perform", args=[])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tasks", "args", "code"),
    [
        (additions(2), [], 0),
        (MIXED[:2], [], 1),
        (MIXED[:2], ["--exit-zero"], 0),
        ([*additions(1), {"no": "task"}], [], 4),
        ([*additions(1), {"no": "task"}], ["--exit-zero"], 4),
        ("missing.json", [], 4),
        (additions(2), ["--event-log-file", "/no/such/folder/x"], 4),
        # It runs until it sees the notice, which may be long in coming all the same.
        (
            [task("t", do="watch", started="started")],
            ["--simulate-spot-termination-after", "0"],
            75,
        ),
    ],
    ids=["done", "not done", "exit zero", "bad entry", "bad entry, zero", "source", "log", "spot"],
)
def test_main_ends_the_program_with_the_exit_code(
    site: Site, tasks: Any, args: list[str], code: int
) -> None:
    with pytest.raises(SystemExit) as caught:
        site.worker(tasks, *args).main()
    assert caught.value.code == code


def test_a_wrong_setting_is_a_usage_error(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        site.worker(additions(1), "--max-runtime", "soon")
    assert caught.value.code == 2
    assert "--max-runtime" in capsys.readouterr().err


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_main_never_fails_in_silence(
    site: Site,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    level: int,
) -> None:
    caplog.set_level(level)  # of the root logger, as a program may set it
    unsendable = site.worker(additions(1), executor="loky")
    unsendable.data.my_lock = threading.Lock()
    for worker, said, code in (
        (unsendable, "my_lock", 2),
        (site.worker("missing.json"), "missing.json", 4),
    ):
        with pytest.raises(SystemExit) as caught:
            worker.main()
        assert caught.value.code == code
        assert said in capsys.readouterr().err + caplog.text
        caplog.clear()


def test_the_summary_is_plain_data(site: Site) -> None:
    told = json.loads(json.dumps(site.worker(additions(3)).run().to_dict()))
    assert told["completed"] == 3
    assert told["run_time"]["max"] > 0
