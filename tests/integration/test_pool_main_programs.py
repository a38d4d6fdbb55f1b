"""Functions of a main program, in whichever way that is started; see ``executors.main_program``."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from integration import pool_programs

EXECUTORS = ["loky", "spawn", "forkserver"]

_LOCK = "import threading\nLOCK = threading.Lock()  # can't be sent\n"
_PROGRAM = """
class Point:
    def __init__(self, x): self.x = x

def helper(x):
    return x * x

def process(task_id, data, worker_data):
    if "LOCK" in globals():
        LOCK.acquire(False)
    return False, [helper(data["point"].x), isinstance(data["point"], Point), Point.__module__]
"""
_END = """
    for name in ("loky", "spawn", "forkserver"):
        executor = load("executor", name)()
        try:
            executor.start(specify(process), WorkerData(), ExecutorOptions(slots=1))
        except CloudTasksError as error:
            print("refused:", error)
            continue
        print(name, executor.submit(Task("t", {"point": Point(3)})).result(30).result)
        executor.shutdown()
"""
_GUARD = 'if __name__ == "__main__":'
#: A program with a guard, and with a global that can't be sent: it has to be loaded.
_LOADED = pool_programs.PRELUDE + _LOCK + _PROGRAM + _GUARD + _END
#: One that can't be loaded.
_SENT = pool_programs.PRELUDE + _PROGRAM + "if True:" + _END
_RESULTS = [f"{name} [9, True, '__main__']" for name in EXECUTORS]
_RUN_PATH = (
    "import runpy\nif __name__ == '__main__':\n    runpy.run_path('it.py', {}, '__main__')\n"
)


def _run(folder: Path, *arguments: str, stdin: str = "") -> list[str]:
    """Run Python with *arguments*, and return the lines that the program printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.interpreter
@pytest.mark.parametrize(
    "command",
    [
        "it.py", "it", "-m it", "-m package", "-m package.module", "folder", "it.zip",
        "by_runpy.py",
        "-m cProfile -o out it.py", "-m cProfile -o out -m it", "-m pdb -c continue -c quit it.py",
        "-m trace --count -C counts it.py",
    ],
)  # fmt: skip
def test_a_main_program_that_can_be_loaded_is(tmp_path: Path, command: str) -> None:
    for name in ("it.py", "it", "package/__main__.py", "package/module.py", "folder/__main__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(_LOADED)
    (tmp_path / "package/__init__.py").touch()
    (tmp_path / "by_runpy.py").write_text(_RUN_PATH)
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        archive.writestr("__main__.py", _LOADED)
    lines = _run(tmp_path, *command.split())
    assert [line for line in lines if line in _RESULTS] == _RESULTS, lines


@pytest.mark.parametrize("command", ["-", "-c", "it", "-m package", "folder", "it.zip"])
def test_one_that_can_not_is_sent_by_value(tmp_path: Path, command: str) -> None:
    for name in ("it", "package/__main__.py", "folder/__main__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(_SENT)
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        archive.writestr("__main__.py", _SENT)
    words = ["-c", _SENT] if command == "-c" else command.split()
    assert _run(tmp_path, *words, stdin=_SENT) == _RESULTS


_PROCESS = "def process(i, d, w): return THING"
_BLAMED = [
    (_PROCESS, "process", "the global 'THING', which process uses"),
    (
        "def deep(): return [THING for _ in '1']\ndef process(i, d, w): return deep()",
        "process",
        "the global 'THING', which deep uses",
    ),
    (
        "def make():\n    mine = THING\n    return lambda i, d, w: mine",
        "make()",
        "the variable 'mine', which <lambda> uses",
    ),
    (
        "import functools\ndef process(i, d, w, lock): return 1",
        "functools.partial(process, lock=THING)",
        "its argument 'lock'",
    ),
    (
        "class P:\n    def __init__(self, t): self.lock = t\n    def __call__(self, i, d, w): pass",
        "P(THING)",
        "the attribute 'lock' of a P",
    ),
]


@pytest.mark.parametrize(("source", "function", "words"), _BLAMED)
def test_what_can_not_be_sent_is_named(
    tmp_path: Path, source: str, function: str, words: str
) -> None:
    _check_blame(tmp_path, "threading.Lock()", source, function, words)


@pytest.mark.parametrize("thing", ["open(os.devnull, 'wb')", "(n for n in 'abc')"])
def test_whatever_can_not_be_sent_is_named(tmp_path: Path, thing: str) -> None:
    _check_blame(tmp_path, thing, _PROCESS, "process", "the global 'THING', which process uses")


def _check_blame(folder: Path, thing: str, source: str, function: str, words: str) -> None:
    end = _END.replace("specify(process)", f"specify({function})")
    first = f"import threading\nTHING = {thing}\n"
    text = f"{pool_programs.PRELUDE}{first}{source}\nif True:{end}"
    printed = _run(folder, "-", stdin=text)
    assert [line.partition(":")[0] for line in printed] == ["refused"] * 3
    assert all(words in line and "cannot pickle" in line for line in printed), printed


_UNDER_GUARD = """
if __name__ == "__main__":
    def process(task_id, data, worker_data):
        return False, None

    executor = start(process, on_broken=lambda error: print("broken:", error, flush=True))
    executor.submit(Task("t", {})).result(30)
    executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_function_under_the_guard_gets_one_clear_error(tmp_path: Path, executor: str) -> None:
    printed = pool_programs.run(tmp_path, _UNDER_GUARD, executor)
    assert printed.count("broken:") == 1
    assert "not under `if __name__" in printed
    assert "process" in printed


_RAISING = """
class Trouble(Exception): pass

def process(task_id, data, worker_data):
    raise Trouble("here")  # the line

if __name__ == "__main__":
    executor = start(process if sys.argv[2] == "loaded" else lambda *given: process(*given))
    print(executor.submit(Task("t", {})).result(30).traceback)
    executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("how", ["loaded", "by value"])
def test_a_traceback_names_files_and_lines(tmp_path: Path, executor: str, how: str) -> None:
    printed = pool_programs.run(tmp_path, _RAISING, executor, how)
    text = (tmp_path / "program.py").read_text()
    line = text[: text.index("# the line")].count("\n") + 1
    assert f'program.py", line {line}, in process' in printed
    assert 'raise Trouble("here")  # the line' in printed
    assert printed.strip().splitlines()[-1] == "Trouble: here"


_TYPED = """
source = "def process(task_id, data, worker_data):\\n    raise KeyError('here')\\n"
exec(compile(source, sys.argv[2], "exec"))
executor = start(process)
print(executor.submit(Task("t", {})).result(30).traceback)
executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_code_that_is_sent_keeps_the_name_of_its_file(tmp_path: Path, executor: str) -> None:
    (tmp_path / "myjob").write_text("def process(task_id, data, worker_data):\n    # shown\n")
    for name in ("<cell 3>", str(tmp_path / "myjob")):
        printed = _run(tmp_path, "-", executor, name, stdin=pool_programs.PRELUDE + _TYPED)
        assert f'File "{name}", line 2, in process' in "\n".join(printed)
        assert ("# shown" in "\n".join(printed)) == name.endswith("myjob")


_NESTED = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

class Point:
    def __init__(self, x): self.x = x
    def area(self): return self.x ** 2

def helper(x):
    return Point(x).area()

def process(task_id, data, worker_data):
    context = multiprocessing.get_context(task_id)
    with context.Pool(1) as pool, ProcessPoolExecutor(1, mp_context=context) as futures:
        found = [*pool.map(helper, [1, 2]), futures.submit(Point(3).area).result()]
        return False, [*found, pool.apply(Point, (4,)).x]

if __name__ == "__main__":
    executor = start(process, slots=1)
    for method in ("fork", "spawn", "forkserver"):
        print(executor.submit(Task(method, {})).result(40).result)
    executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_pools_in_a_task_find_helpers_of_the_main_program(tmp_path: Path, executor: str) -> None:
    printed = pool_programs.run(tmp_path, _NESTED, executor)
    assert printed.splitlines() == ["[1, 4, 9, 4]"] * 3


_JOBLIB = """
def helper(x):
    return x * x

def process(task_id, data, worker_data):
    import joblib
    return False, joblib.Parallel(n_jobs=2)(joblib.delayed(helper)(x) for x in range(4))

if __name__ == "__main__":
    executor = start(process, slots=1)
    print(executor.submit(Task("t", {})).result(50).result)
    executor.shutdown()
"""


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_joblib_in_a_task_finds_helpers_of_the_main_program(tmp_path: Path, executor: str) -> None:
    pytest.importorskip("joblib")
    assert pool_programs.run(tmp_path, _JOBLIB, executor).split("\n")[0] == "[0, 1, 4, 9]"
