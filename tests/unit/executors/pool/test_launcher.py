"""A child's interpreter has the flags of ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.interpreter

_SHOW = """
import subprocess, sys
from cloud_tasks.executors.pool.launcher import interpreter_options
inner = "import sys; print(sys.flags, sorted(sys._xoptions.items()), sys.warnoptions)"
exec(inner)
sys.stdout.flush()
subprocess.run([sys.executable, *interpreter_options(), "-c", inner], check=True)
"""


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["-O"],
        ["-OO", "-B", "-s", "-b"],
        ["-X", "utf8=0", "-X", "importtime=0", "-X", "mine", "-X", "yours=2"],
        ["-W", "error::UserWarning", "-W", "ignore"],
        ["-X", "dev"],
    ],
    ids=" ".join,
)
def test_a_child_is_started_with_the_flags_of_this_process(flags: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, *flags, "-c", _SHOW], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    ours, childs = ended.stdout.splitlines()
    assert childs == ours
