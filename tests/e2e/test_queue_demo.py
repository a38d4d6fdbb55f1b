"""``examples/queue_demo``, as a person runs it who has no account."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from e2e.examples import command, load
from e2e.program import environment

from cloud_tasks.system.processes import runs
from cloud_tasks.testing import eventually

queue_demo = load("queue_demo")
KNOWN_ANSWER, TASKS = queue_demo.KNOWN_ANSWER, queue_demo.TASKS

INSTALL = "pip install -r "
#: Seconds that the whole demo may take where much else runs; alone it takes a tenth of it.
WAIT = 240.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: The first worker goes on until it is ended, however slowly the test comes to that.
NO_NOTICE = "--notice-after=1000"


@pytest.fixture
def installed() -> None:
    if not all(importlib.util.find_spec(name) for name in queue_demo.NEEDED):
        if os.environ.get("CLOUD_TASKS_REQUIRE_EMULATORS") == "1":
            pytest.fail(f"packages are missing: {INSTALL}")
        pytest.skip(f"packages are missing: {INSTALL}")


@contextmanager
def started(folder: Path, *words: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command("queue_demo", *words),
        cwd=folder,
        env={**environment(), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(folder: Path, *words: str, **variables: str) -> tuple[int, str, str]:
    with started(folder, *words, **variables) as process:
        out, err = process.communicate(timeout=WAIT)
        return process.returncode, out, err


def prepared(folder: Path, program: str) -> dict[str, str]:
    """Return variables by which each Python of a demo runs *program* first."""
    home = folder / "prepared"
    home.mkdir()
    (home / "sitecustomize.py").write_text(f"import sys\n{program}")
    return {"PYTHONPATH": os.pathsep.join([str(home), environment()["PYTHONPATH"]])}


def until(process: subprocess.Popen[str], words: str) -> None:
    """Read what *process* says until it says *words*."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return
    raise AssertionError(f"it never said {words!r}: {said}")


def descendants(process: subprocess.Popen[str]) -> dict[psutil.Process, str]:
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):
            found[child] = " ".join(child.cmdline())
    return found


def with_running_tasks(process: subprocess.Popen[str]) -> dict[psutil.Process, str]:
    """Wait until a worker has processes for tasks; return all that *process* has started."""
    until(process, "first worker")
    eventually(
        lambda: any("executors.child" in words for words in descendants(process).values()),
        WAIT,
        what="a process for tasks",
    )
    return descendants(process)


def parent_of(process: psutil.Process) -> int | None:
    with suppress(psutil.NoSuchProcess):
        return process.ppid()
    return None


def gone(processes: dict[psutil.Process, str]) -> bool:
    return not any(process.is_running() and runs(process.pid) for process in processes)


@pytest.mark.usefixtures("installed")
def test_the_answer_is_right_whatever_the_user_has_set_for_real_work(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "folder"
    (home / ".aws").mkdir(parents=True)
    folder.mkdir()
    # Whoever looks there at all falls over it.
    (home / ".aws" / "config").write_text("[profile that is never closed\n")
    (folder / "moto.py").write_text("raise RuntimeError('not this one')\n")
    code, out, err = run(
        folder,
        HOME=str(home),
        AWS_PROFILE="work",
        AWS_ENDPOINT_URL="http://127.0.0.1:1",
        HTTP_PROXY="http://127.0.0.1:1",
        http_proxy="http://127.0.0.1:1",
        RMS_CLOUD_TASKS_TASK_FILE="gone.json",
        RMS_CLOUD_TASKS_MAX_NUM_TASKS="1",
    )
    assert code == 0, err
    assert f"{TASKS} of {TASKS} tasks done" in out
    assert f"{KNOWN_ANSWER:,} (the known value)" in out
    assert [path.name for path in folder.iterdir()] == ["moto.py"]
    done = [int(number) for number in re.findall(r"(\d+) tasks? done", err)]
    assert "spot notice: " in err
    assert "exit code 75" in err
    assert sum(done) >= TASKS
    assert "Traceback" not in err


@pytest.mark.usefixtures("installed")
def test_programs_are_told_the_same(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "--json")
    assert code == 0, err
    told: dict[str, Any] = json.loads(out)
    assert told["primes"] == told["known"] == KNOWN_ANSWER
    assert told["done"] == told["tasks"] == TASKS
    first, second = told["workers"]
    assert (first["exit_code"], second["exit_code"]) == (75, 0)
    assert first["done"] + second["done"] == TASKS
    assert first["handed_back"] + first["done"] >= TASKS
    assert second["handed_back"] == 0
    assert told["events"]["spot_termination"] == 1


@pytest.mark.parametrize("missing", [["moto"], ["boto3", "flask"]])
def test_a_missing_package_is_told_in_one_line(tmp_path: Path, missing: list[str]) -> None:
    hider = (
        "class Hider:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {missing}:\n"
        "            raise ModuleNotFoundError(f'no {name} here', name=name)\n"
        "sys.meta_path.insert(0, Hider())\n"
    )
    code, out, err = run(tmp_path, **prepared(tmp_path, hider))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert ", ".join(missing) in err
    assert INSTALL in err


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("moment", ["it listens on", "first worker"])
def test_ctrl_c_ends_everything(tmp_path: Path, moment: str) -> None:
    with started(tmp_path, NO_NOTICE) as process:
        until(process, moment)
        processes = descendants(process)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=WAIT)
    assert process.returncode == 130
    assert "stopped: no process of the demo is left" in err
    assert "Traceback" not in err
    eventually(lambda: gone(processes), WAIT, what="its processes are gone")


#: Python calls back when it lets go of an import's lock, and drops what is raised in there. The
#: example looks for moto before it starts anything.
CTRL_C_IN_AN_IMPORT = """
import signal, weakref
class Lock:
    pass
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "moto" and any("queue_demo" in word for word in sys.orig_argv):
            lock = Lock()
            sys.callback = weakref.ref(lock, lambda ref: signal.raise_signal(signal.SIGINT))
            del lock
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.usefixtures("installed")
def test_ctrl_c_is_heard_while_python_imports(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, **prepared(tmp_path, CTRL_C_IN_AN_IMPORT))
    assert code == 130
    assert "stopped: no process of the demo is left" in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("installed")
def test_sigterm_ends_running_tasks_too(tmp_path: Path) -> None:
    with started(tmp_path, NO_NOTICE) as process:
        processes = with_running_tasks(process)
        process.terminate()
        _, err = process.communicate(timeout=WAIT)
    assert process.returncode == 143
    assert "Traceback" not in err
    eventually(lambda: gone(processes), WAIT, what="its processes are gone")


@pytest.mark.usefixtures("installed")
def test_a_killed_demo_takes_its_processes_with_it(tmp_path: Path) -> None:
    with started(tmp_path, NO_NOTICE) as process:
        processes = with_running_tasks(process)
        assert len(processes) >= 3  # the stand-in, a worker, a child of it
        process.kill()
        process.wait()
        eventually(lambda: gone(processes), WAIT, what="its processes are gone")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("role", "sentence"),
    [
        ("moto.server", "the stand-in for SQS ended with exit code -9"),
        ("cloud_tasks worker", "the first worker ended with exit code -9"),
    ],
)
def test_the_death_of_a_part_is_told_and_ends_the_rest(
    tmp_path: Path, role: str, sentence: str
) -> None:
    with started(tmp_path, NO_NOTICE) as process:
        processes = with_running_tasks(process)
        named = [p for p, words in processes.items() if "runpy" in words and role in words]
        # What a worker has just forked bears its name until it is something of its own.
        (victim,) = [p for p in named if parent_of(p) == process.pid]
        victim.kill()
        _, err = process.communicate(timeout=WAIT)
    assert process.returncode == 4
    assert sentence in err
    assert "Traceback" not in err
    eventually(lambda: gone(processes), WAIT, what="its processes are gone")


def test_a_flag_of_a_worker_is_refused(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "--task-file", "tasks.json")
    assert code == 2
    assert "queue_demo.py" in err


def told(folder: Path, *events: dict[str, Any]) -> Any:
    file = folder / "events.log"
    file.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return queue_demo.Account(file)


def completed(
    number: int, event_id: str, *, retry: bool = False, result: int = 1
) -> dict[str, Any]:
    return {
        "event_type": "task_completed",
        "task_id": f"t{number}",
        "event_id": event_id,
        "retry": retry,
        "result": result,
    }


def test_a_task_that_was_done_twice_counts_once(tmp_path: Path) -> None:
    account = told(tmp_path, completed(1, "a"), completed(1, "b"), completed(2, "c"))
    assert (account.total, account.repeats) == (2, 1)


def test_an_event_that_comes_twice_is_no_task_done_twice(tmp_path: Path) -> None:
    account = told(tmp_path, completed(1, "a"), completed(1, "a"))
    assert (account.total, account.repeats) == (1, 0)


def test_a_task_that_asked_for_another_try_is_not_done(tmp_path: Path) -> None:
    assert told(tmp_path, completed(1, "a", retry=True)).total == 0


def test_the_right_sum_of_too_few_tasks_is_wrong(tmp_path: Path) -> None:
    assert not told(tmp_path, completed(1, "a", result=KNOWN_ANSWER)).is_right


def test_the_command_says_where_the_example_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cloud_tasks", "demo", "--queue"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "python examples/queue_demo/queue_demo.py" in done.stderr
