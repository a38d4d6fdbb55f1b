"""Fill the settings that depend on others, and check those that must fit together.

::

    command line, environment, program ─► Draft ─► derive() ─► Settings
                                            │  executor, sources and queues, slots, spot simulation
                                            └► problems (end the program), warnings (are logged)

Nothing here raises: each step appends its sentences to the draft, so that a user sees all problems
at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cloud_tasks.history.layout import RunDir
from cloud_tasks.settings.providers import alternatives_to, required_settings
from cloud_tasks.settings.table import ROWS, default_lease

#: Who gave a value. ``program``: ``set_defaults`` of the program's parser, or a keyword.
Origin = Literal["command line", "environment", "program", "default", "derived"]

#: Booleans that are another way of saying ``--executor NAME``.
EXECUTOR_SPELLINGS: Mapping[str, str] = {
    "debug": "inline",
    "pdb": "inline",
    "use_new_process": "spawn",
}

#: The most tasks that a worker may skip in a queue: it keeps them from all other workers.
MAX_SKIPPED = 100
#: Settings that only a queue of tasks uses.
_QUEUE_ONLY = ("max_attempts", "lease", "exit_when_idle")
#: Settings that pick tasks from a list that can be read again, which a queue is not.
_LIST_ONLY = ("task_id", "resume")


@dataclass(slots=True)
class Draft:
    """The settings of one worker while they are being resolved.

    Attributes:
        values: by name of the setting.
        origins: who gave each value, also one that turned out to be wrong.
        problems: sentences that will end the program.
        warnings: sentences to log.
        from_queue: tasks come from the provider's queue.
    """

    values: dict[str, Any]
    origins: dict[str, Origin]
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    from_queue: bool = False

    def given(self, name: str) -> bool:
        """Return whether a user or the program gave *name* a value, right or wrong."""
        return self.origins[name] not in ("default", "derived")

    def given_by_user(self, name: str) -> bool:
        """Return whether the command line or the environment gave *name* a value."""
        return self.origins[name] in ("command line", "environment")

    def derive(self, name: str, value: Any) -> None:
        """Set *name* to what follows from other settings."""
        self.values[name] = value
        self.origins[name] = "derived"

    def reject(self, name: str, sentence: str) -> None:
        """Add the problem that the value of *name* is wrong."""
        self.problems.append(ROWS[name].complaint(sentence))

    def spelling(self, name: str) -> str:
        """Return the variable of *name* if the environment gave it, else the flag."""
        row = ROWS[name]
        return (self.origins[name] == "environment" and row.env) or row.flag


def derive(
    draft: Draft, *, executor: object = None, has_task_source: bool = False, require_tasks: bool
) -> None:
    """Fill the dependent values of *draft* and check what must fit together; see ``resolve``."""
    _derive_executor(draft, executor)
    _derive_sources(draft, has_task_source)
    if require_tasks:
        _check_sources(draft)
        _check_current_folder(draft)
    _warn_of_sources(draft)
    _derive_slots(draft)
    _check_simulated_termination(draft)


# -- the executor


def _derive_executor(draft: Draft, keyword: object) -> None:
    """Set which executor runs: its name, or for an object the name of its class.

    The command line beats the environment, which beats the keyword, which beats the defaults of
    the program's parser. An object beats all and can't be overruled, so an explicit choice on
    the command line is a problem then.
    """
    if keyword is not None and not isinstance(keyword, str):
        _keep_object(draft, keyword)
    elif not (_choose_by(draft, "command line") or _choose_by(draft, "environment")):
        if keyword is not None:
            draft.values["executor"] = keyword
            draft.origins["executor"] = "program"
        else:
            _choose_by(draft, "program")
    # A spelling that was overruled would say that another executor runs.
    for name, choice in EXECUTOR_SPELLINGS.items():
        if draft.values[name] and draft.values["executor"] != choice:
            draft.derive(name, False)


def _choices(draft: Draft, origin: Origin) -> dict[str, str]:
    """Return the executors that *origin* asks for, by the setting that says so."""
    spelled = {name: choice for name, choice in EXECUTOR_SPELLINGS.items() if draft.values[name]}
    choices = {"executor": draft.values["executor"], **spelled}
    return {name: choice for name, choice in choices.items() if draft.origins[name] == origin}


def _choose_by(draft: Draft, origin: Origin) -> bool:
    """Set the executor that *origin* asks for; returns whether it asks for one."""
    choices = _choices(draft, origin)
    if not choices:
        return False
    if len(set(choices.values())) > 1:
        draft.problems.append(
            f"{_spellings(draft, choices)} choose different executors "
            f"({', '.join(choices.values())}): give one of them"
        )
    draft.values["executor"] = next(iter(choices.values()))
    draft.origins["executor"] = origin
    return True


def _keep_object(draft: Draft, executor: object) -> None:
    name = type(executor).__name__
    overruling = _choices(draft, "command line")
    if overruling:
        draft.problems.append(
            f"{_spellings(draft, overruling)}: the program brings an executor of its own "
            f"({name}), which can't be replaced from the command line"
        )
    draft.values["executor"] = name
    draft.origins["executor"] = "program"


def _spellings(draft: Draft, names: Iterable[str]) -> str:
    return " and ".join(map(draft.spelling, names))


# -- where tasks come from and where events go


def _derive_sources(draft: Draft, has_task_source: bool) -> None:
    draft.from_queue = not (has_task_source or draft.given("task_file"))
    values = draft.values
    derived = {
        "queue_name": values["job_id"],
        "event_log_to_file": not draft.from_queue,
        "event_log_to_queue": draft.from_queue,
        "lease": default_lease(values["max_runtime"]),
    }
    if values["run_dir"] is not None:
        derived["event_log_file"] = str(RunDir(values["run_dir"]).events)
        derived["event_log_to_file"] = True
    for name, value in derived.items():
        if value is not None and not draft.given(name):
            draft.derive(name, value)


def _check_sources(draft: Draft) -> None:
    if draft.from_queue:
        if not any(draft.given(name) for name in ("provider", "job_id", "queue_name")):
            draft.problems.append(
                f"there are no tasks: give {_shown('task_file')}, task_source= in the program, "
                f"or {_shown('provider')} and {_shown('job_id')} for a cloud queue"
            )
            return
        require_queue(draft, f" for tasks from a queue (there is no {ROWS['task_file'].flag})")
        skip = draft.values["tasks_to_skip"]
        if skip is not None and skip > MAX_SKIPPED:
            draft.reject(
                "tasks_to_skip",
                f"must be {MAX_SKIPPED} or less with a queue, not {skip}: "
                "the skipped tasks are kept from all other workers",
            )
        for name in _LIST_ONLY:
            if draft.given(name):
                draft.reject(
                    name, "needs a task file or task source: a queue knows by itself what is done"
                )
    elif draft.values["event_log_to_queue"]:
        row = ROWS["event_log_to_queue"]
        require_queue(draft, f" by {row.flag} ({row.env})")
    if draft.values["run_dir"] is not None and _has_current_folder():
        _check_not_own_failures(draft)
    if draft.given("resume") and not draft.values["event_log_to_file"]:
        draft.reject(
            "resume", f"needs the event log of the run before: {ROWS['event_log_to_file'].flag}"
        )


def require_queue(draft: Draft, purpose: str = "") -> None:
    """Reject what a queue lacks; *purpose* says after a blank why there must be one."""
    provider = draft.values["provider"]
    if not draft.given("provider"):
        draft.reject("provider", f"is needed{purpose}")
    elif provider is not None and (others := alternatives_to(provider)):
        sentence = f"one of {', '.join(others)} is needed{purpose}: {provider} has no queues here"
        draft.reject("provider", sentence)
    if not (draft.given("job_id") or draft.given("queue_name")):
        other = ROWS["queue_name"]
        named = _shown("queue_name") if purpose else f"{other.flag} ({other.env})"
        draft.reject("job_id", f"this or {named} is needed{purpose}")
    for name in required_settings(provider):
        if not draft.given(name):
            draft.reject(name, f"is needed for a queue of {provider}")


def _check_not_own_failures(draft: Draft) -> None:
    tasks = draft.values["task_file"]
    own = RunDir(draft.values["run_dir"]).failures
    if tasks is not None and "://" not in tasks and Path(tasks).absolute() == own.absolute():
        draft.reject(
            "task_file",
            f"{tasks} is where this run records its own failures ({ROWS['run_dir'].flag}): use "
            "`cloud_tasks failures DIR -o FILE`, or --resume failed",
        )


def _check_current_folder(draft: Draft) -> None:
    """Reject paths that are relative to a current folder that has been deleted."""
    if _has_current_folder():
        return
    names = ["task_file", "run_dir"]
    if draft.values["event_log_to_file"] and draft.values["run_dir"] is None:
        names.append("event_log_file")
    for name in names:
        path = draft.values[name]
        if path not in (None, "-") and "://" not in path and not Path(path).is_absolute():
            draft.reject(
                name,
                f"{path} is relative to the current folder, which has been deleted: "
                "change to another folder, or give an absolute path",
            )


def _has_current_folder() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _warn_of_sources(draft: Draft) -> None:
    values = draft.values
    if not draft.from_queue:
        _warn_of_useless(draft)
    elif not (values["event_log_to_queue"] or values["event_log_to_file"]):
        flags = " and ".join(
            f"--no-{ROWS[name].flag[2:]}" for name in ("event_log_to_queue", "event_log_to_file")
        )
        draft.warnings.append(f"{flags}: no record of the tasks will be kept")
    if values["is_spot"] and not draft.given("provider"):
        spot, provider = ROWS["is_spot"].flag, ROWS["provider"].flag
        draft.warnings.append(f"{spot} without {provider}: termination notices are not watched for")


def _warn_of_useless(draft: Draft) -> None:
    # A default that the program sets is meant for its runs from a queue, so it is no mistake.
    names = [name for name in _QUEUE_ONLY if draft.given_by_user(name)]
    once = "exactly_once_queue"
    if draft.values[once] and draft.given_by_user(once) and not draft.values["event_log_to_queue"]:
        names.append(once)
    if names:
        spelled = ", ".join(draft.spelling(name) for name in names)
        does = "does" if len(names) == 1 else "do"
        draft.warnings.append(
            f"{spelled} {does} nothing here: the tasks come from a task file or task source"
        )


def _shown(name: str) -> str:
    row = ROWS[name]
    return f"{row.flag} {row.metavar} ({row.env})"


# -- slots, and the simulated spot notice


def _derive_slots(draft: Draft) -> None:
    asked = draft.values["num_simultaneous_tasks"]
    if asked == "auto":
        draft.values["num_simultaneous_tasks"] = usable_cores()
    elif not draft.given("num_simultaneous_tasks") and draft.values["num_cpus"] is not None:
        draft.derive("num_simultaneous_tasks", draft.values["num_cpus"])


def usable_cores() -> int:
    """Return how many cores this process may use: CPU affinity and cgroup limits count."""
    # Imported here because it takes 0.1 s, and few runs need it.
    import loky

    return int(loky.cpu_count())


def _check_simulated_termination(draft: Draft) -> None:
    after = ROWS["simulate_spot_termination_after"]
    delay = ROWS["simulate_spot_termination_delay"]
    if draft.given(delay.name) and not draft.given(after.name):
        draft.reject(delay.name, f"needs {after.flag} ({after.env}) too")
    if draft.given(after.name) and not draft.given(delay.name):
        draft.warnings.append(
            f"{after.flag} without {delay.flag}: "
            "the termination notice will be simulated, but tasks will not be killed"
        )
