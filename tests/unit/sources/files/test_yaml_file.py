"""YAML lists are read entry by entry, with the plain types of ``yaml.safe_load`` and no others."""

from __future__ import annotations

import datetime
import io
import random
import tracemalloc
from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.files import yaml_file
from cloud_tasks.sources.files.opening import ByteFeed
from cloud_tasks.sources.files.text_feed import TextFeed
from cloud_tasks.sources.files.yaml_file import YamlListReader
from cloud_tasks.task import Delivery, Malformed

LOADERS = [yaml.SafeLoader] + ([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])
BOTH = pytest.mark.parametrize("loader", LOADERS)


def read(
    text: str | bytes, chunk: int = 65536, loader: Any = None
) -> tuple[list[Delivery | Malformed], str]:
    """Return what was read, and the message of the error at the end, or nothing."""
    data = text.encode() if isinstance(text, str) else text
    items: list[Delivery | Malformed] = []
    try:
        feed = ByteFeed(io.BytesIO(data), "f", chunk=chunk)
        reader = YamlListReader(TextFeed(feed), loader)
        reader.begin()
        items.extend(reader.items())
    except TaskFormatError as error:
        return items, str(error)
    return items, ""


GOOD = "- task_id: t\n  data: {n: 1}\n"


def value_of(text: str, loader: Any = None) -> Any:
    """Return the value of *text* as it stands in a task's data."""
    items, error = read(f"- task_id: t\n  data:\n    v: {text}\n", loader=loader)
    assert not error
    (item,) = items
    assert isinstance(item, Delivery), item
    return item.task.data["v"]


def problem_of(text: str, loader: Any = None) -> str:
    """Return the problem of an entry with *text* in it, between two that are good."""
    items, error = read(f"{GOOD}- task_id: u\n  data:\n    v: {text}\n{GOOD}", loader=loader)
    assert not error
    first, bad, last = items
    assert isinstance(first, Delivery)
    assert isinstance(last, Delivery)
    assert isinstance(bad, Malformed)
    assert bad.position == "entry 2 (line 3)"
    return bad.problem


ENTRIES = [{"task_id": "a", "data": {"n": 1, "l": [1, {"x": None}]}}, {"task_id": "b", "data": {}}]


@BOTH
@pytest.mark.parametrize("chunk", [1, 3, 65536])
@pytest.mark.parametrize(
    "text",
    [
        "- task_id: a\n  data:\n    n: 1\n    l:\n    - 1\n    - x:\n- task_id: b\n  data: {}\n",
        "---\n\n# note\n- task_id: a\n  data: {n: 1, l: [1, {x: null}]}\n# note\n"
        "- {task_id: b, data: {}}\n...\n",
        "  - task_id: a\n    data: {n: 1, l: [1, {x: ~}]}\n\n  - task_id: b\n    data: {}\n",
        "[{task_id: a, data: {n: 1, l: [1, {x: }]}}, {task_id: b, data: {}}]",
        "%YAML 1.1\n--- !!seq\n-\n  task_id: a\n  data: !!map {n: 1, l: [1, x: ]}\n"
        "-\n  data: {}\n  task_id: !!str b",
        '[{"task_id": "a", "data": {"n": 1, "l": [1, {"x": null}]}},\r\n'
        ' {"task_id": "b", "data": {}}]\r\n',
        "- task_id: &x a\n  data: {n: 1, l: [1, {x: }]}\n- task_id: 'b'\n  data: &y {}\n",
    ],
)
def test_a_list_of_any_style_is_read(text: str, chunk: int, loader: Any) -> None:
    items, error = read(text, chunk, loader)
    assert not error
    got = [
        {"task_id": item.task.task_id, "data": item.task.data}
        for item in items
        if isinstance(item, Delivery)
    ]
    assert got == ENTRIES


@BOTH
@pytest.mark.parametrize(
    "text",
    "1 10 90071992547409931 1\u0663 1\u00b2 123456789012345678 12345678901234567890123 08 "
    "-1 +1 0 007 0o7 0x1F 0b101 1_000 190:20:30 1.5 1. .5 -1.5e+3 1e5 1.0e-3 190:20:30.15 "
    "yes No on OFF true False y n null Null ~ 2001-12-14 2001-12-14t21:59:43.10-05:00 "
    "2001-12-14T21:59:43Z 'quoted' \"12\" '2001-12-14' text a:b !!str 12 !!int '12' !!float 1 "
    "!!null '' !!bool 'yes' !!binary aGVsbG8= !!timestamp 2001-12-14 ! text !!str".replace(
        "!!str 12", "!!str_12"
    ).split(),
)
def test_scalars_have_the_types_of_yaml_1_1(text: str, loader: Any) -> None:
    text = text.replace("_12", " 12") if text.startswith("!!") else text
    if text in ("!!int", "!!float", "!!bool", "!!timestamp"):
        text += " '2001-12-14'" if "time" in text else " yes" if "bool" in text else " '1'"
    expected = yaml.load(text, Loader=loader) if text else None
    value = value_of(text, loader)
    assert value == expected
    assert type(value) is type(expected)


plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.dates()
    | st.datetimes()
)
values = st.recursive(
    plain,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


class NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@pytest.mark.timeout(200)  # a second's work or two, which a busy machine draws out
@settings(deadline=None)
@given(
    data=st.lists(st.dictionaries(st.text(), values), max_size=3),
    flow=st.sampled_from([None, True, False]),
    unicode=st.booleans(),
    chunk=st.integers(1, 50),
)
def test_any_list_is_read_as_safe_load_reads_it(
    data: list[dict[str, Any]], flow: bool | None, unicode: bool, chunk: int
) -> None:
    text = yaml.dump(
        [{"task_id": "t", "data": entry} for entry in data],
        Dumper=NoAliases,
        default_flow_style=flow,
        allow_unicode=unicode,
    )
    items, error = read(text, chunk)
    assert not error
    got = [item.task.data for item in items if isinstance(item, Delivery)]
    assert got == [entry["data"] for entry in yaml.safe_load(text)]


@settings(deadline=None)
@given(st.text(st.sampled_from("+-.0123456789_:eExXbofnaNyTZt !'\"=<~#,[]{}"), max_size=8))
def test_any_plain_text_has_the_value_of_safe_load_or_is_refused(text: str) -> None:
    document = f"- task_id: t\n  data: {{v: {text}}}\n"
    items, error = read(document)
    if error or not all(isinstance(item, Delivery) for item in items):
        return
    (item,) = items
    assert isinstance(item, Delivery)
    if item.task.data.get("v") in ("=", "<<") or "=" in item.task.data:
        return  # PyYAML has no value for these; text is what they look like
    # libyaml's parser, as ours: the one in Python refuses some texts that this one takes.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    assert item.task.data == yaml.load(document, Loader=loader)[0]["data"]


@BOTH
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("!!python/object/apply:os.system ['true']", "has the tag 'tag:yaml.org,2002:python/"),
        ("!!python/name:os.system ''", "has the tag 'tag:yaml.org,2002:python/name:os.system'"),
        ("!mine x", "has the tag '!mine'"),
        ("!!set {a, b}", "has the tag 'tag:yaml.org,2002:set'"),
        ("!!omap [a: 1]", "has the tag 'tag:yaml.org,2002:omap'"),
        ("!!int x", "has 'x', which is no valid int"),
        ("!!int ''", "has '', which is no valid int"),
        ("!!bool x", "has 'x', which is no valid bool"),
        ("!!float x", "has 'x', which is no valid float"),
        ("!!timestamp x", "has 'x', which is no valid timestamp"),
        ("!!binary ü", "has 'ü', which is no valid binary"),
        ("2024-13-45", "has '2024-13-45', which is no valid timestamp"),
        (".nan", "data.v holds .nan, which is no finite number"),
        ("-.inf", "data.v holds -.inf, which is no finite number"),
        ("[1, {a: .NAN}]", "data.v[1].a holds .NAN, which is no finite number"),
        ("1.0e+400", "data.v holds 1.0e+400, which is no finite number"),
        ("1e400", "data.v holds 1e400, which is no finite number"),
        ("-1E+999", "data.v holds -1E+999, which is no finite number"),
        ("1" * 400 + ".0", "data.v holds 1111"),
        ("{1: a}", "data.v has the key 1, which is a number, not a string: quote it"),
        ("[{yes: a}]", "data.v[0] has the key True, which is a boolean, not a string: quote it"),
        ("{~: a}", "data.v has the key None, which is null, not a string: quote it"),
        ("{2024-01-02: a}", "which is of type date, not a string: quote it"),
        ("{.nan: a}", "data.v has the key nan, which is a number, not a string: quote it"),
        ("{a: 1, b: 2, 'a': 3}", "data.v has the key 'a' twice"),
        ('[0, {x: {"a key": 1, ? a key : 2}}]', "data.v[1].x has the key 'a key' twice"),
        ("{a: {b: 1, b: 1}, c: .inf}", "data.v.a has the key 'b' twice"),
        ("{<<: {a: 1}}", "uses the merge key '<<': write the values out"),
        ("[&a 1, *a]", "uses the alias '*a': write the value out"),
        ("{[1]: 2}", "has a key that is a list or a mapping"),
        ("1" * 5000, "which is no valid int"),
        ("1:" * 40_000 + "00", "holds a number of 80002 digits"[:16]),
        ("9" * 10**6, "holds a number of 1000000 digits, which are too many"),
        ("0x" + "f" * 10**6, "holds a number of 1000002 digits, which are too many"),
    ],
)
def test_what_has_no_plain_value_spoils_its_entry_only(
    text: str, problem: str, loader: Any
) -> None:
    if len(text) > 50_000 and loader is yaml.SafeLoader:
        pytest.skip("takes seconds in Python, and is the same code of ours")
    if text.startswith("1:"):
        text = "1:" * 60_000 + "00"
    assert problem in problem_of(text, loader)


@BOTH
def test_an_alias_bomb_is_a_malformed_entry(loader: Any) -> None:
    lines = ["- a0: &a0 [x, x]"]
    lines += [f"  a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 30)]
    items, error = read("\n".join(lines), loader=loader)
    assert not error
    assert [str(item) for item in items] == [
        "entry 1 (line 1): uses the alias '*a0': write the value out"
    ]


@BOTH
@pytest.mark.parametrize("text", ["[" * 50_000, "{a: " * 50_000, "- " * 50_000])
def test_nesting_without_end_is_an_error_of_one_sentence(text: str, loader: Any) -> None:
    items, error = read(f"{GOOD}- {text}", loader=loader)
    assert len(items) == 1
    assert error.startswith("f, line 3, column ")
    assert error.endswith(": the entry is nested more than 200 deep")


@BOTH
@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "--- # x\n...\n"])
def test_an_empty_file_is_an_error(text: str, loader: Any) -> None:
    assert read(text, loader=loader) == ([], "f is empty: expected a YAML list of tasks")


@BOTH
@pytest.mark.parametrize("text", ["[]", "---\n[]\n", "[ ] # none"])
def test_an_empty_list_has_no_tasks(text: str, loader: Any) -> None:
    assert read(text, loader=loader) == ([], "")


@BOTH
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "f, line 1, column 1: expected a list of tasks, not a mapping"),
        ("text", "f, line 1, column 1: expected a list of tasks, not a single value"),
        ("''", "f, line 1, column 1: expected a list of tasks, not a single value"),
        (
            "!mine [a]",
            "f, line 1, column 1: has the tag '!mine', for which there is no plain value",
        ),
    ],
)
def test_what_is_no_list_is_an_error(text: str, message: str, loader: Any) -> None:
    assert read(text, loader=loader) == ([], message)


@BOTH
@pytest.mark.parametrize("chunk", [1, 65536])
@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("---\n- task_id: b\n", "line 3, column 1: expected nothing after the list"),
        ("...\n---\nx\n", "expected nothing after the list"),
        ("- {task_id: u, data: {", "no valid YAML"),
        ("- 'not closed", "no valid YAML: found unexpected end of stream"),
        ("x: 1\n", "line 3, column 1: no valid YAML"),
        ("- a: b: c\n", "line 3, column 7: no valid YAML: mapping values are not allowed"),
        ("- text \x01\n", "f, line 3, column 8: YAML does not allow the character '\\x01'"),
    ],
)
def test_a_broken_file_gives_what_came_before_it_broke(
    rest: str, message: str, chunk: int, loader: Any
) -> None:
    if loader is yaml.SafeLoader and chunk > 1 and "\x01" in rest:
        pytest.skip("this parser reads two pieces before it gives the first event")
    items, error = read(GOOD + rest, chunk, loader)
    assert sum(isinstance(item, Delivery) for item in items) == 1
    assert message in error
    assert "\x01" not in error
    assert "\n" not in error


@BOTH
def test_bytes_that_are_no_utf8_end_the_file(loader: Any) -> None:
    items, error = read(f"{GOOD}{GOOD}- ".encode() + b"\xe4", 8, loader)
    assert len(items) >= 1
    assert error == "f, line 5, column 3: byte 0xe4 is no UTF-8 here: save the file as UTF-8"


@BOTH
def test_an_entry_without_measure_is_refused(loader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_file, "MAX_ENTRY", 1000)
    items, error = read(f"{GOOD * 100}- '{'x' * 5000}'", 100, loader)
    assert len(items) == 100
    assert error.startswith("f has an entry of more than 1000 characters")


def test_entries_that_are_no_tasks_are_named_by_entry_and_line() -> None:
    items, _ = read(f"{GOOD}- 5\n- - 1\n- task_id: x\n")
    assert [str(item) for item in items[1:]] == [
        "entry 2 (line 3): is a number, not a mapping with 'task_id' and 'data'",
        "entry 3 (line 4): is a list, not a mapping with 'task_id' and 'data'",
        "entry 4 (line 5), task_id 'x': has no 'data'",
    ]


@BOTH
@pytest.mark.parametrize(
    "text",
    [
        "010",
        "8",
        "12:30",
        "1_000",
        "0x10",
        "1e3",
        "1.50",
        "true",
        "No",
        "null!",
        "2024-01-02",
        "2024-13-45",
        ".nan",
        "1e400",
        "-0",
        "+5",
    ],
)
def test_an_id_is_the_text_that_stands_in_the_file(text: str, loader: Any) -> None:
    for written in (text, f"'{text}'", f"!!str {text}", f'"{text}"', f"! {text}"):
        block = f"- task_id: {written}\n  data: {{}}\n"
        for document in (block, f"[{{task_id: {written}, data: {{}}}}]"):
            (item,), error = read(document, loader=loader)
            assert not error
            assert isinstance(item, Delivery), item
            assert item.task.task_id == text


@BOTH
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'task_id' is null, not a string"),
        ("~", "'task_id' is null, not a string"),
        ("null", "'task_id' is null, not a string"),
        ("!!null ''", "'task_id' is null, not a string"),
        ("''", "'task_id' is empty"),
        ("[a]", "'task_id' is a list, not a string"),
        ("!!binary aGVsbG8=", "'task_id' is of type bytes, not a string"),
        ("!!int x", "has 'x', which is no valid int"),
        ("!mine x", "has the tag '!mine', for which there is no plain value"),
    ],
)
def test_what_can_be_no_id_is_named(text: str, problem: str, loader: Any) -> None:
    (item,), _ = read(f"- task_id: {text}\n  data: {{}}\n", loader=loader)
    assert isinstance(item, Malformed)
    assert item.problem == problem


@BOTH
def test_a_forgotten_dash_is_named(loader: Any) -> None:
    text = "- task_id: a\n  data: {x: 1}\n  task_id: b\n  data: {x: 2}\n"
    items, _ = read(text + GOOD, loader=loader)
    assert isinstance(items[0], Malformed)
    assert items[0].problem == "has the key 'task_id' twice: are these two entries?"
    assert isinstance(items[1], Delivery)


@BOTH
def test_the_deepest_entry_has_200_levels(loader: Any) -> None:
    def nested(levels: int) -> str:
        inner = levels - 2  # the entry and its data
        return f"- {{task_id: t, data: {{v: {'[' * inner}{']' * inner}}}}}\n"

    items, error = read(nested(200), loader=loader)
    assert isinstance(items[0], Delivery)
    assert not error
    assert read(nested(201), loader=loader)[1].endswith("nested more than 200 deep")


def test_dates_are_dates_and_quoted_dates_are_text() -> None:
    assert value_of("[2024-01-02, '2024-01-02']") == [datetime.date(2024, 1, 2), "2024-01-02"]


@pytest.mark.parametrize("entry", [GOOD, "- task_id: t\n  data:\n    n: 1\n"])
def test_memory_does_not_grow_with_the_file(entry: str) -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            return entry.encode() * 1000

    reader = YamlListReader(TextFeed(ByteFeed(Endless(), "f")))
    reader.begin()
    items = reader.items()
    tracemalloc.start()
    try:
        for _ in range(2000):
            next(items)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5000):
            next(items)
        assert tracemalloc.get_traced_memory()[1] - before < 400_000
    finally:
        tracemalloc.stop()


def entry(number: int) -> str:
    """Write an entry as most are."""
    return (
        f"- task_id: task-{number}\n  data:\n    n: {number}\n"
        f"    when: 2024-01-{number % 28 + 1:02}\n    file: s3://bucket/{number}.fits\n"
        f"    sizes:\n    - {number % 9}.5\n    - yes\n"
    )


#: Entries of other kinds, and what else may stand between two entries.
OTHERS = [
    "- task_id: short\n  data:\n    n: 1\n",
    "- data:\n    n: ~\n  task_id: 12\n",
    "- task_id: flow\n  data: {n: [1, 2]}\n",
    "- {task_id: flow, data: {}}\n",
    "- task_id: quoted\n  data:\n    t: 'it''s'\n",
    "- task_id: lines\n  data:\n    t: |\n      - task_id: no\n      - more\n",
    "- task_id: words\n  data:\n    t: two words\n    empty:\n",
    "- task_id: words\n  data:\n    t: one\n      - and-more\n    empty:\n",
    '- task_id: "over\n\n- lines"\n  data:\n    n: 1\n',
    "-\n  task_id: below\n  data:\n    n: 1\n",
    "- task_id: twice\n  data:\n    n: 1\n    n: 2\n",
    "- task_id: keys\n  data:\n    yes: no\n    null: 0x1F\n    0: 0\n",
    "- task_id: keys\n  data:\n    'yes': no\n    'null': 0x1F\n    '0': 0\n",
    "- task_id: no data\n",
    "- task_id: x\n  data:\n    n: .nan\n",
    "- task_id: merge\n  data:\n    <<: x\n",
    "- - nested\n  - list\n",
    "-\n  - task_id: nested\n    data:\n      n: 1\n  - task_id: list\n    data:\n      n: 2\n",
    "- task_id: several words\n  data:\n    t: or 12:30:45 of them\n    d: 2024-01-02 03:04:05\n",
    "- 5\n",
    "\n",
    "# a remark\n",
    "- task_id: crlf\r\n  data:\r\n    n: 1\r\n",
]
#: Put anywhere, what a YAML file may be damaged with.
MARKS = [
    " ", "\n", "-", "- ", "--- ", "...", ":", ": ", "#", " #", "'", '"', "|", ">", "&a ", "*a",
    "!!str ", "{", "}", "[", "]", "? ", "%", "@", "`", "\t", "\r", "\x01", "é", "\u2028", "é: ü",
    "~", "", "<<",
]  # fmt: skip


def in_pieces(text: str, chunk: int) -> tuple[list[Any], str]:
    """Read *text* whole and in pieces of *chunk* bytes, and return what both say."""
    found = read(text, chunk)
    assert found == read(text)
    return found


@pytest.mark.parametrize("chunk", [100, 65536])
def test_many_entries_have_the_values_of_safe_load(chunk: int) -> None:
    text = "".join(entry(n) for n in range(300))
    items, error = read(text, chunk)
    assert not error
    tasks = [item.task for item in items if isinstance(item, Delivery)]
    assert [task._asdict() for task in tasks] == yaml.safe_load(text)


@pytest.mark.parametrize("other", OTHERS)
def test_entries_of_any_kind_may_stand_among_them(other: str) -> None:
    written = [entry(n) for n in range(60)]
    for place in (2, 20, 21, 40, 60):
        written.insert(place, other)
    items, _ = in_pieces("".join(written), 90)
    assert sum(isinstance(item, Delivery) for item in items) >= 60


@pytest.mark.parametrize("margin", ["", "  "])
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_list_gives_the_same_whole_and_in_pieces(seed: int, margin: str) -> None:
    dice = random.Random(seed)
    seen = Counter[bool]()
    for _ in range(80):
        written = [entry(n) for n in range(40)]
        for _ in range(dice.randrange(3)):
            written.insert(dice.randrange(40), dice.choice(OTHERS))
        text = "".join(margin + line for line in "".join(written).splitlines(keepends=True))
        for _ in range(dice.randrange(1, 3)):
            at = dice.randrange(len(text))
            text = text[:at] + dice.choice(MARKS) + text[at + dice.randrange(2) :]
        _, error = in_pieces(text, 150)
        seen[bool(error)] += 1
    assert min(seen.values()) > 5


def test_what_is_wrong_after_thousands_of_entries_is_told_by_its_own_place() -> None:
    written = [entry(n) for n in range(3000)]
    written[2000] = "- task_id: x\n"
    items, error = read("".join(written) + "- a: b: c\n")
    assert [str(item) for item in items if isinstance(item, Malformed)] == [
        "entry 2001 (line 16001), task_id 'x': has no 'data'"
    ]
    assert error.startswith("f, line 23994, column 7: no valid YAML: mapping values are not allow")


@pytest.mark.parametrize("beginning", ["%TAG !! tag:x,2000:\n---\n", "---\n", "# a\n--- !!seq\n"])
def test_what_stands_before_the_list_holds_for_all_its_entries(beginning: str) -> None:
    tagged = "- task_id: t\n  data:\n    v: !!str 1\n"
    text = beginning + "".join(entry(n) for n in range(50)) + tagged + entry(1)
    items, error = read(text)
    assert not error
    bad = [number for number, item in enumerate(items) if isinstance(item, Malformed)]
    assert bad == ([50] if "%TAG" in beginning else [])
    assert len(items) == 52
