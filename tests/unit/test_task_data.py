from __future__ import annotations

import copy
import json
import pickle

import pytest

from cloud_tasks.task_data import TaskData

pytestmark = pytest.mark.interpreter


def test_answers_task_id_and_data_though_it_does_not_contain_them() -> None:
    data = TaskData("a", {"n": 1})
    assert data["task_id"] == data.get("task_id") == "a"
    assert data["data"] is data
    assert data.get("data") is data
    assert "task_id" not in data
    assert "data" not in data
    assert list(data) == ["n"]
    assert len(data) == 1
    assert data == {"n": 1}
    assert json.loads(json.dumps(data)) == {"n": 1}


def test_a_key_of_the_data_itself_wins() -> None:
    data = TaskData("a", {"task_id": "mine", "data": None})
    assert data["task_id"] == data.get("task_id") == "mine"
    assert data["data"] is None
    assert data.get("data", "no") is None


def test_other_missing_keys_are_missing() -> None:
    data = TaskData("a", {})
    with pytest.raises(KeyError, match="colour"):
        data["colour"]
    assert data.get("colour") is None
    assert data.get("colour", "blue") == "blue"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_survives_a_pickle_with_its_id(protocol: int) -> None:
    data = pickle.loads(pickle.dumps(TaskData("a", {"n": [1]}), protocol))
    assert type(data) is TaskData
    assert data["task_id"] == "a"
    assert data == {"n": [1]}


def test_a_copy_keeps_the_id_too() -> None:
    for data in (copy.copy(TaskData("a", {"n": 1})), copy.deepcopy(TaskData("a", {"n": 1}))):
        assert data["task_id"] == "a"


def test_what_a_task_changes_stays_in_its_own_mapping() -> None:
    given = {"n": 1}
    TaskData("a", given)["n"] = 2
    assert given == {"n": 1}
