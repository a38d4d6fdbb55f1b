"""What is found below a process, and what is not looked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

from cloud_tasks.system.processes import descendants
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
