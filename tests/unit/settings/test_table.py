"""The table itself."""

from __future__ import annotations

import pickle
from itertools import groupby

import pytest

from cloud_tasks import worker_data
from cloud_tasks.settings.parse import show
from cloud_tasks.settings.row import Row
from cloud_tasks.settings.table import ROWS, Settings, worker_data_values

every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)

#: Variables that programs and start-up scripts set under these very names.
KNOWN_VARIABLES = {
    "task_file": "RMS_CLOUD_TASKS_TASK_FILE",
    "provider": "RMS_CLOUD_TASKS_PROVIDER",
    "job_id": "RMS_CLOUD_TASKS_JOB_ID",
    "project_id": "RMS_CLOUD_TASKS_PROJECT_ID",
    "queue_name": "RMS_CLOUD_TASKS_QUEUE_NAME",
    "exactly_once_queue": "RMS_CLOUD_TASKS_EXACTLY_ONCE_QUEUE",
    "endpoint_url": "RMS_CLOUD_TASKS_ENDPOINT_URL",
    "max_attempts": "RMS_CLOUD_TASKS_MAX_ATTEMPTS",
    "lease": "RMS_CLOUD_TASKS_LEASE",
    "exit_when_idle": "RMS_CLOUD_TASKS_EXIT_WHEN_IDLE",
    "event_log_to_queue": "RMS_CLOUD_TASKS_EVENT_LOG_TO_QUEUE",
    "keepalive_interval": "RMS_CLOUD_TASKS_KEEPALIVE_INTERVAL",
    "event_log_file": "RMS_CLOUD_TASKS_EVENT_LOG_FILE",
    "event_log_to_file": "RMS_CLOUD_TASKS_EVENT_LOG_TO_FILE",
    "instance_type": "RMS_CLOUD_TASKS_INSTANCE_TYPE",
    "num_cpus": "RMS_CLOUD_TASKS_INSTANCE_NUM_VCPUS",
    "memory_gb": "RMS_CLOUD_TASKS_INSTANCE_MEM_GB",
    "local_ssd_gb": "RMS_CLOUD_TASKS_INSTANCE_SSD_GB",
    "boot_disk_gb": "RMS_CLOUD_TASKS_INSTANCE_BOOT_DISK_GB",
    "is_spot": "RMS_CLOUD_TASKS_INSTANCE_IS_SPOT",
    "price_per_hour": "RMS_CLOUD_TASKS_INSTANCE_PRICE",
    "num_simultaneous_tasks": "RMS_CLOUD_TASKS_NUM_TASKS_PER_INSTANCE",
    "max_runtime": "RMS_CLOUD_TASKS_MAX_RUNTIME",
    "max_memory_allowed_per_task": "RMS_CLOUD_TASKS_MAX_MEMORY_ALLOWED_PER_TASK",
    "shutdown_grace_period": "RMS_CLOUD_TASKS_SHUTDOWN_GRACE_PERIOD",
    "tasks_to_skip": "RMS_CLOUD_TASKS_TO_SKIP",
    "max_num_tasks": "RMS_CLOUD_TASKS_MAX_NUM_TASKS",
    "retry_on_exit": "RMS_CLOUD_TASKS_RETRY_ON_EXIT",
    "retry_on_exception": "RMS_CLOUD_TASKS_RETRY_ON_EXCEPTION",
    "retry_on_timeout": "RMS_CLOUD_TASKS_RETRY_ON_TIMEOUT",
    "simulate_spot_termination_after": "RMS_CLOUD_TASKS_SIMULATE_SPOT_TERMINATION_AFTER",
    "simulate_spot_termination_delay": "RMS_CLOUD_TASKS_SIMULATE_SPOT_TERMINATION_DELAY",
    "use_new_process": "RMS_CLOUD_WORKER_USE_NEW_PROCESS",
    "max_result_size": "RMS_CLOUD_TASKS_MAX_RESULT_SIZE",
    "verbose": None,
    "debug": None,
}


@every_row
def test_every_default_passes_its_own_parser(row: Row) -> None:
    if row.default is not None:
        parsed = row.parse(show(row.default))
        assert parsed == row.default
        assert type(parsed) is type(row.default)


@every_row
def test_every_row_has_help_and_group(row: Row) -> None:
    assert row.help
    assert not row.help.endswith(".")
    assert row.group


@every_row
def test_every_row_that_takes_a_value_has_a_placeholder(row: Row) -> None:
    assert row.is_boolean == isinstance(row.default, bool)


def test_variables_are_unique() -> None:
    variables = [row.env for row in ROWS.values() if row.env]
    assert len(variables) == len(set(variables))
    assert all(name.startswith("RMS_CLOUD_") for name in variables)


def test_flags_are_unique() -> None:
    flags = [flag for row in ROWS.values() for flag in row.option_strings]
    assert len(flags) == len(set(flags))


def test_rows_of_a_group_stand_together() -> None:
    groups = [group for group, _ in groupby(row.group for row in ROWS.values())]
    assert len(groups) == len(set(groups))


@pytest.mark.parametrize(("name", "variable"), KNOWN_VARIABLES.items())
def test_variables_have_their_known_names(name: str, variable: str | None) -> None:
    assert ROWS[name].env == variable


def test_tasks_are_told_exactly_what_worker_data_has_attributes_for() -> None:
    told = worker_data_values(Settings())
    assert told.keys() == worker_data.DEFAULTS.keys()
    assert told.keys() - ROWS.keys() == {"event_log_queue_name"}
    assert worker_data.WorkerData(**told).max_runtime == 600.0


@pytest.mark.parametrize(
    ("queue_name", "event_log_to_queue", "expected"),
    [("q", True, "q-events"), ("q", False, None), (None, True, None)],
)
def test_tasks_are_told_the_name_of_the_event_queue_if_there_is_one(
    queue_name: str | None, event_log_to_queue: bool, expected: str | None
) -> None:
    settings = Settings(queue_name=queue_name, event_log_to_queue=event_log_to_queue)
    assert worker_data_values(settings)["event_log_queue_name"] == expected


def test_settings_can_be_pickled() -> None:
    settings = Settings(max_runtime=5.0, job_id="j")
    assert pickle.loads(pickle.dumps(settings)) == settings
