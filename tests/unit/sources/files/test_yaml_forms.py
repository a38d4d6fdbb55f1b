"""Entries that look like one another are read past the parser, with the same result."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.sources.files.yaml_reading import BOTH, read

from cloud_tasks.sources.files.yaml_forms import plain_entry
from cloud_tasks.task import Delivery, Malformed


def entry(number: int) -> str:
    """Write an entry as most are."""
    return (
        f"- task_id: task-{number}\n  data:\n    n: {number}\n"
        f"    when: 2024-01-{number % 28 + 1:02}\n    file: s3://bucket/{number}.fits\n"
        f"    sizes:\n    - {number % 9}.5\n    - yes\n"
    )


#: Others, of which some are of plain lines and some are not.
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


def same(text: str, chunk: int = 65536, loader: Any = None) -> tuple[list[Any], str]:
    """Read *text* in both ways (on a pipe, the parser reads all) and return what both say."""
    found = read(text, chunk, loader)
    assert found == read(text, chunk, loader, live=True)
    return found


@BOTH
def test_the_parser_is_asked_for_few_of_many_entries(loader: Any) -> None:
    asked = Counter[str]()

    class Asked(loader):  # type: ignore[misc]
        def get_event(self) -> Any:
            asked["events"] += 1
            return super().get_event()

    items, error = read("".join(entry(n) for n in range(1000)), loader=Asked)
    assert not error
    assert len(items) == 1000
    assert asked["events"] < 100


@pytest.mark.parametrize("chunk", [100, 65536])
def test_like_entries_have_the_values_of_safe_load(chunk: int) -> None:
    text = "".join(entry(n) for n in range(300))
    items, error = read(text, chunk)
    assert not error
    tasks = [item.task for item in items if isinstance(item, Delivery)]
    assert [task._asdict() for task in tasks] == yaml.safe_load(text)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("chunk", [90, 65536])
def test_entries_of_any_kind_may_stand_among_them(other: str, chunk: int) -> None:
    written = [entry(n) for n in range(60)]
    for place in (2, 20, 21, 40, 60):
        written.insert(place, other)
    items, _ = same("".join(written), chunk)
    assert sum(isinstance(item, Delivery) for item in items) >= 60


@pytest.mark.parametrize("margin", ["", "  "])
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_list_gives_the_same_as_from_the_parser(seed: int, margin: str) -> None:
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
        _, error = same(text, dice.choice([150, 65536]))
        seen[bool(error)] += 1
    assert min(seen.values()) > 5


@settings(deadline=None)
@given(
    word=st.text(alphabet="-:.#/+~ab01_ex=<&*!%@?,|> ", min_size=1, max_size=6)
    | st.text(min_size=1, max_size=6)
    | st.sampled_from(["null", "off", "12:30:45", "1e3", "-.5", "-.inf", "010", "1_0", "..."])
)
def test_any_word_in_a_known_place_has_the_value_of_the_parser(word: str) -> None:
    lines = [f"- task_id: t\n  data:\n    v: {w}\n" for w in ("a", "b", word, "c")]
    same("".join(lines))


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
    same(beginning + "".join(entry(n) for n in range(50)) + tagged + entry(1))


@pytest.mark.parametrize(
    "text",
    [
        "- a: b\n  c: |\n    d\n- ",
        "- a: 'b'\n- ",
        "- a: b #\n- ",
        "- a: b  c\n- ",
        "- a: b - c\n- ",
        "- a\n  b\n- ",
        "- a: &x\n- ",
        "- a:b: \n- ",
        "- a: é\n- ",
        "- a: b\n",
        "- a: b\n-",
        "a: b\n- ",
        "",
    ],
)
def test_an_entry_of_other_than_plain_lines_is_none(text: str) -> None:
    assert not plain_entry(text, 0)


@pytest.mark.parametrize(
    "text", ["- a: b c\n", "- 5\n", "  - - a: -1\n    - b:\n\n      c:\n       - d\n"]
)
def test_an_entry_of_plain_lines_is_one_if_another_follows(text: str) -> None:
    margin = text[: text.index("-")]
    assert plain_entry(f"x\n{text}{margin}- more", 2) == text
