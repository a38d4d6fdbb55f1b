from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cloud_tasks import registry
from cloud_tasks.errors import ConfigurationError
from cloud_tasks.executors.base import Executor
from cloud_tasks.executors.inline import InlineExecutor


@pytest.mark.parametrize("name", registry.names("executor"))
def test_every_name_leads_to_an_executor(name: str) -> None:
    loaded = registry.load("executor", name)
    assert issubclass(loaded, Executor)
    assert not getattr(loaded, "__abstractmethods__", None)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ConfigurationError) as caught:
        registry.load("executor", "lokey")
    assert "'lokey'" in str(caught.value)
    for name in registry.names("executor"):
        assert name in str(caught.value)


@pytest.fixture
def _other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another distribution that registers executors, one of them by a name of ours."""
    (tmp_path / "other_pool.py").write_text(
        "from cloud_tasks.executors.inline import InlineExecutor\n"
        "class Other(InlineExecutor):\n    pass\n"
    )
    info = tmp_path / "other_pool-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-pool\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[cloud_tasks.executors]\nother = other_pool:Other\ninline = other_pool:Other\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "other_pool", raising=False)


@pytest.mark.usefixtures("_other_package")
def test_another_package_can_register_an_executor() -> None:
    assert registry.load("executor", "other").__name__ == "Other"
    with pytest.raises(ConfigurationError, match="other"):
        registry.load("executor", "unknown")


@pytest.mark.usefixtures("_other_package")
def test_a_name_of_ours_can_not_be_taken_over() -> None:
    assert registry.load("executor", "inline") is InlineExecutor
