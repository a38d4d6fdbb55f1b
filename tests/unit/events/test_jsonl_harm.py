"""What other programs do to an event log while it is written: nothing goes unnoticed or unread."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

from cloud_tasks.events.jsonl import JsonlSink
from cloud_tasks.events.reading import EventReader

BEFORE = [b'{"event_id": "w-%d"}' % n for n in range(10)]
AFTER = [b'{"event_id": "w-%d"}' % n for n in range(10, 13)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "events.log"


class Watched(JsonlSink):
    """A sink that remembers what it reported."""

    def __init__(self, log: Path) -> None:
        super().__init__(log, check_period=0)
        self.reported: list[str] = []
        self.on_loss = self.reported.append


@pytest.fixture
def sink(log: Path) -> Iterator[Watched]:
    sink = Watched(log)
    sink.open()
    sink.write(BEFORE)
    yield sink
    sink.close()


def cut(size: int) -> Callable[[Path], None]:
    return lambda log: os.truncate(log, size)


def emptied_by_a_shell(log: Path) -> None:
    subprocess.run(["sh", "-c", f"> {log}"], check=True)


def copied_and_cut(log: Path) -> None:
    log.with_suffix(".1").write_bytes(log.read_bytes())
    os.truncate(log, 0)


def cut_and_grown(log: Path) -> None:
    size = log.stat().st_size
    log.write_bytes(b'{"other": 1}\n' * size)


def cut_and_grown_to_the_middle_of_a_line(log: Path) -> None:
    cut_and_grown(log)
    with log.open("ab") as file:
        file.write(b'{"oth')


def replaced(log: Path) -> None:
    other = log.with_suffix(".new")
    other.write_bytes(b'{"other": 1}\n')
    other.replace(log)


def replaced_by_part_of_a_line(log: Path) -> None:
    other = log.with_suffix(".new")
    other.write_bytes(b'{"other": 1}\n{"oth')
    other.replace(log)


def moved(log: Path) -> None:
    log.rename(log.with_suffix(".1"))


LINE = len(BEFORE[0]) + 1
HARMS: dict[str, tuple[Callable[[Path], None], str]] = {
    "emptied": (cut(0), "was cut to 0 bytes"),
    "emptied by a shell": (emptied_by_a_shell, "was cut to 0 bytes"),
    "copied and cut": (copied_and_cut, "was cut to 0 bytes"),
    "cut at a line end": (cut(2 * LINE), f"was cut to {2 * LINE} bytes"),
    "cut within a line": (cut(2 * LINE + 7), f"was cut to {2 * LINE + 7} bytes"),
    "cut before a line end": (cut(2 * LINE - 1), f"was cut to {2 * LINE - 1} bytes"),
    "lost its last byte": (cut(10 * LINE - 1), "was cut to"),
    "cut and grown": (cut_and_grown, "was cut to"),
    "cut and grown to part": (cut_and_grown_to_the_middle_of_a_line, "was cut to"),
    "removed": (lambda log: log.unlink(), "was removed"),
    "replaced": (replaced, "was removed"),
    "replaced by part": (replaced_by_part_of_a_line, "was removed"),
    "moved": (moved, "was moved"),
}


@pytest.mark.parametrize("name", HARMS)
def test_it_is_reported_once_and_later_events_are_whole(
    name: str, sink: Watched, log: Path
) -> None:
    harm, words = HARMS[name]
    harm(log)
    for line in AFTER:
        sink.write([line])
    (report,) = sink.reported
    assert words in report
    assert "--resume" in report
    assert str(log) in report
    assert log.read_bytes().endswith(b"\n" + b"\n".join(AFTER) + b"\n") or (
        log.read_bytes() == b"\n".join(AFTER) + b"\n"
    )
    harm(log)
    sink.write(AFTER)
    assert len(sink.reported) == 2
    assert log.read_bytes().endswith(b"\n".join(AFTER) + b"\n")


def test_what_is_read_afterwards_lacks_the_lost_events_only(sink: Watched, log: Path) -> None:
    os.truncate(log, 2 * LINE + 7)
    sink.write(AFTER)
    reader = EventReader(log)
    assert [event["event_id"] for event in reader] == ["w-0", "w-1", "w-10", "w-11", "w-12"]
    assert (reader.not_json, reader.torn) == (1, False)


def test_events_from_before_the_run_must_stay_too(log: Path) -> None:
    log.write_bytes(b"\n".join(BEFORE) + b"\n")
    sink = Watched(log)
    sink.open()
    os.truncate(log, LINE)
    sink.write(AFTER)
    sink.close()
    assert len(sink.reported) == 1
    assert log.read_bytes() == BEFORE[0] + b"\n" + b"\n".join(AFTER) + b"\n"


def test_that_another_worker_appends_is_no_loss(log: Path) -> None:
    sinks = [Watched(log), Watched(log)]
    for sink in sinks:
        sink.open()
    for _ in range(5):
        for sink in sinks:
            sink.write(AFTER)
            sink.write(BEFORE)
    for sink in sinks:
        sink.close()
    assert [sink.reported for sink in sinks] == [[], []]
    assert len(log.read_bytes().splitlines()) == 2 * 5 * (len(AFTER) + len(BEFORE))


def test_each_of_several_workers_reports_a_cut(log: Path) -> None:
    sinks = [Watched(log), Watched(log)]
    for sink in sinks:
        sink.open()
        sink.write(BEFORE)
    os.truncate(log, 0)
    for sink in sinks:
        sink.write(AFTER)
        sink.write(AFTER)
        sink.close()
    assert [len(sink.reported) for sink in sinks] == [1, 1]
    assert log.read_bytes() == (b"\n".join(AFTER) + b"\n") * 4


@pytest.mark.parametrize("stump", [b'{"event_id": "x', b"\0\0\0"])
def test_what_another_writer_left_of_a_line_swallows_no_event(
    sink: Watched, log: Path, stump: bytes
) -> None:
    with log.open("ab") as file:
        file.write(stump)
    sink.write(AFTER)
    sink.write(AFTER)
    assert log.read_bytes().endswith(
        BEFORE[-1] + b"\n" + stump + b"\n" + (b"\n".join(AFTER) + b"\n") * 2
    )
    assert sink.reported == []


def test_a_line_that_was_spoilt_by_a_cut_in_that_moment_is_written_again(
    sink: Watched, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def cut_before(descriptor: int, data: bytes) -> int:
        monkeypatch.undo()
        os.truncate(log, LINE + 5)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", cut_before)
    sink.write(AFTER)
    sink.write(BEFORE)
    events = [event["event_id"] for event in EventReader(log)]
    kept = [BEFORE[0], *AFTER, *BEFORE]
    assert sorted(events) == sorted(json.loads(line)["event_id"] for line in kept)
    assert len(sink.reported) == 1


_WRITER = """
import sys
from pathlib import Path
from cloud_tasks.events.jsonl import JsonlSink
sink = JsonlSink(sys.argv[1])
sink.open()
n = 0
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    sink.write([b'{"n": %d, "text": "%s"}' % (n + i, b"x" * 40) for i in range(3)])
    n += 3
sink.write([b'{"n": %d}' % n])
print(n, flush=True)
sink.close()
"""


def test_cuts_at_any_moment_cost_no_event_that_was_written_later(tmp_path: Path, log: Path) -> None:
    stop = tmp_path / "stop"
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(log), str(stop)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    for turn in range(500):
        os.kill(writer.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, writer.pid, os.WSTOPPED)
        size = log.stat().st_size
        os.truncate(log, size - turn % 97 if size > 100 else 0)
        os.kill(writer.pid, signal.SIGCONT)
    stop.touch()
    out, _ = writer.communicate(timeout=60)
    found = [event["n"] for event in EventReader(log)]
    last = int(out)
    # What was cut is gone, at most three events each time; what was spoilt is there all the same.
    assert found[-1] == last
    assert sorted(set(found)) == sorted(found)
    assert last + 1 - len(found) <= 500 * 3
