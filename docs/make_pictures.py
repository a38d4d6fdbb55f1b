"""Make the pictures of the documentation: ``python docs/make_pictures.py``.

It runs a program on a pseudo-terminal, and a terminal emulator renders the screen. A browser opens
the report. It needs pyte, and Chromium on the path.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from fcntl import ioctl
from html import escape
from itertools import groupby
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ

import pyte

HERE = Path(__file__).parent / "pictures"
COLUMNS, ROWS = 80, 19
PROGRAM = """
import os, random, sys, time
from cloud_tasks.worker import Worker

def process_task(task_id, task_data, worker_data):
    chance = random.Random(task_id)
    time.sleep(chance.random() * 0.02 if chance.random() < 0.99 else 0.8)
    if chance.random() < 0.01:
        raise ValueError(f"bad header in img_{task_data['n']}")
    if task_data["n"] == 400:
        os.abort()
    return False, {"stars": chance.randrange(1000)}

def frames():
    return [{"task_id": f"frame-{n:04}", "data": {"n": n}} for n in range(1200)]

if __name__ == "__main__":
    Worker(process_task, task_source=frames, args=sys.argv[1:]).main()
"""
FLAGS = ["--num-simultaneous-tasks", "4", "--run-dir", "run"]
PALETTE = {
    "default": "#d8dee4", "black": "#57606a", "red": "#ff8f88", "green": "#7ee2a0",
    "brown": "#f0c674", "yellow": "#f0c674", "blue": "#8ab8ff", "magenta": "#e0a3f0",
    "cyan": "#7fdbe0", "white": "#f6f8fa",
}  # fmt: skip
#: Matches the line of the bar between 60 and 70 %.
MIDDLE = re.compile(r"━ +6\d\.\d %")
WIDTH, HEIGHT, MARGIN = 8.43, 18, 16


def main() -> None:
    """Run the program; save the screen in the middle and at the end, and the report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "frames.py").write_text(PROGRAM)
        middle, end = watch([sys.executable, "frames.py", *FLAGS], folder)
        for rows, picture in ((middle, "progress.svg"), (end, "summary.svg")):
            # Of equal length, so that nothing moves.
            place = "/home/you/frames".ljust(len(name))[: len(name)]
            (HERE / picture).write_text(drawn(rows).replace(name, place))
        subprocess.run(
            [sys.executable, "-m", "cloud_tasks", "report", "run"],
            cwd=folder, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        photograph(folder / "run" / "report.html", HERE / "report.png")


Screen = list[list[pyte.screens.Char]]


def watch(command: list[str], folder: Path) -> tuple[Screen, Screen]:
    """Run *command* on a terminal; return the screen when half is done, and at the end."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(folder)
        hidden = ("CI", "NO_COLOR")
        environment = {k: v for k, v in os.environ.items() if k not in hidden}
        os.execve(command[0], command, {**environment, "TERM": "xterm-256color"})  # noqa: S606
    ioctl(descriptor, TIOCSWINSZ, pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    middle: Screen = []
    while chunk := read(descriptor):
        stream.feed(chunk)
        if not middle and any(MIDDLE.search(line) for line in screen.display):
            middle = copied(screen)
    os.waitpid(pid, 0)
    return middle or copied(screen), copied(screen)


def read(descriptor: int) -> bytes:
    """Read the next output, a whole drawing if possible; return nothing at the end."""
    try:
        chunk = os.read(descriptor, 65536)
        while select.select([descriptor], [], [], 0.02)[0]:
            chunk += os.read(descriptor, 65536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""
    return chunk


def copied(screen: pyte.Screen) -> Screen:
    rows = [[screen.buffer[y][x] for x in range(COLUMNS)] for y in range(ROWS)]
    while rows and all(char.data == " " for char in rows[-1]):
        rows.pop()
    return rows


def drawn(rows: Screen) -> str:
    """Return an SVG of the terminal, with a text element for each run of equal characters."""
    width, height = COLUMNS * WIDTH + 2 * MARGIN, len(rows) * HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14">',
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="#1b1f24"/>',
    ]
    for y, row in enumerate(rows):
        x = 0
        for (colour, bold), run in groupby(row, key=lambda char: (char.fg, char.bold)):
            text = "".join(char.data for char in run)
            if text.strip():
                parts.append(words(text, x, y, colour, bold=bold))
            x += len(text)
    return "\n".join([*parts, "</svg>", ""])


def words(text: str, x: int, y: int, colour: str, *, bold: bool) -> str:
    lead = len(text) - len(text.lstrip())
    shown = text.strip()
    fill = PALETTE.get(colour, f"#{colour}")
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text xml:space="preserve" x="{MARGIN + (x + lead) * WIDTH:.1f}" '
        f'y="{MARGIN + y * HEIGHT + 14}" textLength="{len(shown) * WIDTH:.1f}" fill="{fill}"'
        f"{weight}>{escape(shown)}</text>"
    )


def photograph(page: Path, target: Path) -> None:
    """Take a picture of the upper part of *page*."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("Chromium is needed for a picture of the report: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", f"--user-data-dir={profile}", "--window-size=1100,1500",
                "--virtual-time-budget=3000", f"--screenshot={target}", page.as_uri(),
            ],
            stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip


if __name__ == "__main__":
    began = time.monotonic()
    main()
    names = ", ".join(path.name for path in HERE.iterdir())
    sys.stdout.write(f"made in {time.monotonic() - began:.0f} s: {names}\n")
