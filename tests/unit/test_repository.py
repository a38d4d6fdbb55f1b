"""The files at the top of the repository agree with each other: workflows, forms, citation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloud_tasks import registry

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml" for name in ("bug", "feature")]


def load(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text())
    assert isinstance(content, dict)
    return content


def name(path: Path) -> str:
    return path.stem


def readme_line() -> str:
    """Return the line of README that runs the gate."""
    (line,) = re.findall(r"^python3 -m venv .*/tox$", (ROOT / "README.md").read_text(), re.M)
    return str(line)


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_there_is_a_workflow_for_each_change_each_night_and_each_week() -> None:
    # PyYAML reads `on` as YAML 1.1 does: as true.
    triggers: dict[str, Any] = {name(path): load(path)[True] for path in WORKFLOWS}  # type: ignore[index]
    assert set(triggers) == {"gate", "full", "newest"}
    assert set(triggers["gate"]) == {"push", "pull_request"}
    for workflow, weekday in {"full": r"\*", "newest": r"[0-6]"}.items():
        ((schedule,),) = [[entry["cron"] for entry in triggers[workflow]["schedule"]]]
        assert re.fullmatch(rf"\d+ \d+ \* \* {weekday}", schedule)


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_a_workflow_runs_the_line_of_readme_with_an_environment_that_tox_has(path: Path) -> None:
    commands = [step["run"] for step in steps(load(path)) if "run" in step]
    expected = readme_line() if path.stem == "gate" else f"{readme_line()} -e {path.stem}"
    assert commands == [expected]
    sections = re.findall(r"^\[testenv:([\w-]+)\]$", (ROOT / "tox.ini").read_text(), re.MULTILINE)
    assert path.stem == "gate" or path.stem in sections


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_a_workflow_may_only_read_and_ends_at_some_time(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] for job in workflow["jobs"].values())


@pytest.mark.parametrize("workflow", ["gate", "full"])
def test_a_workflow_sets_up_every_version_of_python_that_is_claimed(workflow: str) -> None:
    claimed = re.findall(
        r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text()
    )
    versions = [
        step["with"]["python-version"].split()
        for step in steps(load(ROOT / ".github" / "workflows" / f"{workflow}.yml"))
        if "setup-python" in step.get("uses", "")
    ]
    assert [sorted(found) for found in versions] == [sorted(claimed)]


@pytest.mark.parametrize("path", FORMS, ids=name)
def test_a_form_has_what_github_asks_of_one(path: Path) -> None:
    form = load(path)
    assert form["name"]
    assert form["description"]
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 0
    for field in fields:
        assert field["type"] in {"input", "textarea", "dropdown"}
        assert field["attributes"]["label"]


def test_the_form_for_bugs_asks_for_version_executor_command_and_events() -> None:
    fields = {part.get("id"): part for part in load(FORMS[0])["body"]}
    assert {"version", "executor", "command", "events"} <= set(fields)
    options = " ".join(fields["executor"]["attributes"]["options"])
    assert all(executor in options for executor in registry.names("executor"))


def test_the_citation_has_what_its_format_needs_and_the_version_of_the_package() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    project = (ROOT / "pyproject.toml").read_text()
    assert f'\nversion = "{citation["version"]}"\n' in project
    assert f'\nlicense = "{citation["license"]}"\n' in project
    (author,) = citation["authors"]
    assert f'authors = [{{ name = "{author["name"]}" }}]' in project


def test_security_says_how_to_report_and_invents_no_address() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert "private vulnerability" in " ".join(text.split())
    assert not re.search(r"\w@\w", text)
