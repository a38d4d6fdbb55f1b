"""Build a report as one JSON document, which ``--json`` prints and the page shows.

Keys may be added; none is renamed or dropped while ``format`` is 1. Times are ISO 8601 in UTC,
durations are seconds, memory is MiB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cloud_tasks.events.reading import EventReader
from cloud_tasks.history.commands import rerun_command
from cloud_tasks.history.layout import RunFiles
from cloud_tasks.history.starts import Start
from cloud_tasks.report.series import buckets, distribution, over_time, singles, timeline
from cloud_tasks.report.tally.attempts import Attempt
from cloud_tasks.report.tally.failures import AttemptGroup
from cloud_tasks.report.tally.idle import gaps, last_beginning, tail
from cloud_tasks.report.tally.tally import Tally
from cloud_tasks.report.tally.workers import covered, most_at_once
from cloud_tasks.timestamps import timestamp

Document = Mapping[str, Any]
_HOUR = 3600
#: Workers that are listed.
_MAX_WORKERS = 1000
#: Details of the last start that are passed on.
_DETAILS = ("function", "executor", "slots", "cwd", "versions")


def document(
    run_files: RunFiles, tally: Tally, reader: EventReader, starts: Sequence[Start]
) -> dict[str, Any]:
    """Return the report of a run; *reader* has read all its events, *tally* has counted them."""
    hosts = _hosts(tally)
    end = tail(tally.rows, tally.axis, tally.workers)
    return {
        "format": 1,
        "run": _run(run_files, tally, starts),
        "totals": _totals(tally, hosts),
        "run_time": {
            "all": distribution(tally.ok_times.plus(tally.failed_times)),
            "ok": distribution(tally.ok_times),
            "failed": distribution(tally.failed_times),
            "histogram": buckets(ok=tally.ok_times, failed=tally.failed_times),
        },
        "memory_mb": {**distribution(tally.memory), "histogram": buckets(all=tally.memory)},
        "cpu_share": {**distribution(tally.cpu), "histogram": buckets(all=tally.cpu)},
        "over_time": over_time(tally),
        "timeline": timeline(tally),
        "tries": singles(tally),
        "slowest": [_slow(one) for one in tally.slowest.ranked()],
        "failures": [_failure(group, starts) for group in tally.failures.ranked()],
        "attempts": _attempts(tally),
        "hosts": hosts,
        "workers": _workers(tally),
        "gaps": [
            {**asdict(gap), "start": timestamp(gap.start), "end": timestamp(gap.end)}
            for gap in gaps(tally.rows, tally.axis, tally.workers)
        ],
        "tail": None
        if end is None
        else {**asdict(end), "start": timestamp(end.start), "saving": end.saving},
        "cost": _cost(hosts, starts),
        "notes": [{**asdict(note), "when": _iso(note.when)} for note in tally.notes],
        "more_notes": tally.more_notes,
        "log": {
            "events": tally.by_type,
            "lines": reader.lines,
            "not_json": reader.not_json,
            "unknown": reader.unknown,
            "torn": reader.torn,
            "untimed": tally.untimed,
            "skipped": tally.skipped,
        },
    }


def _run(run_files: RunFiles, tally: Tally, starts: Sequence[Start]) -> dict[str, Any]:
    last = starts[-1] if starts else Start({}, None)
    span = tally.span()
    return {
        "name": run_files.name,
        "events": str(run_files.events),
        "start": _iso(span and span[0]),
        "end": _iso(span and span[1]),
        "several_from": _iso(last_beginning(tally.rows, tally.axis, tally.workers)),
        "starts": len(starts),
        "start_up": _start_up(span, tally, starts),
        "command": last.command,
        **{key: last.details.get(key) for key in _DETAILS},
        "settings": last.settings,
        "ended": _iso(last.ended),
        "summary": dict(last.summary),
    }


def _start_up(
    span: tuple[float, float] | None, tally: Tally, starts: Sequence[Start]
) -> float | None:
    """Return the seconds until the first task; None: not recorded, or there were several starts."""
    began = [start.started for start in starts] or [one.started for one in tally.workers]
    if span is None or len(began) != 1 or began[0] is None:
        return None
    return max(0.0, round(span[0] - began[0], 6))


def _totals(tally: Tally, hosts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    span = tally.span()
    seconds = span[1] - span[0] if span else 0.0
    capacity = sum(host["capacity_seconds"] for host in hosts)
    busy = sum(row.busy_seconds for row in tally.rows)
    return {
        "tries": tally.total,
        "ok": tally.ok,
        "failed": tally.failed,
        "aborted": tally.aborted,
        "put_back": tally.put_back,
        "dead": tally.by_type.get("task_dead", 0),
        "not_done_tasks": tally.attempts.not_done,
        "seconds": round(seconds, 6),
        "rate": round(tally.total / seconds, 4) if seconds > 0 else None,
        "slots": sum(host["slots"] for host in hosts),
        "busy_seconds": round(busy, 3),
        "busy": round(min(1.0, busy / capacity), 4) if capacity > 0 else None,
    }


def _slow(one: Attempt) -> dict[str, Any]:
    return {
        "task_id": one.task_id,
        "event_type": one.kind,
        "seconds": one.seconds,
        "host": one.host,
        "slot": one.slot,
        "attempt": one.number,
        "max_rss_mb": one.max_rss_mb,
        "cpu_time": one.cpu_time,
        "end": _iso(one.end),
    }


def _failure(group: AttemptGroup, starts: Sequence[Start]) -> dict[str, Any]:
    command = starts[-1].command if starts else []
    return {
        "cause": group.cause.text,
        "where": group.cause.where,
        "tries": group.count,
        "events": group.by_type,
        "first": _iso(group.first),
        "last": _iso(group.last),
        "hosts": group.hosts,
        "examples": group.examples,
        "rerun": rerun_command(command, group.examples[0]) if group.examples else None,
        "traceback": group.traceback,
    }


def _attempts(tally: Tally) -> dict[str, Any]:
    attempts = tally.attempts
    return {
        "by_number": [
            {"attempt": number, "ok": ok, "not_done": not_done}
            for number, (ok, not_done) in sorted(attempts.by_number.items())
        ],
        "unknown": attempts.unknown,
        "rescued": attempts.rescued,
    }


def _hosts(tally: Tally) -> list[dict[str, Any]]:
    """Return the hosts, the one with most attempts first."""
    found = []
    for name, host in tally.hosts.items():
        workers = tally.workers.of_host(name)
        busy = sum(row.busy_seconds for row in tally.rows if row.host == name)
        capacity = sum(len(one.slots) * one.seconds for one in workers)
        found.append(
            {
                "host": name,
                "tries": host.attempts,
                "ok": host.ok,
                "failed": host.failed,
                "notices": host.notices,
                "slots": most_at_once(workers),
                "workers": len(workers),
                "seconds": round(covered(workers), 6),
                "capacity_seconds": round(capacity, 6),
                "busy": round(min(1.0, busy / capacity), 4) if capacity > 0 else None,
            }
        )
    return sorted(found, key=lambda row: (-row["tries"], row["host"]))


def _workers(tally: Tally) -> list[dict[str, Any]]:
    """Return the first workers of the log, in the order in which they began."""
    workers = sorted(tally.workers, key=lambda one: one.life)[:_MAX_WORKERS]
    return [
        {
            "worker": one.worker,
            "host": one.host,
            "slots": len(one.slots),
            "tries": one.attempts,
            "started": _iso(one.started),
            "stopped": _iso(one.stopped),
            "reason": one.reason,
            "exit_code": one.exit_code,
        }
        for one in workers
    ]


def _cost(hosts: Sequence[Mapping[str, Any]], starts: Sequence[Start]) -> dict[str, Any] | None:
    """Return what the hosts cost; None where no price is known.

    A start with its end counts for the time between them. If one has no end, or there are hosts
    without a start of their own, it is the time from a worker's first task to its last one.
    """
    prices = [start.price_per_hour for start in starts if start.price_per_hour is not None]
    if not prices:
        return None
    spans = [
        (start.ended - start.started, start.price_per_hour)
        for start in starts
        if start.started is not None and start.ended is not None and start.price_per_hour
    ]
    if len(spans) < len(starts) or len(hosts) > 1:
        spans = [(host["seconds"], prices[-1]) for host in hosts]
    return {
        "price_per_hour": prices[-1],
        "hours": round(sum(seconds for seconds, _ in spans) / _HOUR, 6),
        "usd": round(sum(seconds * price for seconds, price in spans) / _HOUR, 6),
    }


def _iso(instant: float | None) -> str | None:
    return None if instant is None else timestamp(instant)
