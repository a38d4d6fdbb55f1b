"""requirements.lock has what pyproject.toml asks for, hashed, and no address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
_PINNED = re.compile(r"^([a-z0-9-]+)==\S+(?: ; [^\\]+)? \\$", re.MULTILINE)


def required(project: dict[str, Any]) -> Iterator[str]:
    """Yield the name of each requirement of *project*, normalised."""
    table = project["project"]
    extras = table["optional-dependencies"].values()
    groups = project["dependency-groups"].values()
    for requirements in (table["dependencies"], project["build-system"]["requires"]):
        yield from map(name, requirements)
    for requirements in (*extras, *groups):
        yield from (name(one) for one in requirements if isinstance(one, str))


def name(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def test_the_lock_has_a_version_of_each_requirement() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    missing = set(required(project)) - set(_PINNED.findall(LOCK))
    assert not missing, "run `tox -e lock`"


def test_each_version_of_the_lock_has_hashes() -> None:
    entries = re.split(r"\n(?=[a-z0-9])", LOCK)[1:]
    assert len(entries) > 100
    assert not [entry for entry in entries if "--hash=sha256:" not in entry]


def test_the_lock_names_no_address() -> None:
    assert not re.findall(r"^--(?:extra-)?index.*|\S+://\S+", LOCK, re.MULTILINE)
