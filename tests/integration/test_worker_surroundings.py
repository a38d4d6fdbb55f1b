"""What a Worker leaves as it found it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.jobs import Site, additions

from cloud_tasks import SourceError
from cloud_tasks.testing import eventually

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


def surroundings() -> list[Any]:
    root = logging.getLogger()
    return [
        [signal.getsignal(number) for number in SIGNALS],
        root.level,
        list(root.handlers),
        Path.cwd(),
        dict(os.environ),
        signal.getitimer(signal.ITIMER_REAL)[1],
    ]


@contextlib.contextmanager
def bare_root_logger() -> Iterator[None]:
    """Take pytest's own handlers away for a while."""
    root = logging.getLogger()
    before = list(root.handlers)
    root.handlers[:] = []
    try:
        yield
    finally:
        root.handlers[:] = before


@pytest.mark.parametrize("executor", ["inline", "loky"])
def test_making_running_and_failing_leaves_everything_as_it_was(site: Site, executor: str) -> None:
    threads = set(threading.enumerate())
    with bare_root_logger():
        before = surroundings()
        worker = site.worker(additions(2), executor=executor)
        assert surroundings() == before
        worker.run()
        assert surroundings() == before
        with pytest.raises(SourceError):
            site.worker("missing.json", executor=executor).run()
        assert surroundings() == before
    eventually(lambda: set(threading.enumerate()) <= threads, what="a thread is left")


def test_a_root_logger_without_handlers_has_one_while_it_runs(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    def logs(task_id: str, data: dict[str, Any], worker_data: Any) -> Any:
        logging.getLogger("mine").info("from a task")
        return False, len(logging.getLogger().handlers)

    with bare_root_logger():
        site.worker(additions(1), function=logs).run()
    assert site.events()[0]["result"] == 1
    assert "INFO mine [t0]: from a task" in capsys.readouterr().err


def test_a_root_logger_of_the_programs_own_is_left_alone(site: Site) -> None:
    own = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(own)
    before = list(root.handlers)

    def counts(task_id: str, data: dict[str, Any], worker_data: Any) -> Any:
        return False, len(logging.getLogger().handlers)

    site.worker(additions(1), function=counts).run()
    root.removeHandler(own)
    assert site.events()[0]["result"] == len(before)


def test_the_console_tells_what_runs_what_failed_and_what_it_came_to(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = {"task_id": "evil\x1b[2J\nname", "data": {"do": "raise", "text": "\x1b[31m"}}
    with bare_root_logger():
        site.worker([*additions(3), evil]).run()
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    assert "object at 0x" not in err
    assert "4 tasks in" in err
    assert "exit code 1" in err
    assert "ValueError" in err
    assert "t0" not in err  # what is done is not told one by one


def test_verbose_tells_of_every_task_and_setting(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with bare_root_logger():
        site.worker(additions(2), "-v").run()
    err = capsys.readouterr().err
    assert "t0: 1" in err
    assert "max_runtime = 600" in err
