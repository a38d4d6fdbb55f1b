from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

from cloud_tasks.errors import EventLogError
from cloud_tasks.events.jsonl import JsonlSink

A, B = b'{"a": 1}', b'{"b": 2}'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "events.log"


@pytest.fixture
def sink(log: Path) -> Iterator[JsonlSink]:
    sink = JsonlSink(log)
    yield sink
    sink.close()


def test_makes_the_file_and_appends_to_it(log: Path) -> None:
    for _ in range(2):
        sink = JsonlSink(log)
        sink.open()
        sink.write([A, B])
        sink.close()
    assert log.read_bytes() == (A + b"\n" + B + b"\n") * 2


def test_lines_are_there_when_write_returns(sink: JsonlSink, log: Path) -> None:
    sink.open()
    sink.write([A])
    assert log.read_bytes() == A + b"\n"


def test_closing_twice_or_unopened_is_harmless(sink: JsonlSink) -> None:
    sink.close()
    sink.open()
    sink.close()
    sink.close()


@pytest.mark.parametrize("before", [b"", A + b"\n"], ids=["alone", "after a line"])
@pytest.mark.parametrize("length", [1, 10, 200_000])
def test_a_torn_line_is_removed_with_a_warning(
    sink: JsonlSink, log: Path, caplog: pytest.LogCaptureFixture, before: bytes, length: int
) -> None:
    log.write_bytes(before + b'{"torn": "'.ljust(length, b"x")[:length])
    sink.open()
    sink.write([B])
    assert log.read_bytes() == before + B + b"\n"
    assert f"last {length} bytes were removed" in caplog.text


def test_a_whole_event_that_lacks_its_line_end_gets_one(
    sink: JsonlSink, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log.write_bytes(A + b"\n" + B)
    sink.open()
    assert log.read_bytes() == A + b"\n" + B + b"\n"
    assert not caplog.records


@pytest.mark.parametrize("other", [b"12", b"id,size", b"}", b"{ braces", b"\0\0\0"])
def test_a_last_line_that_never_was_an_event_stays(
    sink: JsonlSink, log: Path, caplog: pytest.LogCaptureFixture, other: bytes
) -> None:
    log.write_bytes(A + b"\n" + other)
    sink.open()
    sink.write([B])
    assert log.read_bytes() == A + b"\n" + other + b"\n" + B + b"\n"
    assert not caplog.records


def test_while_another_worker_holds_the_file_nothing_is_removed(log: Path) -> None:
    first, second = JsonlSink(log), JsonlSink(log)
    first.open()
    log.write_bytes(b'{"half a li')
    second.open()
    second.write([A])
    second.write([B])
    assert log.read_bytes() == b'{"half a li\n' + A + b"\n" + B + b"\n"
    first.close()
    second.close()


_WRITER = """
import sys
from cloud_tasks.events.jsonl import JsonlSink
sink = JsonlSink(sys.argv[1])
sink.open()
line = b'{"w": "' + sys.argv[2].encode() * 3000 + b'"}'
print("ready", flush=True)
sys.stdin.readline()
for _ in range(300):
    sink.write([line, line])
sink.close()
"""


def test_two_workers_that_share_a_file_never_mix_lines(log: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(log), letter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for letter in "xy"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=50)
    found = [json.loads(line)["w"] for line in log.read_bytes().splitlines()]
    assert sorted(found) == ["x" * 3000] * 600 + ["y" * 3000] * 600


def complaint(path: Path) -> str:
    """Return what a sink says that can't be opened."""
    with pytest.raises(EventLogError) as caught:
        JsonlSink(path).open()
    return str(caught.value)


def test_what_can_not_be_opened_is_said_with_path_reason_and_flag(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, reason in {
        tmp_path: "directory",
        tmp_path / "no" / "events.log": "No such file",
        fifo: "no process reads this FIFO",
    }.items():
        said = complaint(path)
        assert str(path) in said
        assert reason in said
        assert "--event-log-file" in said


def test_a_fifo_that_somebody_reads_is_as_good_as_a_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    sink = JsonlSink(fifo)
    sink.open()
    sink.write([A])
    assert os.read(reader, 100) == A + b"\n"
    with pytest.raises(EventLogError, match="no process reads this FIFO"):  # as the pipe is full
        sink.write([b"x" * 2**21])
    os.close(reader)
    sink.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_that_takes_nothing_is_an_error_each_time() -> None:
    sink = JsonlSink("/dev/full")
    sink.open()
    for _ in range(2):
        with pytest.raises(EventLogError, match="No space left"):
            sink.write([A])
    sink.close()


def test_a_file_that_was_renamed_or_removed_begins_anew(
    log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    sink = JsonlSink(log, check_period=0)
    sink.open()
    sink.write([A])
    log.rename(log.with_suffix(".1"))
    sink.write([B])
    assert log.read_bytes() == B + b"\n"
    assert log.with_suffix(".1").read_bytes() == A + b"\n"
    log.unlink()
    sink.write([A])
    assert log.read_bytes() == A + b"\n"
    assert caplog.text.count("begins anew") == 2
    sink.close()


def test_a_file_that_was_truncated_goes_on_at_its_new_end(sink: JsonlSink, log: Path) -> None:
    sink.open()
    sink.write([A])
    os.truncate(log, 0)
    sink.write([B])
    assert log.read_bytes() == B + b"\n"


def test_without_its_folder_it_fails_until_that_is_back(tmp_path: Path) -> None:
    log = tmp_path / "folder" / "events.log"
    log.parent.mkdir()
    sink = JsonlSink(log, check_period=0)
    sink.open()
    log.unlink()
    log.parent.rmdir()
    with pytest.raises(EventLogError, match="No such file"):
        sink.write([A])
    # The descriptor's number may now be that of another file, which must not get the events.
    with (tmp_path / "innocent").open("wb"):
        with pytest.raises(EventLogError):
            sink.write([A])
        log.parent.mkdir()
        sink.write([A])
        sink.close()
    assert log.read_bytes() == A + b"\n"
    assert (tmp_path / "innocent").read_bytes() == b""


def test_a_program_that_goes_to_another_folder_writes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    sink = JsonlSink("events.log", check_period=0.0)
    sink.open()
    monkeypatch.chdir("elsewhere")
    sink.write([A])
    assert not caplog.records
    (tmp_path / "events.log").unlink()
    sink.write([B])
    sink.close()
    assert (tmp_path / "events.log").read_bytes() == B + b"\n"
    assert not (tmp_path / "elsewhere" / "events.log").exists()
