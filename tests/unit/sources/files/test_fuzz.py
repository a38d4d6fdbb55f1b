"""Damaged files end with tasks, malformed entries or an error of a source, and nothing else."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Callable

import pytest

from cloud_tasks.errors import SourceError
from cloud_tasks.sources.files.opening import ByteFeed, unpacked
from cloud_tasks.sources.files.task_file import reader_for
from cloud_tasks.task import Malformed

SEED = 20240617
ROUNDS = 1500

JSON = (
    b'[\n {"task_id": "a", "data": {"n": [1, -2.5e3, true, null], "s": "\\u00fc\\n"}},\n'
    b' {"task_id": 12, "data": {"deep": {"er": [[], {}]}}},\n 5,\n'
    b' {"data": {}, "task_id": "gr\xc3\xbcn"}\n]\n'
)
YAML = (
    b"# tasks\n---\n- task_id: a\n  data:\n    n: [1, -2.5e+3, yes, ~]\n    d: 2024-01-02\n"
    b"- {task_id: &b 12, data: {t: '12', u: \"x\\n\"}}\n- 5\n- task_id: gr\xc3\xbcn\n"
    b"  data:\n    text: |\n      two\n      lines\n    more: !!str 5\n"
)
CSV = b'task_id,a,b\nx,1,"two\nlines"\n\ny,"q ""q""",gr\xc3\xbcn\nz,,\n'
LINES = b'{"task_id": "a", "data": {"n": 1}}\n\n{"task_id": 2, "data": {"s": "gr\xc3\xbcn"}}\n5\n'


def flip(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def cut(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def repeat(data: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    end = start + dice.randrange(1, 20)
    data[start:start] = data[start:end] * dice.randrange(1, 50)


def special(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    marks = [b"\0", b"[", b"{", b"*b", b"<<: ", b"!!python/name:os.system ", b"NaN", b"\xff", b'"']
    data[at : at + dice.randrange(3)] = dice.choice(marks)


HARMS: list[Callable[[bytearray, random.Random], None]] = [flip, flip, flip, cut, repeat, special]


@pytest.mark.parametrize(
    ("task_format", "content"),
    [("json", JSON), ("yaml", YAML), ("csv", CSV), ("jsonl", LINES)],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_never_raises_anything_else(
    task_format: str, content: bytes, packed: bool
) -> None:
    dice = random.Random(SEED)
    content = gzip.compress(content, mtime=0) if packed else content
    sentences = []
    for number in range(ROUNDS // 5 if packed else ROUNDS):
        data = bytearray(content)
        for _ in range(dice.randrange(1, 4)):
            if data:
                dice.choice(HARMS)(data, dice)
        try:
            sentences += told_of(bytes(data), task_format, dice.choice([1, 16, 65536]))
        except Exception as error:
            raise AssertionError((number, bytes(data))) from error
    assert len(sentences) > ROUNDS // 10
    for sentence in sentences:
        assert sentence.isprintable()


def told_of(data: bytes, task_format: str, chunk: int) -> list[str]:
    """Read *data* to its end and return all that is said of what is wrong with it."""
    sentences = []
    try:
        feed = unpacked(ByteFeed(io.BytesIO(data), "f", chunk=chunk))
        reader = reader_for(task_format, feed)
        reader.begin()
        for item in reader.items():
            if isinstance(item, Malformed):
                sentences.append(str(item))
    except SourceError as error:
        sentences.append(str(error))
    return sentences
