"""Programs that inherited ignored or blocked signals from what started them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from e2e.program import Program
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

pytestmark = pytest.mark.timeout(240)

_SCRIPT = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    if data["do"] == "crash":
        os._exit(7)
    if data["do"] == "abort":
        import resource
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), signal.SIGABRT)
        time.sleep(30)
    if data["do"] == "subprocess":
        code = "import sys; sys.exit(3)"
        ended = subprocess.run([sys.executable, "-S", "-c", code]).returncode
        killed = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
        killed.terminate()
        return False, [ended, killed.wait()]
    Path("started").touch()
    deadline = time.monotonic() + 30
    while not worker_data.received_shutdown_request and time.monotonic() < deadline:
        time.sleep(0.005)
    return False, "stopped"

def state():
    numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return [sorted(map(int, blocked)), {int(n): str(signal.getsignal(n)) for n in numbers}]

if __name__ == "__main__":
    before = state()
    try:
        Worker(process_task, args=sys.argv[1:]).main()
    finally:
        Path("states").write_text(json.dumps([before, state()]))
"""

_IGNORE = "import signal; signal.signal(signal.{}, signal.SIG_IGN)"
_BLOCK = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {})"
_ALL = "signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}"
#: Python that runs in the process before the program does.
STATES = {
    "all ignored": f"import signal; [signal.signal(n, signal.SIG_IGN) for n in {_ALL} if n < 32]",
    "all blocked": _BLOCK.format(_ALL),
    "all ignored and blocked": "import signal; "
    f"[signal.signal(n, signal.SIG_IGN) for n in {_ALL} if n < 32]; "
    f"signal.pthread_sigmask(signal.SIG_BLOCK, {_ALL})",
    **{
        f"{name} ignored": _IGNORE.format(name)
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD", "SIGUSR1", "SIGALRM", "SIGQUIT")
    },
    **{
        f"{name} blocked": _BLOCK.format(f"[signal.{name}]")
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD", "SIGPIPE", "SIGUSR1", "SIGALRM")
    },
}
#: The others are parts of these.
_IN_GATE = ("all ignored", "all blocked")
_CASES = [
    pytest.param(state, executor, marks=[] if state in _IN_GATE else [pytest.mark.slow])
    for state in STATES
    for executor in ("inline", "loky", "spawn", "forkserver")
]


@pytest.mark.parametrize(("state", "executor"), _CASES)
def test_a_program_works_whatever_signals_it_inherited(
    tmp_path: Path, state: str, executor: str
) -> None:
    program = Program(tmp_path, _SCRIPT)
    crashes = [] if executor == "inline" else [{"do": "crash"}, {"do": "abort"}]
    program.tasks(*crashes, {"do": "subprocess"}, {"do": "hold"}, {"do": "never begun"})
    program.start("--executor", executor, prepare=STATES[state])
    program.until("started")
    program.signal(signal.SIGTERM)
    code, said = program.end()
    assert code == 143, said
    assert "Traceback" not in said
    events = [event.get("exit_code", event.get("result")) for event in program.events()]
    expected = [7, -signal.SIGABRT] if crashes else []
    assert events == [*expected, [3, -signal.SIGTERM], "stopped"], said
    before, after = json.loads((tmp_path / "states").read_text())
    assert before == after


@pytest.mark.parametrize("executor", ["loky", "spawn", "forkserver"])
def test_a_program_that_dies_of_broken_pipes_outlives_a_dead_child(
    tmp_path: Path, executor: str
) -> None:
    script = _SCRIPT.replace(
        "    before = state()",
        "    signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n    before = state()",
    )
    program = Program(tmp_path, script)
    program.tasks(*[{"do": "crash"}] * 3, {"do": "subprocess"})
    code, said = program.run("--executor", executor)
    assert code == 1, said
    assert len(program.events()) == 4
    before, after = json.loads((tmp_path / "states").read_text())
    assert before == after
