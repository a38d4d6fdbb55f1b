"""Run the floors: the least work that any worker must do, without guarantees."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import selectors
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from benchmarks.usage import timed

Serve = Callable[[Connection, Callable[..., Any]], None]


def pipes(*, tasks: int, slots: int = 2, warm: int = 200) -> dict[str, float]:
    """Run no-op tasks over pipes: one task in flight per child, one flushed line per task."""
    return _floor(_serve, "benchmarks.light:nothing", tasks, slots, warm)


def zygote(*, function: str, tasks: int, slots: int = 2, warm: int = 20) -> dict[str, float]:
    """Fork a process for each task, from one process per slot that has imported the module."""
    return _floor(_fork_for_each, function, tasks, slots, warm)


def _floor(serve: Serve, function: str, tasks: int, slots: int, warm: int) -> dict[str, float]:
    module, _, name = function.partition(":")
    with tempfile.TemporaryDirectory() as folder, Path(folder, "events.log").open("wb") as log:
        context = multiprocessing.get_context("fork")
        ends = [context.Pipe() for _ in range(slots)]
        processes = [
            context.Process(target=_child, args=(serve, module, name, end, mine), daemon=True)
            for mine, end in ends
        ]
        for process in processes:
            process.start()
        children = [mine for mine, _ in ends]
        _run(children, _tasks(warm), log)
        figures = timed(lambda: _run(children, _tasks(tasks), log), tasks, slots)
        for child in children:
            child.send(None)
        for process in processes:
            process.join()
        return figures


def _tasks(count: int) -> Iterator[tuple[str, dict[str, int]]]:
    for number in range(count):
        yield f"task-{number:07d}", {"x": number}


def _run(children: list[Connection], tasks: Iterator[Any], log: IO[bytes]) -> None:
    waiting = selectors.EpollSelector()
    for one in children:
        waiting.register(one, selectors.EVENT_READ)
        one.send(next(tasks))
    busy = len(children)
    while busy:
        for key, _ in waiting.select():
            child: Any = key.fileobj
            task_id, retry, result = child.recv()
            task = next(tasks, None)
            if task is None:
                busy -= 1
            else:
                child.send(task)
            event = {"timestamp": time.time(), "task_id": task_id, "retry": retry, "result": result}
            log.write(json.dumps(event).encode() + b"\n")
            log.flush()
    waiting.close()


def _child(serve: Serve, module: str, name: str, end: Connection, parents: Connection) -> None:
    parents.close()
    serve(end, getattr(importlib.import_module(module), name))


def _serve(end: Connection, function: Callable[..., Any]) -> None:
    while (task := end.recv()) is not None:
        task_id, data = task
        end.send((task_id, *function(task_id, data, None)))


def _fork_for_each(end: Connection, function: Callable[..., Any]) -> None:
    while (task := end.recv()) is not None:
        pid = os.fork()
        if pid == 0:
            task_id, data = task
            end.send((task_id, *function(task_id, data, None)))
            os._exit(0)
        os.waitpid(pid, 0)
