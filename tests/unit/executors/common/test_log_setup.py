"""Lines of the console, and records that know their task."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cloud_tasks.executors.common import log_setup


def line(**fields: Any) -> str:
    record = logging.makeLogRecord(
        {"name": "mymodule", "levelname": "WARNING", "levelno": 30, "msg": "text", **fields}
    )
    return log_setup.Formatter().format(record)


# -- lines


def test_a_line_has_clock_level_name_and_message() -> None:
    clock, _, rest = line().partition(" ")
    assert len(clock.split(":")) == 3
    assert rest == "WARNING mymodule: text"


def test_a_line_of_ours_shows_no_logger() -> None:
    shown = line(name="cloud_tasks.runtime.lifecycle")
    assert shown.partition(" ")[2] == "warning: text"
    assert line(name="cloud_tasks.x", task_id="t").endswith(" warning [t]: text")
    assert line(name="cloud_tasksmith").endswith(" WARNING cloud_tasksmith: text")


def test_a_line_of_a_task_names_it() -> None:
    assert line(task_id="task-0042").endswith("WARNING mymodule [task-0042]: text")


def test_a_line_of_a_process_between_two_tasks_names_none() -> None:
    assert line(task_id=None, slot=1).endswith("WARNING mymodule: text")


def test_a_task_id_is_shown_on_one_line_and_obeyed_by_no_terminal() -> None:
    shown = line(task_id="a\nb\x1b[2J\u202e é 中")
    assert r"[a\nb\x1b[2J\u202e é 中]: text" in shown
    assert "\n" not in shown


def test_the_traceback_follows() -> None:
    assert line(task_id="t", exc_text="Traceback\nValueError").endswith(
        "[t]: text\nTraceback\nValueError"
    )


def test_what_is_said_to_a_person_stands_as_it_is() -> None:
    assert line(name=log_setup.CONSOLE, task_id="t") == "text"


# -- records that know their task


@pytest.fixture
def factory() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


pytestmark = [pytest.mark.interpreter, pytest.mark.usefixtures("factory")]


def task_of_a_new_record() -> tuple[object, object]:
    record = logging.getLogger("x").makeRecord("x", 30, "f", 1, "m", (), None)
    return record.__dict__.get("task_id"), record.__dict__.get("slot")


def test_records_of_the_body_know_their_task_and_later_ones_none() -> None:
    before = logging.getLogRecordFactory()
    with log_setup.task_records("t1", 2):
        assert task_of_a_new_record() == ("t1", 2)
    assert task_of_a_new_record() == (None, None)
    assert logging.getLogRecordFactory() is before


def test_an_inner_task_is_named_and_then_the_outer_one_again() -> None:
    with log_setup.task_records("outer", 0):
        with log_setup.task_records("inner", 1):
            assert task_of_a_new_record() == ("inner", 1)
        assert task_of_a_new_record() == ("outer", 0)
    assert task_of_a_new_record() == (None, None)


class Mine(logging.LogRecord):
    """A record class of the user's."""


def test_the_users_factory_makes_the_records() -> None:
    logging.setLogRecordFactory(Mine)
    with log_setup.task_records("t", 0):
        assert isinstance(logging.makeLogRecord({}), Mine)
        assert task_of_a_new_record() == ("t", 0)
    assert logging.getLogRecordFactory() is Mine


def test_a_factory_that_the_body_sets_around_ours_stays_and_names_no_task_later() -> None:
    with log_setup.task_records("t", 0):
        ours = logging.getLogRecordFactory()

        def users(*args: Any, **keywords: Any) -> logging.LogRecord:
            record = ours(*args, **keywords)
            record.mine = True
            return record

        logging.setLogRecordFactory(users)
        assert task_of_a_new_record() == ("t", 0)
    assert logging.getLogRecordFactory() is users
    assert task_of_a_new_record() == (None, None)


def test_threads_of_the_body_count_and_those_that_were_there_do_not() -> None:
    begin, seen = threading.Event(), {}

    def note(name: str) -> None:
        begin.wait(20)
        seen[name] = task_of_a_new_record()

    older = threading.Thread(target=note, args=["older"])
    older.start()
    with log_setup.task_records("t", 0):
        younger = threading.Thread(target=note, args=["younger"])
        younger.start()
        begin.set()
        older.join()
        younger.join()
    assert seen == {"older": (None, None), "younger": ("t", 0)}


# -- what children are told


@contextlib.contextmanager
def root_with(*handlers: logging.Handler) -> Iterator[logging.Logger]:
    """The root logger with other handlers: pytest's own come after the fixtures."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.handlers[:] = handlers
    try:
        yield root
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def test_without_a_level_children_are_left_alone() -> None:
    assert log_setup.plan_for_children(None) is None


def test_without_a_handler_here_the_given_level_holds() -> None:
    with root_with() as root:
        root.setLevel(logging.ERROR)
        assert log_setup.plan_for_children(10) == {"level": 10, "levels": {}, "disable": 0}


def test_with_a_handler_here_the_levels_of_this_process_hold() -> None:
    chatty = logging.getLogger("test_logs.chatty")
    logging.getLogger("test_logs.plain.below")
    with root_with(logging.NullHandler()) as root:
        root.setLevel(logging.ERROR)
        chatty.setLevel(logging.DEBUG)
        logging.disable(5)
        plan = log_setup.plan_for_children(10)
        logging.disable(logging.NOTSET)
        chatty.setLevel(logging.NOTSET)
    assert plan is not None
    assert (plan["level"], plan["disable"]) == (logging.ERROR, 5)
    assert plan["levels"]["test_logs.chatty"] == logging.DEBUG
    assert not [name for name in plan["levels"] if name.startswith("test_logs.plain")]
