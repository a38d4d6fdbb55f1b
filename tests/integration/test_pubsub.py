"""Pub/Sub queues on Google's own emulator."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import itertools
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers.pubsub import PubSubEmulator
from servers.relay import Relay

from cloud_tasks import registry
from cloud_tasks.errors import QueueMissingError, QueueRefusedError, QueueUnavailableError
from cloud_tasks.queues.base import Depth, Message, MessageQueue, Outgoing, QueueInfo, QueueSpec
from cloud_tasks.queues.pubsub.client import Connection
from cloud_tasks.queues.pubsub.names import Names
from cloud_tasks.queues.pubsub.provider import PubSubProvider
from cloud_tasks.queues.pubsub.queue import PubSubQueue
from cloud_tasks.testing import eventually

LONG = 60.0
DEAD = QueueSpec(lease=60, dead_letter="jobs-dead", max_deliveries=5)


@pytest.fixture
def provider(pubsub_emulator: PubSubEmulator) -> PubSubProvider:
    project = pubsub_emulator.new_project()
    return PubSubProvider(project_id=project, endpoint_url=pubsub_emulator.address)


@pytest.fixture
def queue(provider: PubSubProvider) -> Iterator[PubSubQueue]:
    assert provider.admin("jobs").create(QueueSpec(lease=60))
    queue = provider.queue("jobs")
    yield queue
    queue.close()


def once(provider: PubSubProvider, *, exactly_once: bool = True) -> PubSubProvider:
    return PubSubProvider(
        project_id=provider.project_id,
        endpoint_url=provider.endpoint_url,
        exactly_once=exactly_once,
    )


def numbers(n: int) -> list[Outgoing]:
    return [Outgoing(f"{i}".encode(), f"{i}") for i in range(n)]


def take(queue: MessageQueue, n: int, *, lease: float = LONG) -> list[Message]:
    """Receive *n* messages, which must be there."""
    taken: list[Message] = []
    deadline = time.monotonic() + 20
    while len(taken) < n and time.monotonic() < deadline:
        # With time to spare: what comes when a pull's time is over is lost for a whole lease.
        taken += queue.receive(n - len(taken), wait=10.0, lease=lease)
    assert len(taken) == n
    return taken


def connection(provider: PubSubProvider, name: str = "jobs") -> Connection:
    assert provider.project_id
    return Connection(Names(name, provider.project_id), provider.endpoint_url)


def subscription(provider: PubSubProvider, name: str = "jobs") -> Any:
    """Return the subscription of queue *name* in the service's own words."""
    way = connection(provider, name)
    return way.request("subscription", "get_subscription", {"subscription": way.names.subscription})


class TestSetUp:
    def test_a_queue_is_made_as_its_spec_says(self, provider: PubSubProvider) -> None:
        spec = QueueSpec(lease=90, retention=86400, dead_letter="jobs-dead", max_deliveries=15)
        assert provider.admin("jobs").create(spec)
        made = subscription(provider)
        names = Names("jobs", str(provider.project_id))
        assert (made.name, made.topic) == (names.subscription, names.topic)
        assert made.ack_deadline_seconds == 90
        assert made.message_retention_duration == datetime.timedelta(days=1)
        assert "expiration_policy" in made
        assert not made.expiration_policy.ttl
        assert not made.enable_exactly_once_delivery
        assert not made.enable_message_ordering
        assert "retry_policy" not in made
        policy = made.dead_letter_policy
        assert policy.dead_letter_topic == names.of("jobs-dead").topic
        assert policy.max_delivery_attempts == 15

    @pytest.mark.parametrize(
        ("asked", "lease", "retention", "deliveries"),
        [
            (QueueSpec(lease=1, retention=1, dead_letter="d", max_deliveries=1), 10, 600, 5),
            # The emulator keeps messages for a week at most, the service for 31 days.
            (
                QueueSpec(lease=9999, retention=10**9, dead_letter="d", max_deliveries=999),
                600,
                7 * 86400,
                100,
            ),
        ],
        ids=["little", "much"],
    )
    def test_what_the_service_does_not_take_is_clipped(
        self,
        provider: PubSubProvider,
        asked: QueueSpec,
        lease: int,
        retention: int,
        deliveries: int,
    ) -> None:
        assert provider.admin("jobs").create(asked)
        made = subscription(provider)
        assert made.ack_deadline_seconds == lease
        assert made.message_retention_duration == datetime.timedelta(seconds=retention)
        assert made.dead_letter_policy.max_delivery_attempts == deliveries

    def test_the_queue_for_dead_letters_is_made_with_it(self, provider: PubSubProvider) -> None:
        provider.admin("jobs").create(DEAD)
        assert provider.queue("jobs-dead").check().counts_attempts is False
        assert provider.admin("jobs-dead").create(QueueSpec()) is False

    def test_what_is_half_there_is_completed(self, provider: PubSubProvider) -> None:
        way = connection(provider)
        way.request("topic", "create_topic", {"name": way.names.topic})
        with pytest.raises(QueueMissingError, match="no subscription 'jobs-subscription'"):
            provider.queue("jobs").check()
        assert provider.admin("jobs").create(QueueSpec())
        provider.queue("jobs").check()
        way.close()

    def test_a_topic_that_was_deleted_is_told(
        self, provider: PubSubProvider, queue: PubSubQueue
    ) -> None:
        way = connection(provider)
        way.request("topic", "delete_topic", {"topic": way.names.topic})
        with pytest.raises(QueueMissingError, match="no topic 'jobs-topic'"):
            queue.check()
        # A new one would have no subscription: what is sent there is lost.
        way.request("topic", "create_topic", {"name": way.names.topic})
        with pytest.raises(QueueMissingError, match="delete the queue"):
            queue.check()
        with pytest.raises(QueueRefusedError, match="delete the queue"):
            provider.admin("jobs").create(QueueSpec())
        way.close()

    def test_deleting_takes_both_halves(self, provider: PubSubProvider) -> None:
        admin = provider.admin("jobs")
        admin.create(QueueSpec())
        assert admin.delete()
        assert admin.delete() is False
        for side in ("topic", "subscription"):
            with pytest.raises(QueueMissingError):
                connection(provider).request(
                    "topic" if side == "topic" else "subscription",
                    f"get_{side}",
                    {side: getattr(Names("jobs", str(provider.project_id)), side)},
                )

    def test_purging_keeps_settings_and_what_comes_after(
        self, provider: PubSubProvider, queue: PubSubQueue
    ) -> None:
        before = subscription(provider)
        queue.send(numbers(20))
        take(queue, 3)
        provider.admin("jobs").purge()
        queue.send([Outgoing(b"new", "new")])
        assert [m.body for m in take(queue, 1)] == [b"new"]
        assert queue.receive(1, wait=1.0, lease=LONG) == []
        assert subscription(provider) == before

    def test_the_depth_is_not_known(self, provider: PubSubProvider, queue: PubSubQueue) -> None:
        assert provider.admin("jobs").depth() == Depth(None, None)

    def test_a_name_that_the_service_does_not_take_is_refused(
        self, provider: PubSubProvider
    ) -> None:
        with pytest.raises(QueueRefusedError, match="a b"):
            provider.admin("a b").create(QueueSpec())


class TestQueue:
    def test_a_check_tells_lease_and_counting(self, provider: PubSubProvider) -> None:
        provider.admin("jobs").create(DEAD)
        assert provider.queue("jobs").check() == QueueInfo(counts_attempts=True, lease=60)
        assert provider.queue("jobs-dead").check() == QueueInfo(counts_attempts=False, lease=60)

    def test_thousands_of_messages_take_few_requests(self, queue: PubSubQueue) -> None:
        assert queue.send(numbers(3000)) == []
        taken = take(queue, 3000)
        assert sorted(int(m.body) for m in taken) == list(range(3000))
        assert queue.extend(taken, 90.0) == []
        assert queue.ack(taken) == []
        assert (queue.requests["send"], queue.requests["ack"], queue.requests["extend"]) == (
            3,
            3,
            3,
        )
        assert queue.receive(1, wait=0.0, lease=LONG) == []

    def test_the_largest_message_is_taken(self, queue: PubSubQueue) -> None:
        body = b"x" * queue.limits.message_bytes
        assert queue.send([Outgoing(body, "a"), Outgoing(b"y", "b")]) == []
        assert queue.requests["send"] == 2
        assert sorted(len(m.body) for m in take(queue, 2)) == [1, len(body)]

    def test_a_full_request_of_many_messages_is_taken(self, queue: PubSubQueue) -> None:
        body = b"x" * (queue.limits.request_bytes // 1000)
        assert queue.send([Outgoing(body, f"{i}") for i in range(1000)]) == []
        assert queue.requests["send"] == 1

    @pytest.mark.slow  # the shortest lease of Pub/Sub is 10 s, by its own clock
    def test_another_lease_than_the_subscriptions_is_kept(self, queue: PubSubQueue) -> None:
        queue.send(numbers(1))
        began = time.monotonic()
        (first,) = take(queue, 1, lease=10.0)
        (again,) = take(queue, 1)
        assert again.message_id == first.message_id
        assert 9.0 <= time.monotonic() - began < 40.0

    def test_a_sender_asks_nothing_of_the_subscription(
        self, provider: PubSubProvider, queue: PubSubQueue
    ) -> None:
        provider.admin("jobs").delete()
        way = connection(provider)
        way.request("topic", "create_topic", {"name": way.names.topic})
        assert queue.send(numbers(3)) == []
        assert set(queue.requests) == {"send"}
        way.close()

    def test_no_thread_is_left(self, queue: PubSubQueue) -> None:
        before = set(threading.enumerate())
        queue.send(numbers(3))
        queue.ack(take(queue, 3))
        # Some of those before may have been the last of an earlier test, and have ended.
        assert set(threading.enumerate()) <= before


class TestExactlyOnce:
    @pytest.fixture
    def queue(self, provider: PubSubProvider) -> Iterator[PubSubQueue]:
        assert once(provider).admin("jobs").create(QueueSpec(lease=60))
        queue = once(provider).queue("jobs")
        yield queue
        queue.close()

    def test_the_subscription_is_of_that_kind(
        self, provider: PubSubProvider, queue: PubSubQueue, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert subscription(provider).enable_exactly_once_delivery
        queue.check()
        assert not caplog.records

    def test_a_queue_that_was_not_made_so_is_told(
        self, provider: PubSubProvider, caplog: pytest.LogCaptureFixture
    ) -> None:
        provider.admin("plain").create(QueueSpec())
        once(provider).queue("plain").check()
        assert "'plain' was not created for exactly-once delivery" in caplog.text

    @pytest.mark.parametrize("operation", ["ack", "extend", "release"])
    def test_a_lost_delivery_is_told_from_those_that_are_held(
        self, queue: PubSubQueue, provider: PubSubProvider, operation: str
    ) -> None:
        queue.send(numbers(3))
        stale = take(queue, 3)
        queue.release(stale[1:2])
        (again,) = take(queue, 1)
        assert again.message_id == stale[1].message_id
        if operation == "ack":
            failures = queue.ack(stale)
        elif operation == "extend":
            failures = queue.extend(stale, 60.0)
        else:
            failures = queue.release(stale)
        assert [(f.index, f.lost) for f in failures] == [(1, True)]
        assert "PERMANENT_FAILURE" in failures[0].reason
        assert queue.ack([again]) == []
        if operation == "release":
            take(queue, 2)
        assert queue.receive(9, wait=1.0, lease=LONG) == []


class TestPlaces:
    @pytest.mark.parametrize("form", ["{}", "http://{}", "http://{}/"])
    def test_an_endpoint_may_be_a_url(
        self, provider: PubSubProvider, queue: PubSubQueue, form: str
    ) -> None:
        place = form.format(provider.endpoint_url)
        other = PubSubProvider(project_id=provider.project_id, endpoint_url=place).queue("jobs")
        other.check()
        other.close()

    def test_the_variable_of_the_emulator_is_heeded(
        self, provider: PubSubProvider, queue: PubSubQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", str(provider.endpoint_url))
        other = PubSubProvider(project_id=provider.project_id).queue("jobs")
        other.check()
        other.close()

    def test_a_proxy_for_the_web_is_not_asked(
        self, queue: PubSubQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        for name in ("no_proxy", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
        queue.check()

    def test_an_endpoint_beats_that_variable(
        self, provider: PubSubProvider, queue: PubSubQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
        queue.check()


@pytest.mark.slow  # outages of a dozen real seconds, for which gRPC has pauses of its own
class TestOutage:
    @pytest.fixture
    def relay(self, pubsub_emulator: PubSubEmulator) -> Iterator[Relay]:
        host, _, port = pubsub_emulator.address.rpartition(":")
        with Relay((host, int(port))) as relay:
            yield relay

    @pytest.fixture
    def far(self, provider: PubSubProvider, relay: Relay) -> Iterator[PubSubQueue]:
        """Return the queue behind the relay."""
        provider.admin("jobs").create(QueueSpec(lease=60))
        far = PubSubProvider(project_id=provider.project_id, endpoint_url=relay.address)
        queue = far.queue("jobs")
        queue.check()
        yield queue
        queue.close()

    @staticmethod
    def works(queue: PubSubQueue) -> bool:
        try:
            return queue.send(numbers(1)) == []
        except QueueUnavailableError:
            return False

    def test_a_server_that_comes_back_is_used_again_soon(
        self, far: PubSubQueue, relay: Relay
    ) -> None:
        far.send(numbers(1))
        held = take(far, 1)
        relay.refuse()
        # So long that gRPC's own pauses would have grown to more than ten seconds.
        until = time.monotonic() + 12
        while time.monotonic() < until:
            # It fails at once; a pull that had to wait until its time is over is just empty.
            with pytest.raises(QueueUnavailableError, match="Pub/Sub can't be used now"):
                far.receive(1, wait=20.0, lease=LONG)
            with pytest.raises(QueueUnavailableError):
                far.extend(held, LONG)
            time.sleep(0.2)  # some requests a second, as a worker makes them
        relay.go_on()
        eventually(lambda: self.works(far), 15.0, what="a request gets through")
        assert far.ack(held) == []

    def test_a_server_that_does_not_answer_is_unavailable(
        self, far: PubSubQueue, relay: Relay
    ) -> None:
        relay.stall()
        began = time.monotonic()
        with pytest.raises(QueueUnavailableError):
            far.send(numbers(1))
        with pytest.raises(QueueUnavailableError):
            far.check()
        assert time.monotonic() - began < 25
        relay.go_on()
        eventually(lambda: self.works(far), 15.0, what="a request gets through")

    def test_a_pull_whose_connection_is_cut_fails_at_once(
        self, far: PubSubQueue, relay: Relay
    ) -> None:
        with ThreadPoolExecutor(1) as pool:
            pulling = pool.submit(far.receive, 1, wait=20.0, lease=LONG)
            eventually(lambda: far.requests["receive"], what="the request")
            relay.refuse()
            with pytest.raises(QueueUnavailableError):
                pulling.result(10)


def run(program: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run *program* in a Python of its own, which has no credentials."""
    hidden = ("GOOGLE_", "GCE_", "PUBSUB_", "GRPC_", "CLOUDSDK_", "NO_GCE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)],
        env={**kept, "CLOUDSDK_CONFIG": "/nowhere", "no_proxy": "*", **env},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


#: For programs that ask servers in the process of the tests, which may be put aside for a while.
PATIENTLY = """
    from cloud_tasks.queues.pubsub import client
    client._METADATA_TIMEOUT = 20.0
    client.Connection.request.__kwdefaults__["timeout"] = 20.0
"""
CHECK = """
    import contextlib, os, sys, time
    with contextlib.suppress(ImportError):  # which takes its time, and nobody asks for how long
        import google.auth.transport.requests, google.pubsub_v1
    from cloud_tasks.errors import QueueError
    from cloud_tasks.queues.pubsub.provider import PubSubProvider
    began = time.monotonic()
    provider = PubSubProvider(project_id="earth", endpoint_url=os.environ.get("ENDPOINT"))
    try:
        provider.queue("jobs").check()
    except QueueError as error:
        print(type(error).__name__, error)
    print(time.monotonic() - began)
"""


@contextmanager
def metadata_server(token_status: int = 200) -> Iterator[str]:
    """Answer like the metadata server of a machine of Google's; give host and port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = 200, b"ok"
            if "service-accounts" in self.path:
                status = token_status
                body = json.dumps(
                    {"access_token": "secret", "expires_in": 3600, "token_type": "Bearer"}
                    if "/token" in self.path
                    else {"email": "a@b.test", "scopes": ["all"], "aliases": ["default"]}
                ).encode()
            elif "universe" in self.path:
                status = 404
            self.send_response(status)
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Type", "application/json" if b"{" in body else "text/plain")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def secure_server(folder: Path, tokens: list[str | None]) -> Iterator[tuple[str, str]]:
    """Speak TLS and know no queue; give the endpoint and the file that makes it trusted."""
    import grpc

    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "roots.pem").write_bytes(certificate)

    class Handler:
        def service(self, details: Any) -> Any:
            tokens.append(dict(details.invocation_metadata).get("authorization"))
            return None  # which says that there is no such method

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[Handler()])
        credentials = grpc.ssl_server_credentials([(private, certificate)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield f"https://localhost:{port}", str(folder / "roots.pem")
        finally:
            server.stop(None).wait()


def waiting(listener: socket.socket) -> int:
    """Take the connections that came to *listener* so far; returns how many."""
    listener.setblocking(False)
    for count in itertools.count():
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
    raise AssertionError("there is no end of them")


class TestCredentials:
    @pytest.mark.parametrize("silent", [True, False], ids=["silent", "refusing"])
    def test_none_are_one_clear_error_soon(self, silent: bool) -> None:
        # Bound in either case, so that nobody else gets the port.
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            if silent:
                listener.listen()
            place = f"127.0.0.1:{listener.getsockname()[1]}"
            done = run(CHECK, GCE_METADATA_IP=place, GCE_METADATA_HOST=place)
            if silent:
                assert waiting(listener) == 2  # the library by itself asks more often
        said, seconds = done.stdout.splitlines()
        assert said.startswith("QueueRefusedError no Google credentials")
        for part in ("'jobs'", "'earth'", "GOOGLE_APPLICATION_CREDENTIALS", "gcloud", "metadata"):
            assert part in said
        assert float(seconds) < 20  # 3 on a machine that has nothing else to do

    def test_a_file_that_is_not_there_is_named(self) -> None:
        done = run(CHECK, GOOGLE_APPLICATION_CREDENTIALS="/nowhere/key.json")
        assert "QueueRefusedError" in done.stdout
        assert "/nowhere/key.json" in done.stdout

    def test_a_machines_own_account_is_used_over_tls(self, tmp_path: Path) -> None:
        tokens: list[str | None] = []
        with metadata_server() as place, secure_server(tmp_path, tokens) as (endpoint, roots):
            done = run(
                PATIENTLY + CHECK,
                ENDPOINT=endpoint,
                GCE_METADATA_IP=place,
                GCE_METADATA_HOST=place,
                GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=roots,
            )
        assert "QueueRefusedError Pub/Sub refuses a request" in done.stdout
        assert tokens == ["Bearer secret"]

    def test_a_machine_without_an_account_is_refused(self, tmp_path: Path) -> None:
        with metadata_server(404) as place, secure_server(tmp_path, []) as (endpoint, roots):
            done = run(
                PATIENTLY + CHECK,
                ENDPOINT=endpoint,
                GCE_METADATA_IP=place,
                GCE_METADATA_HOST=place,
                GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=roots,
            )
        assert "QueueRefusedError Pub/Sub does not accept the credentials" in done.stdout
        assert "service account" in done.stdout


class TestSurroundings:
    def test_importing_the_provider_imports_no_library_of_googles(self) -> None:
        done = run(
            """
            import sys
            from cloud_tasks import registry
            provider = registry.load("queue", "GCP")(project_id="earth", exactly_once=True)
            provider.queue("jobs").close()
            provider.admin("jobs")
            print([name for name in sys.modules if name.partition(".")[0] in ("google", "grpc")])
            """
        )
        assert (done.stdout, done.stderr) == ("[]\n", "")

    def test_without_the_library_the_command_that_installs_it_is_told(self) -> None:
        done = run("import sys; sys.modules['google.pubsub_v1'] = None" + textwrap.dedent(CHECK))
        assert "QueueRefusedError" in done.stdout
        assert "pip install 'cloud-tasks[gcp]'" in done.stdout

    def test_nothing_is_said_on_standard_error(
        self, provider: PubSubProvider, queue: PubSubQueue
    ) -> None:
        done = run(
            """
            import os, subprocess, threading
            from cloud_tasks.queues.base import Outgoing
            from cloud_tasks.queues.pubsub.provider import PubSubProvider
            project, place = os.environ["PROJECT"], os.environ["PLACE"]
            queue = PubSubProvider(project_id=project, endpoint_url=place).queue("jobs")
            queue.check()
            before = dict(os.environ)
            pull = threading.Thread(target=queue.receive, args=(1,), kwargs=dict(wait=2, lease=60))
            pull.start()
            while not queue.requests["receive"]:
                pass
            # gRPC likes to tell that it was in use while another process began.
            for _ in range(3):
                pid = os.fork()
                if not pid:
                    os._exit(0)
                os.waitpid(pid, 0)
            subprocess.run(["true"], check=True)
            pull.join()
            queue.close()
            assert "GRPC_VERBOSITY" not in os.environ
            """,
            PROJECT=str(provider.project_id),
            PLACE=str(provider.endpoint_url),
        )
        assert (done.returncode, done.stderr) == (0, "")

    def test_the_registry_names_the_provider(self) -> None:
        assert registry.load("queue", "GCP") is PubSubProvider
