"""Calls are tracked, and do what they did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import ModuleType

import pytest

from cloud_tasks.executors.child.restore import CallTracker

pytestmark = pytest.mark.interpreter


@pytest.fixture
def module() -> ModuleType:
    module = ModuleType("some")
    vars(module).update(double=lambda n: 2 * n, fails=lambda: 1 / 0, other=lambda: "other")
    return module


def test_a_call_is_noted_once_and_returns_what_it_did(module: ModuleType) -> None:
    tracker = CallTracker((module, "double"), (module, "fails"))
    assert not tracker.pop()
    assert module.double(n=4) == 8
    assert tracker.pop() == {-1}
    assert not tracker.pop()


def test_a_call_that_fails_is_noted_as_well_and_others_are_not(module: ModuleType) -> None:
    tracker = CallTracker((module, "fails"), (module, "missing here"))
    assert module.other() == "other"
    assert not tracker.pop()
    with pytest.raises(ZeroDivisionError):
        module.fails()
    assert tracker.pop() == {-1}


def test_numbers_of_calls_are_kept(module: ModuleType) -> None:
    tracker = CallTracker((module, "double"))
    assert [module.double(n) for n in (1, 2, 1)] == [2, 4, 2]
    assert tracker.pop() == {1, 2}


_PROGRAM = """
from cloud_tasks.executors.child.restore import ChangeTracker
changes = ChangeTracker()
import os, signal, pickle
from signal import signal as by_its_name
assert not changes.signals.pop() and not changes.environment.pop()
{change}
print(changes.any_in_kernel(), bool(changes.environment.pop()))
pickle.loads(pickle.dumps(signal.signal))
"""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("pass", "False False"),
        ("os.environ['A'] = 'b'", "False True"),
        ("os.environ.pop('HOME', None); os.environ.pop('PATH')", "False True"),
        ("os.environb.update({b'A': b'b'})", "False True"),
        ("os.putenv('A', 'b')", "False True"),
        ("by_its_name(signal.SIGUSR1, signal.SIG_IGN)", "True False"),
        ("signal.alarm(9)", "True False"),
        ("signal.setitimer(signal.ITIMER_REAL, 9)", "True False"),
        ("signal.setitimer(signal.ITIMER_PROF, 9)", "True False"),
        ("import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))", "True False"),
        ("os.chdir('/'); os.umask(0)", "True False"),
        ("os.nice(1)", "True False"),
        ("import locale; locale.setlocale(locale.LC_ALL, 'C')", "True False"),
        ("import faulthandler; faulthandler.dump_traceback_later(9)", "True False"),
        ("import sys; sys.addaudithook(lambda *a: None)", "True False"),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])", "True False"),
        ("import asyncio; l = asyncio.new_event_loop(); "
         "l.add_signal_handler(10, print); l.close()", "True False"),
    ],
)  # fmt: skip
def test_every_way_to_change_signals_and_environment_is_noted(change: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(change=change)],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": os.environ.get("PATH", "/bin")},
    )
    assert (done.stdout.strip(), done.stderr) == (told, "")
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
