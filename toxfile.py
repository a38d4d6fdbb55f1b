"""Extend tox: say in one line when an environment took longer than its budget of tox.ini."""

from __future__ import annotations

from tox.config.sets import EnvConfigSet
from tox.execute import Outcome
from tox.plugin import impl
from tox.session.state import State
from tox.tox_env.api import ToxEnv


@impl
def tox_add_env_config(env_conf: EnvConfigSet, state: State) -> None:
    """Register the key ``budget`` of an environment."""
    env_conf.add_config("budget", int, 0, "seconds that the commands may take; 0 means no limit")


@impl
def tox_after_run_commands(tox_env: ToxEnv, exit_code: int, outcomes: list[Outcome]) -> None:
    """Compare the time of the commands with the budget; being over it is no failure."""
    budget = tox_env.conf["budget"]
    took = sum(outcome.elapsed for outcome in outcomes)
    if 0 < budget < took:
        print(f"{tox_env.conf.name}: over its budget: {took:.0f} s instead of {budget} s")
