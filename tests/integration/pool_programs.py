"""Programs that use a pool, run as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

#: What most of them begin with.
PRELUDE = """
import os, signal, subprocess, sys, time
from pathlib import Path
from cloud_tasks.errors import CloudTasksError
from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.executors.function import specify
from cloud_tasks.registry import load
from cloud_tasks.task import Task
from cloud_tasks.worker_data import WorkerData

def start(function, **options):
    executor = load("executor", sys.argv[1])()
    executor.start(specify(function), WorkerData(), ExecutorOptions(**options))
    return executor
"""


def launch(folder: Path, source: str, *arguments: str, **popen: object) -> subprocess.Popen[str]:
    """Start the script *source*; its output is piped unless *popen* says else."""
    script = folder / "program.py"
    script.write_text(PRELUDE + source)
    keywords = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, str(script), *arguments],
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        **keywords,
    )


def run(folder: Path, source: str, *arguments: str, timeout: float = 50) -> str:
    """Run the script to its end and return what it printed; a failure shows its stderr."""
    with launch(folder, source, *arguments) as program:
        out, err = program.communicate(timeout=timeout)
    assert program.returncode == 0, err
    return out + err
