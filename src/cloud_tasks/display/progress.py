"""Lay out the progress of a run as lines of styled text, and estimate its end.

:func:`area` makes at most seven lines from a :class:`ProgressState`, which holds plain values; what
does not fit the width is left out by its rank. Nothing here draws: see :mod:`display.screen`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud_tasks.executors.base import Running
from cloud_tasks.runtime.stats import Snapshot
from cloud_tasks.text import clock, duration, plural, rate, safe

if TYPE_CHECKING:
    from cloud_tasks.system.machine import MachineUse

#: A line: texts and their styles.
Line = list[tuple[str, str]]
#: Part of a line that is shown whole or not at all.
Group = list[tuple[str, str]]

_GAP = "   "
_NAME, _LABEL, _GOOD, _BAD, _ODD = "bold", "dim", "green", "red", "yellow"
#: Characters; a shorter bar shows nothing useful.
_SHORTEST_BAR = 8
#: Characters of a cause, where several share the line.
_LONGEST_CAUSE = 44
_GB = 2**30


@dataclass(frozen=True, slots=True)
class ProgressState:
    """The state of a run at one moment, as it is drawn.

    Attributes:
        name: of the user's function.
        rate: tasks a second.
        left: seconds until the end; None: unknown, or not yet known.
        ends: that moment, in seconds since the epoch.
        max_runtime: of a task, in seconds; None: no limit.
        running: the running tasks, where they are known.
        machine: the use of CPU and memory, where it is known.
    """

    name: str
    now: Snapshot
    slots: int
    rate: float
    left: float | None = None
    ends: float | None = None
    max_runtime: float | None = None
    running: Sequence[Running] = ()
    machine: MachineUse | None = None


def area(state: ProgressState, width: int, *, unicode: bool = True) -> list[Line]:
    """Return at most seven lines of fewer than *width* characters; *unicode*: not only ASCII."""
    lines = [
        _bar_line(state, width, unicode),
        _line(_times(state), width),
        _line(_counts(state), width),
        _line(_machine(state), width),
        _line(_oldest(state), width),
        _causes(state.now, width),
    ]
    return [line for line in lines if line]


def _bar_line(state: ProgressState, width: int, unicode: bool) -> Line:
    now, room = state.now, width - 2
    name = _short(state.name, 20)
    if not now.total:
        what = "done, of an unknown number" if now.total is None else "tasks"
        return _line([(0, [(name, _NAME)]), (1, [(f"{now.ended:>9,} {what}", "")])], width)
    share = min(1.0, now.ended / now.total)
    # 100.0 % only when all is done, however it is rounded.
    percent = f"{min(100 * share, 100.0 if now.ended >= now.total else 99.9):5.1f} %"
    total = f"{now.total:,}"
    count = f"{now.ended:>{len(total)},} / {'~' if now.guessed else ''}{total}"
    for front, end in (
        (f"{name}  ", f"  {percent}   {count}"),
        (f"{name}  ", f"  {percent}"),
        ("", f" {percent}"),
    ):
        length = room - len(front) - len(end)
        if length >= _SHORTEST_BAR:
            return [(f" {front}", _NAME), *_bar(share, length, unicode), (end, "")]
    return [(f" {percent.strip()}"[: width - 1], "")]


def _bar(share: float, length: int, unicode: bool) -> Line:
    full = int(share * length)
    if not unicode:
        return [("#" * full, _GOOD), ("-" * (length - full), _LABEL)]
    rest = length - full
    if not rest:
        return [("━" * full, _GOOD)]
    return [("━" * full, _GOOD), ("╺" + "━" * (rest - 1), _LABEL)]


def _times(state: ProgressState) -> list[tuple[int, Group]]:
    now = state.now
    speed: list[tuple[int, Group]] = [(1, [(f"{rate(state.rate):>8}", "")])]
    elapsed: tuple[int, Group] = (2, _labelled("elapsed", f"{clock(now.elapsed):>7}"))
    if now.total is None:
        return [*speed, elapsed]
    if state.left is None:
        return [*speed, elapsed, (0, [("left ", _LABEL), ("estimating", "")])]
    left: tuple[int, Group] = (0, _labelled("left", f"{clock(state.left):>7}"))
    if state.ends is None:
        return [*speed, elapsed, left]
    ends = time.strftime("%H:%M:%S", time.localtime(state.ends))
    return [*speed, elapsed, left, (3, _labelled("ends about", ends))]


def _counts(state: ProgressState) -> list[tuple[int, Group]]:
    now = state.now
    digits = len(f"{now.total or now.ended:,}")
    failed = now.failed - now.put_back
    groups: list[tuple[int, Group]] = [(1, _labelled("ok", f"{now.succeeded:>{digits},}", _GOOD))]
    groups.append((0, _labelled("failed", f"{failed:,}", _BAD if failed else "")))
    slots = len(str(state.slots))
    running = f"{min(now.running, state.slots):>{slots}}/{state.slots}"
    groups.append((2, _labelled("running", running)))
    for rank, (name, count) in enumerate(
        (("put back", now.put_back), ("bad entries", now.bad_entries), ("skipped", now.skipped)), 3
    ):
        if count:
            groups.append((rank, _labelled(name, f"{count:,}", _ODD)))
    return groups


def _machine(state: ProgressState) -> list[tuple[int, Group]]:
    groups: list[tuple[int, Group]] = []
    use, times = state.machine, state.now.run_time
    if use is not None:
        groups.append((0, _labelled("cpu", f"{use.cpu_percent:>3.0f} %")))
        memory = f"{use.used / _GB:>{len(f'{use.total / _GB:.1f}')}.1f}/{use.total / _GB:.1f} GB"
        groups.append((1, _labelled("mem", memory)))
    if times:
        groups.append((2, _labelled("task p50", f"{duration(times['p50']):>6}")))
        groups.append((3, _labelled("p95", f"{duration(times['p95']):>6}")))
        groups.append((4, _labelled("max", f"{duration(times['max']):>6}")))
    return groups


def _oldest(state: ProgressState) -> list[tuple[int, Group]]:
    if not state.running:
        return []
    oldest = max(state.running, key=lambda task: task.seconds)
    age = f"{duration(oldest.seconds):>6}"
    of = "" if state.max_runtime is None else f" of {duration(state.max_runtime)}"
    return [
        (0, _labelled("oldest", _short(oldest.task_id, 30))),
        (2, _labelled("slot", str(oldest.slot))),
        (1, [(f"{age}{of}", "")]),
    ]


def _causes(now: Snapshot, width: int) -> Line:
    if not now.causes:
        return []
    parts: Line = [(f" {plural(now.cause_count, 'cause')}  ", _LABEL)]
    room = width - 1 - len(parts[0][0])
    for number, cause in enumerate(now.causes):
        count = f" ({cause.count:,})"
        before = " · " if number else ""
        longest = _LONGEST_CAUSE if number or len(now.causes) > 1 else room
        fits = min(longest, room - len(count) - len(before))
        text = safe(cause.text)
        if fits < min(len(text), 12):
            break
        parts.append((f"{before}{_short(text, fits)}{count}", _BAD))
        room -= len(parts[-1][0])
    return parts if len(parts) > 1 else [(f" {_short(now.causes[0].text, width - 2)}", _BAD)]


def _labelled(label: str, value: str, style: str = "") -> Group:
    return [(f"{label} ", _LABEL), (value, style)]


def _line(groups: list[tuple[int, Group]], width: int) -> Line:
    """Join *groups* in one line; those with the highest rank are left out until the rest fits."""
    kept = list(groups)
    while len(kept) > 1 and _length(kept) >= width:
        kept.remove(max(kept, key=lambda group: group[0]))
    line: Line = []
    room = width - 1
    for number, (_, group) in enumerate(kept):
        for text, style in ((_GAP if number else " ", ""), *group):
            line.append((_short(text, room), style))
            room -= len(line[-1][0])
    return line


def _short(text: str, longest: int) -> str:
    """Return foreign *text* escaped, then cut to *longest* characters."""
    shown = safe(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…" if longest > 0 else ""


def _length(groups: list[tuple[int, Group]]) -> int:
    texts = sum(len(text) for _, group in groups for text, _ in group)
    return 1 + texts + len(_GAP) * (len(groups) - 1)


#: Seconds over which the rate is measured.
WINDOW = 60.0
#: Seconds at the start without an estimate: processes boot, caches fill.
_WARM_UP = 5.0
#: Seconds between two samples that are kept.
_STEP = 0.5


class RateEstimator:
    """Estimates the rate of the last minute and the time left, from counts of ended tasks."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque([(0.0, 0)])
        self._now = (0.0, 0)

    def add(self, elapsed: float, ended: int) -> None:
        """Add a sample: *ended* tasks had ended after *elapsed* seconds of the run."""
        self._now = (elapsed, ended)
        if elapsed - self._samples[-1][0] >= _STEP:
            self._samples.append(self._now)
        # The newest sample that is old enough stays: the window begins there.
        while len(self._samples) > 1 and self._samples[1][0] <= elapsed - WINDOW:
            self._samples.popleft()

    def rate(self, slots: int = 1) -> float:
        """Return tasks a second: of the last minute, or of the whole run where that is safer.

        Fewer than two ends a slot within the minute prove no change of the rate: tasks that
        start together also end together.
        """
        elapsed, ended = self._now
        began, before = self._samples[0]
        if ended - before < 2 * slots:
            began, before = 0.0, 0
        return (ended - before) / (elapsed - began) if elapsed > began else 0.0

    def left(self, now: Snapshot, slots: int, running: Sequence[Running] = ()) -> float | None:
        """Return the seconds until the end; None: unknown, or not yet known.

        *running* are the running tasks, where they are known.
        """
        if now.total is None or now.elapsed < _WARM_UP:
            return None
        rest = now.total - now.ended
        if rest <= 0:
            return 0.0
        if now.ended < max(1, min(2 * slots, now.total // 4)):
            return None
        if rest <= min(slots, len(running)):
            return _tail(now, running)
        rate = self.rate(slots)
        return rest / rate if rate > 0 else None


def _tail(now: Snapshot, running: Sequence[Running]) -> float | None:
    """Return the seconds until the end when no task waits: the slowest decides, not the rate."""
    usual, longest = now.run_time.get("p95"), now.run_time.get("max")
    if usual is None or longest is None:
        return None
    ages = [task.seconds for task in running]
    left = max(usual - age for age in ages)
    if left <= 0:
        left = max(longest - age for age in ages)
    return left if left > 0 else None
