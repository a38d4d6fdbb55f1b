"""Where tasks come from and where events go, and what queues need for that."""

from __future__ import annotations

from pathlib import Path

from cloud_tasks.history.layout import RunDir
from cloud_tasks.settings.draft import Draft
from cloud_tasks.settings.providers import instead_of, required_settings
from cloud_tasks.settings.table import ROWS

#: More tasks than that can't be kept from the other workers of a queue.
MOST_SKIPPED = 100

#: Settings that nothing but a queue of tasks reads.
_QUEUE_ONLY = ("max_attempts", "lease", "exit_when_idle")
#: Settings that pick from a list that can be read again, which a queue is not.
_LIST_ONLY = ("task_id", "resume")


def settle_queues(draft: Draft, has_task_source: bool, require_tasks: bool) -> None:
    """Fill what depends on where tasks come from, and note what is missing or of no use.

    Args:
        draft: is changed.
        has_task_source: the program gives a source of tasks.
        require_tasks: it is an error if tasks, or a queue for events, come from nowhere.
    """
    draft.from_queue = not (has_task_source or draft.given("task_file"))
    _defaults(draft)
    if require_tasks:
        _complain(draft)
    _warn(draft)


def _defaults(draft: Draft) -> None:
    values = draft.values
    follows = {
        "queue_name": values["job_id"],
        "event_log_to_file": not draft.from_queue,
        "event_log_to_queue": draft.from_queue,
        "lease": min(120.0, max(30.0, values["max_runtime"] + 10.0)),
    }
    if values["run_dir"] is not None:
        follows["event_log_file"] = str(RunDir(values["run_dir"]).events)
        follows["event_log_to_file"] = True
    for name, value in follows.items():
        if value is not None and not draft.given(name):
            draft.derive(name, value)


def _complain(draft: Draft) -> None:
    if draft.from_queue:
        if not any(draft.given(name) for name in ("provider", "job_id", "queue_name")):
            draft.problems.append(
                f"there are no tasks: give {_shown('task_file')}, task_source= in the program, "
                f"or {_shown('provider')} and {_shown('job_id')} for a cloud queue"
            )
            return
        _need_queue(draft, f"for tasks from a queue (there is no {ROWS['task_file'].flag})")
        _check_skip(draft)
        for name in _LIST_ONLY:
            if draft.given(name):
                sentence = "needs a task file or task source: a queue knows by itself what is done"
                draft.problems.append(ROWS[name].complaint(sentence))
    elif draft.values["event_log_to_queue"]:
        row = ROWS["event_log_to_queue"]
        _need_queue(draft, f"by {row.flag} ({row.env})")
    if draft.values["run_dir"] is not None:
        _check_not_own_failures(draft)
    if draft.given("resume") and not draft.values["event_log_to_file"]:
        need = f"needs the event log of the run before: {ROWS['event_log_to_file'].flag}"
        draft.problems.append(ROWS["resume"].complaint(need))


def _check_not_own_failures(draft: Draft) -> None:
    tasks = draft.values["task_file"]
    own = RunDir(draft.values["run_dir"]).failures
    if tasks is not None and "://" not in tasks and Path(tasks).absolute() == own.absolute():
        draft.problems.append(
            ROWS["task_file"].complaint(
                f"{tasks} is where this run notes its own failures ({ROWS['run_dir'].flag}): use "
                "`cloud_tasks failures DIR -o FILE`, or --resume failed"
            )
        )


def _need_queue(draft: Draft, purpose: str) -> None:
    provider = draft.values["provider"]
    if not draft.given("provider"):
        draft.problems.append(ROWS["provider"].complaint(f"is needed {purpose}"))
    elif provider is not None:
        better = ", ".join(instead_of(provider))
        if better:
            sentence = f"one of {better} is needed {purpose}: {provider} has no queues here"
            draft.problems.append(ROWS["provider"].complaint(sentence))
    if not (draft.given("job_id") or draft.given("queue_name")):
        or_name = f"this or {_shown('queue_name')} is needed {purpose}"
        draft.problems.append(ROWS["job_id"].complaint(or_name))
    for name in required_settings(provider):
        if not draft.given(name):
            draft.problems.append(ROWS[name].complaint(f"is needed for a queue of {provider}"))


def _check_skip(draft: Draft) -> None:
    skip = draft.values["tasks_to_skip"]
    if skip is not None and skip > MOST_SKIPPED:
        draft.problems.append(
            ROWS["tasks_to_skip"].complaint(
                f"must be {MOST_SKIPPED} or less with a queue, not {skip}: "
                "the skipped tasks are kept from all other workers"
            )
        )


def _warn(draft: Draft) -> None:
    values = draft.values
    if draft.from_queue:
        if not (values["event_log_to_queue"] or values["event_log_to_file"]):
            flags = " and ".join(
                f"--no-{ROWS[name].flag[2:]}"
                for name in ("event_log_to_queue", "event_log_to_file")
            )
            draft.warnings.append(f"{flags}: no record of the tasks will be kept")
    else:
        _warn_of_useless(draft)
    if values["is_spot"] and not draft.given("provider"):
        spot, provider = ROWS["is_spot"].flag, ROWS["provider"].flag
        draft.warnings.append(f"{spot} without {provider}: no termination notice can be heard")


def _warn_of_useless(draft: Draft) -> None:
    names = [name for name in _QUEUE_ONLY if _asked(draft, name)]
    once = "exactly_once_queue"
    if draft.values[once] and _asked(draft, once) and not draft.values["event_log_to_queue"]:
        names.append(once)
    if names:
        said = ", ".join(_spelling(draft, name) for name in names)
        does = "does" if len(names) == 1 else "do"
        draft.warnings.append(
            f"{said} {does} nothing here: the tasks come from a task file or task source"
        )


def _asked(draft: Draft, name: str) -> bool:
    # What a program sets as its default is meant for whenever it has a queue.
    return draft.origins[name] in ("command line", "environment")


def _spelling(draft: Draft, name: str) -> str:
    row = ROWS[name]
    return (draft.origins[name] == "environment" and row.env) or row.flag


def _shown(name: str) -> str:
    row = ROWS[name]
    return f"{row.flag} {row.metavar} ({row.env})"
