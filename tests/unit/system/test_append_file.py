from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_tasks.system.append_file import (
    append,
    draft_beside,
    end_last_line,
    is_torn,
    last_line_start,
    lock,
    open_append,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def descriptor(path: Path) -> Iterator[int]:
    descriptor = open_append(path)
    yield descriptor
    os.close(descriptor)


def test_lines_are_appended_whatever_was_read_before(path: Path, descriptor: int) -> None:
    append(descriptor, b"one\n")
    assert last_line_start(descriptor) == 4
    assert not is_torn(descriptor)
    append(descriptor, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_of_a_line_for_which_there_is_no_room_nothing_is_left(
    path: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    append(descriptor, b"one\n")
    monkeypatch.setattr(os, "write", lambda number, data: write(number, data[:2]))
    with pytest.raises(OSError, match="No space left"):
        append(descriptor, b"two\n")
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize("length", [1, 65535, 65536, 200_000])
def test_a_torn_line_is_found_and_ended(path: Path, descriptor: int, length: int) -> None:
    append(descriptor, b"whole\n" + b"x" * length)
    assert is_torn(descriptor)
    assert last_line_start(descriptor) == 6
    end_last_line(descriptor)
    end_last_line(descriptor)
    assert path.read_bytes() == b"whole\n" + b"x" * length + b"\n"


def test_an_empty_file_has_nothing_to_mend(path: Path, descriptor: int) -> None:
    end_last_line(descriptor)
    assert (is_torn(descriptor), last_line_start(descriptor)) == (False, 0)
    assert path.read_bytes() == b""


def test_a_lock_excludes_and_a_shared_one_only_exclusive_ones(path: Path, descriptor: int) -> None:
    other, third = open_append(path), open_append(path)
    assert lock(descriptor)
    with pytest.raises(BlockingIOError):
        lock(other, shared=True)
    assert lock(descriptor, shared=True)
    assert lock(other, shared=True)
    with pytest.raises(BlockingIOError):
        lock(third)
    os.close(other)
    os.close(third)


def test_a_draft_takes_the_place_only_when_it_is_told_to(path: Path) -> None:
    path.write_text("old")
    with draft_beside(path) as draft:
        draft.write_text("new")
    assert path.read_text() == "old"
    with draft_beside(path) as draft:
        draft.write_text("new")
        draft.replace(path)
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]
