"""What is read out of tracebacks, of real exceptions where Python can be made to raise them."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

from cloud_tasks.events.tracebacks import crash_site, summarise
from cloud_tasks.executors.common.call import describe

pytestmark = pytest.mark.interpreter


def traceback_of(folder: Path, source: str) -> str:
    """Run *source* as the user's ``work.py`` and return how Python prints its exception."""
    file = folder / "work.py"
    file.write_text(source)
    try:
        exec(compile(source, str(file), "exec"), {"__name__": "work"})
    except Exception:  # noqa: BLE001 - any will do
        return traceback.format_exc()
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("source", "words", "line"),
    [
        ("raise ValueError('bad header')", "ValueError: bad header", 1),
        ("raise KeyError", "KeyError", 1),
        ("raise KeyError('x')", "KeyError: 'x'", 1),
        ("raise ValueError('one\\ntwo\\n  three')", "ValueError: one", 1),
        ("raise ValueError('\\n\\n  at last\\nmore')", "ValueError: at last", 1),
        ("raise ValueError('a: b: c')", "ValueError: a: b: c", 1),
        ("import json\njson.loads('[')", "JSONDecodeError: Expecting value: line 1 column 2", 2),
        ("class Own(Exception): pass\nraise Own('x')", "Own: x", 2),
        ("def f():\n  class In(Exception): pass\n  raise In('x')\nf()", "In: x", 3),
        ("try:\n  1/0\nexcept Exception:\n  raise OSError('b')", "OSError: b", 4),
        ("raise OSError('b') from KeyError('a')", "OSError: b", 1),
        ("assert 1 == 2", "AssertionError", 1),
        ("raise SystemError('')", "SystemError", 1),
    ],
)
def test_the_last_words_name_the_exception_and_the_line_of_the_users_code(
    tmp_path: Path, source: str, words: str, line: int
) -> None:
    told, where = summarise(traceback_of(tmp_path, source))
    assert told.startswith(words)
    assert where is not None
    assert where.startswith(f"work.py:{line} in ")


def test_the_innermost_frame_of_the_user_is_told_and_not_that_of_a_library(tmp_path: Path) -> None:
    source = "import json\ndef load():\n  json.loads('')\ndef task():\n  load()\ntask()"
    assert summarise(traceback_of(tmp_path, source))[1] == "work.py:3 in load"


@pytest.mark.parametrize(
    ("path", "is_the_users"),
    [
        ("/home/u/lib/work.py", True),
        ("/home/u/cloud_tasks/work.py", True),
        ("/home/u/python3.11/work.py", True),
        (r"C:\Users\u\work.py", True),
        ("<string>", True),
        ("/usr/lib/python3.11/json/decoder.py", False),
        ("/opt/lib64/python3.9/json/decoder.py", False),
        ("/usr/lib/python3/dist-packages/numpy/x.py", False),
        ("/home/u/venv/lib/python3.12/site-packages/numpy/x.py", False),
        (r"C:\Python311\Lib\json\decoder.py", False),
        (r"C:\venv\Lib\site-packages\numpy\x.py", False),
        ("/home/u/src/cloud_tasks/executors/call.py", False),
        ("/home/u/src/cloud_tasks/worker/worker.py", False),
        ("/home/u/src/cloud_tasks/worker_data.py", False),
        ("<frozen importlib._bootstrap>", False),
    ],
)
def test_frames_of_libraries_and_of_ours_are_not_the_users(path: str, is_the_users: bool) -> None:
    text = (
        f'Traceback (most recent call last):\n  File "{path}", line 7, in load\n    x\nError: y\n'
    )
    assert (summarise(text)[1] is not None) is is_the_users


def test_a_syntax_error_is_where_the_bad_line_is(tmp_path: Path) -> None:
    source = "compile('ok = 1\\na b\\n', 'broken.py', 'exec')"
    words, where = summarise(traceback_of(tmp_path, source))
    assert words.startswith("SyntaxError: invalid syntax")
    assert where == "broken.py:2"


def test_a_syntax_error_in_no_file_is_where_it_was_asked_for(tmp_path: Path) -> None:
    source = "import ast\ndef parse():\n  ast.literal_eval('a b')\nparse()"
    assert summarise(traceback_of(tmp_path, source))[1] == "work.py:3 in parse"


def test_a_note_is_not_the_message() -> None:
    text = (
        'Traceback (most recent call last):\n  File "/w.py", line 1, in f\n    x\n'
        "KeyError\nseen in file 12\n"
    )
    assert summarise(text) == ("KeyError", "w.py:1 in f")


def test_a_message_that_holds_a_traceback_is_only_a_message(tmp_path: Path) -> None:
    source = (
        "import traceback\ndef inner():\n  int('x')\ndef outer():\n  try:\n    inner()\n"
        "  except ValueError:\n    text = traceback.format_exc()\n"
        "  raise RuntimeError('a child said:\\n' + text)\nouter()"
    )
    words, where = summarise(traceback_of(tmp_path, source))
    assert words == "RuntimeError: a child said:"
    assert where == "work.py:9 in outer"


GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/w/work.py", line 9, in run
  |     gather()
  |   File "/w/work.py", line 5, in gather
  |     raise ExceptionGroup("several", errors)
  | ExceptionGroup: several (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/w/work.py", line 3, in one
    |     raise ValueError(1)
    | ValueError: 1
    +---------------- 2 ----------------
    | TypeError: 2
    +------------------------------------
"""
LINK = "\nDuring handling of the above exception, another exception occurred:\n\n"
PLAIN = (
    'Traceback (most recent call last):\n  File "/w/z.py", line 2, in f\n    1/0\nZeroError: z\n'
)


@pytest.mark.parametrize("before", ["", PLAIN + LINK])
def test_a_group_of_exceptions_is_told_as_a_group(before: str) -> None:
    assert summarise(before + GROUP) == (
        "ExceptionGroup: several (2 sub-exceptions)",
        "work.py:5 in gather",
    )


def test_what_came_of_a_group_is_told_and_not_the_group() -> None:
    assert summarise(GROUP + LINK + PLAIN) == ("ZeroError: z", "z.py:2 in f")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a group is a thing of Python 3.11")
def test_a_group_that_python_raised_is_understood(tmp_path: Path) -> None:
    source = "def f():\n  raise ExceptionGroup('all', [ValueError(1), TypeError(2)])\nf()"
    words, where = summarise(traceback_of(tmp_path, source))
    assert (words, where) == ("ExceptionGroup: all (2 sub-exceptions)", "work.py:2 in f")


def test_an_exception_that_came_from_another_process_is_found_where_it_was_raised() -> None:
    # Not by a fork: other threads of the tests may hold what the child would wait for.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        error = pool.submit(int, "x").exception()
    assert error is not None
    words, where = summarise("".join(traceback.format_exception(error)))
    assert words == "ValueError: invalid literal for int() with base 10: 'x'"
    assert where is None  # it was raised in the standard library, and nobody of ours called


def test_a_long_traceback_that_lost_its_middle_still_has_its_last_words(tmp_path: Path) -> None:
    file = tmp_path / "work.py"
    file.write_text("def a(n):\n  b(n)\ndef b(n):\n  a(n)\n")
    names: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    with pytest.raises(RecursionError) as caught:
        names["a"](0)  # type: ignore[operator]
    text = json.loads(describe(caught.value))[2]
    assert "characters left out" in text
    words, where = summarise(text)
    assert words.startswith("RecursionError: maximum recursion depth exceeded")
    assert where is not None
    assert where.startswith("work.py:")


def test_a_long_message_that_lost_its_middle_is_told_by_its_beginning() -> None:
    message = "x" * 200_000 + '\n  File "/a/b.py", line 3, in q\nOther: y'
    text = json.loads(describe(ValueError(message)))[2]
    assert "characters left out" in text
    assert summarise(text)[0].startswith("ValueError: xxx")


def test_a_traceback_that_was_cut_short_says_so_and_where() -> None:
    cut = PLAIN[: PLAIN.index("1/0")]
    assert summarise(cut) == ("an exception whose text is cut off", "z.py:2 in f")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the function returned 3, not a pair", "the function returned 3, not a pair"),
        ("\n\n  some words\nmore", "some words"),
        ("pkg.mod.Error: x", "Error: x"),
        ("http://host/a.b: gone", "http://host/a.b: gone"),
        ("", ""),
    ],
)
def test_a_text_without_a_traceback_is_its_own_first_line(text: str, words: str) -> None:
    assert summarise(text) == (words, None)


def test_a_crash_is_where_the_users_code_called(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(
        "import ctypes, faulthandler\nfaulthandler.enable()\n"
        "def load():\n  ctypes.string_at(0)\nload()\n"
    )
    died = subprocess.run(
        [sys.executable, "work.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert died.returncode < 0
    assert crash_site(died.stderr) == "work.py:4 in load"


def test_a_crash_is_that_of_the_current_thread() -> None:
    text = (
        'Thread 0x1 (most recent call first):\n  File "/w/a.py", line 1 in waits\n\n'
        'Current thread 0x2 (most recent call first):\n  File "/w/b.py", line 2 in crashes\n'
    )
    assert crash_site(text) == "b.py:2 in crashes"
    assert crash_site("Fatal Python error: Aborted") is None


HEADER = "Traceback (most recent call last):\n"
PARTS = st.sampled_from(
    [HEADER, '  File "/a/b.py", line 3, in f\n', LINK, GROUP, PLAIN, "    x\n", "E: x\n", "E: \n"]
) | st.sampled_from(["\n", "  | ", "… 12 characters left out …", "\ud800", "\x1b[2J", "#"])


@settings(deadline=None)
@given(st.lists(PARTS | st.text(max_size=20), max_size=12).map("".join))
def test_no_text_whatever_is_too_odd(text: str) -> None:
    words, where = summarise(text)
    assert "\n" not in words
    assert where is None or "\n" not in where
    crash_site(text)
