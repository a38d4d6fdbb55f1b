"""Every part of a process's state is put back, ends the process, or stays, as documented."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract import process_state
from contract.conftest import factory
from contract.process_state import PARTS

from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.outcome import Completed
from cloud_tasks.testing.executor_harness import Pool, running

pytestmark = pytest.mark.interpreter
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "process-state.md"


@pytest.fixture(scope="module")
def reused() -> Iterator[Pool]:
    """One slot, whose process runs one task after the other."""
    with factory("loky") as make, running(make(), ExecutorOptions(slots=1)) as pool:
        pool.still_works()  # its process is there before the first test looks who is there
        yield pool


def _forbidden() -> list[str]:
    """Return the parts that only root may change."""
    return [] if os.getuid() == 0 else [name for name, part in PARTS.items() if part.needs_root]


@pytest.mark.parametrize("part", PARTS)
def test_in_a_reused_process(reused: Pool, part: str) -> None:
    if part in _forbidden():
        pytest.skip("only root may change it")
    before = reused.ends(Completed, process_state.reads, part=part).result
    reused.ends(Completed, process_state.changes, part=part)
    after = reused.ends(Completed, process_state.reads, part=part).result
    match PARTS[part].decision:
        case "put back":
            assert after == before
        case "put back or replaced":
            assert after["value"] == before["value"]
        case "replaced":
            assert after["value"] == before["value"]
            assert after["pid"] != before["pid"]
        case "stays":
            assert after["pid"] == before["pid"]
            assert after["value"] != before["value"]
    if PARTS[part].undo is not None:
        reused.ends(Completed, process_state.undoes, part=part)


@pytest.mark.parametrize("part", [name for name, part in PARTS.items() if part.inline])
def test_inline(part: str) -> None:
    with factory("inline") as make, running(make(), ExecutorOptions(slots=1)) as pool:
        before = pool.ends(Completed, process_state.reads, part=part).result
        pool.ends(Completed, process_state.changes, part=part)
        assert pool.ends(Completed, process_state.reads, part=part).result == before


#: The flags of an open file are shared with the worker; a random state is never the same.
NOT_OF_A_PROCESS = ["`O_NONBLOCK` of these", "generators of random numbers"]


@pytest.mark.slow
@pytest.mark.timeout(300)  # one new process for each part
@pytest.mark.parametrize("name", ["spawn", "forkserver"])
def test_in_fresh_processes(name: str) -> None:
    parts = [part for part in PARTS if part not in (*NOT_OF_A_PROCESS, *_forbidden())]
    with factory(name) as make, running(make(), ExecutorOptions(slots=1)) as pool:
        before = pool.ends(Completed, process_state.reads_all, without=NOT_OF_A_PROCESS).result
        for part in parts:
            pool.ends(Completed, process_state.changes, part=part)
        after = pool.ends(Completed, process_state.reads_all, without=NOT_OF_A_PROCESS).result
    assert after == before


def test_the_page_says_so() -> None:
    rows = re.findall(r"^\| (.+?) \| (put back.*?|replaced|stays) \|", PAGE.read_text(), re.M)
    assert dict(rows) == {name: part.decision for name, part in PARTS.items()}
