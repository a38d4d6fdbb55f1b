"""A zygote's exit work runs in the order of Python; orphans below a subreaper are killed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cloud_tasks.executors.child.zygote import ExitWork

pytestmark = pytest.mark.interpreter

_ORPHANS = """
import json, os, subprocess, sys, time
from cloud_tasks.executors.child import zygote

zygote.become_subreaper()
kept = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
daemon = '''
import os, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
print(os.getpid(), flush=True); os.close(1); time.sleep(60)
'''
pid = int(subprocess.run([sys.executable, "-S", "-c", daemon], stdout=subprocess.PIPE).stdout)
found = zygote.children()
rounds = 0
while not zygote.kill_children({kept.pid}):
    rounds += 1
    time.sleep(0.01)
gone = not os.path.exists(f"/proc/{pid}")
alive = kept.poll() is None
kept.kill()
kept.wait()
print(json.dumps([found >= {kept.pid, pid}, gone, alive, rounds > 0]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_a_daemon_is_found_and_ended_and_what_is_to_stay_stays() -> None:
    ended = subprocess.run([sys.executable, "-c", _ORPHANS], capture_output=True, check=True)
    assert json.loads(ended.stdout) == [True, True, True, True]


def test_the_last_is_done_first_and_each_once() -> None:
    done: list[object] = []
    work = ExitWork()
    work.register(done.append, "first")
    work.register(done.append, "second")
    work.run()
    work.run()
    assert done == ["second", "first"]


def test_what_is_unregistered_is_not_done_however_often_it_was_registered() -> None:
    done: list[object] = []
    work = ExitWork()
    work.register(done.clear)
    work.register(print, "not me")
    work.register(print, "nor me")
    work.unregister(print)
    work.unregister(repr)
    done.append("kept")
    work.run()
    assert done == []


def test_an_exception_is_printed_and_the_rest_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[object] = []
    work = ExitWork()
    work.register(done.append, "the rest")
    work.register(int, "no number")
    work.run()
    assert done == ["the rest"]
    assert "invalid literal" in capsys.readouterr().err


def test_exit_work_may_register_more() -> None:
    done: list[object] = []
    work = ExitWork()
    work.register(work.register, done.append, "more")
    work.run()
    assert done == ["more"]


def test_only_what_can_be_called_can_be_registered() -> None:
    with pytest.raises(TypeError, match="callable"):
        ExitWork().register("a text")  # type: ignore[type-var]


_EXIT_WORK = """
import os, sys
from cloud_tasks.executors.child.zygote import ExitWork
work = ExitWork()
work.install()
import atexit

@atexit.register
def done():
    print("done", flush=True)

if sys.argv[1] == "anew":
    work.clear()
if sys.argv[1] == "cheaply":
    work.run()
    os._exit(0)
"""


@pytest.mark.parametrize(
    ("how", "said"), [("as usual", "done\n"), ("cheaply", "done\n"), ("anew", "")]
)
def test_it_takes_the_place_of_atexit(how: str, said: str) -> None:
    ended = subprocess.run([sys.executable, "-c", _EXIT_WORK, how], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, said, "")
