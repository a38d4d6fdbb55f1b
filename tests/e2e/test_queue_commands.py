"""The commands around queues, as a person types them, against real servers."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from e2e.command import run_command
from e2e.program import environment
from e2e.queue_site import WAIT
from servers.pubsub import PubSubEmulator

from cloud_tasks import registry
from cloud_tasks.loading.sender import IN_FLIGHT
from cloud_tasks.queues.base import Outgoing, QueueProvider
from cloud_tasks.testing import eventually

#: Several programs, one after the other, and each of them starts anew.
pytestmark = pytest.mark.timeout(600)

COMMAND = [sys.executable, "-m", "cloud_tasks"]
Done: TypeAlias = subprocess.CompletedProcess[str]


@dataclass
class Cloud:
    """A job of a test's own at a provider, and a folder to work in."""

    provider_name: str
    url: str
    project: str | None
    folder: Path
    job: str

    @property
    def provider(self) -> QueueProvider:
        provider: QueueProvider = registry.load("queue", self.provider_name)(
            project_id=self.project, endpoint_url=self.url
        )
        return provider

    @property
    def environment(self) -> dict[str, str]:
        settings = {
            "PROVIDER": self.provider_name,
            "JOB_ID": self.job,
            "PROJECT_ID": self.project or "",
            "ENDPOINT_URL": self.url,
        }
        return {**environment(), **{f"RMS_CLOUD_TASKS_{k}": v for k, v in settings.items()}}

    def run(self, *arguments: str, stdin: str | None = "") -> Done:
        return run_command(*arguments, cwd=self.folder, env=self.environment, stdin=stdin)

    def told(self, *arguments: str, code: int = 0, stdin: str | None = "") -> dict[str, Any]:
        """Run a command with ``--json``; return what it printed."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.returncode == code, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    @contextmanager
    def started(self, *arguments: str, **keywords: Any) -> Iterator[subprocess.Popen[str]]:
        keywords = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **keywords}
        with subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            **keywords,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def tasks(self, count: int, name: str = "tasks.jsonl") -> str:
        """Write a task file and return its name."""
        lines = "".join(f"{task_line(n)}\n" for n in range(count))
        (self.folder / name).write_text(lines)
        return name

    def receive_all(self, name: str, count: int) -> list[str]:
        """Take messages until so many are there and no more come; return their task ids."""
        queue = self.provider.queue(name)
        ids: list[str] = []
        deadline = time.monotonic() + WAIT
        try:
            while True:
                messages = queue.receive(1000, wait=5 if len(ids) < count else 2, lease=60)
                queue.ack(messages)
                ids += [json.loads(message.body)["task_id"] for message in messages]
                # A server that is busy may have none for now.
                if not messages and (len(ids) >= count or time.monotonic() > deadline):
                    return ids
        finally:
            queue.close()

    def send_events(self, *bodies: bytes) -> None:
        queue = self.provider.queue(f"{self.job}-events")
        assert not queue.send([Outgoing(body, uuid.uuid4().hex) for body in bodies])
        queue.close()


def task_line(number: int) -> str:
    return json.dumps({"task_id": f"t{number}", "data": {"n": number}})


def noted(ledger: Path) -> int:
    """Return of how many tasks *ledger* says that they were loaded."""
    runs = [line.split() for line in ledger.read_text().split("\n")[1:-1]]
    return sum(int(last) - int(first) + 1 for first, last, _ in runs)


def event(number: int) -> bytes:
    body = {"event_type": "task_completed", "task_id": f"t{number}", "event_id": f"run-{number}"}
    return json.dumps(body).encode()


def new_aws(url: str, folder: Path) -> Cloud:
    folder.mkdir()
    return Cloud("AWS", url, None, folder, f"job-{uuid.uuid4().hex[:12]}")


def new_gcp(emulator: PubSubEmulator, folder: Path) -> Cloud:
    folder.mkdir()
    return Cloud("GCP", emulator.address, emulator.new_project(), folder, "moon-landing")


@pytest.fixture
def aws(moto_url: str, aws_env: pytest.MonkeyPatch, tmp_path: Path) -> Cloud:
    return new_aws(moto_url, tmp_path / "aws")


@pytest.fixture
def gcp(pubsub_emulator: PubSubEmulator, tmp_path: Path) -> Cloud:
    return new_gcp(pubsub_emulator, tmp_path / "gcp")


# As wide as the servers themselves, or they would start inside of a test and be left behind.
@pytest.fixture(scope="session", params=["moto_url", "pubsub_emulator"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def cloud(server: Any, aws_env: pytest.MonkeyPatch, tmp_path: Path) -> Cloud:
    new = new_gcp if isinstance(server, PubSubEmulator) else new_aws
    return new(server, tmp_path / "cloud")


def test_a_life_of_the_queues_of_a_job(cloud: Cloud) -> None:
    report = cloud.told("load_queue", cloud.tasks(25))
    assert (report["loaded"], report["refused"]) == (25, 0)
    assert report["created"] == [f"{cloud.job}-dead", cloud.job, f"{cloud.job}-events"]
    assert not (cloud.folder / f"{cloud.job}.load-ledger").exists()

    shown = cloud.told("show_queue", "--detail", "3")
    assert [queue["exists"] for queue in shown["queues"]] == [True] * 3
    assert {message["task_id"] for message in shown["sample"]} <= {f"t{n}" for n in range(25)}
    assert len(shown["sample"]) == 3

    assert all(queue["existed"] for queue in cloud.told("purge_queue", "--force")["queues"])
    assert cloud.receive_all(cloud.job, 0) == []

    assert cloud.told("load-queue", "tasks.jsonl")["created"] == []
    assert sorted(cloud.receive_all(cloud.job, 25)) == sorted(f"t{n}" for n in range(25))

    assert all(queue["existed"] for queue in cloud.told("delete_queue", "--force")["queues"])
    gone = cloud.told("delete_queue", "--force")
    assert not any(queue["existed"] for queue in gone["queues"])


def test_depths_are_shown_as_far_as_they_are_known(aws: Cloud, gcp: Cloud) -> None:
    for cloud, visible in (aws, "~7"), (gcp, "unknown"):
        assert cloud.run("load_queue", cloud.tasks(7)).returncode == 0
        lines = cloud.run("show_queue").stdout.splitlines()
        assert lines[0].split() == ["queue", "visible", "in", "flight"]
        assert lines[1].split()[:2] == [cloud.job, visible]


def test_thousands_of_tasks_go_in_full_batches(gcp: Cloud) -> None:
    assert gcp.told("load_queue", gcp.tasks(3000))["loaded"] == 3000
    ids = gcp.receive_all(gcp.job, 3000)
    assert sorted(ids) == sorted(f"t{n}" for n in range(3000))


def test_tasks_can_be_piped_in(aws: Cloud) -> None:
    lines = "".join(f"{task_line(n)}\n" for n in range(5))
    assert aws.told("load_queue", "-", stdin=lines)["loaded"] == 5
    assert sorted(aws.receive_all(aws.job, 5)) == [f"t{n}" for n in range(5)]


def test_a_load_that_is_killed_is_finished_by_the_same_command(cloud: Cloud) -> None:
    most = cloud.provider.limits.send
    sent = 6 * most
    count = sent + 35
    pipe, ledger = cloud.folder / "pipe.jsonl", cloud.folder / f"{cloud.job}.load-ledger"
    os.mkfifo(pipe)
    with cloud.started("load_queue", "pipe.jsonl") as process, pipe.open("w") as tasks:
        for number in range(sent):
            tasks.write(f"{task_line(number)}\n")
        tasks.flush()
        eventually(
            lambda: ledger.exists() and ledger.read_bytes().count(b"\n") > 1,
            WAIT,
            what="some of the tasks are in the ledger",
        )
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = cloud.run("load_queue", cloud.tasks(count), "--json")
    report = json.loads(done.stdout)
    assert report["loaded_before"] > 0
    assert f"resuming: {report['loaded_before']:,} tasks were loaded before" in done.stderr
    assert report["loaded"] + report["loaded_before"] == count
    ids = cloud.receive_all(cloud.job, count)
    assert set(ids) == {f"t{n}" for n in range(count)}
    assert len(ids) - count <= IN_FLIGHT * most
    assert not ledger.exists()


def test_a_load_that_is_interrupted_says_how_far_it_came(aws: Cloud) -> None:
    pipe, ledger = aws.folder / "pipe.jsonl", aws.folder / f"{aws.job}.load-ledger"
    os.mkfifo(pipe)
    with aws.started("load_queue", "pipe.jsonl") as process, pipe.open("w") as tasks:
        tasks.write("".join(f"{task_line(number)}\n" for number in range(3)))
        tasks.flush()
        eventually(
            lambda: ledger.exists() and noted(ledger) == 3,
            WAIT,
            what="the tasks are in the ledger, though their batch isn't full",
        )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WAIT)
    assert process.returncode == 130
    assert "ended early: loaded 3 tasks" in err
    assert "Traceback" not in err
    assert ledger.exists()


def test_bad_entries_give_exit_code_1_and_their_positions(aws: Cloud) -> None:
    lines = [task_line(0), "nonsense", task_line(1), '{"task_id": "x"}']
    (aws.folder / "bad.jsonl").write_text("\n".join(lines))
    done = aws.run("load_queue", "bad.jsonl")
    assert done.returncode == 1
    assert "line 2" in done.stderr
    assert "line 4" in done.stderr
    assert "2 entries were not loaded" in done.stdout
    assert sorted(aws.receive_all(aws.job, 2)) == ["t0", "t1"]


def test_a_dry_run_needs_no_server(tmp_path: Path) -> None:
    cloud = Cloud("AWS", "http://127.0.0.1:9", None, tmp_path, "moon")
    large = json.dumps({"task_id": "large", "data": {"text": "x" * 2**20}})
    (tmp_path / "tasks.jsonl").write_text(f"{task_line(0)}\n{large}\n")
    report = cloud.told("load_queue", "tasks.jsonl", "--dry-run", code=1)
    assert (report["loaded"], report["refused"], report["created"]) == (1, 1, [])
    assert "1,048,576" in report["problems"][0]


def test_a_missing_queue_is_told_with_exit_code_4(cloud: Cloud) -> None:
    for command in (
        ["show_queue"],
        ["purge_queue", "--force"],
        ["monitor_event_queue", "--print-events"],
    ):
        done = cloud.run(*command)
        assert done.returncode == 4, command
        assert cloud.job in done.stderr
        assert "Traceback" not in done.stderr


def test_nothing_is_removed_unless_somebody_agrees(aws: Cloud) -> None:
    aws.run("load_queue", aws.tasks(3))
    done = aws.run("delete_queue")
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert _typed(aws, "something else", "delete_queue") == 1
    assert aws.told("show_queue")["queues"][0]["visible"] == 3
    assert _typed(aws, aws.job, "delete_queue") == 0
    assert aws.run("show_queue").returncode == 4


def _typed(cloud: Cloud, answer: str, *arguments: str) -> int:
    """Run a command at a terminal, and type *answer*; returns the exit code."""
    main, second = pty.openpty()
    try:
        with cloud.started(*arguments, stdin=second) as process:
            os.write(main, f"{answer}\n".encode())
            process.communicate(timeout=WAIT)
            return process.returncode
    finally:
        os.close(main)
        os.close(second)


def test_one_of_the_queues_can_be_purged_alone(aws: Cloud) -> None:
    aws.run("load_queue", aws.tasks(3))
    aws.send_events(event(0), event(1))
    done = aws.told("purge_queue", "--event-queue-only", "--force")
    assert [queue["name"] for queue in done["queues"]] == [f"{aws.job}-events"]
    depths = {queue["role"]: queue["visible"] for queue in aws.told("show_queue")["queues"]}
    assert depths == {"tasks": 3, "events": 0, "dead": 0}


def test_a_purge_takes_the_ledger_of_an_unfinished_load_along(aws: Cloud) -> None:
    (aws.folder / "bad.jsonl").write_text(f"{task_line(0)}\nnonsense\n")
    aws.run("load_queue", "bad.jsonl")
    ledger = aws.folder / f"{aws.job}.load-ledger"
    assert ledger.exists()
    assert ledger.name in aws.run("purge_queue", "--force").stderr
    assert not ledger.exists()


def test_events_are_collected_until_sigterm(cloud: Cloud) -> None:
    cloud.run("load_queue", cloud.tasks(1))
    cloud.send_events(*(event(n) for n in range(30)))
    output = cloud.folder / "events.jsonl"
    with cloud.started("monitor_event_queue", "--output-file", output.name, "--json") as process:
        eventually(
            lambda: output.exists() and output.read_bytes().count(b"\n") == 30,
            WAIT,
            what="all events are in the file",
        )
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 0, err
    # How often a queue gives a message is its own business.
    assert {**json.loads(out), "repeats": 0} == {
        "events": 30,
        "by_type": {"task_completed": 30},
        "repeats": 0,
        "malformed": 0,
    }
    assert sorted(output.read_bytes().splitlines()) == sorted(event(n) for n in range(30))
    assert "30 events   task_completed 30" in err


def test_events_can_be_printed_until_no_more_come(aws: Cloud) -> None:
    aws.run("load_queue", aws.tasks(1))
    aws.send_events(event(0), b"nonsense")
    done = aws.run("monitor_event_queue", "--print-events", "--exit-when-idle", "1", "--json")
    assert done.returncode == 0
    first, last = done.stdout.splitlines()
    assert first.encode() == event(0)
    assert json.loads(last)["malformed"] == 1
    assert "holds no event" in done.stderr


def test_events_must_go_somewhere(aws: Cloud) -> None:
    done = aws.run("monitor_event_queue")
    assert done.returncode == 2
    assert "--output-file" in done.stderr
