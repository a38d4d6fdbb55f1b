"""Define a no-op task in a module that imports numpy, as many real modules do."""

import numpy

from benchmarks import light

__all__ = ["nothing", "numpy"]


# A separate function, because functions are sent by the name of the module that defines them.
def nothing(task_id: str, task_data: dict[str, object], worker_data: object) -> tuple[bool, None]:
    return light.nothing(task_id, task_data, worker_data)
