"""Start a child in a process of loky's; executors/loky.py imports this to name it as the target.

Apart from :mod:`~cloud_tasks.executors.loky`, because a process of loky's imports the module of its
target with all that this imports: the pool would come along.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection

from cloud_tasks.executors.child import main as child_main


def main(connection: Connection, cookie: bytes, inherited: dict[str, Connection]) -> None:
    """Run ``child.main`` on *connection*; *inherited*: its other descriptors by their names."""
    # loky leaves its own start method as the default. Processes that a task starts through
    # multiprocessing would inherit that by name, without loky being imported, and die of it.
    multiprocessing.set_start_method(None, force=True)
    # Duplicates, because a Connection closes its descriptor in the end, and child.main may, too.
    others = {name: os.dup(other.fileno()) for name, other in inherited.items()}
    for other in inherited.values():
        other.close()
    child_main.main(connection.fileno(), cookie, **others)
