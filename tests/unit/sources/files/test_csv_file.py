"""CSV and TSV: a header and rows, whose values stay strings."""

from __future__ import annotations

import csv
import io

import pytest

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.files import csv_file
from cloud_tasks.sources.files.csv_file import CsvReader
from cloud_tasks.sources.files.opening import ByteFeed
from cloud_tasks.sources.files.text_feed import TextFeed
from cloud_tasks.task import Delivery, Malformed, Task

pytestmark = pytest.mark.interpreter

CHUNKS = pytest.mark.parametrize("chunk", [1, 2, 7, 65536])


def read(text: str, chunk: int = 65536, delimiter: str = ",") -> tuple[list[Task], list[str]]:
    feed = TextFeed(ByteFeed(io.BytesIO(text.encode()), "f", chunk=chunk))
    reader = CsvReader(feed, delimiter)
    reader.begin()
    items = list(reader.items())
    good = [item.task for item in items if isinstance(item, Delivery)]
    return good, [str(item) for item in items if isinstance(item, Malformed)]


@CHUNKS
def test_the_column_task_id_names_the_task_and_the_others_are_its_data(chunk: int) -> None:
    assert read("a,task_id,b\n1,x,2.50\n,y,\n", chunk) == (
        [Task("x", {"a": "1", "b": "2.50"}), Task("y", {"a": "", "b": ""})],
        [],
    )


def test_without_that_column_the_tasks_are_numbered() -> None:
    good, _ = read("a\n5\n\n6\n")
    assert good == [Task("row-1", {"a": "5"}), Task("row-2", {"a": "6"})]


@CHUNKS
def test_a_quoted_field_may_hold_anything(chunk: int) -> None:
    text = 'task_id,a\r\nx,"one\ntwo, ""three""\r\n"\r\ny,2\r\n'
    good, problems = read(text, chunk)
    assert not problems
    assert good == [Task("x", {"a": 'one\ntwo, "three"\r\n'}), Task("y", {"a": "2"})]


@CHUNKS
def test_lines_of_old_macs_end_by_cr_alone(chunk: int) -> None:
    good, problems = read('task_id,a\rx,1\ry,"2\r3"\rz', chunk)
    assert good == [Task("x", {"a": "1"}), Task("y", {"a": "2\r3"})]
    assert problems == ["entry 3 (line 5): has 1 fields, but the header has 2"]


def test_a_header_that_comes_again_is_no_task() -> None:
    good, problems = read("task_id,a\nx,1\ntask_id,a\ny,2\n")
    assert [task.task_id for task in good] == ["x", "y"]
    assert problems == [
        "entry 2 (line 3): repeats the header: are these two files, one after the other?"
    ]


def test_names_of_columns_may_hold_brackets_and_bars() -> None:
    assert read("[Fe/H],flux|err\n1,2\n")[0] == [Task("row-1", {"[Fe/H]": "1", "flux|err": "2"})]


def test_tabs_divide_tsv() -> None:
    assert read("task_id\ta,b\nx\t1,2\n", delimiter="\t")[0] == [Task("x", {"a,b": "1,2"})]


def test_blanks_around_a_name_in_the_header_do_not_count() -> None:
    assert read("a, task_id\n1,x\n")[0] == [Task("x", {"a": "1"})]


def test_a_header_alone_has_no_tasks() -> None:
    assert read("task_id,a\n") == ([], [])


@CHUNKS
@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("1", "has 1 fields, but the header has 2"),
        ("1,2,3", "has 3 fields, but the header has 2"),
        ('"a"b,2', "is no CSV: ',' expected after '\"'"),
        (",2", "'task_id' is empty"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_goes_on(row: str, problem: str, chunk: int) -> None:
    good, problems = read(f'task_id,a\nx,"1\n1"\n{row}\ny,2\n', chunk)
    assert [task.task_id for task in good] == ["x", "y"]
    assert problems == [f"entry 2 (line 4): {problem}"]


def test_a_quotation_mark_that_nothing_closes_is_told_by_where_it_is_opened() -> None:
    good, problems = read('task_id,a\nx,1\ny,"2\nz,3\n')
    assert [task.task_id for task in good] == ["x"]
    assert problems == [
        "entry 2 (line 3): opens a quotation mark that is not closed up to the end of the file"
    ]


def test_a_field_may_be_long_and_the_limit_of_the_module_stays() -> None:
    limit = csv.field_size_limit()
    assert read("a\n" + "x" * 1_000_000)[0][0].data == {"a": "x" * 1_000_000}
    assert csv.field_size_limit() == limit


def test_a_field_without_measure_ends_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "MAX_FIELD", 1000)
    with pytest.raises(TaskFormatError, match=r"line 3.*longer than 1000.*never closed"):
        read('a\n1\n"' + "x\n" * 5000)


def test_a_line_without_measure_ends_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "MAX_ENTRY", 1000)
    with pytest.raises(TaskFormatError, match="longer than 1000"):
        read("a\n" + "x," * 5000, chunk=100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f is empty: expected a header and rows"),
        ("\n\n", "f is empty: expected a header and rows"),
        ("a,b,a\n", "f, line 1, column 1: the header has the column 'a' twice"),
        ("\na,,b\n", "f, line 2, column 1: column 2 of the header has no name"),
        ("task_id;a\n", "the header is divided by a semicolon, but a comma is expected"),
        ("task_id\ta\n", "the header is divided by a tab, but a comma is expected"),
        ('"a"b\n', "line 1, column 1: the header is no CSV"),
        ("Task_ID|x\n", "the header is divided by a vertical bar, but a comma is expected"),
        ("a,x|task_id\n", "the header is divided by a vertical bar, but a comma is expected"),
        ("Task_ID,x\n", "the column 'Task_ID' must be named 'task_id'"),
        ("task id,x\n", "the column 'task id' must be named 'task_id'"),
        ("x,taskid\n", "the column 'taskid' must be named 'task_id'"),
        ("\ufefftask_id,x\n", r"the column '\ufefftask_id' must be named 'task_id'"),
        ('[{"task_id": "a"}]', "the names of columns (it looks like JSON, .json)"),
        ('"a"{\n', "the header is no CSV: ',' expected after '\"'"),
        ("[\n", "expected a header with the names of columns (it looks like JSON, .json)"),
        ('{"task_id":1}\n', "(it looks like JSON Lines, one object a line, .jsonl)"),
        ("- task_id: a\n", "the names of columns (it looks like YAML, .yaml)"),
        ("---\n- a\n", "the names of columns (it looks like YAML, .yaml)"),
    ],
)
def test_a_bad_header_is_an_error(text: str, message: str) -> None:
    with pytest.raises(TaskFormatError) as caught:
        read(text)
    assert message in str(caught.value)


def test_bytes_that_are_no_utf8_end_the_file_after_the_rows_before() -> None:
    feed = TextFeed(ByteFeed(io.BytesIO(b"a\n1\n2\n\xe4\n"), "f"))
    reader = CsvReader(feed)
    reader.begin()
    items = reader.items()
    assert isinstance(next(items), Delivery)
    assert isinstance(next(items), Delivery)
    with pytest.raises(TaskFormatError, match="line 4, column 1: byte 0xe4 is no UTF-8"):
        next(items)
