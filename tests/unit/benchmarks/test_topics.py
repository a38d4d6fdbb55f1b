"""What the topics consist of holds together."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import benchmarks
from benchmarks import peers, topics
from benchmarks.contest import Contest

HERE = Path(benchmarks.__file__).parent
MODULES = sorted(HERE.glob("*.py"))
LONGEST_MODULE, LONGEST_FUNCTION = 300, 50


def contests_of(name: str) -> list[Contest]:
    return [contest for quick in (False, True) for contest in topics.load(name).contests(quick)]


@pytest.mark.parametrize("name", topics.CONTESTS)
def test_contestants_have_different_names_and_functions_that_exist(name: str) -> None:
    for contest in contests_of(name):
        names = [contestant.name for contestant in contest.contestants]
        assert len(set(names)) == len(names)
        for contestant in contest.contestants:
            module, _, function = contestant.target.partition(":")
            assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("name", topics.CONTESTS)
def test_references_and_aims_name_contestants(name: str) -> None:
    for contest in contests_of(name):
        names = {contestant.name for contestant in contest.contestants}
        assert contest.reference in names
        assert {aim.contestant for aim in contest.aims} <= names
        assert {aim.versus for aim in contest.aims} <= {*names, ""}


def test_no_two_aims_have_the_same_words() -> None:
    for quick in (False, True):
        words = [
            aim.what
            for name in topics.CONTESTS
            for contest in topics.load(name).contests(quick)
            for aim in contest.aims
        ]
        assert len(set(words)) == len(words)


@pytest.mark.parametrize("name", topics.PROGRAMS)
def test_a_program_can_be_run_by_its_name(name: str) -> None:
    source = (HERE / f"{name}.py").read_text()
    assert "\ndef main() -> " in source
    assert 'if __name__ == "__main__":' in source


def test_every_module_that_measures_is_a_topic() -> None:
    measuring = {
        path.stem
        for path in MODULES
        if "\ndef contests(" in (text := path.read_text()) or "ArgumentParser" in text
    }
    assert measuring - {"__main__"} == {*topics.CONTESTS, *topics.PROGRAMS}


def test_the_peers_are_listed_by_name_with_their_versions() -> None:
    assert {"pebble", "loky", "joblib", "ijson"} <= set(peers.names())
    lines = [line for line in peers.LIST.read_text().splitlines() if line[:1] != "#"]
    assert all("==" in line for line in lines)


def test_modules_and_functions_are_short() -> None:
    for path in MODULES:
        text = path.read_text()
        assert len(text.splitlines()) < LONGEST_MODULE, path.name
        for part in ast.walk(ast.parse(text)):
            if isinstance(part, ast.FunctionDef):
                lines = (part.end_lineno or 0) - part.lineno
                assert lines < LONGEST_FUNCTION, f"{path.name}: {part.name}"
