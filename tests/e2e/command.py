"""Run the command ``cloud_tasks`` in the process of the test: a fifth of the time of a new one.

Each module that uses it has a test or more that starts a real process, for what only that shows:
how Python starts and ends, signals, terminals, pipes.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from cloud_tasks import cli


def run_command(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: str | None = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command as ``subprocess.run`` would, with captured output; return what it did.

    Args:
        arguments: those after ``cloud_tasks``.
        cwd: the folder to run in.
        env: its whole environment; None means that of the test.
        stdin: the text of standard input.
    """
    out, err = _stream(), _stream()
    before = Path.cwd()
    with (
        mock.patch.dict(os.environ, dict(env or os.environ), clear=True),
        mock.patch.multiple(sys, stdin=_stream(stdin or ""), stdout=out, stderr=err),
    ):
        os.chdir(cwd)
        try:
            code: object = cli.main(arguments)
        except SystemExit as end:
            code = end.code
        finally:
            os.chdir(before)
            out.flush()
            err.flush()
    if code is None or isinstance(code, int):
        status = code or 0
    else:  # text is printed, as Python does at its end
        status = 1
        err.write(f"{code}\n")
    return subprocess.CompletedProcess(arguments, status, _text(out), _text(err))


def _stream(text: str = "") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8", newline="", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
