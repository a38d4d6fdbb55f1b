"""Records from one process to another, over a real socket."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_tasks.executors.child import log_sender
from cloud_tasks.executors.pool import log_receiver
from cloud_tasks.executors.pool.log_receiver import LogReceiver
from cloud_tasks.testing import eventually

WAIT = 20.0
HERE = log_receiver.__name__


class Catcher(logging.Handler):
    """Keeps the records it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def catcher() -> Iterator[Catcher]:
    """What comes to loggers below ``there``, from INFO on."""
    catcher = Catcher()
    above = logging.getLogger("there")
    above.addHandler(catcher)
    above.setLevel(logging.INFO)
    yield catcher
    above.removeHandler(catcher)
    above.setLevel(logging.NOTSET)


class Running:
    """The task that runs in a child, as its handler is told."""

    task_id: str | None = "task-7"


@pytest.fixture
def channel() -> Iterator[LogReceiver]:
    channel = LogReceiver()
    yield channel
    channel.close()
    channel.join()


@pytest.fixture
def running() -> Running:
    return Running()


@pytest.fixture
def sender(channel: LogReceiver, running: Running) -> logging.Logger:
    """A logger that nobody else has, as it were in a child."""
    return in_a_child(channel.fileno(), running)


def in_a_child(descriptor: int, running: Running, **more: float) -> logging.Logger:
    made = logging.Logger("there.module")
    made.addHandler(log_sender.SendingHandler(descriptor, 3, lambda: running.task_id, **more))
    return made


def drained(channel: LogReceiver) -> None:
    channel.close()
    channel.join()


def send(channel: LogReceiver, *contents: object) -> None:
    for content in contents:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        os.write(channel.fileno(), data)


# -- a record


def test_a_record_arrives_as_it_was_with_task_and_slot(
    channel: LogReceiver, sender: logging.Logger, catcher: Catcher
) -> None:
    sender.warning("%d of %s", 3, "four", extra={"band": "R", "path": Path("a/b")})
    drained(channel)
    (record,) = catcher.records
    assert record.getMessage() == "3 of four"
    assert (record.name, record.levelname, record.levelno) == ("there.module", "WARNING", 30)
    assert (record.filename, record.module) == ("test_log_receiver.py", "test_log_receiver")
    assert record.funcName == test_a_record_arrives_as_it_was_with_task_and_slot.__name__
    assert record.threadName == threading.current_thread().name
    assert record.process == os.getpid()
    assert fields(record, "task_id", "slot", "band", "path") == ["task-7", 3, "R", "a/b"]


def raises(text: str) -> None:
    raise KeyError(text)


def fields(record: logging.LogRecord, *names: str) -> list[Any]:
    return [record.__dict__.get(name) for name in names]


def test_an_exception_arrives_as_text_and_is_formatted_here(
    channel: LogReceiver, sender: logging.Logger, catcher: Catcher
) -> None:
    try:
        raises("no such band")
    except KeyError:
        sender.exception("failed", stack_info=True)
    drained(channel)
    text = logging.Formatter().format(catcher.records[0])
    assert text.startswith("failed\nTraceback (most recent call last):")
    assert "KeyError: 'no such band'" in text
    assert "Stack (most recent call last):" in text


def test_a_record_between_two_tasks_has_no_task(
    channel: LogReceiver, sender: logging.Logger, catcher: Catcher, running: Running
) -> None:
    running.task_id = None
    sender.warning("background")
    drained(channel)
    assert fields(catcher.records[0], "task_id", "slot") == [None, 3]


def test_lone_surrogates_and_control_characters_arrive(running: Running) -> None:
    text = "\udcff \x1b[31m \0 é 中 \U0001f52d\n"
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, its:
        in_a_child(its.fileno(), running).warning("%s", text)
        # Nobody logs it here: pytest could not pass on all of these characters.
        assert log_receiver.decode(ours.recv(65536)).getMessage() == text


def test_a_message_that_cannot_be_made_is_told_of_as_logging_does(
    channel: LogReceiver,
    sender: logging.Logger,
    catcher: Catcher,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sender.warning("%d", "no number")
    sender.warning("next")
    drained(channel)
    assert catcher.messages == ["next"]
    assert "--- Logging error ---" in capsys.readouterr().err


def test_an_extra_that_cannot_be_shown_does_not_cost_the_record(
    channel: LogReceiver, sender: logging.Logger, catcher: Catcher
) -> None:
    class Sulky:
        def __str__(self) -> str:
            raise RuntimeError("no")

    sender.warning("text", extra={"mood": Sulky()})
    drained(channel)
    assert fields(catcher.records[0], "mood") == ["(Sulky)"]


# -- too long


@pytest.mark.parametrize("character", ["x", "é", "\U0001f52d"])
def test_a_long_record_keeps_the_head_of_its_message_and_the_tail_of_its_traceback(
    channel: LogReceiver, sender: logging.Logger, catcher: Catcher, character: str
) -> None:
    try:
        raises("first line" + character * 1_000_000 + "the very end")
    except KeyError:
        sender.exception("begin%s", character * 1_000_000, extra={"much": "y" * 1_000_000})
    drained(channel)
    (record,) = catcher.records
    assert record.getMessage().startswith("begin" + character * 1000)
    assert "characters left out" in record.getMessage()
    assert record.exc_text is not None
    assert record.exc_text.endswith(character * 1000 + "the very end'")
    assert fields(record, "task_id", "much") == ["task-7", None]


def test_a_socket_that_takes_less_gets_less(
    sender: logging.Logger, channel: LogReceiver, catcher: Catcher
) -> None:
    with socket.socket(fileno=os.dup(channel.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel's least
    sender.warning("begin%s", "x" * 50_000)
    drained(channel)
    assert catcher.messages[0].startswith("beginxxx")
    assert len(catcher.messages[0]) < 10_000


# -- the loggers of this process


def test_what_nobody_wants_here_is_left_out(channel: LogReceiver, catcher: Catcher) -> None:
    send(channel, a_record(levelno=logging.DEBUG), a_record(levelno=logging.INFO, msg="wanted"))
    drained(channel)
    assert catcher.messages == ["wanted"]


def a_record(**changes: Any) -> dict[str, Any]:
    return {"name": "there.x", "levelno": 40, "levelname": "ERROR", "msg": "m", **changes}


def test_filters_of_the_logger_of_that_name_hold(channel: LogReceiver, catcher: Catcher) -> None:
    logger = logging.getLogger("there.filtered")
    logger.addFilter(lambda record: "secret" not in record.getMessage())
    send(channel, *(a_record(name="there.filtered", msg=text) for text in ("secret", "open")))
    drained(channel)
    logger.filters.clear()
    assert catcher.messages == ["open"]


def test_a_disabled_logger_stays_silent(channel: LogReceiver, catcher: Catcher) -> None:
    logger = logging.getLogger("there.disabled")
    logger.disabled = True
    send(channel, a_record(name="there.disabled"), a_record(msg="open"))
    drained(channel)
    assert catcher.messages == ["open"]


def test_loggers_that_only_tasks_have_are_not_kept(channel: LogReceiver, catcher: Catcher) -> None:
    send(channel, *(a_record(name=f"there.task.{n}") for n in range(20)))
    drained(channel)
    assert len(catcher.records) == 20
    assert catcher.records[-1].name == "there.task.19"
    known = logging.getLogger().manager.loggerDict
    assert not [name for name in known if name.startswith("there.task")]


def test_a_record_of_the_root_logger_meets_the_roots_filters(
    channel: LogReceiver, catcher: Catcher
) -> None:
    root = logging.getLogger()
    root.addHandler(catcher)
    root.addFilter(lambda record: "secret" not in record.getMessage())
    send(channel, a_record(name="root", msg="secret"), a_record(name="root", msg="open"))
    drained(channel)
    root.filters.pop()
    root.removeHandler(catcher)
    assert catcher.messages == ["open"]


# -- what is no record

_RUBBISH: list[object] = [
    b"\x80\x04}", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 50_000, b"x" * 70_000,
    {"name": "there.x"}, {"name": 5, "levelno": 40, "msg": "m"},
    {"name": "there.x", "levelno": "40", "msg": "m"}, {"name": "there.x", "levelno": 40, "msg": 1},
]  # fmt: skip


def test_rubbish_is_dropped_after_one_warning(
    channel: LogReceiver, catcher: Catcher, caplog: pytest.LogCaptureFixture
) -> None:
    send(channel, *_RUBBISH, a_record(msg="good"))
    drained(channel)
    assert catcher.messages == ["good"]
    warnings = [record for record in caplog.records if record.name == HERE]
    assert len(warnings) == 1
    assert "no log record" in warnings[0].getMessage()


def test_wrong_details_are_left_out_of_a_record(channel: LogReceiver, catcher: Catcher) -> None:
    details = {"created": float("nan"), "lineno": "x", "pathname": 5, "exc_text": [], "msecs": None}
    send(channel, a_record(**details, task_id="t"), a_record(created=1e300))
    drained(channel)
    formatter = logging.Formatter("%(asctime)s %(filename)s:%(lineno)d %(message)s")
    for record in catcher.records:
        assert formatter.format(record).endswith(":0 m")
    assert len(catcher.records) == 2


def test_an_extra_replaces_nothing_of_loggings_own(channel: LogReceiver, catcher: Catcher) -> None:
    send(channel, a_record(msg="%s", extra={"args": ["x"], "exc_info": True, "mine": 1}))
    send(channel, a_record(extra=["no mapping"]))
    drained(channel)
    assert fields(catcher.records[0], "msg", "args", "exc_info", "mine") == ["%s", (), None, 1]
    assert len(catcher.records) == 2


def test_a_filter_that_raises_is_told_of_once_and_ends_nothing(
    channel: LogReceiver, catcher: Catcher, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(record: logging.LogRecord) -> bool:
        raise ValueError("a poor filter")

    logger = logging.getLogger("there.poor")
    logger.addFilter(fails)
    send(channel, a_record(name="there.poor"), a_record(name="there.poor"), a_record(msg="good"))
    drained(channel)
    logger.removeFilter(fails)
    assert catcher.messages == ["good"]
    assert sum("a poor filter" in text for text in caplog.messages) == 1


# -- beginning and end


def test_what_was_sent_is_handled_before_the_end(channel: LogReceiver, catcher: Catcher) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(record: logging.LogRecord) -> bool:
        entered.set()
        return release.wait(WAIT)

    catcher.addFilter(slow)
    send(channel, *(a_record(msg=str(n)) for n in range(50)))
    assert entered.wait(WAIT)
    channel.close()
    assert catcher.messages == []
    release.set()
    channel.join()
    assert catcher.messages == [str(n) for n in range(50)]


def test_nobody_waits_for_ever_for_a_handler_that_is_stuck(catcher: Catcher) -> None:
    entered, release = threading.Event(), threading.Event()

    def stuck(record: logging.LogRecord) -> None:
        entered.set()
        assert release.wait(WAIT)

    catcher.emit = stuck  # type: ignore[method-assign]
    channel = LogReceiver(patience=0.1)
    send(channel, a_record(msg="one"))
    assert entered.wait(WAIT)
    channel.close()
    channel.join()
    catcher.acquire()  # as logging does with all handlers at the exit
    catcher.release()
    del catcher.emit
    release.set()
    drained(channel)


def test_a_slow_handler_is_waited_for_as_long_as_it_gets_on(catcher: Catcher) -> None:
    tick = threading.Event()
    catcher.addFilter(lambda record: not tick.wait(0.5))
    channel = LogReceiver(patience=4.0)  # less than for all, and much more than for one
    send(channel, *(a_record(msg=str(n)) for n in range(10)))
    drained(channel)
    assert len(catcher.messages) == 10


def test_a_handler_that_exits_ends_only_its_own_record(
    channel: LogReceiver, catcher: Catcher
) -> None:
    catcher.addFilter(lambda record: record.getMessage() != "exit" or sys.exit(1))
    send(channel, a_record(msg="exit"), a_record(msg="after"))
    eventually(lambda: catcher.messages == ["after"], WAIT, what="the record")


def test_an_empty_datagram_ends_nothing(channel: LogReceiver, catcher: Catcher) -> None:
    send(channel, b"", a_record(msg="after"))
    eventually(lambda: catcher.messages == ["after"], WAIT, what="the record")


def descriptors() -> set[str]:
    """Return what is open: sockets have a number each that is never given again soon."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.add(str(entry.readlink()))
    return found


def test_the_end_leaves_no_descriptor_and_no_thread() -> None:
    # Others may close and end something meanwhile: what counts is what is new.
    files, threads = descriptors(), set(threading.enumerate())
    channel = LogReceiver()
    assert len(descriptors() - files) == 2
    channel.close()
    channel.close()
    channel.join()
    assert descriptors() - files == set()
    assert set(threading.enumerate()) - threads == set()


def test_after_the_end_records_go_to_stderr(
    running: Running, capsys: pytest.CaptureFixture[str], catcher: Catcher
) -> None:
    channel = LogReceiver()
    copy = os.dup(channel.fileno())
    sender = in_a_child(copy, running)
    drained(channel)
    sender.warning("nobody hears")
    os.close(copy)
    sender.warning("closed")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" ")[2] for line in lines] == [
        "WARNING there.module [task-7]: nobody hears",
        "WARNING there.module [task-7]: closed",
    ]
    assert catcher.records == []


def test_a_file_that_took_the_descriptors_number_is_not_written(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    channel = LogReceiver()
    copy = os.dup(channel.fileno())
    sender = in_a_child(copy, running)
    with (tmp_path / "mine").open("wb") as file:
        os.dup2(file.fileno(), copy)
    sender.warning("to stderr")
    os.close(copy)
    drained(channel)
    assert (tmp_path / "mine").read_bytes() == b""
    assert "to stderr" in capsys.readouterr().err


def test_a_full_channel_makes_the_sender_wait_and_loses_nothing(
    channel: LogReceiver, sender: logging.Logger, catcher: Catcher
) -> None:
    release = threading.Event()
    catcher.addFilter(lambda record: release.wait(WAIT))
    sent: list[int] = []

    def log_much() -> None:
        for n in range(2000):
            sender.warning("%d", n)
            sent.append(n)

    thread = threading.Thread(target=log_much)
    thread.start()
    eventually(lambda: is_full(channel), WAIT, what="a full channel")
    assert len(sent) < 2000
    release.set()
    thread.join(WAIT)
    drained(channel)
    assert catcher.messages == [str(n) for n in range(2000)]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_sender_waits_for_a_handler_that_is_stuck_once_and_then_says_it_on_stderr(
    channel: LogReceiver,
    running: Running,
    catcher: Catcher,
    capsys: pytest.CaptureFixture[str],
    blocking: bool,
) -> None:
    entered, release = threading.Event(), threading.Event()

    def stuck(record: logging.LogRecord) -> bool:
        entered.set()
        return release.wait(3 * WAIT)

    catcher.addFilter(stuck)
    os.set_blocking(channel.fileno(), blocking)
    send(channel, a_record(msg="first"))
    assert entered.wait(WAIT)
    fill(channel)
    sender = in_a_child(channel.fileno(), running, patience=0.1)
    for n in range(101):
        sender.warning("aside %d", n)
    said = capsys.readouterr().err
    assert "WARNING there.module [task-7]: aside 0\n" in said
    assert said.count("aside") == 101
    release.set()
    eventually(lambda: not is_full(channel), WAIT, what="room")
    sender.warning("back")
    drained(channel)
    assert catcher.messages[-1] == "back"
    assert "aside" not in "".join(catcher.messages)


def fill(channel: LogReceiver) -> None:
    """Send until nothing more fits in; nobody may be receiving."""
    datagram = json.dumps(a_record()).encode()
    full = contextlib.suppress(BlockingIOError)
    with socket.socket(fileno=os.dup(channel.fileno())) as same, full:
        while True:
            same.send(datagram, socket.MSG_DONTWAIT)


def is_full(channel: LogReceiver) -> bool:
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLOUT)
    return not poll.poll(0)


def test_a_descriptor_made_non_blocking_by_a_task_loses_nothing(
    channel: LogReceiver, sender: logging.Logger, catcher: Catcher
) -> None:
    release = threading.Event()
    catcher.addFilter(lambda record: release.wait(WAIT))
    os.set_blocking(channel.fileno(), False)

    def log_much() -> None:
        for n in range(1000):
            sender.warning("%d", n)

    thread = threading.Thread(target=log_much)
    thread.start()
    eventually(lambda: is_full(channel), WAIT, what="a full channel")
    release.set()
    thread.join(WAIT)
    drained(channel)
    assert catcher.messages == [str(n) for n in range(1000)]
