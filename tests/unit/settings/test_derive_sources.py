"""Where tasks come from and where events go."""

from __future__ import annotations

import argparse

import pytest

from cloud_tasks.settings.resolve import Resolved, resolve
from cloud_tasks.settings.row import PREFIX

FILE = "--task-file t.json"
QUEUE = "--provider aws --job-id j"


def run(
    argv: str,
    environ: dict[str, str] | None = None,
    *,
    has_task_source: bool = False,
    require_tasks: bool = True,
) -> Resolved:
    return resolve(
        argparse.ArgumentParser(prog="prog"),
        argv.split(),
        environ or {},
        has_task_source=has_task_source,
        require_tasks=require_tasks,
    )


def problems(argv: str, capsys: pytest.CaptureFixture[str], **environ: str) -> list[str]:
    """Resolve what doesn't fit together; return the sentences that say so."""
    with pytest.raises(SystemExit):
        run(argv, environ)
    return capsys.readouterr().err.partition("prog: error: ")[2].strip().split("; ")


def warnings(argv: str, environ: dict[str, str] | None = None) -> tuple[str, ...]:
    return run(argv, environ).warnings


def test_tasks_come_from_the_queue_where_nothing_else_gives_any() -> None:
    assert run(QUEUE).from_queue
    assert not run(f"{QUEUE} {FILE}").from_queue
    assert not run(QUEUE, has_task_source=True).from_queue


def test_no_tasks_from_anywhere_are_one_sentence_that_names_all_ways(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert problems("", capsys) == [
        "there are no tasks: give --task-file FILE (RMS_CLOUD_TASKS_TASK_FILE), "
        "task_source= in the program, or --provider NAME (RMS_CLOUD_TASKS_PROVIDER) "
        "and --job-id ID (RMS_CLOUD_TASKS_JOB_ID) for a cloud queue"
    ]


@pytest.mark.parametrize(
    "argv",
    [
        "--provider aws --job-id j",
        "--provider AWS --queue-name q",
        "--provider gcp --project-id p --job-id j",
        "--provider gcp --project-id p --queue-name q",
    ],
)
def test_provider_and_name_are_enough_for_a_queue_and_gcp_needs_the_project(argv: str) -> None:
    assert run(argv).from_queue


@pytest.mark.parametrize(
    ("argv", "flags"),
    [
        ("--provider aws", ["--job-id"]),
        ("--job-id j", ["--provider"]),
        ("--queue-name q --project-id p", ["--provider"]),
        ("--provider gcp", ["--job-id", "--project-id"]),
        ("--provider gcp --job-id j", ["--project-id"]),
        ("--provider azure --job-id j", ["--provider"]),
        ("--provider azure", ["--provider", "--job-id"]),
        ("--provider ibm", ["--provider", "--job-id"]),
    ],
)
def test_all_that_a_queue_of_tasks_lacks_is_told_at_once(
    argv: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    told = problems(argv, capsys)
    starts = [f"argument {f} ({PREFIX}{f[2:].upper().replace('-', '_')}): " for f in flags]
    assert len(told) == len(starts)
    assert all(problem.startswith(start) for problem, start in zip(told, starts, strict=True))


def test_a_provider_without_queues_is_told_with_those_that_have_some(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (problem,) = problems("--provider azure --job-id j", capsys)
    assert "one of AWS, GCP is needed for tasks from a queue" in problem
    assert problem.endswith("AZURE has no queues here")


def test_a_missing_name_of_the_queue_is_told_with_both_ways_to_give_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert problems("--provider aws", capsys) == [
        "argument --job-id (RMS_CLOUD_TASKS_JOB_ID): this or "
        "--queue-name NAME (RMS_CLOUD_TASKS_QUEUE_NAME) is needed for tasks from a queue "
        "(there is no --task-file)"
    ]


def test_what_a_queue_needs_may_come_from_the_environment() -> None:
    environ = {f"{PREFIX}PROVIDER": "gcp", f"{PREFIX}PROJECT_ID": "p", f"{PREFIX}JOB_ID": "j"}
    assert run("", environ).settings.queue_name == "j"


@pytest.mark.parametrize("argv", ["", "--provider azure", "--job-id j", "--tasks-to-skip 500"])
def test_a_listing_of_settings_needs_no_tasks(argv: str) -> None:
    resolved = run(argv, require_tasks=False)
    assert not resolved.settings.event_log_to_file
    assert resolved.settings.event_log_to_queue


def test_a_listing_of_settings_needs_no_queue_for_events() -> None:
    assert run("--event-log-to-queue", require_tasks=False).settings.event_log_to_queue


def test_the_queue_is_named_after_the_job_unless_it_has_a_name() -> None:
    named = run(f"{QUEUE} --queue-name q")
    assert (named.settings.queue_name, named.origins["queue_name"]) == ("q", "command line")
    unnamed = run(QUEUE)
    assert (unnamed.settings.queue_name, unnamed.origins["queue_name"]) == ("j", "derived")
    assert unnamed.args.queue_name == "j"
    nothing = run(FILE)
    assert (nothing.settings.queue_name, nothing.origins["queue_name"]) == (None, "default")


@pytest.mark.parametrize(
    ("argv", "has_task_source", "file", "queue"),
    [
        (FILE, False, (True, "derived"), (False, "derived")),
        ("", True, (True, "derived"), (False, "derived")),
        (QUEUE, False, (False, "derived"), (True, "derived")),
        (f"{FILE} --no-event-log-to-file", False, (False, "command line"), (False, "derived")),
        (f"{QUEUE} {FILE} --event-log-to-queue", False, (True, "derived"), (True, "command line")),
        (f"{QUEUE} --event-log-to-file", False, (True, "command line"), (True, "derived")),
    ],
)
def test_events_go_where_tasks_come_from(
    argv: str, has_task_source: bool, file: tuple[bool, str], queue: tuple[bool, str]
) -> None:
    resolved = run(argv, has_task_source=has_task_source)
    settings, origins = resolved.settings, resolved.origins
    assert (settings.event_log_to_file, origins["event_log_to_file"]) == file
    assert (settings.event_log_to_queue, origins["event_log_to_queue"]) == queue


def test_an_event_queue_with_a_task_file_needs_what_queues_need(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = problems(f"{FILE} --event-log-to-queue", capsys)
    assert [problem.partition(" (")[0] for problem in told] == [
        "argument --provider",
        "argument --job-id",
    ]
    for problem in told:
        assert "needed by --event-log-to-queue (RMS_CLOUD_TASKS_EVENT_LOG_TO_QUEUE)" in problem
    (project,) = problems(f"{FILE} --event-log-to-queue --provider gcp --job-id j", capsys)
    assert "--project-id" in project


def test_a_task_file_alone_needs_nothing_of_a_provider_without_queues() -> None:
    assert run(f"{FILE} --provider azure").warnings == ()


def test_a_queue_run_without_any_record_is_allowed_with_a_warning() -> None:
    (warning,) = warnings(f"{QUEUE} --no-event-log-to-queue")
    assert "no record of the tasks will be kept" in warning
    assert warnings(f"{QUEUE} --no-event-log-to-queue --event-log-to-file") == ()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("--lease 60", "--lease does"),
        ("--max-attempts 3 --exit-when-idle 120", "--max-attempts, --exit-when-idle do"),
        ("--exit-when-done", "--exit-when-done does"),
        ("--exactly-once-queue", "--exactly-once-queue does"),
    ],
)
def test_what_only_a_queue_reads_is_a_warning_elsewhere(argv: str, said: str) -> None:
    (warning,) = warnings(f"{FILE} {argv}")
    assert warning.startswith(f"{said} nothing here")
    assert warnings(f"{QUEUE} {argv}") == ()


def test_a_useless_setting_is_named_as_it_was_given() -> None:
    (warning,) = warnings(FILE, {f"{PREFIX}LEASE": "60"})
    assert warning.startswith("RMS_CLOUD_TASKS_LEASE does nothing here")


def test_queue_defaults_of_a_program_are_no_warning_with_a_task_file() -> None:
    parser = argparse.ArgumentParser()
    parser.set_defaults(max_attempts=2)
    assert resolve(parser, FILE.split(), {}).warnings == ()


def test_exactly_once_serves_the_event_queue_of_a_task_file() -> None:
    assert warnings(f"{FILE} {QUEUE} --event-log-to-queue --exactly-once-queue") == ()
    assert warnings(f"{FILE} --no-exactly-once-queue") == ()


def test_keepalive_without_an_event_queue_is_silent() -> None:
    assert warnings(f"{FILE} --keepalive-interval 5") == ()


def test_more_tasks_than_can_be_held_are_not_skipped_in_a_queue(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (problem,) = problems(f"{QUEUE} --tasks-to-skip 101", capsys)
    assert "must be 100 or less with a queue, not 101" in problem
    assert run(f"{QUEUE} --tasks-to-skip 100").settings.tasks_to_skip == 100
    assert run(f"{FILE} --tasks-to-skip 101").settings.tasks_to_skip == 101


@pytest.mark.parametrize(
    ("argv", "lease"),
    [
        ("", (120.0, "derived")),
        ("--max-runtime 5", (30.0, "derived")),
        ("--max-runtime 50", (60.0, "derived")),
        ("--max-runtime 110.5", (120.0, "derived")),
        ("--max-runtime 50 --lease 300", (300.0, "command line")),
    ],
)
def test_the_lease_follows_from_the_longest_run_time(argv: str, lease: tuple[float, str]) -> None:
    resolved = run(f"{QUEUE} {argv}")
    assert (resolved.settings.lease, resolved.origins["lease"]) == lease


def test_a_spot_instance_of_nobody_knows_whom_is_a_warning() -> None:
    (warning,) = warnings(f"{FILE} --is-spot")
    assert "termination notices are not watched for" in warning
    assert warnings(f"{FILE} --is-spot --provider azure") == ()


@pytest.mark.parametrize(
    ("argv", "environ", "numbers"),
    [
        ("--exit-when-idle 119", {}, "--exit-when-idle 119 is shorter than the lease of 120 s"),
        ("--exit-when-idle 0.5 --lease 60", {}, "0.5 is shorter than the lease of 60 s"),
        ("--exit-when-idle 29 --max-runtime 1", {}, "29 is shorter than the lease of 30 s"),
        ("", {f"{PREFIX}EXIT_WHEN_IDLE": "9"}, f"{PREFIX}EXIT_WHEN_IDLE 9 is shorter"),
    ],
)
def test_a_worker_that_leaves_within_a_lease_is_warned_of_with_both_numbers(
    argv: str, environ: dict[str, str], numbers: str
) -> None:
    (warning,) = warnings(f"{QUEUE} {argv}", environ)
    assert numbers in warning
    assert "--exit-when-done" in warning


@pytest.mark.parametrize(
    "argv", ["--exit-when-idle 120", "--exit-when-idle 60 --lease 60", "--exit-when-done"]
)
def test_a_worker_that_outstays_a_lease_is_not_warned_of(argv: str) -> None:
    assert warnings(f"{QUEUE} {argv}") == ()


def test_to_leave_when_idle_and_when_done_exclude_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    both = {f"{PREFIX}EXIT_WHEN_IDLE": "300", f"{PREFIX}EXIT_WHEN_DONE": "1"}
    for argv, environ in (("--exit-when-idle 300 --exit-when-done", {}), ("", both)):
        (problem,) = problems(f"{QUEUE} {argv}", capsys, **environ)
        assert "exclude each other" in problem
    assert run(f"{FILE} {QUEUE} --exit-when-idle 300 --exit-when-done").warnings != ()


@pytest.mark.parametrize(
    ("argv", "environ", "done", "idle"),
    [
        ("--exit-when-done", {"EXIT_WHEN_IDLE": "300"}, True, None),
        ("--exit-when-idle 300", {"EXIT_WHEN_DONE": "1"}, False, 300.0),
        ("--no-exit-when-done --exit-when-idle 300", {}, False, 300.0),
    ],
)
def test_the_nearer_of_the_two_holds(
    argv: str, environ: dict[str, str], done: bool, idle: float | None
) -> None:
    resolved = run(f"{QUEUE} {argv}", {f"{PREFIX}{name}": environ[name] for name in environ})
    assert (resolved.settings.exit_when_done, resolved.settings.exit_when_idle) == (done, idle)


def test_a_queue_of_which_tasks_are_skipped_is_never_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (problem,) = problems(f"{QUEUE} --tasks-to-skip 3 --exit-when-done", capsys)
    assert "--tasks-to-skip" in problem
    assert "--exit-when-done" in problem
    run(f"{QUEUE} --tasks-to-skip 0 --exit-when-done")
