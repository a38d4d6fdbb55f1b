"""The task that does nothing, in a module that imports numpy, as many real ones do."""

import numpy

from benchmarks import light

__all__ = ["nothing", "numpy"]


# One of its own, as a function is sent by the name of the module that defines it.
def nothing(task_id: str, task_data: dict[str, object], worker_data: object) -> tuple[bool, None]:
    return light.nothing(task_id, task_data, worker_data)
