"""The processes of ``cloud_tasks demo --queue``: the stand-in for SQS, and the workers.

Each is tethered: it holds one end of a pipe and kills itself when the demo, which holds the
other, is gone, however that came. None hears the terminal's Ctrl-C: the demo does, and ends them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import cloud_tasks
from cloud_tasks.errors import CloudTasksError
from cloud_tasks.text import safe

#: What the stand-in and those who ask it can't do without.
NEEDED = ("boto3", "moto", "flask", "flask_cors", "werkzeug")

_LOOPBACK = "127.0.0.1"
#: Of these the user may have set some for real work.
_FOREIGN = ("AWS_", "MOTO_", "RMS_CLOUD_")
_PROGRAM = "import sys; from cloud_tasks.cli import demo_processes as d; sys.exit(d.main(sys.argv))"
#: What the stand-in does with the messages of a queue; its batches are made of these.
TOUCHING = (
    "send_message",
    "receive_message",
    "change_message_visibility",
    "delete_message",
    "purge_queue",
)
#: Seconds that a worker gets to end by itself: asked the first time, the second time.
_POLITE, _FIRM = 1.0, 5.0


def environment(outer: Mapping[str, str]) -> dict[str, str]:
    """Return *outer* with credentials that are worth nothing, and without all that leads away.

    Neither the user's AWS settings nor a proxy count, and settings for workers don't either.
    """
    kept = {
        name: value
        for name, value in outer.items()
        if not name.startswith(_FOREIGN) and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "*",
        "no_proxy": "*",
    }


class Tethered:
    """A process that ends with this one; a context manager that ends it.

    Args:
        what: it is, for errors.
        words: for :func:`main`.
        verbose: what it says on standard error is shown; else kept for an error's sentence.
        descriptors: that it gets from this process.
    """

    def __init__(
        self,
        what: str,
        words: Sequence[str],
        *,
        verbose: bool,
        descriptors: Sequence[int],
    ) -> None:
        self.what = what
        with contextlib.ExitStack() as stack:
            # Without a name: nothing is left of it, whatever becomes of us.
            self._said = stack.enter_context(tempfile.TemporaryFile())
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if verbose else self._said,
                pass_fds=descriptors,
                start_new_session=True,
                # The first place where it looks for modules: in the user's there may be others.
                cwd=Path(cloud_tasks.__file__).parents[1],
            )
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    stack.callback(pipe.close)
            self._open = stack.pop_all()

    def __enter__(self) -> Tethered:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._open:
            try:
                # After an error of ours the queue is gone, say, and a worker would wait for it.
                # Its watchdog kills its children if it is killed.
                if kind is None or not issubclass(kind, Exception):
                    self._end()
            finally:
                self._process.kill()
                self._process.wait()

    def _end(self) -> None:
        """Ask it to end; the second time a worker kills its tasks."""
        for patience in (_POLITE, _FIRM):
            if self._process.poll() is not None:
                return
            self._process.terminate()
            if self.ended(within=patience):
                return

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative: a signal; None: it runs."""
        return self._process.poll()

    def ended(self, within: float) -> bool:
        """Return whether it has ended, after *within* seconds at the latest."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        return self._process.poll() is not None

    def line(self) -> bytes:
        """Return the next line of its standard output; blocks. Empty: it has closed that."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def failure(self) -> CloudTasksError:
        """Return the error that it has ended though it should not have, or not so."""
        code = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        last = f", saying: {safe(lines[-1], 500)}" if lines else ""
        return CloudTasksError(f"{self.what} ended with exit code {code}{last}")


class Family:
    """The processes of one demo; a context manager that ends those which still run.

    Args:
        hold: gives a context manager in which no signal interrupts, for a process that has been
            started must be known before anything else happens.
    """

    def __init__(self, hold: Callable[[], AbstractContextManager[None]]) -> None:
        self._hold = hold
        self._processes = contextlib.ExitStack()

    def __enter__(self) -> Family:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._hold():
            self._processes.__exit__(kind, error, trace)

    def stand_in(self) -> tuple[Tethered, str]:
        """Start the stand-in for SQS; returns it and its URL when it answers.

        Raises:
            CloudTasksError: it could not be started.
        """
        # The socket is ours before it is the server's: no other program can take the port.
        with socket.create_server((_LOOPBACK, 0)) as listening:
            port, descriptor = listening.getsockname()[1], listening.fileno()
            words = ["server", str(port), str(descriptor)]
            server = self._start("the stand-in for SQS", words, descriptors=[descriptor])
        if not server.line():
            raise server.failure()
        return server, f"http://{_LOOPBACK}:{port}"

    def worker(self, what: str, flags: Sequence[str], *, verbose: bool) -> Tethered:
        """Start ``cloud_tasks worker`` with *flags*; *what* it is, for errors."""
        return self._start(what, ["worker", *flags], verbose=verbose)

    def _start(
        self,
        what: str,
        words: Sequence[str],
        *,
        verbose: bool = False,
        descriptors: Sequence[int] = (),
    ) -> Tethered:
        with self._hold():
            process = Tethered(what, words, verbose=verbose, descriptors=descriptors)
            return self._processes.enter_context(process)


# -- in the process itself


def main(argv: Sequence[str]) -> int:
    """Be what ``argv[1]`` says; returns the exit code."""
    threading.Thread(target=_die_with_the_demo, name="tether", daemon=True).start()
    role, *rest = argv[1:]
    if role == "server":
        _serve(int(rest[0]), int(rest[1]))
    from cloud_tasks.cli import main as command

    return command([role, *rest])


def _die_with_the_demo() -> None:
    while os.read(0, 1):
        pass
    # Nothing here is worth an orderly end; a worker's watchdog kills its children.
    os.kill(os.getpid(), signal.SIGKILL)


def guard_queues() -> None:
    """Have the stand-in's queues dealt with by one request at a time, each of them.

    By themselves they have a lock for waiting only: of two who receive at once both may get a
    message, and one that is sent while another is deleted may be lost.
    """
    from moto.sqs.models import SQSBackend

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(backend: Any, queue_name: str, *args: Any, **keywords: Any) -> Any:
            # Its own lock, which it lets go of while it waits for a message.
            with backend.get_queue(queue_name)._messages_lock:
                return method(backend, queue_name, *args, **keywords)

        return call

    for name in TOUCHING:
        setattr(SQSBackend, name, guarded(getattr(SQSBackend, name)))


def _serve(port: int, descriptor: int) -> None:
    # Before the import: it is in the addresses of the queues.
    os.environ["MOTO_PORT"] = str(port)
    from moto.server import (  # type: ignore[attr-defined]
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    guard_queues()
    server = make_server(
        _LOOPBACK,
        port,
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
        request_handler=MotoRequestHandler,
        fd=descriptor,
    )
    print("ready", flush=True)
    server.serve_forever()
