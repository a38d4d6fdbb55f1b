"""A provider of another package, whose queues are in the memory of this process."""

from __future__ import annotations

from typing import Any

from cloud_tasks.testing.fake_queue import FakeProvider, FakeServer

#: What all its queues are on; a test puts its own here.
server = FakeServer()


class Provider(FakeProvider):
    """The queues of :data:`server`, as a worker finds them by their provider's name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(server, exactly_once=options.get("exactly_once", False))
