"""What is said of a task that is not done: much the first time, little when it comes again."""

from __future__ import annotations

from cloud_tasks.display.crash import explanation, is_explained
from cloud_tasks.display.facts import Facts
from cloud_tasks.display.lines import outcome_line
from cloud_tasks.events.causes import cause_of
from cloud_tasks.outcome import Completed, Outcome
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.task import Delivery
from cloud_tasks.text import safe

#: Further causes are not told of one by one: nobody would read them.
MOST_CAUSES = 100


class Teller:
    """Makes the lines of an outcome, and knows which causes were told.

    Args:
        facts: what is known of the run.
        stats: tell how many tasks run.
    """

    def __init__(self, facts: Facts, stats: Stats) -> None:
        self._facts = facts
        self._stats = stats
        self._told: set[str] = set()

    def every(self, delivery: Delivery, outcome: Outcome) -> list[str]:
        """Return one line for each outcome, and more for a new kind of crash."""
        lines = [outcome_line(delivery, outcome)]
        if is_explained(outcome) and self._is_new(outcome):
            lines += self._explanation(delivery, outcome)
        return lines

    def new_ones(self, delivery: Delivery, outcome: Outcome) -> list[str]:
        """Return lines if the cause is new, else none."""
        if isinstance(outcome, Completed) and not outcome.retry:
            return []
        if not self._is_new(outcome):
            return []
        lines = [f" x {outcome_line(delivery, outcome)}"]
        if is_explained(outcome):
            lines += [f" {line}" for line in self._explanation(delivery, outcome)]
        elif (command := self._facts.see(delivery.task.task_id)) is not None:
            lines.append(f"   see: {safe(command, 1000)}")
        if len(self._told) >= MOST_CAUSES:
            lines.append(" x further causes of failure are told at the end")
        return lines

    def _explanation(self, delivery: Delivery, outcome: Outcome) -> list[str]:
        others = min(self._stats.running, self._facts.slots() - 1)
        return explanation(delivery.task.task_id, outcome, self._facts, others)

    def _is_new(self, outcome: Outcome) -> bool:
        cause = cause_of(outcome)
        if cause in self._told or len(self._told) >= MOST_CAUSES:
            return False
        self._told.add(cause)
        return True
