"""The pages for developers name files, classes, threads and rooms that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import cloud_tasks

ROOT = Path(__file__).parents[2]
SRC = Path(cloud_tasks.__file__).parent
INTERNALS = ROOT / "docs" / "internals"
PAGES = [*sorted(INTERNALS.glob("*.md")), ROOT / "CONTRIBUTING.md"]

#: `executors/pool/loop.py`, `queues/sqs`, `docs/changes/`, `pyproject.toml`; not `tox -e full`.
_PATH = re.compile(r"`([\w./-]*[\w-]/[\w./-]*|[\w-]+\.(?:py|md|toml|ini|lock))`")
#: `Dispatcher` (`runtime/dispatcher.py`): a name and the file that defines it.
_DEFINED = re.compile(r"`(\w+)`\s\(`([\w/]+\.py)`\)")
_MODULE = re.compile(r"\bcloud_tasks(?:\.\w+)+")
_THREAD = re.compile(r"^\| `cloud_tasks-([\w-]+)` \|", re.MULTILINE)
_CODE = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def paths(text: str) -> set[str]:
    return {path for path in _PATH.findall(text) if not re.search(r"\b[A-Z]{3,}\.", path)}


def threads_started() -> set[str]:
    """Return the names of all threads that the rooms of a worker start, without the prefix."""
    found = set()
    for room in ("runtime", "worker", "executors", "sources", "events", "display"):
        for path in (SRC / room).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call) and "thread" in ast.unparse(call.func).lower():
                    found |= {
                        str(keyword.value.value).removeprefix("cloud_tasks-")
                        for keyword in call.keywords
                        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
                    }
    return found


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = paths(page.read_text())
    assert named
    missing = {path for path in named if not ((SRC / path).exists() or (ROOT / path).exists())}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_module_that_is_named_exists(page: Path) -> None:
    for module in _MODULE.findall(page.read_text()):
        path = SRC.parent / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), module


def test_every_class_or_function_is_where_the_pages_say() -> None:
    named = {pair for page in PAGES for pair in _DEFINED.findall(page.read_text())}
    assert len(named) > 10
    for name, path in named:
        body = ast.parse((SRC / path).read_text()).body
        defined = {getattr(node, "name", None) for node in body}
        for node in body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                defined |= {ast.unparse(target) for target in targets}
        assert name in defined, f"{name} in {path}"


def test_every_thread_of_a_worker_is_in_the_table_and_no_other() -> None:
    listed = _THREAD.findall((INTERNALS / "threads.md").read_text())
    assert len(set(listed)) == len(listed)
    # Of the display only what a worker shows; its commands have a status line of their own.
    assert set(listed) == threads_started() - {"progress"}


def test_the_drawing_of_the_rooms_is_the_contract_of_the_layers() -> None:
    drawing = _CODE.findall((INTERNALS / "index.md").read_text())[0]
    drawn = [re.split(r"\s{2,}", line)[0].replace("│", "|") for line in drawing.splitlines()]
    contract = (ROOT / "pyproject.toml").read_text().partition("\nlayers = [\n")[2]
    assert drawn == re.findall(r'"(.*)"', contract.partition("\n]\n")[0])
