"""What the ledger of a load remembers, and whom it believes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from cloud_tasks.errors import CloudTasksError, ConfigurationError
from cloud_tasks.loading.ledger import Ledger, PreviousLoad

IDENTITY = {"provider": "AWS", "queue": "moon"}
Entries = list[tuple[int, bytes]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "moon.load-ledger"


def entries(*positions: int) -> Entries:
    return [(position, b"task %d" % position) for position in positions]


def write(path: Path, *batches: Entries) -> None:
    ledger = Ledger(path, IDENTITY)
    ledger.open()
    for batch in batches:
        ledger.record(batch)
    ledger.close()


def known(previous: PreviousLoad, asked: Entries) -> list[int]:
    found = [entry[0] for entry in asked if entry in previous]
    previous.end()
    return found


def test_what_was_recorded_is_known_again_whatever_the_order_of_its_batches(path: Path) -> None:
    write(path, entries(10, 11, 12), entries(0, 1, 2), entries(3, 5))
    previous = Ledger(path, IDENTITY).read()
    assert previous.count == 8
    assert known(previous, entries(*range(14))) == [0, 1, 2, 3, 5, 10, 11, 12]


def test_a_second_run_adds_to_the_first(path: Path) -> None:
    write(path, entries(0, 1))
    write(path, entries(2, 3))
    assert known(Ledger(path, IDENTITY).read(), entries(*range(6))) == [0, 1, 2, 3]


@pytest.mark.parametrize("kept", range(1, 10))
def test_a_line_that_a_crash_cut_off_says_nothing_and_spoils_nothing(path: Path, kept: int) -> None:
    write(path, entries(0, 1))
    whole = path.read_bytes()
    write(path, entries(2, 3))
    path.write_bytes(path.read_bytes()[: len(whole) + kept])
    assert Ledger(path, IDENTITY).read().count == 2
    write(path, entries(4))
    assert known(Ledger(path, IDENTITY).read(), entries(*range(6))) == [0, 1, 4]


def test_a_ledger_whose_first_line_was_cut_off_begins_anew(path: Path) -> None:
    path.write_bytes(b'{"cloud_ta')
    write(path, entries(0))
    assert Ledger(path, IDENTITY).read().count == 1


def test_a_ledger_of_another_queue_is_refused_by_name(path: Path) -> None:
    write(path, entries(0))
    before = path.read_bytes()
    other = Ledger(path, {**IDENTITY, "queue": "sun"})
    for look in (other.read, other.open):
        with pytest.raises(ConfigurationError, match="not the ledger of this queue") as caught:
            look()
        assert str(path) in str(caught.value)
        assert "--ledger" in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", [b"nonsense", b"5 3 0123456789abcdef", b"0 1 0123456789abcdef"])
def test_a_damaged_ledger_is_refused(path: Path, line: bytes) -> None:
    write(path, entries(0, 1))
    with path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(ConfigurationError, match="damaged"):
        Ledger(path, IDENTITY).open()


def test_other_tasks_than_those_that_were_loaded_are_noticed(path: Path) -> None:
    write(path, entries(0, 1, 2))
    changed = [*entries(0), (1, b"another task"), *entries(2)]
    previous = Ledger(path, IDENTITY).read()
    with pytest.raises(ConfigurationError, match="not the tasks"):
        known(previous, changed)


def test_tasks_that_changed_places_are_noticed(path: Path) -> None:
    write(path, entries(0, 1))
    previous = Ledger(path, IDENTITY).read()
    with pytest.raises(ConfigurationError, match="not the tasks"):
        known(previous, [(0, b"task 1"), (1, b"task 0")])


def test_a_task_that_is_gone_is_noticed_at_the_next(path: Path) -> None:
    write(path, entries(0, 1))
    previous = Ledger(path, IDENTITY).read()
    with pytest.raises(ConfigurationError, match="not the tasks"):
        known(previous, entries(0, 2))


def test_fewer_tasks_than_were_loaded_are_noticed_at_their_end(path: Path) -> None:
    write(path, entries(0, 1, 2))
    previous = Ledger(path, IDENTITY).read()
    with pytest.raises(ConfigurationError, match="not the tasks"):
        known(previous, entries(0, 1))


def test_two_loads_cannot_write_one_ledger(path: Path) -> None:
    first = Ledger(path, IDENTITY)
    first.open()
    with pytest.raises(ConfigurationError, match="in use by another"):
        Ledger(path, IDENTITY).open()
    first.record(entries(0))
    first.close()
    assert Ledger(path, IDENTITY).read().count == 1


def test_a_ledger_that_says_nothing_leaves_no_file(path: Path) -> None:
    write(path)
    assert not path.exists()


def test_a_ledger_that_is_done_with_leaves_no_file(path: Path) -> None:
    ledger = Ledger(path, IDENTITY)
    ledger.open()
    ledger.record(entries(0))
    ledger.finish()
    assert not path.exists()


def test_a_ledger_can_forget(path: Path) -> None:
    write(path, entries(0, 1))
    ledger = Ledger(path, IDENTITY)
    assert ledger.open().count == 2
    ledger.restart()
    ledger.record(entries(7))
    ledger.close()
    assert known(Ledger(path, IDENTITY).read(), entries(*range(9))) == [7]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--no-ledger"):
        Ledger(tmp_path / "gone" / "ledger", IDENTITY).open()


def test_many_threads_may_record_at_once(path: Path) -> None:
    ledger = Ledger(path, IDENTITY)
    ledger.open()

    def record(first: int) -> None:
        for position in range(first, 400, 8):
            ledger.record(entries(position))

    threads = [threading.Thread(target=record, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    previous = Ledger(path, IDENTITY).read()
    assert known(previous, entries(*range(400))) == list(range(400))


def test_what_is_no_ordinary_file_is_refused_and_left_alone() -> None:
    with pytest.raises(ConfigurationError, match="no ordinary file"):
        Ledger(Path("/dev/null"), IDENTITY).open()
    assert Path("/dev/null").exists()


def test_a_full_disk_ends_it_for_all_and_costs_the_last_line_only(path: Path) -> None:
    resource = pytest.importorskip("resource")
    ledger = Ledger(path, IDENTITY)
    ledger.open()
    ledger.record(entries(0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 9, before[1]))
    try:
        for _ in range(2):
            with pytest.raises(CloudTasksError, match="can't be written"):
                ledger.record(entries(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(CloudTasksError, match="can't be written"):
        ledger.record(entries(2))
    ledger.close()
    assert known(Ledger(path, IDENTITY).read(), entries(0, 1, 2)) == [0]


@pytest.mark.parametrize("harm", ["cut", "removed"])
def test_a_ledger_that_others_harm_is_reported_once_and_the_load_goes_on(
    path: Path, harm: str
) -> None:
    ledger, told = Ledger(path, IDENTITY), list[str]()
    ledger.on_loss = told.append
    ledger.open()
    ledger.record(entries(0, 1))
    os.truncate(path, 0) if harm == "cut" else path.unlink()
    ledger.record(entries(2, 3))
    ledger.record(entries(4, 5))
    (sentence,) = told
    assert f"was {harm} by another program" in sentence
    ledger.finish()
    assert not path.exists()


def test_a_ledger_that_was_cut_is_not_believed_later(path: Path) -> None:
    ledger = Ledger(path, IDENTITY)
    ledger.open()
    ledger.record(entries(0, 1))
    os.truncate(path, 0)
    ledger.record(entries(2, 3))
    ledger.close()
    with pytest.raises(ConfigurationError, match="is not the ledger of this queue"):
        Ledger(path, IDENTITY).read()


@pytest.mark.parametrize("follow", [True, False])
def test_it_is_written_through_a_link_only_if_the_user_named_it(path: Path, follow: bool) -> None:
    target = path.with_name("elsewhere")
    path.symlink_to(target)
    ledger = Ledger(path, IDENTITY, follow=follow)
    if follow:
        ledger.open()
        ledger.record(entries(0))
    else:
        with pytest.raises(ConfigurationError, match="it is a symbolic link"):
            ledger.open()
    ledger.close()
    assert target.exists() == follow
