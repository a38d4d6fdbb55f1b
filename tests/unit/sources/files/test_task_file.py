"""Task files: which format, which file, and what is said when it can't be read."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

from cloud_tasks.errors import ConfigurationError, SourceError, TaskFormatError
from cloud_tasks.sources.files.task_file import FORMATS, TaskFileSource
from cloud_tasks.testing.source_contract import drain

pytestmark = pytest.mark.interpreter

JSON = '[{"task_id": "t", "data": {"a": "1"}}]'
TEXTS = {
    "json": JSON,
    "yaml": "- task_id: t\n  data: {a: '1'}\n",
    "jsonl": JSON[1:-1] + "\n",
    "csv": "task_id,a\nt,1\n",
    "tsv": "task_id\ta\nt\t1\n",
}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: object, task_format: str | None = None) -> str:
    """Return the sentence with which opening *path* is refused."""
    source = TaskFileSource(path, task_format=task_format)  # type: ignore[arg-type]
    with pytest.raises(SourceError) as caught:
        source.open()
    source.close()
    return str(caught.value)


@pytest.mark.parametrize("packed", ["", ".gz", ".GZ", ".xz", ".bz2", ".zip", ".zst"])
@pytest.mark.parametrize(
    ("suffix", "task_format"),
    [
        (".json", "json"),
        (".JSON", "json"),
        (".yaml", "yaml"),
        (".yml", "yaml"),
        (".jsonl", "jsonl"),
        (".ndjson", "jsonl"),
        (".csv", "csv"),
        (".tsv", "tsv"),
    ],
)
def test_the_suffix_tells_the_format(
    tmp_path: Path, suffix: str, task_format: str, packed: str
) -> None:
    content = TEXTS[task_format].encode()
    path = write(tmp_path / f"f{suffix}{packed}", gzip.compress(content) if packed else content)
    for given in (path, str(path)):
        (task,) = drain(TaskFileSource(given)).tasks
        assert (task.task_id, task.data) == ("t", {"a": "1"})


@pytest.mark.parametrize("task_format", FORMATS)
def test_the_task_format_tells_it_where_the_suffix_does_not(
    tmp_path: Path, task_format: str
) -> None:
    path = write(tmp_path / "f.txt", TEXTS[task_format])
    assert drain(TaskFileSource(path, task_format=task_format)).ids == ["t"]


def test_a_suffix_that_tells_the_format_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "f.json", JSON)
    assert drain(TaskFileSource(path, task_format="csv")).ids == ["t"]


def test_a_file_of_no_known_format_is_refused_with_what_is_known(tmp_path: Path) -> None:
    path = write(tmp_path / "f.txt", JSON)
    assert refusal(path) == (
        f"the task file {path} has a name without a known suffix: end it in "
        ".json, .yaml, .yml, .jsonl, .ndjson, .csv, .tsv (also with .gz), "
        "or give the task format (json, yaml, jsonl, csv, tsv)"
    )


def test_an_unknown_task_format_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="unknown task format 'xml': choose one of json"):
        TaskFileSource("f.json", task_format="xml")


def test_a_compressed_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    assert drain(TaskFileSource(write(tmp_path / "a.json", gzip.compress(JSON.encode())))).tasks
    assert drain(TaskFileSource(write(tmp_path / "b.json.gz", JSON))).tasks


def test_a_compressed_file_may_have_members_and_padding(tmp_path: Path) -> None:
    half = len(JSON) // 2
    members = [gzip.compress(part.encode()) for part in (JSON[:half], JSON[half:], "\n")]
    path = write(tmp_path / "a.json.gz", b"\0\0".join(members) + b"\0" * 100_000)
    drained = drain(TaskFileSource(path))
    assert drained.ids == ["t"]
    assert drained.error is None


def test_highly_compressed_data_is_unpacked_piece_by_piece(tmp_path: Path) -> None:
    text = "[" + " " * 3_000_000 + JSON[1:]
    assert drain(TaskFileSource(write(tmp_path / "a.json.gz", gzip.compress(text.encode())))).tasks


@pytest.mark.parametrize("keep", [1000, -1, -8, -9])
def test_a_cut_compressed_file_is_an_error_after_what_it_gave(tmp_path: Path, keep: int) -> None:
    text = "".join(TEXTS["jsonl"].replace('"1"', f'"{i * 7919}"') for i in range(5000))
    path = write(tmp_path / "a.jsonl.gz", gzip.compress(text.encode())[:keep])
    drained = drain(TaskFileSource(path))
    assert drained.tasks
    assert str(drained.error) == (
        f"the task file {path} ends in the middle of its compressed data: "
        "it was cut off, make it again"
    )


def zipped(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", "")
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zip": lambda data: zipped(tasks=data.decode()),
}


@pytest.mark.parametrize("packing", PACKERS)
def test_a_file_is_unpacked_whatever_it_is_packed_by(tmp_path: Path, packing: str) -> None:
    path = write(tmp_path / "a.jsonl", PACKERS[packing](long_text("jsonl", 5000).encode()))
    drained = drain(TaskFileSource(path))
    assert drained.error is None
    assert len(drained.tasks) == 5000


@pytest.mark.parametrize("packing", ["xz", "bzip2"])
def test_files_of_other_packers_may_have_members_too(tmp_path: Path, packing: str) -> None:
    half = len(JSON) // 2
    parts = [PACKERS[packing](part.encode()) for part in (JSON[:half], JSON[half:])]
    assert drain(TaskFileSource(write(tmp_path / "a.json", b"".join(parts)))).ids == ["t"]
    cut = drain(TaskFileSource(write(tmp_path / "b.json", b"".join(parts)[:-9])))
    assert "ends in the middle of its compressed data" in str(cut.error)


def test_a_zip_archive_must_hold_one_file_and_can_be_no_pipe(tmp_path: Path) -> None:
    two = write(tmp_path / "two.json.zip", zipped(a=JSON, b=JSON))
    assert "is a zip archive of 2 files: unpack it, and give one" in refusal(two)
    cut = write(tmp_path / "cut.json.zip", zipped(a=JSON)[:-30])
    assert "can't be unpacked: " in refusal(cut)
    assert "can't be read from a pipe: unpack it first" in piped(zipped(a=JSON))


@pytest.mark.parametrize(
    ("magic", "name"),
    [(b"7z\xbc\xaf\x27\x1c", "7z"), (b"\x04\x22\x4d\x18", "lz4"), (b"Rar!\x1a", "rar")],
)
def test_what_can_not_be_unpacked_is_named(tmp_path: Path, magic: bytes, name: str) -> None:
    path = write(tmp_path / "a.json", magic + b"x" * 100)
    assert f"is compressed by {name}: unpack it, or use gzip, xz or bzip2" in refusal(path)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="it has zstd")
def test_zstd_needs_a_newer_python(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json.zst", b"\x28\xb5\x2f\xfd" + b"x" * 100)
    assert "is compressed by zstd, which Python 3.14 and newer unpack: unpack it" in refusal(path)


@pytest.mark.parametrize("packing", ["", "gzip", "xz"])
@pytest.mark.parametrize("task_format", FORMATS)
def test_a_file_that_becomes_shorter_while_it_is_read_is_an_error(
    tmp_path: Path, task_format: str, packing: str
) -> None:
    # Long and hard to compress, so that most of it is not read yet when the first task is there.
    text = long_text(task_format, 6000)
    data = PACKERS[packing](text.encode()) if packing else text.encode()
    path = write(tmp_path / f"tasks.{task_format}", data)
    source = TaskFileSource(path)
    source.open()
    assert source.receive(1).deliveries
    # At a line end, where the rest of the formats by lines would look whole.
    keep = data.rindex(b"\n", 0, len(data) * 3 // 4) + 1
    os.truncate(path, keep)
    with pytest.raises(SourceError, match="is shorter than when it was opened, by") as caught:
        for _ in source.batches(1000):
            pass
    source.close()
    assert f"by {len(data) - keep:,} of {len(data):,} bytes" in str(caught.value)


@pytest.mark.parametrize("task_format", ["jsonl", "csv", "yaml"])
def test_a_file_that_grows_while_it_is_read_is_fine(tmp_path: Path, task_format: str) -> None:
    path = write(tmp_path / f"tasks.{task_format}", long_text(task_format, 100))
    source = TaskFileSource(path)
    source.open()
    more = long_text(task_format, 10)
    with path.open("a") as file:
        file.write(more.partition("\n")[2] if task_format == "csv" else more)
    assert sum(len(batch.deliveries) for batch in source.batches(1000)) in {100, 110}
    source.close()


def long_text(task_format: str, count: int) -> str:
    rows = [(f"t{n}", hashlib.sha256(str(n).encode()).hexdigest()) for n in range(count)]
    entries = [json.dumps({"task_id": name, "data": {"a": text}}) for name, text in rows]
    if task_format == "json":
        return "[" + ",\n".join(entries) + "]\n"
    if task_format in ("jsonl", "yaml"):
        return "".join(f"{'- ' if task_format == 'yaml' else ''}{entry}\n" for entry in entries)
    mark = "," if task_format == "csv" else "\t"
    return f"task_id{mark}a\n" + "".join(f"{name}{mark}{text}\n" for name, text in rows)


def test_a_damaged_compressed_file_is_an_error(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(JSON.encode()))
    packed[-6] ^= 255
    drained = drain(TaskFileSource(write(tmp_path / "a.json.gz", bytes(packed))))
    assert "holds damaged compressed data" in str(drained.error)


@pytest.mark.parametrize("task_format", ["json", "yaml", "jsonl", "csv"])
def test_a_byte_order_mark_is_skipped(tmp_path: Path, task_format: str) -> None:
    content = b"\xef\xbb\xbf" + TEXTS[task_format].encode()
    assert drain(TaskFileSource(write(tmp_path / f"f.{task_format}", content))).ids == ["t"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("task_format", FORMATS)
def test_utf_16_is_refused(tmp_path: Path, task_format: str, encoding: str) -> None:
    path = write(tmp_path / f"f.{task_format}", TEXTS[task_format].encode(encoding))
    assert refusal(path).endswith("is not UTF-8 but UTF-16 or binary: save it as UTF-8")


def test_binary_data_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f.json", b"\x7fELF" + JSON.encode())
    assert "line 1, column 1: expected '['" in refusal(path)


@pytest.mark.parametrize("task_format", ["json", "yaml", "jsonl", "csv"])
def test_dos_line_ends_do_not_matter(tmp_path: Path, task_format: str) -> None:
    path = write(tmp_path / f"f.{task_format}", TEXTS[task_format].replace("\n", "\r\n"))
    (task,) = drain(TaskFileSource(path)).tasks
    assert task.data == {"a": "1"}


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    assert refusal(path) == f"the task file {path} does not exist"


def test_a_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.mkdir()
    assert refusal(path) == f"the task file {path} is a directory, not a file"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f.json", JSON)
    path.chmod(0)
    assert refusal(path) == f"the task file {path} can't be read: you lack the permission"


def test_names_that_no_file_can_have_are_refused() -> None:
    assert "'a\\x00b.json' can't be opened: embedded null" in refusal("a\0b.json")
    assert refusal("x\x1b[2J.json") == r"the task file 'x\x1b[2J.json' does not exist"
    assert "can't be opened: File name too long" in refusal("x" * 1000 + ".json")
    assert refusal("", "json")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    for task_format in FORMATS:
        path = write(tmp_path / f"f.{task_format}", "")
        assert f"the task file {path} is empty" in refusal(path)


def test_the_format_of_a_missing_file_is_not_what_is_wrong_with_it(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.txt").endswith("does not exist")


def test_an_error_of_the_content_comes_after_what_is_good(tmp_path: Path) -> None:
    good = [{"task_id": f"{i}", "data": {}} for i in range(10)]
    path = write(tmp_path / "f.json", json.dumps(good)[:-1])
    source = TaskFileSource(path)
    source.open()
    assert len(source.receive(100).deliveries) == 10
    for _ in range(2):
        with pytest.raises(TaskFormatError, match="cut off"):
            source.receive(100)
    source.close()


def test_the_total_of_a_file_is_not_known(tmp_path: Path) -> None:
    source = TaskFileSource(write(tmp_path / "f.json", JSON))
    assert source.total is None


def test_nothing_stays_open(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc")
    for content in (JSON, "", "x", "[5"):
        drain(TaskFileSource(write(tmp_path / "f.json", content)))
        drain(TaskFileSource(write(tmp_path / "f.json.gz", gzip.compress(content.encode()))))
    # Others of this process may open and close theirs meanwhile, so no numbers are compared.
    still = []
    for entry in descriptors.iterdir():
        with contextlib.suppress(FileNotFoundError):
            still.append(os.readlink(entry))  # noqa: PTH115 - as text
    assert not [name for name in still if name.startswith(str(tmp_path))]


@pytest.mark.parametrize("name", ["f.json", "f.json.gz", "unnamed"])
def test_a_file_can_be_read_a_second_time_beside_the_first(tmp_path: Path, name: str) -> None:
    content = gzip.compress(JSON.encode()) if name.endswith(".gz") else JSON
    source = TaskFileSource(write(tmp_path / name, content), task_format="json")
    source.open()
    twin = source.clone()
    assert twin is not None
    assert drain(twin).ids == ["t"]
    assert [delivery.task.task_id for delivery in source.receive(9).deliveries] == ["t"]
    source.close()


# --- standard input and pipes


READER = """
import sys
from cloud_tasks.sources.files.task_file import TaskFileSource
from cloud_tasks.testing.source_contract import drain
drained = drain(TaskFileSource("-", task_format=sys.argv[1] if sys.argv[1:] else None))
print(drained.ids, drained.error)
"""


def piped(content: bytes, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", READER, *args],
        input=content,
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=50,
    )
    return done.stdout.decode().strip()


@pytest.mark.parametrize("task_format", ["json", "yaml", "jsonl"])
def test_the_first_character_tells_the_format_of_standard_input(task_format: str) -> None:
    assert piped(b"\n " * (task_format != "yaml") + TEXTS[task_format].encode()) == "['t'] None"


def test_the_first_character_tells_the_format_of_a_file_that_standard_input_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tasks"
    path.write_text(JSON)
    with path.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert drain(TaskFileSource("-")).ids == ["t"]


def test_standard_input_may_be_compressed_and_have_its_format_told() -> None:
    assert piped(gzip.compress(TEXTS["csv"].encode()), "csv") == "['t'] None"


def test_rows_on_standard_input_are_told_as_what_they_were_read(tmp_path: Path) -> None:
    assert piped(TEXTS["csv"].encode()) == (
        "[] standard input, line 1, column 1: expected a list of tasks, not a single value "
        "(it looks like CSV, .csv); without --task-format it was read as yaml, judging by its "
        "first character"
    )


def test_empty_standard_input_is_refused() -> None:
    assert piped(b"") == "[] standard input is empty: expected a YAML list of tasks"


def test_standard_input_may_be_replaced_by_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = io.TextIOWrapper(io.BytesIO(JSON.encode()))
    monkeypatch.setattr(sys, "stdin", replaced)
    assert drain(TaskFileSource("-")).ids == ["t"]
    assert not replaced.closed


@pytest.mark.parametrize("stdin", [None, io.StringIO("[]")])
def test_a_program_without_standard_input_is_told_so(
    stdin: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert refusal("-") == "standard input is closed: give the name of a task file"


def pipe_of(directory: Path, name: str, feed: Callable[[int], None]) -> Path:
    """Make a FIFO that a thread opens and feeds."""
    path = directory / name
    os.mkfifo(path)

    def produce() -> None:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            feed(descriptor)
        finally:
            os.close(descriptor)

    threading.Thread(target=produce, daemon=True).start()
    return path


needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


@needs_fifo
@pytest.mark.parametrize("task_format", ["json", "yaml", "jsonl"])
def test_a_pipe_without_a_suffix_is_read_like_standard_input(
    tmp_path: Path, task_format: str
) -> None:
    content = TEXTS[task_format].encode()
    path = pipe_of(tmp_path, "pipe", lambda fd: void(os.write(fd, content)))
    source = TaskFileSource(path)
    source.open()
    assert source.clone() is None
    assert [delivery.task.task_id for delivery in source.receive(9).deliveries] == ["t"]
    source.close()


@needs_fifo
def test_a_pipe_may_give_one_byte_at_a_time(tmp_path: Path) -> None:
    def feed(descriptor: int) -> None:
        for byte in ("\ufeff \n" + JSON.replace('"1"', '"\N{GRINNING FACE}"')).encode():
            os.write(descriptor, bytes([byte]))

    (task,) = drain(TaskFileSource(pipe_of(tmp_path, "pipe", feed))).tasks
    assert task.data == {"a": "\N{GRINNING FACE}"}


@needs_fifo
def test_opening_waits_for_no_more_than_the_beginning(tmp_path: Path) -> None:
    opened = threading.Event()

    def feed(descriptor: int) -> None:
        os.write(descriptor, b"\n[")
        assert opened.wait(20)
        os.write(descriptor, JSON[1:].encode())

    source = TaskFileSource(pipe_of(tmp_path, "pipe", feed))
    source.open()
    opened.set()
    assert len(source.receive(5).deliveries) == 1
    assert source.receive(5).ended
    source.close()


@needs_fifo
def test_a_pipe_that_does_not_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        started = threading.Event()

        def feed() -> None:
            started.wait(20)
            os.write(writing, JSON.encode())
            os.close(writing)

        producer = threading.Thread(target=feed)
        producer.start()
        source = TaskFileSource("-")
        started.set()
        assert drain(source).ids == ["t"]
        producer.join()


def void(_: object) -> None:
    """Drop a result."""


# --- remote files


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Path]:
    """The folder behind ``fake://bucket``, which filecache treats like a bucket."""
    fake = pytest.importorskip("filecache.file_cache_source").FileCacheSourceFake
    before = fake.get_default_storage_dir()
    fake.set_default_storage_dir(tmp_path / "remote")
    (tmp_path / "remote" / "bucket").mkdir(parents=True)
    yield tmp_path / "remote" / "bucket"
    fake.set_default_storage_dir(before)


def test_a_url_is_fetched_anew_each_time_and_no_copy_stays(
    bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = tmp_path / "caches"
    caches.mkdir()
    monkeypatch.setenv("FILECACHE_CACHE_ROOT", str(caches))
    write(bucket / "f.json", JSON)
    assert drain(TaskFileSource("fake://bucket/f.json")).ids == ["t"]
    write(bucket / "f.json", JSON.replace('"t"', '"u"'))
    source = TaskFileSource("fake://bucket/f.json")
    source.open()
    twin = source.clone()
    assert twin is not None
    (bucket / "f.json").unlink()
    assert drain(twin).ids == ["u"]  # from the same copy
    assert len(source.receive(9).deliveries) == 1
    source.close()
    assert refusal("fake://bucket/none.json").startswith(
        "the task file fake://bucket/none.json can't be fetched: FileNotFoundError"
    )
    assert "a name without a known suffix" in refusal("fake://bucket/none.txt")
    assert not list(caches.iterdir())


def test_an_fcpath_is_read(tmp_path: Path) -> None:
    filecache = pytest.importorskip("filecache")
    path = write(tmp_path / "f.json", JSON)
    assert drain(TaskFileSource(filecache.FCPath(path))).ids == ["t"]
    assert path.exists()
    assert "can't be fetched" in refusal(filecache.FCPath(tmp_path / "none.json"))


def test_without_filecache_a_url_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filecache", None)
    with pytest.raises(ConfigurationError, match="pip install rms-filecache"):
        TaskFileSource("gs://bucket/f.json").open()


def test_nothing_heavy_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "f.json", JSON)
    code = (
        "import sys\n"
        "from cloud_tasks.sources.local import make_source\n"
        f"source = make_source({str(path)!r})\n"
        "source.open()\n"
        "assert [d.task.task_id for d in source.receive(7).deliveries] == ['t']\n"
        "source.close()\n"
        "print({'yaml', 'filecache', 'gzip', 'csv', 'requests'} & set(sys.modules))\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=env, timeout=50
    )
    assert done.stdout.decode().strip() == "set()"
