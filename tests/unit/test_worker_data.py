from __future__ import annotations

import argparse
import pickle
from dataclasses import dataclass

import pytest

from cloud_tasks.settings.table import ROWS
from cloud_tasks.worker_data import DEFAULTS, WorkerData

pytestmark = pytest.mark.interpreter

#: What programs in the world read, with the old system's names.
PROMISED = [
    "args",
    "provider",
    "project_id",
    "job_id",
    "queue_name",
    "exactly_once_queue",
    "event_log_to_queue",
    "event_log_queue_name",
    "event_log_to_file",
    "event_log_file",
    "keepalive_interval",
    "instance_type",
    "num_cpus",
    "memory_gb",
    "local_ssd_gb",
    "boot_disk_gb",
    "is_spot",
    "price_per_hour",
    "num_simultaneous_tasks",
    "max_runtime",
    "max_memory_allowed_per_task",
    "shutdown_grace_period",
    "retry_on_exit",
    "retry_on_exception",
    "retry_on_timeout",
    "simulate_spot_termination_after",
    "simulate_spot_termination_delay",
    "received_termination_notice",
    "received_shutdown_request",
]


@dataclass
class Flags:
    termination_notice: bool = False
    shutdown_request: bool = False


def test_has_every_promised_attribute_from_the_beginning() -> None:
    assert [name for name in PROMISED if not hasattr(WorkerData(), name)] == []


def test_every_setting_that_tasks_are_told_has_its_attribute() -> None:
    assert {name for name, row in ROWS.items() if row.exposed} <= DEFAULTS.keys()


def test_users_can_make_one_for_their_own_tests() -> None:
    data = WorkerData(args=argparse.Namespace(n=3), max_runtime=5, provider="AWS")
    assert (data.args.n, data.max_runtime, data.provider) == (3, 5, "AWS")
    assert not data.received_shutdown_request
    assert not data.received_termination_notice


def test_an_unknown_keyword_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="max_runtim'"):
        WorkerData(max_runtim=5)


def test_a_missing_attribute_is_named_and_getattr_defaults_work() -> None:
    with pytest.raises(AttributeError, match="'colour'"):
        WorkerData().colour  # noqa: B018
    assert getattr(WorkerData(), "colour", "blue") == "blue"


def test_the_flags_are_live_and_can_not_be_set() -> None:
    flags, data = Flags(), WorkerData()
    data.connect(flags)
    seen = [(data.received_shutdown_request, data.received_termination_notice)]
    flags.shutdown_request = True
    seen.append((data.received_shutdown_request, data.received_termination_notice))
    flags.termination_notice = True
    seen.append((data.received_shutdown_request, data.received_termination_notice))
    assert seen == [(False, False), (True, False), (True, True)]
    with pytest.raises(AttributeError):
        data.received_termination_notice = False  # type: ignore[misc]
    data.connect(None)
    assert not data.received_shutdown_request


def test_each_task_has_a_copy_of_it_and_of_args() -> None:
    data = WorkerData(args=argparse.Namespace(n=1, shared=[]))
    data.colour = "red"
    flags = Flags(shutdown_request=True)
    data.connect(flags)
    mine, theirs = data.for_task(), data.for_task()
    mine.colour, mine.args.n, mine.max_runtime = "blue", 2, 1
    for other in (data, theirs):
        assert (other.colour, other.args.n, other.max_runtime) == ("red", 1, None)
    assert mine.args.shared is theirs.args.shared  # shallow
    assert mine.received_shutdown_request


def test_args_may_be_anything_that_can_be_copied() -> None:
    assert WorkerData(args=None).for_task().args is None
    assert WorkerData(args={"n": 1}).for_task().args == {"n": 1}


def test_a_pickle_carries_all_but_the_flags() -> None:
    data = WorkerData(args=argparse.Namespace(n=1), job_id="j")
    data.colour = "red"
    data.connect(Flags(True, True))
    copy = pickle.loads(pickle.dumps(data))
    assert (copy.args.n, copy.job_id, copy.colour) == (1, "j", "red")
    assert not copy.received_shutdown_request
    assert data.received_shutdown_request


def test_its_repr_shows_the_settings() -> None:
    assert "job_id='j'" in repr(WorkerData(job_id="j"))
    assert "_flags" not in repr(WorkerData())
