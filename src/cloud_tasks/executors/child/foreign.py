"""Run a task in a process or thread of a foreign pool.

Imported by executors/foreign.py, which submits these functions to the pool. A process of a foreign
pool is not booted: the function, worker_data and flag page that it needs travel with every task as
a kit, and are unpickled once in each process.
"""

from __future__ import annotations

import pickle
import time

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.call import Reply, UserFunction, call, describe
from cloud_tasks.executors.common.flag_page import FlagPage, PageAddress
from cloud_tasks.task import Task
from cloud_tasks.worker_data import WorkerData

#: For a process: digest, pickled function, pickled worker_data, where the flag page is.
Kit = tuple[bytes, bytes, bytes, PageAddress]
#: For a thread of this process; without a flag page where that is on another machine.
LocalKit = tuple[UserFunction, WorkerData, FlagPage | None]

# The unpickled kit of this process by its digest; there is one at most.
_kits: dict[bytes, LocalKit] = {}


def run_in_thread(
    kit: LocalKit, task: Task, place: tuple[int, int], max_result_bytes: int
) -> Reply:
    """Run *task* in this thread; *place*: its cell of the flag page, and its job number."""
    function, worker_data, flags = kit
    return call(
        function,
        task.task_id,
        task.data,
        worker_data,
        max_result_bytes=max_result_bytes,
        on_start=(lambda: flags.record_start(*place, time.monotonic())) if flags else None,
        cpu_clock=time.thread_time,
    )


def run_in_process(
    kit: Kit, message: bytes, place: tuple[int, int], max_result_bytes: int
) -> Reply:
    """Run a task in this process; *message*: task id and data, pickled; *place*: as above."""
    digest, payload, worker_data_payload, address = kit
    try:
        if digest not in _kits:
            _kits.clear()
            worker_data: WorkerData = pickle.loads(worker_data_payload)  # noqa: S301 - our own
            flags = FlagPage.at(address)  # None on another machine
            worker_data.connect(flags)
            _kits[digest] = (pickle.loads(payload), worker_data, flags)  # noqa: S301
        task_id, data = pickle.loads(message)  # noqa: S301
    except BaseException as error:  # noqa: BLE001 - unpickling runs the user's classes
        reply = Reply(protocol.RAISED, describe(error))
        reply.started, reply.run_time, reply.cpu_time = time.time(), 0.0, 0.0
        return reply
    return run_in_thread(_kits[digest], Task(task_id, data), place, max_result_bytes)
