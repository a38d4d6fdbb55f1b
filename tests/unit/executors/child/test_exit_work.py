"""Exit work is done in the order of Python, by whoever registered it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cloud_tasks.executors.child.zygote import ExitWork

pytestmark = pytest.mark.interpreter


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


_PROGRAM = """
import os, sys
from cloud_tasks.executors.child.zygote import ExitWork
work = ExitWork()
work.take_over()
import atexit

@atexit.register
def done():
    print("done", flush=True)

if sys.argv[1] == "anew":
    work.begin_anew()
if sys.argv[1] == "cheaply":
    work.run()
    os._exit(0)
"""


@pytest.mark.parametrize(
    ("how", "said"), [("as usual", "done\n"), ("cheaply", "done\n"), ("anew", "")]
)
def test_it_takes_the_place_of_atexit(how: str, said: str) -> None:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, said, "")
