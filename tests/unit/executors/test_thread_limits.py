from __future__ import annotations

import pytest

from cloud_tasks.executors.thread_limits import thread_limits

pytestmark = pytest.mark.interpreter


@pytest.mark.parametrize(
    ("slots", "cores", "share"), [(1, 8, "8"), (2, 8, "4"), (3, 8, "2"), (16, 8, "1"), (0, 4, "4")]
)
def test_the_cores_are_shared_among_the_slots(slots: int, cores: int, share: str) -> None:
    limits = thread_limits(slots, cores, {})
    assert set(limits.values()) == {share}
    assert {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"} <= limits.keys()


def test_what_the_user_has_set_stays() -> None:
    limits = thread_limits(2, 8, {"MKL_NUM_THREADS": "7", "BLIS_NUM_THREADS": ""})
    assert "MKL_NUM_THREADS" not in limits
    assert limits["BLIS_NUM_THREADS"] == limits["OMP_NUM_THREADS"] == "4"


def test_who_has_set_the_common_variable_gets_none_that_would_overrule_it() -> None:
    assert thread_limits(2, 8, {"OMP_NUM_THREADS": "3"}) == {}
