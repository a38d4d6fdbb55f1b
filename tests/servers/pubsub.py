"""Google's own Pub/Sub emulator, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloud_tasks.errors import QueueUnavailableError
from cloud_tasks.queues.base import Outgoing, QueueSpec
from cloud_tasks.queues.pubsub.admin import PubSubAdmin
from cloud_tasks.queues.pubsub.client import Connection
from cloud_tasks.queues.pubsub.names import Names
from cloud_tasks.queues.pubsub.queue import PubSubQueue
from cloud_tasks.testing import eventually

_INSTALL = (
    "Pub/Sub emulator not found: install the pubsub-emulator component of the Google Cloud CLI "
    "and a java, or set PUBSUB_EMULATOR_JAR"
)
#: Its own 2 s of compiling are spared, and its memory is small.
_JAVA_OPTIONS = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"]
#: Becomes its arguments, after it has asked to be killed when the tests die.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""
_START_LIMIT = 45.0
#: Below those that the system gives to whoever wants any: nobody takes one of them by chance
#: before the emulator, which can't be given a socket, has it.
_PORTS = range(12_000, 32_000)


@dataclass(frozen=True)
class PubSubEmulator:
    """A running emulator, at ``host:port``."""

    address: str

    def new_project(self) -> str:
        """Return the id of a project that nobody else uses; it needs no making."""
        return f"project-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def pubsub_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PubSubEmulator]:
    """Give the emulator of PUBSUB_EMULATOR_HOST, or start one that ends with the tests."""
    given = os.environ.get("PUBSUB_EMULATOR_HOST")
    if given:
        yield PubSubEmulator(given)
        return
    jar, java = _jar(), shutil.which("java")
    if jar is None or java is None:
        if os.environ.get("CLOUD_TASKS_REQUIRE_EMULATORS") == "1":
            pytest.fail(_INSTALL)
        pytest.skip(_INSTALL)
    port = _free_port()
    command = [java, *_JAVA_OPTIONS, "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"]
    log = tmp_path_factory.mktemp("pubsub") / "emulator.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _DIE_WITH_PARENT, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        address = f"127.0.0.1:{port}"
        eventually(
            lambda: process.poll() is not None or (_answers(address) and _is_warm(address)),
            _START_LIMIT,
            what="an answer of the emulator",
        )
        assert process.poll() is None, log.read_text()
        yield PubSubEmulator(address)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _jar() -> Path | None:
    given = os.environ.get("PUBSUB_EMULATOR_JAR")
    if given:
        return Path(given)
    gcloud = shutil.which("gcloud")
    for root in Path(gcloud).resolve().parents if gcloud else ():
        folder = root / "platform" / "pubsub-emulator" / "lib"
        jars = sorted(folder.glob("cloud-pubsub-emulator-*-all.jar"))
        if jars:
            return jars[-1]
    return None


def _free_port() -> int:
    # Each process of tests begins elsewhere, so that two never find the same one free.
    for step in range(0, len(_PORTS), 1000):
        port = _PORTS[(os.getpid() + step) % len(_PORTS)]
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free for the emulator")


def _answers(address: str) -> bool:
    """True once a real request is answered: the port is open earlier."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        list_topics = channel.unary_unary("/google.pubsub.v1.Publisher/ListTopics")
        try:
            list_topics(b"\x0a\x0aprojects/x", timeout=2.0)  # field 1: the project
        except grpc.RpcError:
            return False
    return True


def _is_warm(address: str) -> bool:
    """True once it has done all that a test asks of it, in the time that a request of ours has.

    The first time is much the longest, and the machine may be starting others meanwhile.
    """
    connection = Connection(Names("warm", "warm"), address)
    queue = PubSubQueue(connection)
    try:
        PubSubAdmin(connection).create(QueueSpec(lease=60))
        queue.check()
        queue.send([Outgoing(b"x", "x")])
        held = queue.receive(1, wait=5.0, lease=90.0)
        queue.ack(held)
    except QueueUnavailableError:
        return False
    finally:
        queue.close()
    return bool(held)
