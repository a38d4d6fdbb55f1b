"""What loky's processes begin with: apart, as they import this module and all that it imports."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

from cloud_tasks.executors.child import main as child


def main(connection: Connection, token: bytes, *others: Connection | None) -> None:
    """Be a child of the pool on *connection*; *others*: the tokens and the log, see ``child``."""
    # loky leaves its own start method as the default, which processes that a task starts through
    # multiprocessing would inherit by name, without knowing it, and die of.
    multiprocessing.set_start_method(None, force=True)
    tokens, log = (None if other is None else other.fileno() for other in others)
    child.main(connection.fileno(), token, tokens=tokens, log=log)
