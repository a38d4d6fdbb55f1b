"""Acting once a module is imported, whoever imports it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_tasks.executors.child.import_hook import on_import

pytestmark = pytest.mark.interpreter

NAME = "awaited_by_a_test"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    finders = list(sys.meta_path)
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / f"{NAME}.py"
    file.write_text("value = 1\n")
    yield file
    sys.modules.pop(NAME, None)
    sys.meta_path[:] = finders


def test_what_is_imported_already_is_acted_upon_at_once() -> None:
    acts: list[int] = []
    on_import("sys", lambda: acts.append(1))
    assert acts == [1]


def test_the_module_is_whole_when_it_is_acted_upon_and_that_happens_once(module: Path) -> None:
    seen: list[int] = []
    on_import(NAME, lambda: seen.append(sys.modules[NAME].value))
    assert seen == []
    assert NAME not in sys.modules
    importlib.import_module(NAME)
    importlib.import_module(NAME)
    assert seen == [1]
    importlib.reload(sys.modules[NAME])
    assert seen == [1]


def test_the_module_looks_as_it_would_without_us(module: Path) -> None:
    before = list(sys.meta_path)
    on_import(NAME, lambda: None)
    found = importlib.import_module(NAME)
    assert sys.meta_path == before
    assert found.__spec__ is not None
    assert "cloud_tasks" not in type(found.__spec__.loader).__module__
    assert found.__loader__ is found.__spec__.loader
    assert found.__file__ == str(module)


def test_others_are_imported_as_ever(module: Path) -> None:
    acts: list[int] = []
    on_import(NAME, lambda: acts.append(1))
    module.with_name("another_of_a_test.py").write_text("")
    importlib.import_module("another_of_a_test")
    sys.modules.pop("another_of_a_test")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("nowhere_to_be_found")
    assert acts == []
