"""JSON lists are read entry by entry, to the letter as the whole file would be."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.files import json_list
from cloud_tasks.sources.files.json_list import JsonListReader
from cloud_tasks.sources.files.opening import ByteFeed
from cloud_tasks.sources.files.text_feed import TextFeed
from cloud_tasks.sources.json_entries import EndOfEntry, JsonDecoder
from cloud_tasks.task import Delivery, Malformed

WORD = '"abcde\\"f", '
GOOD = '{"task_id": "t", "data": {"n": 1}}'


def read(
    text: str | bytes, chunk: int = 65536, *, live: bool = False
) -> tuple[list[Delivery | Malformed], str]:
    """Return what was read, and the message of the error at the end, or nothing."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    reader = JsonListReader(TextFeed(ByteFeed(io.BytesIO(data), "f", live=live, chunk=chunk)))
    items: list[Delivery | Malformed] = []
    try:
        reader.begin()
        items.extend(reader.items())
    except TaskFormatError as error:
        return items, str(error)
    return items, ""


def problems(text: str | bytes, chunk: int = 65536) -> list[str]:
    items, error = read(text, chunk)
    assert not error
    return [str(item) for item in items if isinstance(item, Malformed)]


def data_of(items: list[Delivery | Malformed]) -> list[Any]:
    return [item.task.data for item in items if isinstance(item, Delivery)]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
layouts = st.sampled_from([None, 0, 1, 4])


@pytest.mark.timeout(200)  # a second's work or two, which a busy machine draws out
@settings(deadline=None)
@given(
    values=st.lists(st.dictionaries(st.text(), json_values), max_size=5),
    indent=layouts,
    ascii_only=st.booleans(),
    chunk=st.integers(1, 40),
    live=st.booleans(),
)
def test_any_list_is_read_as_json_loads_reads_it(
    values: list[dict[str, Any]], indent: int | None, ascii_only: bool, chunk: int, live: bool
) -> None:
    text = json.dumps(
        [{"task_id": "t", "data": value} for value in values],
        indent=indent,
        ensure_ascii=ascii_only,
    )
    items, error = read(text, chunk, live=live)
    assert not error
    assert data_of(items) == [entry["data"] for entry in json.loads(text)]


@settings(deadline=None)
@given(values=st.lists(json_values, max_size=6), indent=layouts, chunk=st.integers(1, 20))
def test_entries_of_any_kind_are_told_apart(
    values: list[Any], indent: int | None, chunk: int
) -> None:
    items, error = read(json.dumps(values, indent=indent), chunk)
    assert not error
    assert len(items) == len(values)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 65536])
@pytest.mark.parametrize(
    "text",
    [
        '[{"task_id": "t", "data": {"s": "\\ud83d\\ude00", "t": "\\u00fc\\"\\\\"}}]',
        '[{"task_id": "t", "data": {"n": [-0.5e-10, 1E+5, -0, 12345678901234567890]}}]',
        '[{"task_id": "t", "data": {"c": [true, false, null]}}]',
        '\n [ \n {"task_id"\t:\r\n"t" , "data" : { } } \n , {"task_id":"t","data":{"a":[]}} ] \n',
        '[{"task_id": "t", "data": {"s": "grün \N{GRINNING FACE}  x"}}]',
    ],
)
def test_every_piece_of_syntax_survives_a_cut_anywhere(text: str, chunk: int) -> None:
    items, error = read(text, chunk)
    assert not error
    assert data_of(items) == [entry["data"] for entry in json.loads(text)]


#: Values of data that keep the rules, and some that break them.
VALUES = [
    *("1", "1.5", '"x"', '"a: b"', '"http://c"', '" :"', '"\\":"', "{}", "[]", "[1.0, 2]"),
    *('{"q": 1, "r": ":"}', '[{"q": 1}, {"q": 2}]', "[1, [1e5, {}]]"),
    *("1e400", "[-1e999]", '{"q": NaN}', '{"q": 1, "q": 2}', '[{"q": 1, "q": 1}]'),
]
DATA = st.dictionaries(
    st.sampled_from(["a", "b", ":", " :", '":', "a: b"]), st.sampled_from(VALUES), max_size=4
)
#: By these a value of DATA breaks the rules.
BROKEN = ("1e400", "-1e999", "NaN", '"q": 1, "q"')


@settings(deadline=None, max_examples=200)
@given(
    data=st.lists(DATA, min_size=1, max_size=40),
    colon=st.sampled_from([":", ": ", " : ", "\t:", "\n:"]),
    repeated=st.booleans(),
    separator=st.sampled_from([",", ", ", ",\n"]),
)
def test_only_the_entries_that_break_a_rule_are_bad(
    data: list[dict[str, str]], colon: str, repeated: bool, separator: str
) -> None:
    entries = []
    for one in data:
        pairs = [f"{json.dumps(key)}{colon}{value}" for key, value in one.items()]
        if repeated and len(pairs) == 3:
            pairs.append(pairs[1])
        entries.append(f'{{"task_id"{colon}"t", "data"{colon}{{{", ".join(pairs)}}}}}')
    items, error = read(f"[{separator.join(entries)}]")
    assert not error
    bad = [
        any(mark in value for value in one.values() for mark in BROKEN)
        or (repeated and len(one) == 3)
        for one in data
    ]
    assert [isinstance(item, Malformed) for item in items] == bad
    good = [entry for entry, broken in zip(entries, bad, strict=True) if not broken]
    assert data_of([item for item in items if isinstance(item, Delivery)]) == [
        json.loads(entry)["data"] for entry in good
    ]


def test_integers_are_unbounded_and_floats_stay_floats() -> None:
    items, _ = read('[{"task_id": 7, "data": {"i": %s, "f": 1.0}}]' % ("9" * 4000))
    (data,) = data_of(items)
    assert data == {"i": 10**4000 - 1, "f": 1.0}
    assert type(data["f"]) is float


@pytest.mark.parametrize("text", ["[]", " [ ] ", "[\n]\n"])
def test_an_empty_list_has_no_tasks(text: str) -> None:
    assert read(text, 1) == ([], "")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e400", "-1E+999"])
@pytest.mark.parametrize("chunk", [1, 65536])
def test_a_number_that_is_none_spoils_its_entry_only(constant: str, chunk: int) -> None:
    text = f'[{GOOD},\n{{"task_id": "u", "data": {{"n": {constant}}}}},\n{GOOD}]'
    assert problems(text, chunk) == [
        f"entry 2 (line 2), task_id 'u': data.n holds {constant}, which is no finite number"
    ]
    assert len(read(text, chunk)[0]) == 3


def test_an_integer_of_a_million_digits_spoils_its_entry_only() -> None:
    sevens = "7" * 10**6
    text = f'[{GOOD}, {{"task_id": "u", "data": {{"n": {sevens}}}}}, {GOOD}]'
    assert problems(text) == [
        "entry 2 (line 1), task_id 'u': holds an integer of 1000000 digits, which are too many"
    ]
    assert len(read(text)[0]) == 3


@pytest.mark.parametrize("chunk", [1, 5, 65536])
def test_entries_that_are_no_tasks_are_named_by_entry_and_line(chunk: int) -> None:
    text = f'[\n{GOOD},\n5,\n"x", null,\n{GOOD},\n\n[1, {{}}]\n]'
    assert problems(text, chunk) == [
        "entry 2 (line 3): is a number, not a mapping with 'task_id' and 'data'",
        "entry 3 (line 4): is a string, not a mapping with 'task_id' and 'data'",
        "entry 4 (line 4): is null, not a mapping with 'task_id' and 'data'",
        "entry 6 (line 7): is a list, not a mapping with 'task_id' and 'data'",
    ]


def entries(count: int) -> list[str]:
    return [
        f'{{"task_id": "{n}", "data": {{"n": [{{"a": 1}},\n{{"a": {n}}}]}}}}' for n in range(count)
    ]


def test_a_bad_entry_among_thousands_is_told_by_its_own_place() -> None:
    written = entries(3000)
    written[2000] = '{"task_id": 7}'
    items, error = read(f"[{','.join(entry + chr(10) for entry in written)}]")
    assert not error
    assert len(items) == 3000
    assert [str(item) for item in items if isinstance(item, Malformed)] == [
        "entry 2001 (line 4001), task_id '7': has no 'data'"
    ]


@pytest.mark.parametrize("between", [",\n", ", ", ",", "\n,\n"])
def test_a_damaged_list_gives_the_same_as_if_read_letter_by_letter(between: str) -> None:
    # In small pieces each entry is read for itself; in large ones many are decoded at once.
    dice = random.Random(11)
    whole = f"[{between.join(entries(150))}]"
    marks = ["]", "[", "], [", "{", "}", '"', "\\", ",", "NaN", "", "9" * 5000, "null, ", between]
    seen = Counter[bool]()
    for _ in range(60):
        text = whole
        for _ in range(dice.randrange(1, 3)):
            at = dice.randrange(len(text))
            text = text[:at] + dice.choice(marks) + text[at + dice.randrange(3) :]
        items, error = read(text)
        alone, alone_error = read(text, chunk=1)
        assert items == alone
        # What follows is quoted as far as it has been read.
        assert error.partition(", before")[0] == alone_error.partition(", before")[0]
        seen[bool(error)] += 1
    assert min(seen.values()) > 5


@pytest.mark.parametrize("text", ["", " ", "\n\n\t"])
def test_an_empty_file_is_an_error(text: str) -> None:
    assert read(text) == ([], "f is empty: expected a JSON list of tasks")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"task_id": "a"}',
            "f, line 1, column 1: expected '[', the beginning of a list of tasks, not '{' "
            "(it looks like JSON Lines, one object a line, .jsonl)",
        ),
        ("\n 5", "f, line 2, column 2: expected '[', the beginning of a list of tasks, not '5'"),
        (
            "\x1b[",
            "f, line 1, column 1: expected '[', the beginning of a list of tasks, not '\\x1b'",
        ),
    ],
)
def test_what_is_no_list_is_an_error(text: str, message: str) -> None:
    assert read(text) == ([], message)


@pytest.mark.parametrize("chunk", [1, 3, 65536])
@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("", "line 2, column 1: the file ends after entry 1: it was cut off"),
        (",", "the file ends in entry 2: it was cut off"),
        (', {"task_id": "u", "da', "the file ends in entry 2: it was cut off"),
        (', {"task_id": "u", "data": {"a": tr', "the file ends in entry 2: it was cut off"),
        (", {", "the file ends in entry 2: it was cut off"),
        ("] x", "line 2, column 3: expected nothing after the list, but there is 'x'"),
        ("]]", "line 2, column 2: expected nothing after the list, but there is ']'"),
        (" ; ", "line 2, column 2: expected ',' or ']' after entry 1, not ';'"),
        (GOOD, "line 2, column 1: expected ',' or ']' after entry 1, not '{'"),
        (", {'a': 1}" + " " * 30, "line 2, column 4: entry 2 is no valid JSON: expecting property"),
        (", tru" + " " * 30, "line 2, column 3: entry 2 is no valid JSON: expecting value"),
        (",]" + " " * 30, "line 2, column 2: entry 2 is no valid JSON: expecting value"),
        (', {"a": "\x01"}' + " " * 30, "column 10: entry 2 is no valid JSON: invalid control"),
        (', {"a" 1}' + " " * 30, "column 8: entry 2 is no valid JSON: expecting ':' delimiter"),
    ],
)
def test_a_broken_file_gives_what_came_before_it_broke(rest: str, message: str, chunk: int) -> None:
    items, error = read(f"[{GOOD}\n{rest}", chunk)
    assert len(items) == 1
    assert message in error


@pytest.mark.parametrize("text", ["[tru]", '[{"a" 1}]', '[{"a": 1,}]', "[1,]", '["\\ux"]'])
def test_a_mistake_near_the_end_is_told_from_a_cut(text: str) -> None:
    assert "entry" in read(text)[1]
    assert "is no valid JSON" in read(text)[1]


def test_a_mistake_is_found_before_the_rest_of_the_file_is_read() -> None:
    class Rest(io.RawIOBase):
        pieces: Iterator[bytes] = iter([b"[{'a'", b" " * 20, b" " * 40])

        def read(self, size: int = -1, /) -> bytes:
            return next(self.pieces)

    reader = JsonListReader(TextFeed(ByteFeed(Rest(), "f")))
    reader.begin()
    with pytest.raises(TaskFormatError, match="column 3: entry 1 is no valid JSON"):
        next(reader.items())


@pytest.mark.parametrize("chunk", [4096, 65536])
@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_nesting_without_end_is_an_error_of_one_sentence(bracket: str, chunk: int) -> None:
    items, error = read(f"[{GOOD}, {bracket * 50_000}", chunk)
    assert len(items) == 1
    assert error == "f, line 1, column 38: entry 2 is nested too deeply"


@pytest.mark.parametrize("live", [False, True])
def test_a_large_entry_takes_time_in_proportion_to_its_length(
    live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    decode = JsonDecoder.decode

    def counted(self: JsonDecoder, text: str, at: int) -> tuple[Any, int]:
        lengths.append(len(text))
        return decode(self, text, at)

    monkeypatch.setattr(JsonDecoder, "decode", counted)
    text = f'[{{"task_id": "t", "data": {{"a": [{WORD * 200_000} 1]}}}}]'
    items, error = read(text, 1000, live=live)
    assert (len(items), error) == (1, "")
    assert sum(lengths) < 4 * len(text)


def test_an_entry_without_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_list, "MAX_ENTRY", 1000)
    items, error = read(f'[{GOOD}, {{"a": "' + "x" * 5000, chunk=100)
    assert len(items) == 1
    assert "entry 2 is longer than 1000 characters" in error


def test_memory_does_not_grow_with_the_file() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1, /) -> bytes:
            self.given += 1
            return (b"[" if self.given == 1 else b",") + b",\n".join([GOOD.encode()] * 1000)

    reader = JsonListReader(TextFeed(ByteFeed(Endless(), "f")))
    reader.begin()
    items = reader.items()
    tracemalloc.start()
    try:
        for _ in range(3000):
            next(items)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20_000):
            next(items)
        assert tracemalloc.get_traced_memory()[1] - before < 400_000
    finally:
        tracemalloc.stop()


def test_bytes_that_are_no_utf8_end_the_file_where_they_stand() -> None:
    items, error = read(f"[{GOOD},\n{GOOD}, ".encode() + b'"\xe4"]')
    assert len(items) == 2
    assert error == "f, line 2, column 38: byte 0xe4 is no UTF-8 here: save the file as UTF-8"


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_character_cut_at_the_end_of_the_file_is_no_utf8(chunk: int) -> None:
    assert "byte 0xf0 is no UTF-8" in read("[5, \N{GRINNING FACE}".encode()[:-1], chunk)[1]


@settings(deadline=None)
@given(text=st.text(alphabet='"\\{}[]a', max_size=30), cut=st.integers(0, 30))
def test_the_end_of_an_entry_is_seen_wherever_the_text_is_cut(text: str, cut: int) -> None:
    whole, halves = EndOfEntry(), EndOfEntry()
    assert whole.is_in_next(text) == (
        halves.is_in_next(text[:cut]) or halves.is_in_next(text[cut:])
    )
