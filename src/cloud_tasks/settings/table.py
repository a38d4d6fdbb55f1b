"""Define every setting of the worker, its default included: one table, one row a setting.

A row is a field of :class:`Settings`. Its name is the argparse destination and, if it is exposed,
the attribute of ``worker_data``; from the row come flag, variable, help, parser and the line of
the reference page. To add a setting, add a row here; nothing else needs to know.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from cloud_tasks import registry
from cloud_tasks.policy import FailureLimit
from cloud_tasks.settings.parse import (
    amount,
    count_or_auto,
    listed,
    one_of,
    seconds,
    share_or_count,
    text,
    whole,
)
from cloud_tasks.settings.providers import BUILT_IN, provider_name
from cloud_tasks.settings.row import Row, make_row, setting

_TASKS = "Tasks"
_JOB = "Job"
_QUEUE = "Queue"
_EXECUTOR = "Executor"
_LIMITS = "Limits"
_RETRIES = "Retries"
_EVENTS = "Events"
_INSTANCE = "Instance"
_SPOT = "Spot simulation"
_CONSOLE = "Console and exit status"


#: Shortest and longest lease that a worker chooses by itself, and by how much it is longer than
#: the longest runtime, in seconds: time to receive a task before it runs and to settle it after.
_SHORTEST_LEASE, _LONGEST_LEASE, _LEASE_MARGIN = 30.0, 120.0, 10.0
_LEASE_RULE = (
    f"min({_LONGEST_LEASE:g}, max({_SHORTEST_LEASE:g}, --max-runtime + {_LEASE_MARGIN:g}))"
)


def default_lease(max_runtime: float) -> float:
    """Return the lease of tasks that may run for *max_runtime*, both in seconds."""
    return min(_LONGEST_LEASE, max(_SHORTEST_LEASE, max_runtime + _LEASE_MARGIN))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one worker. Durations are in seconds."""

    # The formatter would put each argument of a row on a line of its own.
    # fmt: off
    task_file: str | None = setting(
        None, "list of tasks: a path, a gs://, s3:// or https:// address, or - for standard input",
        group=_TASKS, parse=text, metavar="FILE", aliases=("--tasks",), exposed=False)
    task_format: str | None = setting(
        None, "format of the task file, if its suffix doesn't show it",
        group=_TASKS, parse=one_of("json", "yaml", "jsonl", "csv", "tsv", fold=str.lower),
        metavar="{json,yaml,jsonl,csv,tsv}", auto="by suffix or content", exposed=False)
    tasks_to_skip: int | None = setting(
        None, "skip the first N tasks",
        group=_TASKS, parse=whole(0), metavar="N", env="TO_SKIP", exposed=False)
    max_num_tasks: int | None = setting(
        None, "start at most N tasks",
        group=_TASKS, parse=whole(0), metavar="N", exposed=False)
    task_id: tuple[str, ...] | None = setting(
        None, "run only the task with this id; may be given more than once",
        group=_TASKS, parse=listed, metavar="ID", env="", repeated=True, exposed=False)
    resume: str | None = setting(
        None, "skip tasks that the event log shows as finished (in the variable: finished); "
        "failed: run the tasks that failed again",
        group=_TASKS, parse=one_of("finished", "failed", fold=str.lower), metavar="failed",
        flag_value="finished", exposed=False)

    provider: str | None = setting(
        None, f"the cloud this runs in, in any case: {', '.join(BUILT_IN)}, "
        "or a name that another package registered",
        group=_JOB, parse=provider_name, metavar="NAME")
    job_id: str | None = setting(
        None, "identifies the job; needed for a queue unless --queue-name is given",
        group=_JOB, parse=text, metavar="ID")
    project_id: str | None = setting(
        None, "the provider's project; needed for a queue of GCP",
        group=_JOB, parse=text, metavar="ID")

    queue_name: str | None = setting(
        None, "queue that tasks come from; events go to the queue NAME-events",
        group=_QUEUE, parse=text, metavar="NAME", auto="the job id")
    exactly_once_queue: bool = setting(
        False, "the queues are of the kind that delivers each message once: a Pub/Sub "
        "subscription with exactly-once delivery, an SQS FIFO queue",
        group=_QUEUE)
    endpoint_url: str | None = setting(
        None, "address of a server that speaks the provider's queue protocol",
        group=_QUEUE, parse=text, metavar="URL", exposed=False)
    max_attempts: int = setting(
        5, "give up a task after N failed attempts and move it to the queue NAME-dead; "
        "0: try for ever",
        group=_QUEUE, parse=whole(0), metavar="N", exposed=False)
    lease: float | None = setting(
        None, "time after which the tasks of a worker that died go to another one; extended while "
        "they run",
        group=_QUEUE, parse=seconds(zero=False), metavar="SECONDS",
        auto=_LEASE_RULE, exposed=False)
    exit_when_idle: float | None = setting(
        None, "end when the queue was empty and no task ran for SECONDS",
        group=_QUEUE, parse=seconds(zero=False), metavar="SECONDS", exposed=False)
    exit_when_done: bool = setting(
        False, "end when the queue is empty and no worker holds a task of it",
        group=_QUEUE, exposed=False)

    executor: str = setting(
        "loky", f"how tasks are isolated: {', '.join(registry.names('executor'))}, "
        "or a name that another package registered",
        group=_EXECUTOR, parse=text, metavar="NAME", exposed=False)
    debug: bool = setting(
        False, "run tasks in this process and thread, for breakpoints: --executor inline",
        group=_EXECUTOR, env="", exposed=False)
    use_new_process: bool = setting(
        False, "run each task in a process of its own: --executor spawn",
        group=_EXECUTOR, env="RMS_CLOUD_WORKER_USE_NEW_PROCESS", exposed=False)
    pdb: bool = setting(
        False, "as --debug, and open the debugger where a task raised",
        group=_EXECUTOR, env="", exposed=False)
    num_simultaneous_tasks: int = setting(
        1, "how many tasks run at once; auto: as many as there are usable cores (affinity, "
        "limits of the control group, SLURM_CPUS_PER_TASK)",
        group=_EXECUTOR, parse=count_or_auto, metavar="N|auto", env="NUM_TASKS_PER_INSTANCE",
        auto="--num-cpus, else 1")

    max_runtime: float = setting(
        600.0, "kill a task that runs longer than this",
        group=_LIMITS, parse=seconds(zero=False), metavar="SECONDS")
    max_memory_allowed_per_task: float | None = setting(
        None, "kill a task whose process tree uses more memory than this",
        group=_LIMITS, parse=amount("gigabytes", zero=False), metavar="GB")
    max_result_size: float = setting(
        64.0, "fail a task whose result, as JSON, is larger than this; 0: no limit",
        group=_LIMITS, parse=amount("megabytes"), metavar="MB", exposed=False)
    shutdown_grace_period: float = setting(
        30.0, "kill tasks that still run SECONDS after a shutdown request",
        group=_LIMITS, parse=seconds(), metavar="SECONDS")

    max_failures: FailureLimit | None = setting(
        None, "end the run when N tasks, or more than N per cent of them, have failed",
        group=_LIMITS, parse=share_or_count, metavar="N|N%", exposed=False)

    retry_on_exit: bool = setting(
        False, "retry a task whose process ended; only with a queue",
        group=_RETRIES)
    retry_on_exception: bool = setting(
        False, "retry a task that raised an exception; only with a queue",
        group=_RETRIES)
    retry_on_timeout: bool = setting(
        False, "retry a task that ran too long; only with a queue",
        group=_RETRIES)

    run_dir: str | None = setting(
        None, "folder that keeps all of a run in one place: events, settings, failures, task logs, "
        "report",
        group=_EVENTS, parse=text, metavar="DIR", exposed=False)
    event_log_file: str = setting(
        "events.log", "file that events are appended to, one JSON object a line",
        group=_EVENTS, parse=text, metavar="FILE", auto="events.log; DIR/events.jsonl with "
        "--run-dir DIR")
    task_logs: bool = setting(
        False, "keep what each task prints and logs; `cloud_tasks logs` shows it",
        group=_EVENTS, exposed=False)
    event_log_to_file: bool = setting(
        False, "write events to the event log file",
        group=_EVENTS, auto="true with a task file or task source")
    event_log_to_queue: bool = setting(
        False, "send events to the provider's queue NAME-events",
        group=_EVENTS, auto="true without a task file or task source")
    keepalive_interval: float = setting(
        60.0, "send a keep_alive event to that queue every SECONDS; 0: never",
        group=_EVENTS, parse=seconds(), metavar="SECONDS")

    instance_type: str | None = setting(
        None, "type of this machine; passed to tasks",
        group=_INSTANCE, parse=text, metavar="TYPE")
    num_cpus: int | None = setting(
        None, "number of CPUs of this machine; passed to tasks",
        group=_INSTANCE, parse=whole(1), metavar="N", env="INSTANCE_NUM_VCPUS")
    memory_gb: float | None = setting(
        None, "memory of this machine; passed to tasks", group=_INSTANCE,
        parse=amount("gigabytes"), metavar="GB", flag="--memory", env="INSTANCE_MEM_GB")
    local_ssd_gb: float | None = setting(
        None, "size of its local SSD; passed to tasks", group=_INSTANCE,
        parse=amount("gigabytes"), metavar="GB", flag="--local-ssd", env="INSTANCE_SSD_GB")
    boot_disk_gb: float | None = setting(
        None, "size of its boot disk; passed to tasks", group=_INSTANCE,
        parse=amount("gigabytes"), metavar="GB", flag="--boot-disk", env="INSTANCE_BOOT_DISK_GB")
    is_spot: bool = setting(
        False, "this machine may be taken away at short notice: watch for the provider's "
        "termination notice; passed to tasks",
        group=_INSTANCE, env="INSTANCE_IS_SPOT")
    price_per_hour: float | None = setting(
        None, "price of this machine; passed to tasks", group=_INSTANCE,
        parse=amount("US dollars per hour"), metavar="USD_PER_HOUR", flag="--price",
        env="INSTANCE_PRICE")

    simulate_spot_termination_after: float | None = setting(
        None, "simulate a termination notice SECONDS after the start",
        group=_SPOT, parse=seconds(), metavar="SECONDS")
    simulate_spot_termination_delay: float | None = setting(
        None, "kill all tasks and end SECONDS after that notice",
        group=_SPOT, parse=seconds(), metavar="SECONDS")

    progress: str = setting(
        "auto", "draw the progress at the bottom of the terminal, or print a line now and then if "
        "there is none; off: neither",
        group=_CONSOLE, parse=one_of("auto", "on", "off", fold=str.lower),
        metavar="{auto,on,off}", exposed=False)
    verbose: bool = setting(
        False, "log at level DEBUG instead of INFO",
        group=_CONSOLE, flag="-v", aliases=("--verbose",), env="", exposed=False)
    exit_zero: bool = setting(
        False, "exit with status 0 even if tasks failed",
        group=_CONSOLE, exposed=False)
    # fmt: on


#: The rows by name, in the order of the table.
ROWS: dict[str, Row] = {f.name: make_row(f.name, f.default, f.metadata) for f in fields(Settings)}


def worker_data_values(settings: Settings) -> dict[str, Any]:
    """Return the exposed settings, by the attributes of ``worker_data``.

    All are settings but ``event_log_queue_name``, which follows from two of them.
    """
    exposed = {name: getattr(settings, name) for name, row in ROWS.items() if row.exposed}
    name = settings.queue_name if settings.event_log_to_queue else None
    if name is not None:
        from cloud_tasks.queues.base import events_name  # a run without queues needs none of it

        name = events_name(name)
    return {**exposed, "event_log_queue_name": name}
