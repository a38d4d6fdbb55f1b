from __future__ import annotations

from dataclasses import replace

import pytest

from cloud_tasks.display.progress import ProgressState, area
from cloud_tasks.executors.base import Running
from cloud_tasks.runtime.stats import Snapshot
from cloud_tasks.summary import Cause
from cloud_tasks.system.machine import MachineUse

GB = 2**30
NOW = Snapshot(
    1415.0, 582_911, 582_744, 167, 18, 1_000_000, cause_count=3,
    causes=(
        Cause("ValueError: bad header in #", 131, "t1"), Cause("ran longer than 60 s", 24, "t2"),
        Cause("killed by signal 11 (SIGSEGV)", 12, "t3"),
    ),
    run_time={"p50": 0.031, "p95": 0.088, "p99": 0.2, "max": 41.2, "mean": 0.04},
)  # fmt: skip
STATE = ProgressState(
    "primes", NOW, 16, 407.0, left=1025.0, ends=1_000_000_000.0, max_runtime=60.0,
    running=[Running("task-0571123", 7, 41.0), Running("task-0582910", 1, 0.2)],
    machine=MachineUse(96.4, int(11.2 * GB), 31 * GB),
)  # fmt: skip


def shown(state: ProgressState, width: int = 80, *, unicode: bool = True) -> list[str]:
    return ["".join(t for t, _ in line) for line in area(state, width, unicode=unicode)]


def test_it_tells_everything_in_six_lines_of_80_columns() -> None:
    lines = shown(STATE)
    assert len(lines) == 6
    bar, times, counts, machine, oldest, causes = lines
    assert bar.startswith(" primes  ━━━━")
    assert bar.endswith(" 58.3 %     582,911 / 1,000,000")
    assert times[:-19] == "    407/s   elapsed   23:35   left   17:05   "
    assert times[-19:].startswith("ends about ")
    assert counts == " ok   582,744   failed 167   running 16/16"
    said = "cpu 96 % mem 11.2/31.0 GB task p50 31 ms p95 88 ms max 41.2 s"
    assert " ".join(machine.split()) == said
    assert oldest == " oldest task-0571123   slot 7   41.0 s of 1:00"
    assert causes == " 3 causes  ValueError: bad header in # (131) · ran longer than 60 s (24)"


@pytest.mark.parametrize("width", [1, 2, 5, 10, 20, 33, 40, 79, 80, 120, 300])
@pytest.mark.parametrize("total", [None, 0, 1, 1_000_000])
def test_no_line_is_as_wide_as_the_terminal_and_there_are_at_most_seven(
    width: int, total: int | None
) -> None:
    state = replace(STATE, now=replace(NOW, total=total), name="n" * 100)
    lines = shown(state, width)
    assert len(lines) <= 7
    if width >= 20:
        assert max(map(len, lines)) < width


def test_at_20_columns_stands_what_matters_most() -> None:
    bar, times, counts, machine, oldest, causes = shown(STATE, 20)
    assert "58.3 %" in bar
    assert "━" in bar
    assert "left   17:05" in times
    assert "failed 167" in counts
    assert "cpu" in machine
    assert "task-05711…" in oldest
    assert "ValueError" in causes


def test_nothing_jitters_while_numbers_grow() -> None:
    few = replace(NOW, elapsed=5.0, ended=7, succeeded=7, failed=0, running=3, causes=())
    early = replace(STATE, now=few, rate=1.4, left=9.0)
    late = replace(STATE, now=replace(NOW, failed=0, causes=()))
    for one, other in zip(shown(early)[:3], shown(late)[:3], strict=True):
        assert len(one) == len(other)


def test_the_bar_is_full_only_when_all_is_done() -> None:
    for ended, full in ((0, 0), (999_999, 0), (1_000_000, 1)):
        bar = shown(replace(STATE, now=replace(NOW, ended=ended)))[0]
        assert ("100.0 %" in bar) == bool(full)
        assert ("╺" in bar) != bool(full)


def test_a_number_that_is_guessed_says_so() -> None:
    bar = shown(replace(STATE, now=replace(NOW, guessed=True)))[0]
    assert "582,911 / ~1,000,000" in bar


def test_without_a_total_there_is_no_bar_and_no_promise() -> None:
    lines = shown(replace(STATE, now=replace(NOW, total=None), left=None, ends=None))
    assert "━" not in lines[0]
    assert "%" not in lines[0]
    assert "582,911 done, of an unknown number" in lines[0]
    assert "left" not in lines[1]


def test_what_is_not_known_yet_is_not_invented() -> None:
    first = Snapshot(0.0, 0, 0, 0, 0, 10)
    lines = shown(ProgressState("f", first, 2, 0.0))
    assert len(lines) == 3
    assert "left estimating" in lines[1]


def test_counts_that_are_rare_appear_when_they_are_not_zero() -> None:
    now = replace(NOW, put_back=60, skipped=5, bad_entries=4)
    counts = shown(replace(STATE, now=now), 120)[2]
    for said in ("failed 107", "put back 60", "skipped 5", "bad entries 4"):
        assert said in counts


def test_hostile_ids_and_causes_stay_in_their_line() -> None:
    evil = "\x1b[2J\n\r\ud800" + "x" * 10_000
    state = replace(
        STATE, name=evil, running=[Running(evil, 0, 1.0)],
        now=replace(NOW, causes=(Cause(evil, 1, evil),)),
    )  # fmt: skip
    for width in (20, 80):
        assert all(line.isprintable() and len(line) < width for line in shown(state, width))


def test_a_terminal_without_unicode_gets_a_plain_bar() -> None:
    bar = shown(STATE, unicode=False)[0]
    assert bar.isascii()
    assert "####" in bar


def test_a_slow_run_has_a_rate_that_can_be_read() -> None:
    for rate, said in ((4.1, "4.1/s"), (0.05, "3.0/min"), (0.001, "3.6/h"), (12_345, "12,345/s")):
        assert said in shown(replace(STATE, rate=rate))[1]
