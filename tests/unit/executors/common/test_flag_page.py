from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_tasks.errors import ExecutorBrokenError
from cloud_tasks.executors.common import flag_page
from cloud_tasks.executors.common.flag_page import FlagPage, WorkerPage
from cloud_tasks.executors.common.worker_files import WorkerFile, identity_or_none


@pytest.fixture(params=["memfd", "unlinked file"])
def page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPage]:
    if request.param != "memfd":
        monkeypatch.delattr(os, "memfd_create")
    page = WorkerPage(3)
    yield page
    page.close()


def as_child(page: WorkerPage) -> FlagPage:
    return FlagPage(page.descriptor, page.crash_file)


def open_numbers() -> set[int]:
    return {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}


def test_flags_are_down_at_first(page: WorkerPage) -> None:
    assert (page.termination_notice, page.shutdown_request) == (False, False)


def test_another_map_of_the_file_sees_each_flag_by_itself(page: WorkerPage) -> None:
    other = as_child(page)
    page.request_shutdown()
    assert (other.termination_notice, other.shutdown_request) == (False, True)
    page.announce_termination()
    assert (other.termination_notice, other.shutdown_request) == (True, True)


def test_a_stamp_is_seen_under_its_own_cell_and_job_only(page: WorkerPage) -> None:
    now = time.monotonic()
    as_child(page).record_start(1, 7, now)
    assert page.started_at(1, 7, now - 1) == now
    assert page.started_at(1, 8, now - 1) is None
    assert page.started_at(0, 7, now - 1) is None
    assert page.started_at(2, 7, now - 1) is None


@pytest.mark.parametrize("when", [0.0, -1.0, 1e15, math.inf, -math.inf, math.nan])
def test_a_stamp_from_a_spoilt_clock_counts_as_the_moment_of_sending(
    page: WorkerPage, when: float
) -> None:
    sent = time.monotonic()
    page.record_start(0, 1, when)
    assert page.started_at(0, 1, sent) == sent


def test_after_close_every_map_keeps_the_last_state(page: WorkerPage) -> None:
    other = as_child(page)
    page.request_shutdown()
    page.close()
    page.close()
    assert page.shutdown_request
    assert other.shutdown_request


def test_close_gives_the_descriptors_back() -> None:
    before = open_numbers()
    page = WorkerPage(1)
    assert open_numbers() != before
    page.close()
    assert open_numbers() <= before


def test_a_page_has_no_name_that_could_be_removed(page: WorkerPage) -> None:
    assert os.fstat(page.descriptor).st_nlink == 0


_VANDAL = """
import os, sys
from cloud_tasks.executors.common.flag_page import FlagPage
import pickle
descriptor, crash_file = int(sys.argv[1]), pickle.loads(bytes.fromhex(sys.argv[2]))
flags = FlagPage(descriptor, crash_file)
os.close(descriptor)
flags.enable_crash_traceback(1)
flags.record_start(1, 7, 1.0)
found = sorted(int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2)
for number in found:
    for act in (
        lambda: os.lseek(number, 0, os.SEEK_SET),
        lambda: os.write(number, b"\\xff" * 4096),
        lambda: os.pwrite(number, b"\\xff" * 4096, 0),
        lambda: os.ftruncate(number, 0),
        lambda: os.ftruncate(number, 2**30),
    ):
        try:
            act()
        except OSError:
            pass
flags.record_start(1, 8, 1.0)
print(len(found))
"""


def test_writing_into_and_truncating_every_descriptor_of_a_child_changes_no_flag_and_no_cell(
    page: WorkerPage,
) -> None:
    page.record_start(0, 3, 1.0)
    arguments = [str(page.descriptor), pickle.dumps(page.crash_file).hex()]
    done = subprocess.run(
        [sys.executable, "-c", _VANDAL, *arguments],
        pass_fds=[page.descriptor],
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) >= 1  # its descriptor of the crash file, if nothing else
    for seen in (page, as_child(page)):
        assert (seen.termination_notice, seen.shutdown_request, seen.log_error) == (False,) * 3
        assert [seen.started_at(0, 3, 0.0), seen.started_at(1, 8, 0.0)] == [1.0, 1.0]
        assert seen.started_at(2, 0, 0.0) == 0.0


def test_a_map_keeps_no_descriptor_of_the_page(page: WorkerPage) -> None:
    identity = identity_or_none(page.descriptor)
    child = as_child(page)
    assert [n for n in open_numbers() if identity_or_none(n) == identity] == [page.descriptor]
    page.request_shutdown()
    assert child.shutdown_request


def test_another_process_opens_the_page_by_its_address(page: WorkerPage) -> None:
    script = (
        "import pickle, sys; from cloud_tasks.executors.common.flag_page import FlagPage\n"
        "page = FlagPage.at(pickle.loads(bytes.fromhex(sys.argv[1])))\n"
        "page.record_start(2, 9, 1.0); print(page.shutdown_request)"
    )
    page.request_shutdown()
    word = pickle.dumps(page.address).hex()
    done = subprocess.run([sys.executable, "-c", script, word], check=True, capture_output=True)
    assert done.stdout == b"True\n"
    assert page.started_at(2, 9, 0.0) == 1.0


def test_the_address_of_a_closed_page_leads_nowhere(page: WorkerPage) -> None:
    address = page.address
    page.close()
    assert FlagPage.at(address) is None
    address.page = WorkerFile(os.open(__file__, os.O_RDONLY))
    assert FlagPage.at(address) is None


def test_no_room_anywhere_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(flag_page, "_IN_MEMORY", str(tmp_path / "missing"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(ExecutorBrokenError, match="no place for"):
        WorkerPage(1)


_CRASHES = """
import ctypes, os, resource, sys
from cloud_tasks.executors.common.flag_page import FlagPage
import pickle
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
flags = FlagPage(int(sys.argv[1]), pickle.loads(bytes.fromhex(sys.argv[4])))
flags.enable_crash_traceback(int(sys.argv[2]))

def descends(depth):
    descends(depth - 1) if depth else ctypes.string_at(0)

descends(int(sys.argv[3]))
"""


def crash(page: WorkerPage, cell: int, depth: int = 0) -> None:
    arguments = [str(page.descriptor), str(cell), str(depth), pickle.dumps(page.crash_file).hex()]
    command = [sys.executable, "-c", _CRASHES, *arguments]
    done = subprocess.run(command, pass_fds=[page.descriptor])
    assert done.returncode == -signal.SIGSEGV


def test_a_crashed_process_leaves_its_traceback_once(page: WorkerPage) -> None:
    assert page.pop_traceback(1) is None
    for _ in range(2):
        crash(page, 1)
        text = page.pop_traceback(1) or ""
        assert text.startswith("Fatal Python error: Segmentation fault")
        assert "in descends" in text
        assert page.pop_traceback(1) is None


def test_a_long_traceback_does_not_reach_the_next_cell(page: WorkerPage) -> None:
    crash(page, 1, depth=500)
    crash(page, 2)
    assert page.pop_traceback(0) is None
    assert (page.pop_traceback(1) or "").count("in descends") > 50
    assert (page.pop_traceback(2) or "").count("in descends") == 1
    assert (page.termination_notice, page.started_at(2, 0, 0.0)) == (False, 0.0)


def test_before_a_crash_its_file_takes_no_room_and_after_it_still_little(page: WorkerPage) -> None:
    descriptor = page.crash_file.open(os.O_RDONLY)
    assert descriptor is not None
    assert os.fstat(descriptor).st_blocks == 0
    crash(page, 2)
    assert 0 < os.fstat(descriptor).st_blocks * 512 < 64 * 1024
    os.close(descriptor)


def test_nothing_is_found_of_a_page_that_was_closed(page: WorkerPage) -> None:
    page.close()
    assert page.pop_traceback(0) is None


def test_the_trouble_of_a_log_is_seen_by_others(page: WorkerPage) -> None:
    assert page.log_error == 0
    as_child(page).record_log_error(28)
    assert page.log_error == 28
    assert (page.termination_notice, page.shutdown_request) == (False, False)
