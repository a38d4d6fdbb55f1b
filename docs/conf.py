"""Configure Sphinx: ``sphinx-build -W -n -b html docs docs/_build/html``."""

import builtins
import re
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from cloud_tasks import __version__  # noqa: E402 - it may not be installed

project = "cloud_tasks"
author = "The cloud_tasks authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "changes"]
html_theme = "furo"
html_title = f"cloud_tasks {release}"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autoclass_content = "class"
napoleon_use_ivar = True

# The standard library's own pages are not fetched: a build needs no network.
_STANDARD = "|".join(sorted(sys.stdlib_module_names))
nitpick_ignore_regex = [
    ("py:.*", rf"({_STANDARD})(\..*)?"),
    ("py:.*", "|".join(name for name in dir(builtins) if not name.startswith("_"))),
    ("py:.*", r"(filecache|loky)\..*"),
    # Types inside a signature that a reader of the page does not need.
    (
        "py:.*",
        r"(Any|Callable|Future|Mapping|NoReturn|Sequence|UserFunction|FunctionSpec|FlagPage)",
    ),
    ("py:.*", r"cloud_tasks\.executors\.(common\.flag_page\.FlagPage|function\.FunctionSpec)"),
    ("py:.*", r"tuple\[~cloud_tasks\.summary\.Cause"),
    ("py:.*", r"DEFAULTS|Interruption"),
]

_MARK = "<!-- towncrier release notes start -->"


def _add_unreleased(app: Sphinx, docname: str, source: list[str]) -> None:
    """Insert the fragments of docs/changes into the changelog."""
    if docname != "changelog":
        return
    command = ["towncrier", "build", "--draft", "--version", release, "--date", "not released yet"]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    source[0] = source[0].replace(_MARK, done.stdout)


def _split_names(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Split a description of several attributes into one entry for each."""
    split: list[str] = []
    for line in lines:
        match = re.fullmatch(r"( +)(\w+(?:, \w+)+): (.*)", line)
        names = match[2].split(", ") if match else []
        split += [f"{match[1]}{name}: {match[3]}" for name in names if match] or [line]
    lines[:] = split


def setup(app: Sphinx) -> None:
    """Connect the hooks of this file."""
    app.connect("autodoc-process-docstring", _split_names, priority=100)
    app.connect("source-read", _add_unreleased)
