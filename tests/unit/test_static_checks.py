from __future__ import annotations

import pytest

from tools.static_checks import main

CHECKS = {
    "slow": ["sleep 0.1", "echo of the slow one"],
    "quick": ["echo of the quick one"],
    "bad": ["false", "echo after a failure"],
}


def test_outputs_come_in_order_and_a_failure_is_an_exit_code(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main([], CHECKS) == 1
    out = capfd.readouterr().out
    lines = [line for line in out.splitlines() if not line.startswith("---")]
    assert lines == [
        "of the slow one",
        "of the quick one",
        "after a failure",
        "failed: bad",
    ]


def test_checks_can_be_chosen(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["quick"], CHECKS) == 0
    assert "slow" not in capfd.readouterr().out
    with pytest.raises(SystemExit, match="no such check: none"):
        main(["none"], CHECKS)
