from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_tasks.executors.common.flag_page import FlagPage

pytestmark = pytest.mark.interpreter


@pytest.fixture
def page() -> Iterator[FlagPage]:
    page = FlagPage.create(3)
    yield page
    page.close()


def test_flags_are_down_at_first(page: FlagPage) -> None:
    assert (page.termination_notice, page.shutdown_request) == (False, False)


def test_another_map_of_the_file_sees_each_flag_by_itself(page: FlagPage) -> None:
    other = FlagPage(page.path)
    page.request_shutdown()
    assert (other.termination_notice, other.shutdown_request) == (False, True)
    page.announce_termination()
    assert (other.termination_notice, other.shutdown_request) == (True, True)


def test_a_stamp_is_seen_under_its_own_cell_and_job_only(page: FlagPage) -> None:
    now = time.monotonic()
    FlagPage(page.path).record_start(1, 7, now)
    assert page.started_at(1, 7, now - 1) == now
    assert page.started_at(1, 8, now - 1) is None
    assert page.started_at(0, 7, now - 1) is None
    assert page.started_at(2, 7, now - 1) is None


@pytest.mark.parametrize("when", [0.0, -1.0, 1e15, math.inf, -math.inf, math.nan])
def test_a_stamp_from_a_spoilt_clock_counts_as_the_moment_of_sending(
    page: FlagPage, when: float
) -> None:
    sent = time.monotonic()
    page.record_start(0, 1, when)
    assert page.started_at(0, 1, sent) == sent


def test_close_removes_the_file_and_keeps_the_last_state(page: FlagPage) -> None:
    other = FlagPage(page.path)
    page.request_shutdown()
    page.close()
    page.close()
    assert not Path(page.path).exists()
    assert page.shutdown_request
    assert other.shutdown_request


def test_close_gives_the_descriptor_back() -> None:
    page = FlagPage.create(1)
    assert _open_for(page) == 1
    page.close()
    assert _open_for(page) == 0


def _open_for(page: FlagPage) -> int:
    """Count our descriptors of its file, which may have been removed."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # somebody else has just closed it
            count += str(entry.readlink()).startswith(page.path)
    return count


def test_what_is_written_into_its_descriptor_raises_no_flag(page: FlagPage) -> None:
    mine = FlagPage(page.path)
    numbers = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    for number in numbers:
        with contextlib.suppress(OSError):
            if Path(f"/proc/self/fd/{number}").readlink() == Path(page.path):
                assert os.write(number, b"junk") == 4
    assert Path(page.path).stat().st_size > 4096  # it has landed somewhere
    for seen in (page, mine, FlagPage(page.path)):
        assert (seen.termination_notice, seen.shutdown_request, seen.log_error) == (False,) * 3
    assert page.pop_traceback(0) is None


_CRASHES = """
import ctypes, os, resource, sys
from cloud_tasks.executors.common.flag_page import FlagPage
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
FlagPage(sys.argv[1]).enable_crash_traceback(int(sys.argv[2]))

def descends(depth):
    descends(depth - 1) if depth else ctypes.string_at(0)

descends(int(sys.argv[3]))
"""


def crash(page: FlagPage, cell: int, depth: int = 0) -> None:
    done = subprocess.run([sys.executable, "-c", _CRASHES, page.path, str(cell), str(depth)])
    assert done.returncode == -signal.SIGSEGV


def test_a_crashed_process_leaves_its_traceback_once(page: FlagPage) -> None:
    assert page.pop_traceback(1) is None
    for _ in range(2):
        crash(page, 1)
        text = page.pop_traceback(1) or ""
        assert text.startswith("Fatal Python error: Segmentation fault")
        assert "in descends" in text
        assert page.pop_traceback(1) is None


def test_a_long_traceback_does_not_reach_the_next_cell(page: FlagPage) -> None:
    crash(page, 1, depth=500)
    crash(page, 2)
    assert page.pop_traceback(0) is None
    assert (page.pop_traceback(1) or "").count("in descends") > 50
    assert (page.pop_traceback(2) or "").count("in descends") == 1
    assert (page.termination_notice, page.started_at(2, 0, 0.0)) == (False, 0.0)


def test_before_a_crash_the_file_is_small_and_after_it_still_takes_little(page: FlagPage) -> None:
    assert Path(page.path).stat().st_size < 4096
    crash(page, 2)
    assert Path(page.path).stat().st_blocks * 512 < 64 * 1024


def test_nothing_is_found_of_a_page_that_was_closed(page: FlagPage) -> None:
    page.close()
    assert page.pop_traceback(0) is None


def test_the_trouble_of_a_log_is_seen_by_others(page: FlagPage) -> None:
    assert page.log_error == 0
    FlagPage(page.path).record_log_error(28)
    assert page.log_error == 28
    assert (page.termination_notice, page.shutdown_request) == (False, False)
