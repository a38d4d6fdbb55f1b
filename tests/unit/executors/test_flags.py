from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_tasks.executors.flags import FlagPage


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
    FlagPage(page.path).stamp(1, 7, now)
    assert page.started(1, 7, now - 1) == now
    assert page.started(1, 8, now - 1) is None
    assert page.started(0, 7, now - 1) is None
    assert page.started(2, 7, now - 1) is None


@pytest.mark.parametrize("when", [0.0, -1.0, 1e15, math.inf, -math.inf, math.nan])
def test_a_stamp_from_a_spoilt_clock_counts_as_the_moment_of_sending(
    page: FlagPage, when: float
) -> None:
    sent = time.monotonic()
    page.stamp(0, 1, when)
    assert page.started(0, 1, sent) == sent


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
    assert _descriptors(page.path) == 1
    page.close()
    assert _descriptors(page.path) == 0


def _descriptors(path: str) -> int:
    """Count those of the file at *path*; what other threads open and close has no say."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            # Of a file that was removed the name goes on behind its own.
            count += os.readlink(entry).partition(" ")[0] == path  # noqa: PTH115 - as text
    return count
