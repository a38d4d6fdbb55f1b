"""Every executor holds to the contract."""

from __future__ import annotations

from cloud_tasks.testing.executor_contract import ExecutorContract


class TestEveryExecutor(ExecutorContract):
    """The suite, for each kind of ``conftest``."""
