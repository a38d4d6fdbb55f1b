from __future__ import annotations

from pathlib import Path

import pytest
from integration.jobs import Site
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.chdir(tmp_path)
    return Site(tmp_path)
