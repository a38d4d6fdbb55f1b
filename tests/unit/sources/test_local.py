"""What a user may give as ``task_source``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.sources.files.task_file import TaskFileSource
from cloud_tasks.sources.iterable import IterableSource
from cloud_tasks.sources.local import make_source
from cloud_tasks.testing.source_contract import drain


def test_a_name_or_a_path_is_a_task_file(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("a\n1\n")
    for given in (path, str(path)):
        source = make_source(given)
        assert isinstance(source, TaskFileSource)
        assert drain(source).ids == ["row-1"]


def test_an_fcpath_is_a_task_file(tmp_path: Path) -> None:
    filecache = pytest.importorskip("filecache")
    assert isinstance(make_source(filecache.FCPath(tmp_path)), TaskFileSource)


def test_the_task_format_is_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("a\n1\n")
    assert drain(make_source(path, task_format="csv")).ids == ["row-1"]


class Tasks:
    def __call__(self) -> list[Any]:
        return []


@pytest.mark.parametrize("function", [lambda: [], Tasks()])
def test_a_function_is_a_source(function: Callable[[], list[Any]]) -> None:
    source = make_source(function)
    assert isinstance(source, IterableSource)
    assert drain(source).error is None


@pytest.mark.parametrize("given", [None, 5, b"f.json", [{"task_id": "t", "data": {}}]])
def test_anything_else_is_refused_with_what_is_accepted(given: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_source(given)
    assert f"of type {type(given).__name__}: expected a file name" in str(caught.value)
    assert ("(lambda: tasks)" in str(caught.value)) is hasattr(given, "__iter__")
