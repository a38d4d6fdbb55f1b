"""What holds for every module, read from its source."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import cloud_tasks

SRC = Path(cloud_tasks.__file__).parent
MODULES = sorted(SRC.rglob("*.py"))
LONGEST_MODULE, LONGEST_FUNCTION = 300, 50
#: Where each library may be imported; everywhere else its home is asked.
HOMES = {
    "boto3": {"queues/sqs/client.py"},
    "botocore": {"queues/sqs/client.py"},
    "cloudpickle": {"executors/function.py"},
    "filecache": {"sources/opening.py"},
    "google": {"queues/pubsub/client.py"},
    "grpc": {"queues/pubsub/client.py"},
    "jinja2": {"report/page.py"},
    "loky": {"executors/loky.py", "settings/derive.py"},
    "moto": {"cli/demo_processes.py"},
    "psutil": {"executors/process.py"},
    "pytest": {"testing"},
    "rich": {"display/"},
    "tenacity": {"queues/retrying.py"},
    "werkzeug": {"cli/demo_processes.py"},
    "yaml": {"sources/yaml_list/"},
}
POSIX_ONLY = {"fcntl", "pwd", "resource", "pty", "termios"}


def name(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def running_code(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for part in ast.iter_child_nodes(node):
        if not (isinstance(part, ast.If) and ast.unparse(part.test) == "TYPE_CHECKING"):
            yield from running_code(part)


def imports(node: ast.AST) -> Iterator[str]:
    """Yield the top-level package of all that *node* imports when it runs."""
    for part in running_code(node):
        if isinstance(part, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in part.names)
        elif isinstance(part, ast.ImportFrom) and part.module and not part.level:
            yield part.module.partition(".")[0]


@functools.cache
def imported(path: Path) -> frozenset[str]:
    return frozenset(imports(tree(path)))


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of *function* without its docstring."""
    docstring = ast.get_docstring(function, clean=False)
    told = 0 if docstring is None else docstring.count("\n") + 1
    return (function.end_lineno or 0) - function.lineno + 1 - told


def test_a_module_is_short_enough_to_be_read_at_once() -> None:
    lengths = {name(path): len(path.read_text().splitlines()) for path in MODULES}
    assert not {name: length for name, length in lengths.items() if length >= LONGEST_MODULE}


def test_a_function_is_short_enough_to_be_seen_at_once() -> None:
    lengths = {
        f"{name(path)}:{part.name}": code_lines(part)
        for path in MODULES
        for part in ast.walk(tree(path))
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not {name: length for name, length in lengths.items() if length >= LONGEST_FUNCTION}


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_at_home_only(library: str) -> None:
    importers = {name(path) for path in MODULES if library in imported(path)}
    at_home = {i for i in importers for home in HOMES[library] if i == home or i.startswith(home)}
    assert importers == at_home


def test_no_other_library_is_imported_at_all() -> None:
    import sys

    known = {*sys.stdlib_module_names, "cloud_tasks", *HOMES}
    used = {library for path in MODULES for library in imported(path)}
    assert used <= known


def test_nothing_posix_only_is_imported_before_it_is_needed() -> None:
    found = {
        f"{name(path)}: {library}"
        for path in MODULES
        for part in tree(path).body
        if isinstance(part, ast.Import | ast.ImportFrom)
        for library in imports(part)
        if library in POSIX_ONLY
    }
    assert not found
