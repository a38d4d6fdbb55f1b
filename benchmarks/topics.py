"""List the topics: contests, and programs with their own arguments."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Sequence
from typing import Protocol

from benchmarks.checkout import environment, interpreter
from benchmarks.contest import Contest


class Topic(Protocol):
    """A module with contests."""

    #: Default number of rounds.
    ROUNDS: int

    def contests(self, quick: bool) -> Sequence[Contest]:
        """Return the contests to run; *quick* uses a fraction of the tasks."""


#: Modules with contests by name, in the order of the help.
CONTESTS = {
    "noop": "no-op tasks in processes that are reused",
    "fresh": "a fresh process for each no-op task",
    "sleep": "100 tasks that sleep for 0.1 s: the share of the ideal time",
    "lateness": "delay until a time limit or a crash is detected",
    "reading": "task files in JSON and YAML through `cloud_tasks check`",
    "start": "import, first event after the start, last event to the exit",
    "memory": "memory of the parent and of a child",
    "slots": "2, 64 and 256 slots: rate, threads, descriptors, boot",
    "idle": "CPU of the parent while every slot is busy",
    "growth": "CPU per task by the number of tasks, the size of results, and slots",
    "log_records": "log records of tasks through the worker's handlers",
    "task_logs": "cost of --task-logs",
}
#: Modules with a ``main`` that reads its own arguments.
PROGRAMS = {
    "guard": "CPU per no-op task against the floor of the same run, for CI; fails if it grew",
    "task_files": "readers of task files, by each of their steps",
    "flags_seen": "delay until a running task sees its flag",
    "progress": "cost of drawing the progress",
    "queue_ends": "tasks of a queue when a worker ends: handed back, or run twice",
    "queue_requests": "requests to the queue per task",
    "random_kills": "1,000 random kills of all but the worker among 2,000 tasks",
    "report_million": "the report of a million events",
    "resume_kills": "100 random kills of a worker that resumes",
    "resume_million": "resuming after a million finished tasks",
    "shortages": "a full process table, and kills at boot, in the middle of a run",
    "stop_signals": "SIGTERM to all processes of a worker at a random moment",
    "task_log_search": "finding the output of one task",
    "worker_killed": "kill -9 of the worker: seconds until all processes are gone",
}


def load(name: str) -> Topic:
    """Return the module of a topic with contests."""
    module: Topic = importlib.import_module(f"benchmarks.{name}")
    return module


def run_program(name: str, arguments: Sequence[str]) -> int:
    """Run the program of a topic with *arguments*; return its exit status."""
    command = [str(interpreter()), "-m", f"benchmarks.{name}", *arguments]
    return subprocess.run(command, env=environment(), check=False).returncode
