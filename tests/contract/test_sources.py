"""Every local source keeps the promises of a source."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from cloud_tasks.sources.base import TaskSource
from cloud_tasks.sources.files.task_file import TaskFileSource
from cloud_tasks.sources.iterable import IterableSource
from cloud_tasks.task import Task
from cloud_tasks.testing.source_contract import SourceContract

BAD = "bad"


def entries(tasks: Sequence[Task], bad_before: int) -> list[object]:
    listed: list[object] = [{"task_id": t.task_id, "data": dict(t.data)} for t in tasks]
    if bad_before >= 0:
        listed.insert(bad_before, BAD)
    return listed


class FileContract(SourceContract):
    suffix: str

    def text(self, listed: list[object]) -> str:
        raise NotImplementedError

    def beginning(self, text: str) -> str:
        """The part of *text* after which its first entry is known to be complete."""
        raise NotImplementedError

    def packed(self, text: str) -> bytes:
        return text.encode()

    def flushed(self, text: str) -> bytes:
        return text.encode()

    def source(self, tasks: Sequence[Task], directory: Path, bad_before: int = -1) -> TaskSource:
        path = directory / f"tasks{self.suffix}"
        path.write_bytes(self.packed(self.text(entries(tasks, bad_before))))
        return TaskFileSource(path)

    def slow_source(
        self, first: Task, directory: Path
    ) -> tuple[TaskSource, Callable[[], None], Callable[[], None]]:
        path = directory / f"pipe{self.suffix}"
        os.mkfifo(path)
        over = threading.Event()

        def produce() -> None:
            # With a second entry, since in some formats it takes that to end the first.
            whole = self.text(entries([first], 1))
            begun = self.beginning(whole)
            assert whole.startswith(begun)
            with path.open("wb", buffering=0) as pipe:
                pipe.write(self.flushed(begun))
                assert over.wait(20), "the source waited for more"
                # gzip: a second member, which goes on with the text of the first
                try:
                    pipe.write(self.packed(whole[len(begun) :]))
                except BrokenPipeError:
                    return

        producer = threading.Thread(target=produce)

        def finish() -> None:
            over.set()

        return TaskFileSource(path), producer.start, finish


class TestJson(FileContract):
    suffix = ".json"

    def text(self, listed: list[object]) -> str:
        return json.dumps(listed, indent=1)

    def beginning(self, text: str) -> str:
        return text[: text.index("\n },") + 3]


class TestJsonGz(TestJson):
    suffix = ".json.gz"

    def packed(self, text: str) -> bytes:
        return gzip.compress(text.encode())

    def flushed(self, text: str) -> bytes:
        # Flushed, so that all of it can be unpacked, before the member ends.
        packer = zlib.compressobj(wbits=31)
        return packer.compress(text.encode()) + packer.flush(zlib.Z_FULL_FLUSH) + packer.flush()


class TestJsonLines(FileContract):
    suffix = ".jsonl"
    may_be_empty = False

    def text(self, listed: list[object]) -> str:
        return "".join(json.dumps(entry) + "\n" for entry in listed)

    def beginning(self, text: str) -> str:
        return text[: text.index("\n") + 1]


class TestYaml(FileContract):
    suffix = ".yaml"

    def text(self, listed: list[object]) -> str:
        return str(yaml.safe_dump(listed, allow_unicode=True))

    def beginning(self, text: str) -> str:
        return text[: text.index(f"- {BAD}") + 4]


class TestCsv(FileContract):
    suffix = ".csv"

    def text(self, listed: list[object]) -> str:
        written = io.StringIO()
        writer = csv.writer(written)
        writer.writerow(["task_id", "number", "text"])
        for entry in listed:
            if isinstance(entry, dict):
                writer.writerow([entry["task_id"], *entry["data"].values()])
            else:
                writer.writerow([entry])
        return written.getvalue()

    def beginning(self, text: str) -> str:
        return text[: text.index(BAD)]


class TestCallable(SourceContract):
    def source(self, tasks: Sequence[Task], directory: Path, bad_before: int = -1) -> TaskSource:
        return IterableSource(lambda: iter(entries(tasks, bad_before)))

    def slow_source(
        self, first: Task, directory: Path
    ) -> tuple[TaskSource, Callable[[], None], Callable[[], None]]:
        over = threading.Event()

        def produce() -> Iterator[Task]:
            yield first
            assert over.wait(20), "the source waited for more"

        return IterableSource(produce), lambda: None, over.set


class TestListFromCallable(TestCallable):
    def source(self, tasks: Sequence[Task], directory: Path, bad_before: int = -1) -> TaskSource:
        return IterableSource(lambda: entries(tasks, bad_before))


pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
