"""Values that depend on others, and checks that need more than one.

Everything here works on a draft and notes what is wrong in it instead of raising, so that a user
sees all problems at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloud_tasks.settings.draft import Draft, Origin
from cloud_tasks.settings.queueing import settle_queues
from cloud_tasks.settings.table import ROWS

#: Booleans that are another way of saying ``--executor NAME``.
EXECUTOR_SPELLINGS: Mapping[str, str] = {
    "debug": "inline",
    "pdb": "inline",
    "use_new_process": "spawn",
}


def derive(
    draft: Draft, *, executor: object = None, has_task_source: bool = False, require_tasks: bool
) -> None:
    """Fill the dependent values of *draft* and note what doesn't fit together.

    Args:
        draft: is changed.
        executor: the program's keyword: a name, an executor object, or None.
        has_task_source: the program gives a source of tasks.
        require_tasks: it is an error if tasks, or a queue for events, come from nowhere.
    """
    choose_executor(draft, executor)
    settle_queues(draft, has_task_source, require_tasks)
    _slots(draft)
    _simulated_termination(draft)


def choose_executor(draft: Draft, keyword: object) -> None:
    """Settle which executor runs: its name, or for an object the name of its class.

    The command line beats the environment, which beats the keyword, which beats the defaults of
    the program's parser. An object beats all and can't be overruled, so an explicit choice on
    the command line is a problem then.
    """
    if keyword is not None and not isinstance(keyword, str):
        _keep_object(draft, keyword)
    elif not (_chosen_by(draft, "command line") or _chosen_by(draft, "environment")):
        if keyword is not None:
            draft.values["executor"] = keyword
            draft.origins["executor"] = "program"
        else:
            _chosen_by(draft, "program")
    # A spelling that was overruled says what isn't so.
    for name, choice in EXECUTOR_SPELLINGS.items():
        if draft.values[name] and draft.values["executor"] != choice:
            draft.derive(name, False)


def _choices(draft: Draft, origin: Origin) -> dict[str, str]:
    """Return the executors that *origin* asks for, by the setting that says so."""
    said = {name: choice for name, choice in EXECUTOR_SPELLINGS.items() if draft.values[name]}
    choices = {"executor": draft.values["executor"], **said}
    return {name: choice for name, choice in choices.items() if draft.origins[name] == origin}


def _chosen_by(draft: Draft, origin: Origin) -> bool:
    choices = _choices(draft, origin)
    if not choices:
        return False
    if len(set(choices.values())) > 1:
        said = _spellings(choices, origin)
        draft.problems.append(
            f"{said} choose different executors ({', '.join(choices.values())}): give one of them"
        )
    draft.values["executor"] = next(iter(choices.values()))
    draft.origins["executor"] = origin
    return True


def _keep_object(draft: Draft, executor: object) -> None:
    name = type(executor).__name__
    overruling = _choices(draft, "command line")
    if overruling:
        draft.problems.append(
            f"{_spellings(overruling, 'command line')}: the program brings an executor of its own "
            f"({name}), which can't be replaced from the command line"
        )
    draft.values["executor"] = name
    draft.origins["executor"] = "program"


def _spellings(names: Iterable[str], origin: Origin) -> str:
    rows = [ROWS[name] for name in names]
    return " and ".join((origin == "environment" and row.env) or row.flag for row in rows)


def _slots(draft: Draft) -> None:
    asked = draft.values["num_simultaneous_tasks"]
    if asked == "auto":
        draft.values["num_simultaneous_tasks"] = usable_cores()
    elif not draft.given("num_simultaneous_tasks") and draft.values["num_cpus"] is not None:
        draft.derive("num_simultaneous_tasks", draft.values["num_cpus"])


def usable_cores() -> int:
    """Return how many cores this process may use: CPU affinity and cgroup limits count."""
    # Takes a tenth of a second to import, and few ask for it.
    import loky

    return int(loky.cpu_count())


def _simulated_termination(draft: Draft) -> None:
    after = ROWS["simulate_spot_termination_after"]
    delay = ROWS["simulate_spot_termination_delay"]
    if draft.given(delay.name) and not draft.given(after.name):
        draft.problems.append(delay.complaint(f"needs {after.flag} ({after.env}) too"))
    if draft.given(after.name) and not draft.given(delay.name):
        draft.warnings.append(
            f"{after.flag} without {delay.flag}: "
            "the termination notice will be simulated, but tasks will not be killed"
        )
