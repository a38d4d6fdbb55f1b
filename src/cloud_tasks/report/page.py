"""Render a report as one HTML page that needs no network and no other file; the home of jinja2.

All text of a run is foreign, so it is escaped without exception, and the page's content security
policy allows no script but ours. The page stays below a megabyte: attempts one by one and failures
have a budget each, and what doesn't fit is left out with its count.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloud_tasks import __version__
from cloud_tasks.report.document import Document
from cloud_tasks.report.series import SHARES
from cloud_tasks.report.text import attempts, facts, log_oddities, memory, moment, money, percent
from cloud_tasks.text import duration, plural, rate, safe
from cloud_tasks.timestamps import timestamp

_HERE = Path(__file__).parent
_SCRIPTS = ("uPlot.iife.min.js", "base.js", "charts.js", "timeline.js")
_STYLES = ("uPlot.min.css", "page.css")
#: Bytes of a page, and characters in it for attempts one by one and for failures.
_LARGEST, _SINGLE, _FAILURES = 950_000, 500_000, 200_000
#: Groups of failures, problems of workers, unknown types and lines of the table of throughput that
#: are shown; characters of a line of a traceback.
_MAX_GROUPS, _MAX_PROBLEMS, _MAX_TYPES, _SLICES = 200, 20, 50, 16
_LONGEST_LINE = 4000
_ENDINGS = {
    "task_completed": "returned",
    "task_exception": "raised",
    "task_timed_out": "timed out",
    "task_exited": "exited",
    "task_aborted": "aborted",
}


def page(document: Document) -> str:
    """Return the page that shows *document*, below a megabyte."""
    page = _render(document, document["tries"])
    # Long ids, hosts and texts of problems can add up; the attempts one by one are left out first.
    if len(page) > _LARGEST:
        page = _render(document, None)
    return page.decode()


def _render(document: Document, single: Sequence[Any] | None) -> bytes:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(_HERE / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    style, script = _joined(_STYLES), _joined(_SCRIPTS)
    if single is not None and sum(len(one[3]) + 32 for one in single) > _SINGLE:
        single = None
    text = environment.get_template("page.html").render(
        _context(document, single),
        policy=_policy(style, script),
        style=style,
        script=script,
        licence=(_HERE / "static" / "uPlot.LICENSE").read_text(encoding="utf-8"),
        version=__version__,
    )
    # JSON may hold half a surrogate pair, which UTF-8 can't.
    return text.encode("utf-8", "backslashreplace")


def _joined(names: Iterable[str]) -> str:
    texts = [(_HERE / "static" / name).read_text(encoding="utf-8") for name in names]
    # The licence comment at the top holds an address; the page shows the licence elsewhere.
    return "\n".join(
        text.partition("*/\n")[2] if text.startswith("/*!") else text for text in texts
    )


def _policy(style: str, script: str) -> str:
    def digest(text: str) -> str:
        hashed = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(hashed).decode()}'"

    return (
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _context(document: Document, single: Sequence[Any] | None) -> dict[str, Any]:
    groups = _affordable(document["failures"])
    left = document["failures"][len(groups) :]
    run = document["run"]
    notes = document["notes"]
    phrases = {name: text.replace("   ", ", ") for name, text in facts(document).items()}
    notices = [n["when"] for n in notes if n["kind"] == "spot_termination" and n["when"]]
    shown = ("log", "totals", "timeline", "gaps", "slowest", "attempts", "hosts", "tail")
    return {
        **{name: document[name] for name in (*shown, "run_time", "more_notes")},
        "run": run,
        "command": shlex.join(run["command"]),
        "ending": _ending(run),
        "about": _about(run),
        "tiles": _tiles(document),
        "facts": {"speed": "", **phrases, "cost": phrases.get("cost")},
        "fatal": [n for n in notes if n["kind"] != "spot_termination"][:_MAX_PROBLEMS],
        "notices": notices,
        "slices": _slices(document["over_time"]),
        "rebuilt": any(row["rebuilt"] for row in document["timeline"]["rows"]),
        "single": single is not None,
        "shares": (*SHARES, "max", "mean"),
        "memory": document["memory_mb"],
        "cpu": document["cpu_share"],
        "machine_memory": _machine_memory(run),
        "groups": groups,
        "groups_left": len(left),
        "attempts_left": sum(group["tries"] for group in left),
        "attempts_phrase": attempts(document).replace("   ", ", "),
        "oddities": log_oddities(document),
        "unknown": list(document["log"]["unknown"].items())[:_MAX_TYPES],
        "data": {
            **{k: document[k] for k in ("over_time", "timeline", "memory_mb", "cpu_share")},
            "run_time": document["run_time"],
            "tries": single,
            "notices": notices,
        },
    }


def _affordable(groups: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the first of *groups*, as far as the page has room for them."""
    room = _FAILURES
    taken: list[Mapping[str, Any]] = []
    for group in groups[:_MAX_GROUPS]:
        size = len(group["traceback"] or "")
        room -= 1000 + sum(map(len, group["examples"])) + len(group["rerun"] or "")
        if room < 0:
            break
        # Where room is short, a cause without its traceback is better than no further causes.
        kept = size < room / 4
        room -= size if kept else 0
        taken.append(group if kept else {**group, "traceback": None})
    return taken


def _ending(run: Mapping[str, Any]) -> str | None:
    """Return how the worker ended, as far as its directory records it."""
    if not run["starts"]:
        return None
    if not run["summary"]:
        return "it is still running, or was killed"
    reason, code = run["summary"].get("stop_reason"), run["summary"].get("exit_code")
    restarts = f" · started {run['starts']} times" if run["starts"] > 1 else ""
    return f"ended: {reason}, exit code {code}{restarts}"


def _about(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = run["versions"] if isinstance(run["versions"], dict) else {}
    rows = [(name, run[name]) for name in ("function", "executor", "slots", "cwd")]
    rows += [(f"{name} version", value) for name, value in versions.items()]
    return [(str(name), str(value)) for name, value in rows if value is not None]


def _machine_memory(run: Mapping[str, Any]) -> str:
    gigabytes = {row["name"]: row["value"] for row in run["settings"]}.get("memory_gb", "")
    return gigabytes if gigabytes.replace(".", "", 1).isdecimal() else "16"


def _tiles(document: Document) -> list[dict[str, Any]]:
    totals, times = document["totals"], document["run_time"]["all"]
    rows: list[tuple[str, str, str]] = [
        ("done", f"{totals['ok']:,}", f"of {plural(totals['tries'], 'attempt')}"),
        ("failed", f"{totals['failed']:,}", _failed_more(document)),
    ]
    if totals["seconds"]:
        rows.append(("took", duration(totals["seconds"]), "first task to last"))
    if totals["rate"] is not None:
        rows.append(("speed", rate(totals["rate"]), "attempts ended"))
    if totals["busy"] is not None:
        rows.append(("busy", percent(totals["busy"]), f"of {totals['slots']:,} slots"))
    if times["count"]:
        more = f"p95 {duration(times['p95'])}, max {duration(times['max'])}"
        rows.append(("run time, p50", duration(times["p50"]), more))
    if document["memory_mb"]["count"]:
        values = document["memory_mb"]
        rows.append(("peak memory", memory(values["max"]), f"p50 {memory(values['p50'])}"))
    if document["cost"] is not None:
        cost = document["cost"]
        rows.append(("cost", money(cost["usd"]), f"at ${cost['price_per_hour']:g} an hour"))
    return [
        {"name": name, "value": value, "more": more, "bad": name == "failed" and value != "0"}
        for name, value, more in rows
    ]


def _failed_more(document: Document) -> str:
    totals = document["totals"]
    if not totals["failed"]:
        return "nothing" if totals["tries"] else ""
    left = totals["not_done_tasks"]
    return percent(totals["failed"] / totals["tries"]) if left is None else f"{left:,} not done yet"


def _slices(time: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the curve of the throughput as a few lines of a table, for screen readers."""
    used = len(time["ok"])
    by = -(-used // _SLICES) or 1
    return [
        {
            "start": timestamp(time["origin"] + at * time["width"]),
            "ok": sum(time["ok"][at : at + by]),
            "not_done": sum(time["not_done"][at : at + by]),
            "running": sum(time["running"][at : at + by]) / len(time["running"][at : at + by]),
        }
        for at in range(0, used, by)
    ]


def _lines(text: str) -> str:
    """Return *text* with its line ends, and all other non-printable characters escaped."""
    return "\n".join(safe(line, _LONGEST_LINE) for line in text.split("\n"))


_FILTERS = {
    "duration": duration,
    "ending": lambda kind: _ENDINGS.get(kind, kind),
    "lines": _lines,
    "memory": memory,
    "moment": moment,
    "n": lambda number: f"{number:,}",
    "percent": percent,
    "quoted": shlex.quote,
    "shown": safe,
}
