"""Names of providers, ours and others'."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_tasks import registry
from cloud_tasks.settings.providers import BUILT_IN, alternatives_to, provider_name


@pytest.fixture
def _other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another distribution that registers providers, one of them by a name of ours."""
    info = tmp_path / "other_cloud-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-cloud\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{registry.GROUPS['queue']}]\nHill = other:Queue\nhill = other:Queue\naws = other:Q\n"
        f"[{registry.GROUPS['probe']}]\ndale = other:Probe\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_every_name_of_the_registry_is_one_of_ours() -> None:
    assert set(BUILT_IN) == {*registry.names("queue"), *registry.names("probe")}
    assert len(BUILT_IN) == len(set(BUILT_IN))


@pytest.mark.parametrize("name", BUILT_IN)
def test_names_of_ours_are_taken_in_any_case(name: str) -> None:
    assert {provider_name(text) for text in (name, name.lower(), f" {name.title()} ")} == {name}


def test_an_unknown_name_lists_ours() -> None:
    with pytest.raises(ValueError, match="'ibm' is none of AWS, GCP, AZURE"):
        provider_name("ibm")


@pytest.mark.usefixtures("_other_package")
def test_an_unknown_name_lists_those_of_other_packages_too() -> None:
    with pytest.raises(ValueError, match=r"none of AWS, GCP, AZURE, Hill, dale, hill$"):
        provider_name("ibm")


@pytest.mark.usefixtures("_other_package")
@pytest.mark.parametrize(
    ("text", "name"),
    [("hill", "hill"), ("Hill", "Hill"), ("DALE", "dale"), ("aws", "AWS")],
)
def test_names_of_other_packages_are_spelled_as_registered(text: str, name: str) -> None:
    assert provider_name(text) == name


@pytest.mark.usefixtures("_other_package")
def test_a_provider_of_notices_alone_has_no_queues() -> None:
    assert alternatives_to("hill") == alternatives_to("GCP") == []
    assert alternatives_to("AZURE") == alternatives_to("dale") == ["AWS", "GCP", "Hill", "hill"]
