from __future__ import annotations

import pytest

from cloud_tasks.executors.pool.state import Job
from cloud_tasks.executors.pool.stop_verdicts import StopVerdicts
from cloud_tasks.outcome import Aborted, Completed, Exited, Measures, Outcome, Raised, TimedOut

MEASURES = Measures(3, 1.5)
#: Ends that a stop signal may have caused.
DOUBTFUL = [*(Exited(code, None, MEASURES) for code in (-15, 143, -1, 129, -2, 130))]
DOUBTFUL_RAISED = [
    Raised(name, message, "", MEASURES)
    for name, message in (
        ("KeyboardInterrupt", ""),
        ("BrokenProcessPool", "A process in the process pool was terminated abruptly"),
        ("CalledProcessError", "Command 'x' died with <Signals.SIGTERM: 15>."),
        ("CalledProcessError", "Command 'sh' returned non-zero exit status 143."),
        ("TerminatedWorkerError", "The exit codes of the workers are {SIGTERM(-15)}"),
    )
]
#: Ends that only a task can have had by one that got the signal itself.
OWN = [Exited(1, None, MEASURES), Exited(-11, None, MEASURES), Raised("ValueError", "", "")]
#: Ends that no stop signal causes.
CLEAR = [Completed(False, b"1", MEASURES), TimedOut(1.0, MEASURES), Aborted("by us", MEASURES)]


def job() -> Job:
    made = Job(1, "t", b"", None)
    assert made.claim()
    return made


@pytest.fixture
def due() -> list[float]:
    return []


@pytest.fixture
def verdicts(due: list[float]) -> StopVerdicts:
    return StopVerdicts(due.append)


@pytest.mark.parametrize("outcome", [*DOUBTFUL, *DOUBTFUL_RAISED], ids=str)
def test_a_death_seen_before_the_workers_own_signal_is_handed_back(
    verdicts: StopVerdicts, due: list[float], outcome: Outcome
) -> None:
    ended = job()
    verdicts.resolve(ended, outcome)
    assert (ended.done(), verdicts.pending, len(due)) == (False, True, 1)
    verdicts.on_stop()
    result = ended.result(0)
    assert isinstance(result, Aborted)
    assert result.measures == MEASURES
    assert not verdicts.pending


@pytest.mark.parametrize("outcome", [*DOUBTFUL, *DOUBTFUL_RAISED], ids=str)
def test_after_the_workers_own_signal_it_is_handed_back_at_once(
    verdicts: StopVerdicts, outcome: Outcome
) -> None:
    verdicts.on_stop()
    ended = job()
    verdicts.resolve(ended, outcome)
    assert isinstance(ended.result(0), Aborted)


@pytest.mark.parametrize("outcome", [*OWN, *CLEAR], ids=str)
@pytest.mark.parametrize("stopping", [False, True])
def test_any_other_end_is_the_tasks_own(
    verdicts: StopVerdicts, outcome: Outcome, stopping: bool
) -> None:
    if stopping:
        verdicts.on_stop()
    ended = job()
    verdicts.resolve(ended, outcome)
    assert ended.result(0) is outcome


def verdict_after_signal(verdicts: StopVerdicts, outcome: Outcome) -> Outcome:
    """Return what becomes of *outcome* if the signal had reached the task's process before."""
    verdicts.on_stop()
    ended = job()
    ended.signalled = True
    verdicts.resolve(ended, outcome)
    return ended.result(0)


@pytest.mark.parametrize("outcome", OWN, ids=str)
def test_a_failure_after_the_signal_had_reached_the_task_is_handed_back(
    verdicts: StopVerdicts, outcome: Outcome
) -> None:
    assert isinstance(verdict_after_signal(verdicts, outcome), Aborted)


@pytest.mark.parametrize("outcome", CLEAR, ids=str)
def test_other_ends_after_the_signal_stay_as_they_are(
    verdicts: StopVerdicts, outcome: Outcome
) -> None:
    assert verdict_after_signal(verdicts, outcome) is outcome


def test_what_is_held_at_the_end_of_the_pool_gets_its_own_outcome(verdicts: StopVerdicts) -> None:
    ended = job()
    verdicts.resolve(ended, DOUBTFUL[0])
    verdicts.resolve_due()
    assert not ended.done()
    verdicts.resolve_all()
    assert ended.result(0) is DOUBTFUL[0]
