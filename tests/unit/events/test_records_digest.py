from __future__ import annotations

import base64
import subprocess
import sys
from datetime import date, datetime, timezone
from types import MappingProxyType
from typing import Any

import pytest
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

from cloud_tasks.events.records import data_digest
from cloud_tasks.task_data import TaskData

NESTED: dict[str, Any] = {"a": 1, "b": {"x": [1, 2.5, None, True], "y": "grün \ud800"}}
ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


def test_it_is_eight_bytes_in_base64() -> None:
    digest = data_digest(NESTED)
    assert digest is not None
    assert len(base64.b64decode(digest)) == 8


def test_the_order_of_keys_does_not_matter_at_any_depth() -> None:
    other = {"b": {"y": "grün \ud800", "x": [1, 2.5, None, True]}, "a": 1}
    assert data_digest(other) == data_digest(NESTED)


def test_any_mapping_gives_the_same_as_a_dict() -> None:
    assert data_digest(MappingProxyType(NESTED)) == data_digest(NESTED)
    assert data_digest(TaskData("id", NESTED)) == data_digest(NESTED)


def test_other_data_give_other_digests() -> None:
    others: list[dict[str, Any]] = [{}, {"a": 1}, {"a": "1"}, {"a": [1]}, {"a": None}, {"b": 1}]
    assert len({data_digest(data) for data in others}) == len(others)


def test_dates_as_yaml_makes_them_have_one() -> None:
    day, moment = date(2025, 1, 2), datetime(2025, 1, 2, 3, tzinfo=timezone.utc)
    assert data_digest({"d": day}) is not None
    assert data_digest({"d": day}) != data_digest({"d": moment})


@pytest.mark.parametrize(
    "data",
    [{"a": {1, 2}}, {"a": object()}, {"a": b"x"}, {1: "a", "b": 2}, {"a": ENDLESS}],
    ids=["set", "object", "bytes", "mixed keys", "endless"],
)
def test_what_has_no_canonical_text_has_no_digest(data: Any) -> None:
    assert data_digest(data) is None


def test_it_is_the_same_in_another_run_with_another_hash_seed() -> None:
    code = (
        "from cloud_tasks.events.records import data_digest as d;"
        "print(d({'a': 1, 'b': {'x': [1, 2.5, None, True], 'y': 'gr\\u00fcn \\ud800'}}))"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == data_digest(NESTED)
