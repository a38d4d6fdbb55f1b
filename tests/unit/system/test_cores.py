"""How many cores tasks may use: what the system says, and what Slurm gave."""

from __future__ import annotations

import argparse

import pytest

from cloud_tasks.settings.resolve import resolve
from cloud_tasks.system import cores

SLURM = "SLURM_CPUS_PER_TASK"


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Play a machine of four cores, of which its control group allows three."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr("loky.cpu_count", lambda: 3)
    monkeypatch.delenv(SLURM, raising=False)


def test_without_slurm_affinity_and_control_group_count() -> None:
    assert cores.usable() == 4
    assert cores.usable_within_limits() == 3


@pytest.mark.parametrize(("given", "usable", "within"), [("1", 1, 1), ("4", 4, 3), ("64", 4, 3)])
def test_no_more_than_slurm_gave(
    given: str, usable: int, within: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLURM, given)
    assert (cores.usable(), cores.usable_within_limits()) == (usable, within)


@pytest.mark.parametrize("nonsense", ["", " ", "0", "-1", "2.5", "None", "2(x3)", "²", "9" * 5000])
def test_what_is_no_number_of_cores_says_nothing(
    nonsense: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLURM, nonsense)
    assert (cores.usable(), cores.usable_within_limits()) == (4, 3)


def test_auto_slots_follow_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SLURM, "2")
    words = ["--num-simultaneous-tasks", "auto"]
    resolved = resolve(argparse.ArgumentParser(), words, {}, has_task_source=True)
    assert resolved.settings.num_simultaneous_tasks == 2
