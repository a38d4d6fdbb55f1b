"""Check rules that hold for every module, by reading its source."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import cloud_tasks

SRC = Path(cloud_tasks.__file__).parent
MODULES = sorted(SRC.rglob("*.py"))
LIBRARIES = {
    "boto3", "botocore", "cloudpickle", "filecache", "google", "grpc", "jinja2", "loky", "moto",
    "psutil", "pytest", "rich", "tenacity", "werkzeug", "yaml",
}  # fmt: skip
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


def test_no_other_library_is_imported_at_all() -> None:
    import sys

    known = {*sys.stdlib_module_names, "cloud_tasks", *LIBRARIES}
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
