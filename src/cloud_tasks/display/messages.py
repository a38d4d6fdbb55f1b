"""Format the lines about a run: the end of a task, the progress, the summary. Prints nothing."""

from __future__ import annotations

from cloud_tasks.errors import unreachable
from cloud_tasks.events.causes import cause_of
from cloud_tasks.outcome import Aborted, Completed, Exited, Outcome, OverMemory, Raised, TimedOut
from cloud_tasks.runtime.stats import Snapshot
from cloud_tasks.summary import RunSummary, StopReason
from cloud_tasks.task import Delivery
from cloud_tasks.text import cause_lines, clock, duration, plural, rate_pair, safe

_ENDINGS = {
    StopReason.DONE: "done",
    StopReason.MAX_NUM_TASKS: "done: --max-num-tasks reached",
    StopReason.SIGINT: "stopped by SIGINT (Ctrl-C)",
    StopReason.SIGTERM: "stopped by SIGTERM",
    StopReason.SPOT: "stopped: this machine is taken away",
    StopReason.REQUESTED: "stopped by the program",
    StopReason.TOO_MANY_FAILURES: "stopped: too many tasks failed (--max-failures)",
    StopReason.FAILED: "failed",
}


def outcome_line(delivery: Delivery, outcome: Outcome) -> str:
    """Return one line that says how a task ended."""
    name = safe(delivery.task.task_id, 80)
    match outcome:
        case Completed():
            result = safe(outcome.result_json.decode("ascii"))
            retry = "asks for another try: " if outcome.retry else ""
            return f"{name}: {retry}{result}"
        case Raised():
            first = outcome.message.strip().partition("\n")[0]
            return f"{name}: {safe(outcome.exc_type, 80)}: {safe(first)}"
        case TimedOut() | Exited() | OverMemory() | Aborted():
            return f"{name}: {safe(cause_of(outcome))}{_after(outcome)}"
        case _:
            unreachable(outcome)


def _after(outcome: TimedOut | Exited | OverMemory | Aborted) -> str:
    if isinstance(outcome, TimedOut) or outcome.measures.run_time is None:
        return ""
    return f", after {duration(outcome.measures.run_time)}"


def progress_line(now: Snapshot, rate: float, left: float | None = None) -> str:
    """Return the progress as ``key=value`` pairs; *rate* is tasks a second, *left* seconds."""
    known = now.total is not None
    parts = [
        f"done={now.ended}" + (f"/{now.total}" if known else ""),
        *([f"pct={100 * now.ended / now.total:.1f}"] if now.total else []),
        f"ok={now.succeeded}",
        f"failed={now.failed}",
        rate_pair(rate),
        f"elapsed={clock(now.elapsed)}",
    ]
    if left is not None:
        parts.append(f"left={clock(left)}")
    return f"progress {' '.join(parts)}"


def summary_lines(summary: RunSummary) -> list[str]:
    """Summarise a run."""
    rate = (
        f", {summary.rate:,.{0 if summary.rate >= 100 else 1}f} a second" if summary.ended else ""
    )
    lines = [
        f"{_ENDINGS[summary.stop_reason]}: {plural(summary.ended, 'task')} in "
        f"{duration(summary.elapsed)}{rate}   exit code {summary.exit_code}",
        f"  {_counts(summary)}",
    ]
    if summary.run_time:
        times = "   ".join(
            f"{name} {duration(summary.run_time[name])}" for name in ("p50", "p95", "p99", "max")
        )
        lines.append(f"  run time   {times}")
    lines += cause_lines(
        [(c.count, f"{safe(c.text, 100)}   e.g. {safe(c.example, 60)}") for c in summary.causes]
    )
    if summary.trouble is not None:
        lines.append(f"error: {safe(summary.trouble, 1000)}")
    return lines


def _counts(summary: RunSummary) -> str:
    counts = {
        "completed": summary.completed,
        "raised": summary.exceptions,
        "timed out": summary.timed_out,
        "exited": summary.exited,
        "over memory": summary.over_memory,
        "aborted": summary.aborted,
        "asked for another try": summary.retry_requested,
        "given up": summary.given_up,
        "bad entries": summary.bad_entries,
        "skipped": summary.skipped,
        "done before": summary.finished_before,
        "failed before": summary.failed_before,
        "not started about" if summary.total_guessed else "not started": summary.not_started,
    }
    shown = [f"{name} {n:,}" for name, n in counts.items() if n or name == "completed"]
    return "   ".join(shown)
