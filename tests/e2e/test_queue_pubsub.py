"""Workers on Pub/Sub: what holds on SQS holds here as well, and what is different here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e import test_queue_faults as faults
from e2e import test_queue_runs as runs
from e2e.queue_pubsub import PubSub
from e2e.queue_site import QueueSite
from servers.pubsub import PubSubEmulator


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, pubsub_emulator: PubSubEmulator
) -> Iterator[QueueSite]:
    once = getattr(request, "param", False)
    project = pubsub_emulator.new_project()
    site = QueueSite(tmp_path, PubSub(pubsub_emulator.address, project, exactly_once=once))
    yield site
    site.close()


for _module in (runs, faults):
    for _n in dir(_module):
        if _n.startswith("test_"): globals()[_n] = getattr(_module, _n)
