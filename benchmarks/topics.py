"""What can be measured: by contest, or by a program with arguments of its own."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Sequence
from typing import Protocol

from benchmarks.checkout import environment, interpreter
from benchmarks.contest import Contest


class Topic(Protocol):
    """A module with contests."""

    #: How many, by default.
    ROUNDS: int

    def contests(self, quick: bool) -> Sequence[Contest]:
        """Return what is to be measured; *quick*: with a fraction of the tasks."""


#: By name, in the order of the help: modules with contests.
CONTESTS = {
    "noop": "no-op tasks in processes that are reused",
    "fresh": "a fresh process for each no-op task",
    "sleep": "100 tasks that sleep for 0.1 s: the share of the ideal time",
    "lateness": "how late a time limit and a crash are known",
    "reading": "task files in JSON and YAML through `cloud_tasks check`",
    "start": "import, first event after the start, last event to the exit",
    "memory": "memory of the parent and of a child",
    "slots": "2, 64 and 256 slots: rate, threads, descriptors, boot",
    "idle": "CPU of the parent while every slot is busy",
    "growth": "CPU a task by the number of tasks, the size of results, and slots",
    "log_records": "log records of tasks through the worker's handlers",
    "task_logs": "what --task-logs costs",
}
#: Modules with a ``main`` that reads its own arguments.
PROGRAMS = {
    "guard": "CPU a no-op task against the floor of the same run, for CI; fails when it grew",
    "task_files": "readers of task files, by each of their steps",
    "flags_seen": "how long until a running task sees its flag",
    "progress": "what drawing the progress costs",
    "queue_ends": "what becomes of a queue's tasks when a worker ends",
    "queue_requests": "requests to the queue for a task",
    "random_kills": "200 random kills among 2,000 tasks",
    "report_million": "the report of a million events",
    "resume_kills": "100 random kills of a worker that goes on",
    "resume_million": "going on after a million finished tasks",
    "task_log_search": "finding what one task printed",
    "worker_killed": "kill -9 of the worker: seconds until all is gone",
}


def load(name: str) -> Topic:
    """Return the module of a topic with contests."""
    module: Topic = importlib.import_module(f"benchmarks.{name}")
    return module


def run_program(name: str, arguments: Sequence[str]) -> int:
    """Run the program of a topic with *arguments*; returns its exit status."""
    command = [str(interpreter()), "-m", f"benchmarks.{name}", *arguments]
    return subprocess.run(command, env=environment(), check=False).returncode
