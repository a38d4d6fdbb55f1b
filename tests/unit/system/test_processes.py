"""What is found below a process, and what is not looked for."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

from cloud_tasks.system.processes import descendants, tree_memory
from cloud_tasks.testing import eventually

pytestmark = pytest.mark.interpreter

ALONE = "print(flush=True); input()"
#: Its child was started by another thread, and has a session and a child of its own.
PARENT = """
import subprocess, sys, threading
child = "import subprocess; subprocess.run(['sleep', '60'])"
def start():
    subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
    print(flush=True)
    threading.Event().wait()
threading.Thread(target=start, daemon=True).start()
input()
"""


@contextmanager
def running(program: str) -> Iterator[int]:
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_nothing_is_below_a_process_that_has_started_none() -> None:
    with running(ALONE) as pid:
        assert descendants(pid) == []


def test_what_a_thread_has_started_in_another_session_is_below_and_what_that_has_started() -> None:
    with running(PARENT) as pid:
        (child,) = psutil.Process(pid).children()
        eventually(lambda: bool(child.children()), 30, what="a grandchild")
        found = {process.pid for process in descendants(pid)}
        assert found == {child.pid, child.children()[0].pid}
        psutil.Process(pid).kill()
        for number in found:
            psutil.Process(number).kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only there the kernel is asked first")
def test_without_children_no_other_process_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(pid: int) -> psutil.Process:
        raise AssertionError("all processes would be walked over")

    monkeypatch.setattr(psutil, "Process", walk)
    with running(ALONE) as pid:
        assert descendants(pid) == []


def test_nothing_is_below_a_process_that_is_gone() -> None:
    with running(ALONE) as pid:
        psutil.Process(pid).kill()
        psutil.Process(pid).wait()
    assert descendants(pid) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere all pages count")
def test_pages_of_a_mapped_file_do_not_count(tmp_path: Path) -> None:
    size = 64 * 2**20
    file = tmp_path / "large"
    file.write_bytes(b"x" * size)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as page:
        before = tree_memory(os.getpid())
        assert sum(page[::4096]) == ord("x") * size // 4096
        assert abs(tree_memory(os.getpid()) - before) < size // 2
    hoard = bytearray(size)
    hoard[::4096] = b"x" * len(hoard[::4096])
    assert tree_memory(os.getpid()) - before > size // 2
