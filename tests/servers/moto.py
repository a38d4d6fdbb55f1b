"""A server that speaks the protocol of SQS, in a process of its own: moto."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from cloud_tasks.testing import eventually

INSTALL = "moto isn't installed: pip install 'moto[server]'"

#: Seconds until it must answer, on a machine where much else starts at the same time.
_PATIENCE = 40.0


def unique_name(prefix: str = "job") -> str:
    """Return a queue's name that no other test has: what one test leaves hurts no other."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a server that is there for the whole session; wants `aws_env` as well."""
    if not all(importlib.util.find_spec(name) for name in ("moto", "flask", "werkzeug", "boto3")):
        if os.environ.get("CLOUD_TASKS_REQUIRE_EMULATORS") == "1":
            pytest.fail(INSTALL)
        pytest.skip(INSTALL)
    log = tmp_path_factory.mktemp("moto") / "log"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = _start(port, listening.fileno(), log)
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: _answers(url, server, log), _PATIENCE, what="moto answers")
        yield url
    finally:
        server.kill()
        server.wait()


def _start(port: int, descriptor: int, log: Path) -> subprocess.Popen[bytes]:
    program = Path(__file__).with_name("moto_server.py")
    words = [sys.executable, str(program), str(port), str(descriptor), str(os.getpid())]
    with log.open("wb") as output:
        return subprocess.Popen(
            words,
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def _answers(url: str, server: subprocess.Popen[bytes], log: Path) -> bool:
    if server.poll() is not None:
        raise AssertionError(f"moto ended with {server.returncode}: {log.read_text()[-2000:]}")
    query = f"{url}/?Action=ListQueues&Version=2012-11-05"
    scope = "Credential=testing/20000101/us-east-1/sqs/aws4_request"
    request = urllib.request.Request(query, headers={"Authorization": f"AWS4-HMAC-SHA256 {scope}"})
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


@pytest.fixture
def aws_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Set credentials and a region in the environment, and hide what this machine has of them."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch
