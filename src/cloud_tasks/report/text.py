"""Format a report as lines for a console; the page uses the same phrases."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cloud_tasks.report.document import Document
from cloud_tasks.text import cause_lines, duration, plural, rate, safe

_GIB = 1024


def lines(document: Document) -> list[str]:
    """Return the summary as lines."""
    totals = document["totals"]
    if not totals["tries"]:
        return [f"{safe(document['run']['name'])}: no task has ended yet", *_log(document)]
    return [
        f"{safe(document['run']['name'])}: {plural(totals['tries'], 'attempt')}{_when(document)}",
        f"  attempts   {attempts(document)}",
        *(f"  {name:<9}  {phrase}" for name, phrase in facts(document).items()),
        *_failures(document),
        *_log(document),
    ]


def attempts(document: Document) -> str:
    """Return how many attempts ended in each way."""
    totals = document["totals"]
    counts = {
        "failed": totals["failed"],
        "aborted": totals["aborted"],
        "asked for another": totals["put_back"],
        "done by a later attempt": document["attempts"]["rescued"],
        "tasks not done": totals["not_done_tasks"],
        "given up": totals["dead"],
    }
    parts = [f"{name} {n:,}" for name, n in counts.items() if n]
    return "   ".join([f"done {totals['ok']:,}", *parts])


def facts(document: Document) -> dict[str, str]:
    """Return a phrase each for speed, run time, memory, cost and tail, where they are known."""
    totals = document["totals"]
    found: dict[str, str] = {}
    if totals["rate"] is not None:
        parts = [rate(totals["rate"]), _busy(document), _start_up(document["run"])]
        found["speed"] = "   ".join(part for part in parts if part)
    if document["run_time"]["all"]["count"]:
        found["run time"] = _percentiles(document["run_time"]["all"], duration)
    if document["memory_mb"]["count"]:
        found["memory"] = _percentiles(document["memory_mb"], memory)
    cost = document["cost"]
    if cost is not None:
        found["cost"] = (
            f"{money(cost['usd'])} for {duration(cost['hours'] * 3600)} of machines "
            f"at ${cost['price_per_hour']:g}/h"
        )
    end = document["tail"]
    if end is not None and totals["seconds"] and end["seconds"] > 0.02 * totals["seconds"]:
        found["tail"] = (
            f"the first slot had nothing left to do {duration(end['seconds'])} before the end: "
            f"{duration(end['lost'])} of slots lost"
        )
    return found


def memory(mib: float) -> str:
    """Format *mib* MiB: ``1.5 GB``, ``210 MB``, ``2.5 MB``."""
    if mib >= _GIB:
        return f"{mib / _GIB:.1f} GB"
    return f"{mib:.0f} MB" if mib >= 10 else f"{mib:.1f} MB"


def money(usd: float) -> str:
    """Format an amount in US dollars, with two significant digits where it is small."""
    return f"${usd:,.2f}" if usd >= 0.1 or not usd else f"${usd:.2g}"


def percent(share: float) -> str:
    """Format *share* in per cent; only exactly 0 and 1 are shown as 0 % and 100 %."""
    value = 100 * share
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    return f"{value:.1f} %".replace(".0 %", " %")


def moment(iso: str | None) -> str:
    """Format a time of the document as date and time of day."""
    return "-" if iso is None else f"{iso[:10]} {iso[11:19]}"


def _when(document: Document) -> str:
    run = document["run"]
    if run["start"] is None:
        return ""
    seconds = duration(document["totals"]["seconds"])
    return f" in {seconds}, {moment(run['start'])} to {moment(run['end'])} UTC"


def _busy(document: Document) -> str:
    totals = document["totals"]
    if totals["busy"] is None:
        return ""
    hosts = sum(1 for host in document["hosts"] if host["tries"])
    where = f" of {plural(hosts, 'host')}" if hosts > 1 else ""
    return f"busy {percent(totals['busy'])} of {plural(totals['slots'], 'slot')}{where}"


def _start_up(run: Mapping[str, Any]) -> str:
    seconds = run["start_up"]
    return "" if seconds is None else f"start-up {duration(seconds)}"


def _percentiles(values: Mapping[str, Any], shown: Any) -> str:
    names = ("p50", "p95", "p99", "max")
    return "   ".join(f"{name} {shown(values[name])}" for name in names)


def _failures(document: Document) -> list[str]:
    groups: Sequence[Mapping[str, Any]] = document["failures"]
    if not groups:
        return []
    causes = []
    for group in groups:
        first = f"   first {moment(group['first'])[11:]}" if group["first"] else ""
        where = f" ({safe(group['where'], 60)})" if group["where"] else ""
        example = f"   e.g. {safe(group['examples'][0], 60)}" if group["examples"] else ""
        causes.append((group["tries"], f"{safe(group['cause'], 100)}{where}{first}{example}"))
    name = shlex.quote(document["run"]["name"])
    return [*cause_lines(causes), f"  see:  cloud_tasks failures {safe(name)}"]


def _log(document: Document) -> list[str]:
    """Return lines about unusable parts of the log and further runs in it, if there are any."""
    odd = log_oddities(document)
    lines = [f"  in the log: {', '.join(odd)}"] if odd else []
    several = document["run"]["several_from"]
    if several is not None:
        lines.append(
            f"  the log holds more than one run; for the last one only:  --since {several[:19]}"
        )
    return lines


def log_oddities(document: Document) -> list[str]:
    """Return the unusable parts of the log, a phrase each."""
    log = document["log"]
    odd = []
    if log["not_json"]:
        odd.append(f"{plural(log['not_json'], 'line')} without JSON")
    if log["unknown"]:
        count = sum(log["unknown"].values())
        names = ", ".join(safe(name, 30) for name in list(log["unknown"])[:3])
        odd.append(f"{plural(count, 'event')} of unknown type ({names})")
    if log["torn"]:
        odd.append("a last line that is cut off")
    if log["untimed"]:
        odd.append(f"{plural(log['untimed'], 'event')} without a time")
    if log["skipped"]:
        odd.append(f"{plural(log['skipped'], 'earlier event')} left out")
    return odd
