"""Every example, run as its user runs it, comes to its known answer."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import struct
import subprocess
from bisect import bisect_right
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from importlib import resources
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from e2e.examples import EXAMPLES, LIMIT, command, events, results, run
from e2e.terminal import on_a_terminal

from cloud_tasks.testing import eventually

#: Several programs, one after the other, and each of them starts anew.
pytestmark = pytest.mark.timeout(300)


def test_every_example_is_told_of_and_has_a_readme() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    table = (EXAMPLES / "README.md").read_text()
    assert folders == set(re.findall(r"^\| \[(\w+)\]", table, re.MULTILINE))
    assert all((EXAMPLES / name / "README.md").is_file() for name in folders)
    assert all((EXAMPLES / name / f"{name}.py").is_file() for name in folders)


def test_primes_below_a_hundred_million(tmp_path: Path) -> None:
    code, found = run(tmp_path, "primes", "--num-simultaneous-tasks", "auto")
    assert code == 0
    assert len(found) == len(results(found)) == 1000
    assert sum(results(found).values()) == 5_761_455


def test_zones_agree_with_a_reading_of_the_raw_rules(tmp_path: Path) -> None:
    zones = ["Europe/London", "America/New_York", "Asia/Tokyo", "Australia/Sydney"]
    code, found = run(tmp_path, "zones", *zones, "--num-simultaneous-tasks", "2")
    assert code == 0
    assert results(found) == {zone: count_changes(zone) for zone in zones}


def test_addition_writes_every_sum(tmp_path: Path) -> None:
    tasks = json.loads((EXAMPLES / "addition" / "tasks.json").read_text())
    flags = ["--task-file", str(EXAMPLES / "addition" / "tasks.json"), "--output-dir", "sums"]
    code, found = run(tmp_path, "addition", *flags, "--num-simultaneous-tasks", "2")
    assert code == 0
    assert len(found) == len(tasks) == 100
    written = {file.stem: int(file.read_text()) for file in (tmp_path / "sums").iterdir()}
    assert written == {t["task_id"]: t["data"]["num1"] + t["data"]["num2"] for t in tasks}
    assert {tmp_path / name for name in results(found).values()} == set(
        (tmp_path / "sums").iterdir()
    )


@pytest.mark.slow  # waits for time limits
def test_flaky_has_every_ending_once(tmp_path: Path) -> None:
    code, found = run(tmp_path, "flaky")
    assert code == 1
    assert Counter((event["event_type"], event["retry"]) for event in found) == {
        ("task_completed", False): 3,
        ("task_completed", True): 1,
        ("task_exception", False): 6,
        ("task_timed_out", False): 3,
        ("task_exited", False): 5,
    }
    by_id = {event["task_id"]: event for event in found}
    assert len(by_id) == len(found)
    exit_codes = {
        task_id: event["exit_code"] for task_id, event in by_id.items() if "exit_code" in event
    }
    assert exit_codes == {
        "exits-with-0": 0,
        "exits-with-3": 3,
        "exits-at-once": 7,
        "reads-address-0": -signal.SIGSEGV,
        "is-killed": -signal.SIGKILL,
    }
    assert by_id["returns-nan"]["result"] is None
    assert by_id["uses-too-much-memory"]["exception"].startswith("MemoryError")
    assert "no way" in by_id["raises-unpicklable"]["exception"]


def test_flaky_tells_of_a_task_that_the_worker_ended(tmp_path: Path) -> None:
    one_by_one = ["--num-simultaneous-tasks", "1", "--tasks-to-skip", "12"]
    patient = ["--max-runtime", "1000", "--shutdown-grace-period", "0"]
    worker = subprocess.Popen(command("flaky", *one_by_one, *patient), cwd=tmp_path)
    try:
        # The task has surely begun when the process that it waits for is there.
        eventually(lambda: "sleep 1000" in below(worker.pid), LIMIT, what="the task's own process")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT) == 143
    finally:
        worker.kill()
        worker.wait()
    (event,) = events(tmp_path)
    assert (event["event_type"], event["task_id"]) == ("task_aborted", "hangs-with-a-child")
    assert event["retry"] is True


def below(pid: int) -> list[str]:
    """Return the command lines of all processes below *pid*."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return found


def test_debug_stops_at_the_breakpoint_and_goes_on(tmp_path: Path) -> None:
    tasks = str(EXAMPLES / "debug" / "tasks.json")
    flags = ["--task-file", tasks, "--debug", "--break-at", "odd"]
    with on_a_terminal(command("debug", *flags), tmp_path) as (program, terminal):
        terminal.wait_for("(Pdb) ")
        terminal.type("p digits")
        terminal.wait_for("[9, 0, 9, 0, 9]")
        terminal.wait_for("(Pdb) ")
        terminal.type("c")
        terminal.wait_for("completed 3")
        assert program.wait(LIMIT) == 0
    assert results(events(tmp_path)) == {"small": 3, "odd": 27, "large": 44}


def test_debug_without_the_flag_runs_in_child_processes(tmp_path: Path) -> None:
    tasks = str(EXAMPLES / "debug" / "tasks.json")
    code, found = run(tmp_path, "debug", "--task-file", tasks, "--break-at", "odd")
    assert code == 1
    (failed,) = [event for event in found if event["event_type"] == "task_exception"]
    assert failed["task_id"] == "odd"
    assert "BdbQuit" in failed["exception"]


def test_the_launch_configurations_are_valid() -> None:
    text = (EXAMPLES / "debug" / ".vscode" / "launch.json").read_text()
    for configuration in json.loads(text)["configurations"]:
        assert configuration["program"] == "${workspaceFolder}/debug.py"


# -- time zones, from the raw rules: RFC 8536

FIRST, LAST = date(1900, 1, 1), date(2037, 12, 31)
MIDNIGHT = datetime(1970, 1, 1, tzinfo=timezone.utc)
RULE = re.compile(r"M(\d+)\.(\d)\.(\d)(?:/(-?\d+))?")


def count_changes(zone: str) -> int:
    """Count changes of the UTC offset between the midnights (UTC) of the example's days."""
    content = resources.files("tzdata.zoneinfo").joinpath(zone).read_bytes()
    times, offsets = read_transitions(content)
    first = (FIRST - MIDNIGHT.date()).days
    midnights = range(first * 86400, (first + (LAST - FIRST).days + 1) * 86400, 86400)
    daily = [offsets[bisect_right(times, moment)] for moment in midnights]
    return sum(before != after for before, after in pairwise(daily))


def read_transitions(content: bytes) -> tuple[list[int], list[int]]:
    """Return the transition times, and the offsets before the first and after each of them."""
    counts = struct.unpack(">6l", content[20:44])
    isut, isstd, leap, time_count, type_count, chars = counts
    second = 44 + time_count * 5 + type_count * 6 + chars + leap * 8 + isstd + isut
    isut, isstd, leap, time_count, type_count, chars = struct.unpack(
        ">6l", content[second + 20 : second + 44]
    )
    at = second + 44
    times = list(struct.unpack(f">{time_count}q", content[at : at + 8 * time_count]))
    at += 8 * time_count
    kinds = content[at : at + time_count]
    at += time_count
    by_kind = [struct.unpack_from(">l", content, at + 6 * kind)[0] for kind in range(type_count)]
    at += 6 * type_count + chars + leap * 12 + isstd + isut
    offsets = [by_kind[0], *(by_kind[kind] for kind in kinds)]
    for moment, offset in yearly_transitions(content[at:].decode().strip(), times[-1]):
        times.append(moment)
        offsets.append(offset)
    return times, offsets


def yearly_transitions(footer: str, after: int) -> list[tuple[int, int]]:
    """Return what the last rule gives, as far as the example looks: time and new offset."""
    head, *rules = footer.split(",")
    if not rules:
        return []
    match = re.fullmatch(r"(?:[A-Z]+|<[^>]*>)(-?\d+)(?:[A-Z]+|<[^>]*>)", head)
    assert match, footer
    standard = -int(match[1]) * 3600
    to_summer, to_standard = rules
    found = []
    for year in range(1970, LAST.year + 1):
        found.append((moment_of(to_summer, year, standard), standard + 3600))
        found.append((moment_of(to_standard, year, standard + 3600), standard))
    return sorted((moment, offset) for moment, offset in found if moment > after)


def moment_of(rule: str, year: int, offset: int) -> int:
    """Return when *rule* strikes in *year*, where the offset was *offset* until then."""
    match = RULE.fullmatch(rule)
    assert match, rule
    month, week, weekday = int(match[1]), int(match[2]), int(match[3])
    first = date(year, month, 1)
    day = first + timedelta((weekday - first.isoweekday()) % 7 + 7 * (week - 1))
    if day.month != month:
        day -= timedelta(7)  # week 5 is the last, whether or not there are five
    hour = 2 if match[4] is None else int(match[4])
    return (day - MIDNIGHT.date()).days * 86400 + hour * 3600 - offset


@pytest.mark.parametrize(
    ("zone", "changes"), [("Europe/London", 240), ("America/New_York", 234), ("Asia/Tokyo", 8)]
)
def test_the_numbers_in_the_readme_are_those_of_the_raw_rules(zone: str, changes: int) -> None:
    assert count_changes(zone) == changes
    assert f"| `{zone}` | {changes} |" in (EXAMPLES / "zones" / "README.md").read_text()
