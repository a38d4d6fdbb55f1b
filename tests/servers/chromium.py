"""A real browser without a window: what it makes of a page, what it says, what it looks like."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

_INSTALL = "Chromium not found: apt-get install chromium"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
]
#: Milliseconds of the page's own time, after which it is looked at.
_BUDGET = 4000
_PATIENCE = 50.0


def find_chromium() -> str:
    """Return the program; without one, skip the test or, where all must be there, fail it."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        if os.environ.get("CLOUD_TASKS_REQUIRE_EMULATORS") == "1":
            pytest.fail(_INSTALL)
        pytest.skip(_INSTALL)
    return found


@dataclass(frozen=True)
class Picture:
    """What a page looks like: rows of pixels, each three bytes of red, green and blue."""

    width: int
    rows: list[bytes]

    def count(self, red: int, green: int, blue: int, near: int = 30) -> int:
        """Return how many pixels have about this colour."""
        return sum(
            abs(r - red) <= near and abs(g - green) <= near and abs(b - blue) <= near
            for row in self.rows
            for r, g, b in zip(row[0::3], row[1::3], row[2::3], strict=True)
        )


class Chromium:
    """Opens pages, each time in a new profile below *folder*."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._opened = 0

    def dom(self, page: Path) -> tuple[str, list[str]]:
        """Return the document that *page* becomes, and what was said on its console."""
        done = self._run(page, "--dump-dom")
        return done.stdout.decode(), _console(done.stderr)

    def look(self, page: Path, *, dark: bool, size: str = "500,1350") -> Picture:
        """Return what the beginning of *page* looks like in a window of that size."""
        target = self._folder / f"{self._opened}.png"
        self._run(
            page,
            f"--screenshot={target}",
            f"--window-size={size}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        )
        return _decode(target.read_bytes())

    def open(self, page: Path) -> Tab:
        """Open *page* to handle it."""
        self._opened += 1
        return Tab(self._program, self._folder / f"profile{self._opened}", page)

    def _run(self, page: Path, *flags: str) -> subprocess.CompletedProcess[bytes]:
        self._opened += 1
        profile = self._folder / f"profile{self._opened}"
        command = [
            self._program,
            *_QUIET,
            f"--user-data-dir={profile}",
            f"--virtual-time-budget={_BUDGET}",
            *flags,
            page.as_uri(),
        ]
        return subprocess.run(command, capture_output=True, check=True, timeout=_PATIENCE)


def _console(said: bytes) -> list[str]:
    return re.findall(r"CONSOLE[^\]]*\] (.*)", said.decode(errors="replace"))


def _decode(png: bytes) -> Picture:
    """Decode a PNG of 8 bits a channel, as Chromium writes them."""
    at, data, header = 8, b"", b""
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        header = body if kind == b"IHDR" else header
        data += body if kind == b"IDAT" else b""
        at += length + 12
    width, height, _, colour = struct.unpack(">IIBB", header[:10])
    channels = {2: 3, 6: 4}[colour]
    raw = zlib.decompress(data)
    stride = width * channels
    rows: list[bytes] = []
    before = bytearray(stride)
    for y in range(height):
        start = y * (stride + 1)
        line = bytearray(raw[start + 1 : start + 1 + stride])
        _unfilter(raw[start], line, before, channels)
        before = line
        pixels = memoryview(line)
        rows.append(
            bytes(line)
            if channels == 3
            else b"".join(bytes(pixels[x : x + 3]) for x in range(0, stride, 4))
        )
    return Picture(width, rows)


def _unfilter(kind: int, line: bytearray, above: bytearray, channels: int) -> None:
    if kind == 2:
        line[:] = bytes((a + b) & 255 for a, b in zip(line, above, strict=True))
        return
    for i in range(len(line)) if kind else ():
        left = line[i - channels] if i >= channels else 0
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + above[i]) // 2
        else:
            guess = _paeth(left, above[i], above[i - channels] if i >= channels else 0)
        line[i] = (line[i] + guess) & 255


def _paeth(left: int, above: int, corner: int) -> int:
    far_left, far_above = abs(above - corner), abs(left - corner)
    far_corner = abs(left + above - 2 * corner)
    if far_left <= far_above and far_left <= far_corner:
        return left
    return above if far_above <= far_corner else corner


class Tab:
    """An open page that can be asked and handled, over a pair of pipes.

    Use it as a context; the browser ends with it.
    """

    def __init__(self, program: str, profile: Path, page: Path) -> None:
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        words = [program, *_QUIET, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        # The browser reads its commands from descriptor 3 and answers on 4.
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", shell, "bash", *words],
            pass_fds=[theirs_in, theirs_out],
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest = b""
        self._count = 0
        self._session: str | None = None
        self._loader: str | None = None
        self.problems: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.ask(f"{domain}.enable")
        loader = self.ask("Page.navigate", url=page.as_uri())["loaderId"]
        # Before that, the page may go away while it is asked something.
        while self._loader != loader:
            self._hear(self._receive())

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session = None
        helpers = psutil.Process(self._process.pid).children(recursive=True)
        self.ask("Browser.close")
        self._process.wait(_PATIENCE)
        # They end by themselves, on a busy machine seconds later.
        psutil.wait_procs(helpers, timeout=_PATIENCE)
        os.close(self._to)
        os.close(self._from)

    def ask(self, method: str, **params: Any) -> Any:
        """Send a command of the DevTools protocol; returns its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            self._hear(answer)

    def value(self, expression: str) -> Any:
        """Return what *expression* is in the page, as JSON knows it."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release *key*."""
        for kind in ("keyDown", "keyUp"):
            text = key if len(key) == 1 and kind == "keyDown" else ""
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, text=text)

    def _hear(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        url = params.get("request", {}).get("url", "")
        if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.problems.append(json.dumps(params))
        elif method == "Network.requestWillBeSent" and not url.startswith(("file:", "about:")):
            self.problems.append(f"asks for {url}")
        elif method == "Page.frameNavigated":
            self._loader = params["frame"]["loaderId"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], _PATIENCE)
            assert ready, "the browser does not answer"
            part = os.read(self._from, 65536)
            assert part, "the browser is gone"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer
