"""Three workers of ``--exit-when-done``, one of them killed: all is done when the last leaves."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from servers.pubsub import PubSubEmulator

from benchmarks import served_queue
from benchmarks.exit_when_done import Trial, site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: Trials of each provider; `python -m benchmarks exit_when_done` makes more.
TRIALS = 2


def try_it(kind: str, endpoint: str | None, folder: Path) -> None:
    with site(kind, endpoint) as place:
        for number in range(TRIALS):
            mine = folder / str(number)
            mine.mkdir()
            assert "all done" in Trial(place, mine, random.Random(number)).run()


def test_on_fake_queues(tmp_path: Path) -> None:
    try_it(served_queue.NAME, None, tmp_path)


def test_on_sqs(tmp_path: Path, moto_url: str, aws_env: object) -> None:
    try_it("AWS", moto_url, tmp_path)


def test_on_pubsub(tmp_path: Path, pubsub_emulator: PubSubEmulator) -> None:
    try_it("GCP", pubsub_emulator.address, tmp_path)
