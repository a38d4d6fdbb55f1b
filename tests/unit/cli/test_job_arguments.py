"""The flags and variables that the commands around queues share with the worker."""

from __future__ import annotations

import argparse

import pytest

from cloud_tasks.cli._job_arguments import add_job_arguments, parse
from cloud_tasks.queues.job import JobQueues

PREFIX = "RMS_CLOUD_TASKS_"


def parsed(*argv: str, **environ: str) -> tuple[argparse.Namespace, JobQueues]:
    parser = argparse.ArgumentParser(prog="try")
    add_job_arguments(parser, "max_attempts")
    variables = {PREFIX + name: value for name, value in environ.items()}
    return parse(parser, argv, "max_attempts", environ=variables)


def complaint(capsys: pytest.CaptureFixture[str], *argv: str, **environ: str) -> str:
    with pytest.raises(SystemExit) as caught:
        parsed(*argv, **environ)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_the_queue_is_named_as_the_worker_names_it() -> None:
    _, job = parsed("--provider", "aws", "--job-id", "moon")
    assert (job.provider_name, job.name) == ("AWS", "moon")
    assert job.roles == {"tasks": "moon", "events": "moon-events", "dead": "moon-dead"}


def test_a_queue_name_beats_the_job_id() -> None:
    _, job = parsed("--provider", "AWS", "--job-id", "moon", "--queue-name", "sun")
    assert job.name == "sun"


def test_all_can_come_from_the_environment() -> None:
    args, job = parsed(
        PROVIDER="GCP",
        PROJECT_ID="apollo",
        JOB_ID="moon",
        EXACTLY_ONCE_QUEUE="yes",
        ENDPOINT_URL="http://127.0.0.1:1",
        MAX_ATTEMPTS="7",
    )
    provider = job.provider
    assert (provider.project_id, provider.exactly_once) == ("apollo", True)
    assert provider.endpoint_url == "http://127.0.0.1:1"
    assert args.max_attempts == 7


def test_the_command_line_beats_the_environment() -> None:
    _, job = parsed(
        "--provider",
        "AWS",
        "--job-id",
        "sun",
        "--no-exactly-once-queue",
        PROVIDER="GCP",
        JOB_ID="moon",
        EXACTLY_ONCE_QUEUE="1",
    )
    assert (job.provider_name, job.name, job.provider.exactly_once) == ("AWS", "sun", False)


def test_what_is_missing_is_told_at_once_by_flag_and_variable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = complaint(capsys)
    assert "--provider (RMS_CLOUD_TASKS_PROVIDER)" in said
    assert "--job-id (RMS_CLOUD_TASKS_JOB_ID)" in said
    assert "--queue-name" in said


def test_a_project_is_needed_for_gcp(capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, "--provider", "gcp", "--job-id", "moon")
    assert "--project-id (RMS_CLOUD_TASKS_PROJECT_ID)" in said


def test_a_provider_without_queues_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, "--provider", "azure", "--job-id", "moon")
    assert "AZURE has no queues here" in said
    assert "AWS" in said


def test_wrong_values_are_told_wherever_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, "--max-attempts", "-1", EXACTLY_ONCE_QUEUE="perhaps")
    assert "--max-attempts (RMS_CLOUD_TASKS_MAX_ATTEMPTS)" in said
    assert "--exactly-once-queue (RMS_CLOUD_TASKS_EXACTLY_ONCE_QUEUE)" in said
