"""Read tasks from a file: JSON, YAML, JSON Lines, CSV or TSV; local, remote, compressed or piped.

::

    path, URL or - ──opening──► ByteFeed ──text_feed──► TextFeed ──► reader of the format ──► items
                   (fetching,    (bytes,                 (characters,  (json_list, yaml_file,
                    unpacking)    in pieces)              line, column)  csv_file, json_lines)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from cloud_tasks.errors import ConfigurationError, SourceError, TaskFormatError
from cloud_tasks.masking import masked
from cloud_tasks.sources.entries import Item, shown
from cloud_tasks.sources.files import fetching, opening
from cloud_tasks.sources.files.opening import ByteFeed
from cloud_tasks.sources.stream import StreamSource

if TYPE_CHECKING:
    from filecache import FCPath

#: Valid values of ``task_format``.
FORMATS = ("json", "yaml", "jsonl", "csv", "tsv")

_SUFFIXES = {
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
}

#: Suffixes of compressed files, after that of the format.
_PACKED = (".gz", ".xz", ".bz2", ".zst", ".zip")

#: Bytes of a pipe that are searched for its first character.
_LOOK_AHEAD = 1024 * 1024


class Reader(Protocol):
    """Reader of one format. An entry that is no task hurts no other."""

    def begin(self) -> None:
        """Read up to the first entry.

        Raises:
            SourceError: reading failed.
            TaskFormatError: the file is empty, or does not begin as the format does.
        """

    def items(self) -> Iterator[Item]:
        """Yield the task of each entry, or the problem with it.

        Raises:
            SourceError: reading failed.
            TaskFormatError: the rest of the file can't be divided into entries: it is not of the
                format, no UTF-8, or was cut off.
        """


class TaskFileSource(StreamSource):
    """Source of the tasks in a file, each read when it is needed.

    The suffix (before a ``.gz``) determines the format, or else *task_format*, or else, on
    standard input and other pipes, the first character: ``[`` means JSON, ``{`` JSON Lines,
    anything else YAML. Compressed data is recognised by its first bytes.

    Args:
        path: the file, or its URL; ``-`` is standard input.
        task_format: one of :data:`FORMATS`.

    Raises:
        ConfigurationError: *task_format* is none of them.
    """

    def __init__(self, path: str | Path | FCPath, *, task_format: str | None = None) -> None:
        super().__init__()
        if task_format is not None and task_format not in FORMATS:
            raise ConfigurationError(
                f"unknown task format {shown(task_format)}: choose one of {', '.join(FORMATS)}"
            )
        self._path = path
        self._task_format = task_format
        self._piped = path == "-"
        self._name = "standard input" if self._piped else f"the task file {_readable(path)}"
        self._feed: ByteFeed | None = None
        self._local: Path | None = None
        self._drop_copy: Callable[[], None] | None = None

    def __str__(self) -> str:
        return self._name

    def _begin(self) -> Iterator[Item]:
        try:
            self._feed = self._open_feed()
            task_format = self._format(self._feed)
            reader = reader_for(task_format, self._feed)
            try:
                reader.begin()
            except TaskFormatError as error:
                if self._given_format() or not self._feed.has_begun:
                    raise
                # Its readers don't know that it was a guess.
                raise TaskFormatError(
                    f"{error}; without --task-format it was read as {task_format}, "
                    "judging by its first character"
                ) from error
        except BaseException:
            self._dispose()
            raise
        self._live = self._feed.live
        return reader.items()

    def _open_feed(self) -> ByteFeed:
        if self._piped:
            return opening.open_standard_input(self._name)
        path = self._path
        if fetching.is_remote(path):
            self._known_format()  # raises before a large file is fetched in vain
            self._local, self._drop_copy = fetching.fetch(path, self._name)
        else:
            self._local = Path(str(path))
        return opening.open_file(self._local, self._name)

    def clone(self) -> TaskFileSource | None:
        """Return a source that reads the file, or the copy of a remote one; None for pipes."""
        if self._local is None or self._feed is None or self._feed.live:
            return None
        return TaskFileSource(self._local, task_format=self._known_format())

    def estimate_total(self) -> int | None:
        """Estimate the number of tasks in the file by a quick look; None for pipes."""
        if self._local is None or self._feed is None or self._feed.live:
            return None
        from cloud_tasks.sources.files.count import estimate_count

        return estimate_count(self._local, self._known_format())

    def _format(self, feed: ByteFeed) -> str:
        if (feed.live or self._piped) and not self._given_format():
            return _format_of_pipe(feed)
        return self._known_format()

    def _given_format(self) -> str | None:
        return (None if self._piped else _format_of_name(str(self._path))) or self._task_format

    def _known_format(self) -> str:
        given = self._given_format()
        if given is None:
            raise SourceError(
                f"{self._name} has a name without a known suffix: "
                f"end it in {', '.join(_SUFFIXES)} (also with .gz), "
                f"or give the task format ({', '.join(FORMATS)})"
            )
        return given

    def _dispose(self) -> None:
        feed, self._feed = self._feed, None
        drop_copy, self._drop_copy = self._drop_copy, None
        if feed:
            feed.close()
        if drop_copy:
            drop_copy()


def _readable(path: object) -> str:
    text = masked(str(path))
    return text if text.isprintable() and text else repr(text)


def _format_of_name(name: str) -> str | None:
    path = PurePosixPath(urlsplit(name).path if "://" in name else name)
    if path.suffix.lower() in _PACKED:
        path = path.with_suffix("")
    return _SUFFIXES.get(path.suffix.lower())


def _format_of_pipe(feed: ByteFeed) -> str:
    count = 1
    while True:
        ahead = feed.peek(count)
        text = ahead.lstrip()
        if text or len(ahead) < count or count > _LOOK_AHEAD:
            return {b"[": "json", b"{": "jsonl"}.get(text[:1], "yaml")
        count = len(ahead) + 1


def reader_for(task_format: str, feed: ByteFeed) -> Reader:
    """Return the reader for *feed*, whose format is one of :data:`FORMATS`."""
    # Imported when needed: PyYAML alone takes longer than all the others.
    from cloud_tasks.sources.files.text_feed import TextFeed

    if task_format == "jsonl":
        from cloud_tasks.sources.files.json_lines import JsonLinesReader

        return JsonLinesReader(feed)
    if task_format == "json":
        from cloud_tasks.sources.files.json_list import JsonListReader

        return JsonListReader(TextFeed(feed))
    if task_format == "yaml":
        from cloud_tasks.sources.files.yaml_file import YamlListReader

        return YamlListReader(TextFeed(feed))
    from cloud_tasks.sources.files.csv_file import CsvReader

    return CsvReader(TextFeed(feed), "\t" if task_format == "tsv" else ",")
