"""The command, as a person types it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.command import run_command

#: Some run several commands, one after the other.
pytestmark = pytest.mark.timeout(300)

COMMAND = [sys.executable, "-m", "cloud_tasks"]


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, as for all that import a module of the test."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run_here(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process."""
    return run_command(*arguments, cwd=cwd, env={**os.environ, **environment})


@pytest.fixture
def module(tmp_path: Path) -> Path:
    file = tmp_path / "work.py"
    file.write_text(
        "def double(task_id, task_data, worker_data):\n"
        "    return False, 2 * task_data['n']\n"
        "def fail(task_id, task_data, worker_data):\n"
        "    raise ValueError(f'no luck with {task_id}')\n"
    )
    tasks = [{"task_id": f"t{n}", "data": {"n": n}} for n in range(3)]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    return file


def results(log: Path) -> dict[str, object]:
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return {event["task_id"]: event.get("result") for event in events if "task_id" in event}


def test_the_demo_finds_the_known_answer_and_leaves_nothing(tmp_path: Path) -> None:
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "5,761,455 (the known value)" in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_demo_tells_a_program_the_same(tmp_path: Path) -> None:
    done = run("demo", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert told["primes"] == told["known"] == 5_761_455
    assert told["completed"] == 1_000


def test_the_demo_keeps_its_events_where_it_is_told(tmp_path: Path) -> None:
    run("demo", "--max-num-tasks", "3", "--event-log-file", "kept.log", cwd=tmp_path)
    assert len(results(tmp_path / "kept.log")) == 3


@pytest.mark.interpreter
def test_a_function_of_a_module_runs_without_a_program(tmp_path: Path, module: Path) -> None:
    done = run("worker", "work:double", "--task-file", "tasks.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "events.log") == {"t0": 0, "t1": 2, "t2": 4}


def test_a_function_of_a_file_runs_from_anywhere(tmp_path: Path, module: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run("worker", f"{module}:double", "--tasks", "../tasks.json", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert results(elsewhere / "events.log") == {"t0": 0, "t1": 2, "t2": 4}


def test_failed_tasks_are_told_one_line_each_and_give_exit_code_1(
    tmp_path: Path, module: Path
) -> None:
    done = run("worker", "work:fail", "--task-file", "tasks.json", cwd=tmp_path)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "no luck with t1" in line]
    assert len(lines) == 1
    assert "3  ValueError: no luck with t#" in done.stderr
    assert done.stdout == ""
    assert (
        run(
            "worker", "work:fail", "--task-file", "tasks.json", "--exit-zero", cwd=tmp_path
        ).returncode
        == 0
    )


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("work:triple", "the module 'work' has no 'triple'"),
        ("play:double", "there is no module 'play'"),
        ("gone.py:double", "there is no file 'gone.py'"),
        ("double", "not of the form MODULE:FUNCTION"),
    ],
)
def test_a_function_that_is_not_there_is_told_in_one_line(
    tmp_path: Path, module: Path, target: str, complaint: str
) -> None:
    done = run("worker", target, "--task-file", "tasks.json", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert complaint in done.stderr


def test_a_missing_task_file_is_told_with_exit_code_4(tmp_path: Path, module: Path) -> None:
    done = run("worker", "work:double", "--task-file", "gone.json", cwd=tmp_path)
    assert done.returncode == 4
    assert "gone.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_say_where_each_value_came_from(tmp_path: Path) -> None:
    done = run_here(
        "settings", "--max-runtime", "5", "--json", cwd=tmp_path, RMS_CLOUD_TASKS_JOB_ID="moon"
    )
    told = {row["name"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)}
    assert told["max_runtime"] == (5.0, "command line")
    assert told["job_id"] == ("moon", "environment")
    assert told["executor"] == ("loky", "default")


def test_settings_are_plain_columns_in_a_pipe(tmp_path: Path) -> None:
    lines = run_here("settings", cwd=tmp_path).stdout.splitlines()
    assert lines[0].split() == ["setting", "value", "from", "flag", "variable"]
    assert all(line == line.rstrip() for line in lines)


def test_settings_fit_a_terminal(tmp_path: Path) -> None:
    main, second = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "settings"], stdout=second, cwd=tmp_path, env={**os.environ, "COLUMNS": "100"}
    ) as process:
        os.close(second)
        shown = b""
        while part := _read(main):
            shown += part
    os.close(main)
    assert process.returncode == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()
    assert any("max_runtime" in line for line in lines)
    assert max(len(line) for line in lines) <= 100


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other end of a terminal has closed
        return b""


def test_a_good_task_file_passes_the_check(tmp_path: Path, module: Path) -> None:
    done = run_here("check", "tasks.json", cwd=tmp_path)
    assert done.returncode == 0
    assert "3 tasks" in done.stdout


def test_the_check_names_bad_entries_by_position(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"task_id": "a", "data": {}}\nnonsense\n{"data": {}}\n')
    done = run_here("check", "bad.jsonl", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert (told["tasks"], told["bad_entries"]) == (1, 2)
    assert "line 2" in told["problems"][0]["position"]


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_the_check_shows_no_secret_of_an_address(tmp_path: Path, flags: tuple[str, ...]) -> None:
    address = "http://joe:open-sesame@127.0.0.1:1/tasks.json?X-Amz-Signature=0a1b2c3d"
    done = run_here("check", address, *flags, cwd=tmp_path)
    assert done.returncode == 1
    assert "http://***@127.0.0.1:1/tasks.json" in done.stdout
    assert "open-sesame" not in done.stdout + done.stderr
    assert "0a1b2c3d" not in done.stdout + done.stderr


def test_the_check_says_where_a_file_is_cut(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('[{"task_id": "a", "data": {}}, {"task_')
    done = run_here("check", "cut.json", cwd=tmp_path)
    assert done.returncode == 1
    assert "1 task," in done.stdout
    assert "line 1" in done.stdout


@pytest.mark.interpreter
def test_a_wrong_command_is_a_usage_error(tmp_path: Path) -> None:
    done = run_here("fly", cwd=tmp_path)
    assert done.returncode == 2
    assert "demo" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.interpreter
def test_every_command_of_the_help_has_a_help_of_its_own(tmp_path: Path) -> None:
    from cloud_tasks.cli import COMMANDS

    overview = run_here("--help", cwd=tmp_path).stdout
    for name in COMMANDS:
        assert name in overview
        done = run_here(name, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert f"cloud_tasks {name}" in done.stdout


@pytest.mark.interpreter
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "settings", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_the_peer_of_the_same_package_name_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "rms_cloud_tasks-0.5.0.dist-info").mkdir()
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run("settings", cwd=tmp_path, PYTHONPATH=path)
    assert "rms-cloud-tasks is installed in the same environment" in done.stderr
    assert done.returncode == 0


@pytest.mark.interpreter
def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from cloud_tasks.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(sorted(set(sys.modules) & set(sys.argv[1:])), file=sys.stderr)\n"
    )
    heavy = ["loky", "psutil", "yaml", "filecache", "rich", "boto3", "google", "multiprocessing"]
    done = subprocess.run(
        [sys.executable, "-c", program, *heavy], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes descriptors")
def test_a_closed_standard_output_is_no_reason_to_fail(tmp_path: Path) -> None:
    event = {"event_type": "task_exited", "task_id": "a", "retry": False, "exit_code": 3}
    (tmp_path / "events.log").write_text(json.dumps(event) + "\n")
    script = '"$@" >&-'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *COMMAND, "failures", "events.log"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


#: Sends SIGINT to its own process when the module named by MODULE is about to be imported.
_INTERRUPTED = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ.get("MODULE"):
            del os.environ["MODULE"]
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    "module",
    [
        "cloud_tasks.cli",
        "argparse",
        "cloud_tasks.cli.worker",
        "cloud_tasks.worker.build",
        "cloud_tasks.executors.loky",
    ],
)
@pytest.mark.parametrize(
    "entry",
    [
        ["-m", "cloud_tasks"],
        ["-c", "import sys; from cloud_tasks.__main__ import main; sys.exit(main())"],
    ],
)
def test_an_interrupt_amid_the_first_imports_prints_no_traceback(
    tmp_path: Path, entry: list[str], module: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_INTERRUPTED)
    (tmp_path / "job.py").write_text("def f(task_id, data, worker_data):\n    return False, None\n")
    (tmp_path / "tasks.json").write_text('[{"task_id": "a", "data": {}}]')
    path = os.pathsep.join([str(tmp_path), *(path for path in sys.path if path)])
    done = subprocess.run(
        [sys.executable, *entry, "worker", "job:f", "--task-file", "tasks.json"],
        env={**os.environ, "PYTHONPATH": path, "MODULE": module},
        cwd=tmp_path, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "")
    assert not (tmp_path / "events.log").exists()


@pytest.mark.parametrize("name", ["select", "random", "json", "cloud_tasks"])
def test_a_file_with_the_name_of_another_module_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(
        "def f(task_id, data, worker_data):\n    return False, 1\n"
    )
    (tmp_path / "tasks.json").write_text('[{"task_id": "a", "data": {}}]')
    # As the console script: the current folder is not on the path.
    script = "from cloud_tasks.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = filter(None, sys.path); {script}",
         "worker", f"{name}:f", "--task-file", "tasks.json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=50,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert f"{name}.py has the name of" in done.stderr
    assert "rename it" in done.stderr
    assert done.stderr.count("\n") == 1
