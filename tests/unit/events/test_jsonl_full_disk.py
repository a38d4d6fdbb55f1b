"""A disk that is really full: a small tmpfs in a mount namespace of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

UNSHARE = ["unshare", "--mount", "--propagation", "private"]


def _possible() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = "mount -t tmpfs -o size=64k none /mnt"
    return not subprocess.run([*UNSHARE, "sh", "-c", command], capture_output=True).returncode


pytestmark = pytest.mark.skipif(not _possible(), reason="no mount namespace: needs root on Linux")

_BEGIN = """
import json, os, sys
from pathlib import Path
from cloud_tasks.errors import EventLogError
from cloud_tasks.events.jsonl import JsonlSink
folder = Path(sys.argv[1])
assert not os.system(f"mount -t tmpfs -o size=64k none {folder}")
log, ballast = folder / "events.log", folder / "ballast"
lines = [json.dumps({"n": n, "text": "x" * 1000}).encode() for n in range(30)]
def refused(sink, lines):
    try:
        sink.write(lines)
    except EventLogError as error:
        assert "No space left" in str(error), error
        return True
    return False
ballast.write_bytes(b"x" * 40 * 1024)
sink = JsonlSink(log)
sink.open()
"""


def numbers(folder: Path, script: str) -> list[int]:
    """Run *script* on a full disk and return the numbers of the events, every line whole."""
    end = "\nprint(log.read_text(), end='')"
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-c", _BEGIN + script + end, str(folder)],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert not done.returncode, done.stderr
    assert done.stdout.endswith("\n")
    return [json.loads(line)["n"] for line in done.stdout.splitlines()]


def test_a_write_cut_short_is_finished_when_there_is_room_again(tmp_path: Path) -> None:
    script = """
assert refused(sink, lines)
assert 0 < log.stat().st_size < sum(map(len, lines))
assert refused(sink, lines)
ballast.unlink()
assert not refused(sink, lines)
assert not refused(sink, lines[:1])
sink.close()
"""
    assert numbers(tmp_path, script) == [*range(30), 0]


def test_given_up_it_leaves_whole_lines_only(tmp_path: Path) -> None:
    found = numbers(tmp_path, "assert refused(sink, lines)\nsink.close()")
    assert found == list(range(len(found)))
    assert 0 < len(found) < 30


def test_killed_instead_the_next_worker_mends_it(tmp_path: Path) -> None:
    script = """
pid = os.fork()
if not pid:
    refused(sink, lines)
    os.kill(os.getpid(), 9)
os.waitpid(pid, 0)
assert not log.read_bytes().endswith(b"\\n")
sink.close()
ballast.unlink()
sink = JsonlSink(log)
sink.open()
assert not refused(sink, lines[:1])
sink.close()
"""
    found = numbers(tmp_path, script)
    assert found == [*range(len(found) - 1), 0]


def test_an_event_without_its_line_end_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    script = """
sink.close()
log.write_bytes(b'{"n": -1, "text": "' + b"x" * (4096 - 21) + b'"}')
assert log.stat().st_size == 4096  # a whole page: its line end would need another one
with (folder / "more").open("wb", buffering=0) as more:
    try:
        while more.write(b"x" * 4096): pass
    except OSError: pass
sink = JsonlSink(log)
sink.open()
assert refused(sink, lines)
assert refused(sink, lines)
ballast.unlink()
assert not refused(sink, lines)
sink.close()
"""
    assert numbers(tmp_path, script) == [-1, *range(30)]
