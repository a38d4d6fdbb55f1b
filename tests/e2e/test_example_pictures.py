"""The examples that make a picture: it is a valid one, and shows what is known."""

from __future__ import annotations

import hashlib
import heapq
import importlib.util
import os
import re
import struct
import zlib
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from e2e.examples import EXAMPLES, events, load, printed, results

#: A minute of a quiet machine is several of a busy one.
pytestmark = pytest.mark.timeout(180)

PIXELS = "da769c3886e1436e6dd17195e6e3e7ddd0f73c427e6a38e3f47e0aec6cbdd118"


@pytest.mark.slow  # 37 million steps
def test_tiles_paints_the_same_pixels_everywhere(tmp_path: Path) -> None:
    code, out, err = printed(tmp_path, "tiles", "--num-simultaneous-tasks", "2")
    assert code == 0, err
    found = events(tmp_path)
    steps = {task_id: result["steps"] for task_id, result in results(found).items()}
    assert (len(found), len(steps), sum(steps.values())) == (80, 80, 37_152_735)
    width, height, pixels = read_png(tmp_path / "tiles" / "picture.png")
    assert (width, height, hashlib.sha256(pixels).hexdigest()) == (420, 288, PIXELS)
    # Nothing but the tiles and the picture is left.
    assert len(list((tmp_path / "tiles").iterdir())) == 81

    readme = (EXAMPLES / "tiles" / "README.md").read_text()
    assert out in readme
    assert f"sha256 of its pixels: {PIXELS}\n" in out
    assert order_table(steps, load("tiles")) in readme


def order_table(steps: dict[str, int], tiles: Any) -> str:
    """Return the README's table: how much longer than with perfectly even work a run takes."""
    rows = []
    for slots in (2, 4, 8, 16):
        row = [str(slots)]
        for order in ("rows", "hardest-first", "hardest-last"):
            ends = [0] * slots
            for task in tiles.tile_tasks(order):
                heapq.heapreplace(ends, ends[0] + steps[task["task_id"]])
            row.append(f"{max(ends) * slots / sum(steps.values()):.2f}")
        rows.append(f"| {' | '.join(row)} |\n")
    return "".join(rows)


def test_tiles_shows_the_set_where_plain_complex_numbers_find_it() -> None:
    tiles = load("tiles")
    width, height, pixels = read_png(EXAMPLES / "tiles" / "picture.png")
    assert hashlib.sha256(pixels).hexdigest() == PIXELS
    found = Counter[bool]()
    for y in range(0, height, 15):
        for x in range(0, width, 15):
            at = 3 * (y * width + x)
            quarters = [(right, down) for right in (0.25, 0.75) for down in (0.25, 0.75)]
            inside = all(stays(complex(*tiles.point(x + r, y + d))) for r, d in quarters)
            assert (pixels[at : at + 3] == bytes((8, 10, 22))) == inside, (x, y)
            found[inside] += 1
    assert min(found[True], found[False]) > 10


def stays(c: complex) -> bool:
    """Tell whether z -> z * z + c stays near for 700 steps."""
    z = 0j
    for _ in range(700):
        if abs(z) > 100:
            return False
        z = z * z + c
    return True


def test_tiles_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    code, out, err = printed(tmp_path, "tiles", "--max-num-tasks", "3")
    assert code == 0, err
    assert "77 of 80 tiles are missing" in out
    code, out, err = printed(tmp_path, "tiles", "--resume", "--max-num-tasks", "2")
    assert code == 0, err
    assert "75 of 80 tiles are missing" in out
    assert [event["task_id"] for event in events(tmp_path)] == [f"tile-0-{n}" for n in range(5)]
    assert not (tmp_path / "tiles" / "picture.png").exists()


@pytest.fixture
def data_packages() -> None:
    if not all(importlib.util.find_spec(name) for name in ("jplephem", "skyfield_data")):
        install = "packages are missing: pip install -r examples/mars/requirements.txt"
        if os.environ.get("CLOUD_TASKS_REQUIRE_EMULATORS") == "1":
            pytest.fail(install)
        pytest.skip(install)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.usefixtures("data_packages")
def test_mars_was_never_closer_than_in_2003(tmp_path: Path) -> None:
    code, out, err = printed(tmp_path, "mars", "--num-simultaneous-tasks", "2")
    assert code == 0, err
    assert "the closest: 2003-08-27 09:52, 0.3727 au\n" in out
    assert out in (EXAMPLES / "mars" / "README.md").read_text()
    years = results(events(tmp_path))
    assert len(events(tmp_path)) == len(years) == 151
    assert min(years, key=lambda year: float(years[year]["au"])) == "2003"
    # What was published of some approaches, in millions of kilometres.
    published = {"2003-08-27": 55.758, "2018-07-31": 57.59, "2020-10-06": 62.07}
    for day, distance in published.items():
        result = years[day[:4]]
        assert (result["date"][:10], result["approach"]) == (day, True)
        assert result["au"] * 149.5978707 == pytest.approx(distance, abs=0.006)

    approaches = [result for result in years.values() if result["approach"]]
    moments = sorted(datetime.fromisoformat(result["date"]) for result in approaches)
    assert len(moments) == 71
    assert all(764 <= (after - before).days <= 812 for before, after in pairwise(moments))
    check_picture_of_mars(tmp_path / "mars.svg", len(moments))


def check_picture_of_mars(file: Path, approaches: int) -> None:
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.parse(file).getroot()
    assert root.tag == f"{svg}svg"
    told = [title.text for title in root.findall(f"{svg}circle/{svg}title")]
    assert len(told) == approaches
    assert "2003-08-27 09:52: 0.3727 au" in told
    peaks = [str(text.text) for text in root.findall(f"{svg}text[@class='peak']")]
    assert " ".join(peaks) == "1909 1924 1939 1956 1971 1988 2003 2018 2035 2050"
    assert file.read_text() == (EXAMPLES / "mars" / "mars.svg").read_text()


def test_mars_says_what_to_install(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "jplephem.py"
    missing.parent.mkdir()
    missing.write_text("raise ModuleNotFoundError('not here', name='jplephem')\n")
    environment = {**os.environ, "PYTHONPATH": str(missing.parent)}
    code, out, err = printed(tmp_path, "mars", env=environment)
    assert (code, out) == (1, "")
    needed = EXAMPLES / "mars" / "requirements.txt"
    sentence = r"error: the package (jplephem|skyfield_data) is missing: pip install -r (.*)\n"
    match = re.fullmatch(sentence, err)
    assert match, err
    assert match[2].strip("'") == str(needed)
    named = re.findall(r"^[\w-]+", needed.read_text(), re.MULTILINE)
    assert set(named) == {"jplephem", "skyfield-data"}


def read_png(file: Path) -> tuple[int, int, bytes]:
    """Return width, height and pixels of a picture whose lines have filter 0 or 1."""
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, list[tuple[bytes, bytes]]()
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", content, at + 8 + length) == (zlib.crc32(kind + body),)
        chunks.append((kind, body))
        at += 12 + length
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *form = struct.unpack(">IIBBBBB", chunks[0][1])
    assert form == [8, 2, 0, 0, 0]  # eight bits each of red, green and blue
    lines, length = zlib.decompress(chunks[1][1]), 1 + 3 * width
    assert len(lines) == height * length
    pixels = bytearray()
    for start in range(0, len(lines), length):
        line = bytearray(lines[start + 1 : start + length])
        assert lines[start] in (0, 1)
        if lines[start] == 1:
            for index in range(3, len(line)):
                line[index] = (line[index] + line[index - 3]) % 256
        pixels += line
    return width, height, bytes(pixels)
