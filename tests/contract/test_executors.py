"""Every executor holds to the contract."""

from __future__ import annotations

import pytest

from cloud_tasks.testing.executor_contract import ExecutorContract

pytestmark = pytest.mark.interpreter


class TestEveryExecutor(ExecutorContract):
    """The suite, for each kind of ``conftest``."""
