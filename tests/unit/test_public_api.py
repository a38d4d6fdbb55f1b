from __future__ import annotations

import json
import subprocess
import sys

import pytest
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

import cloud_tasks
from cloud_tasks import errors

pytestmark = pytest.mark.interpreter

CLOUD = ["boto3", "botocore", "google", "azure"]
HEAVY = [*CLOUD, "loky", "psutil", "yaml", "filecache", "rich", "cloudpickle"]


@pytest.mark.parametrize("name", cloud_tasks.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(cloud_tasks, name) is not None
    assert name in dir(cloud_tasks)


def test_all_public_names_are_in_all() -> None:
    from cloud_tasks import worker

    homes = cloud_tasks._HOMES
    of_errors = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert {*homes, *of_errors} == set(cloud_tasks.__all__) - {"__version__"}
    assert worker.__all__ == ["Worker", "WorkerData"]
    assert worker.Worker is cloud_tasks.Worker
    assert worker.WorkerData is cloud_tasks.WorkerData


def test_every_error_is_public_and_has_one_root() -> None:
    own = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert all(issubclass(error, cloud_tasks.CloudTasksError) for error in own)
    assert {error.__name__ for error in own} <= set(cloud_tasks.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Werker"):
        cloud_tasks.Werker  # noqa: B018


def loaded_after(code: str, *argv: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after *code*."""
    tail = "import json, sys; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit as e:\n    assert not e.code\n{tail}"
    done = subprocess.run(
        [sys.executable, "-c", script, *argv], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "argv", "banned"),
    [
        ("import cloud_tasks", [], [*HEAVY, "asyncio", "argparse", "logging"]),
        ("import cloud_tasks.worker", [], HEAVY),
        ("from cloud_tasks.cli import main; assert not main()", ["--help"], HEAVY),
        ("from cloud_tasks.cli import main; assert not main()", ["settings", "--json"], HEAVY),
    ],
    ids=["package", "worker", "help", "settings"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(
    code: str, argv: list[str], banned: list[str]
) -> None:
    before = loaded_after("pass")
    assert not (loaded_after(code, *argv) - before) & set(banned)


def test_python_m_runs_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cloud_tasks", "--help"], capture_output=True, text=True, check=True
    )
    assert "settings" in done.stdout
    assert not done.stderr


def test_a_program_that_makes_no_worker_loads_none_of_what_a_run_takes() -> None:
    code = (
        "import sys; from cloud_tasks import Worker, WorkerData;"
        "print(*(n for n in sys.modules if n.startswith('cloud_tasks.')),"
        " *({'argparse', 'logging', 'dataclasses'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50
    )
    assert sorted(done.stdout.split()) == [
        "cloud_tasks.worker",
        "cloud_tasks.worker.worker",
        "cloud_tasks.worker_data",
    ]
