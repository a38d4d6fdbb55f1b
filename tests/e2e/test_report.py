"""The report as a user gets it: a real run, the page in a real browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.command import run_command
from e2e.program import Program, environment
from servers.chromium import Chromium, Tab, find_chromium

from cloud_tasks.testing import eventually
from cloud_tasks.timestamps import timestamp

_SCRIPT = """
import sys, time
from pathlib import Path
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    if "meets" in data:  # so that each slot has one, however late its process comes
        Path(f"began-{task_id}").touch()
        while not Path(f"began-{data['meets']}").exists():
            time.sleep(0.005)
    time.sleep(data["seconds"])
    if data.get("bad"):
        raise ValueError(f"bad header in {task_id}")
    return False, "done"

if __name__ == "__main__":
    Worker(process_task, args=sys.argv[1:]).main()
"""
_CHARTS = "5"


@pytest.fixture
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Chromium:
    return Chromium(find_chromium(), tmp_path_factory.mktemp("chromium"))


def report(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    done = run_command("report", *args, cwd=folder, env=environment())
    done.check_returncode()
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run of 40 tasks, some of which fail; returns the folder of the program."""
    program = Program(tmp_path_factory.mktemp("made"), _SCRIPT)
    tasks = [{"seconds": 0.02 + 0.01 * (n % 7), "bad": n % 10 == 3} for n in range(40)]
    program.tasks({**tasks[0], "meets": "t1"}, {**tasks[1], "meets": "t0"}, *tasks[2:])
    code, err = program.run("--run-dir", "run", "--num-simultaneous-tasks", "2", "--price", "3.6")
    assert code == 1, err
    return program.folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """Return the directory of the run, in a folder of its own."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


def test_a_real_run_becomes_a_summary_a_document_and_a_page(run: Path) -> None:
    done = report(run.parent, "run")
    assert "40 attempts in " in done.stdout
    assert "done 36   failed 4   tasks not done 4" in done.stdout
    assert "of 2 slots" in done.stdout
    assert "ValueError: bad header in t# (program.py:13 in process_task)" in done.stdout
    assert "page: run/report.html" in done.stderr
    found = json.loads(report(run.parent, "run", "--json").stdout)
    assert found["failures"][0]["rerun"].endswith("--task-id t3")
    assert found["cost"]["price_per_hour"] == 3.6
    assert found["totals"]["slots"] == 2


def test_the_command_that_the_report_tells_runs_the_task_again(run: Path) -> None:
    found = json.loads(report(run.parent, "run", "--json").stdout)
    command = re.sub(r"^\S+", sys.executable, found["failures"][0]["rerun"])
    again = subprocess.run(
        command, shell=True, cwd=run.parent, env=environment(), capture_output=True, timeout=40
    )
    assert again.returncode == 1, again.stderr
    later = json.loads(report(run.parent, "run", "--json").stdout)
    assert later["totals"]["tries"] == 41
    assert later["attempts"]["by_number"][1] == {"attempt": 2, "ok": 0, "not_done": 1}
    assert later["run"]["starts"] == 2


def test_a_browser_draws_all_charts_and_has_nothing_to_complain_of(
    run: Path, chromium: Chromium
) -> None:
    report(run.parent, "run")
    dom, said = chromium.dom(run / "report.html")
    assert said == []
    assert drawn(dom) == _CHARTS
    assert "data-problem" not in dom
    assert dom.count('class="uplot u-hz"') == 4
    assert 'aria-label="Timeline of 2 rows' in dom


def drawn(dom: str) -> str | None:
    found = re.search(r'<html[^>]* data-drawn="(\d+)"', dom)
    return None if found is None else found[1]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_is_seen_in_light_and_in_dark(run: Path, chromium: Chromium, dark: bool) -> None:
    report(run.parent, "run")
    seen = chromium.look(run / "report.html", dark=dark)
    card, failed = ((26, 32, 38), (242, 122, 108)) if dark else ((255, 255, 255), (194, 55, 43))
    assert seen.count(*card, near=3) > 0.3 * len(seen.rows) * seen.width
    # The failed attempts of the timeline, and what else is red.
    assert seen.count(*failed) > 300


def shown(tab: Tab) -> str:
    return str(tab.value("document.getElementById('timeline-view').textContent"))


def test_the_page_is_handled_by_keyboard_and_pointer(run: Path, chromium: Chromium) -> None:
    report(run.parent, "run")
    with chromium.open(run / "report.html") as tab:
        eventually(lambda: tab.value("document.documentElement?.dataset.drawn") == _CHARTS, 30)
        tab.press("Tab")
        assert tab.value("document.activeElement.className") == "skip"
        tab.value("document.querySelector('#timeline canvas').focus()")
        assert shown(tab) == "all"
        for key in ("+", "+", "ArrowRight"):
            tab.press(key)
        assert "and" in shown(tab)
        tab.press("0")
        assert shown(tab) == "all"
        tab.value("document.querySelector('#timeline').scrollIntoView()")
        left, top, width = tab.value(
            "(({left, top, width}) => [left, top, width])"
            "(document.querySelector('#timeline canvas').getBoundingClientRect())"
        )
        drag(tab, left + 0.5 * width, left + 0.8 * width, top + 15)
        assert "and" in shown(tab)
        tab.ask("Input.dispatchMouseEvent", type="mouseMoved", x=left + 0.6 * width, y=top + 15)
        assert "slot 0" in tab.value("document.querySelector('.tip').textContent")
        for mode in ("log", "share", "count"):
            tab.value(
                f"(s => {{ s.value = '{mode}'; s.dispatchEvent(new Event('change')); }})"
                "(document.getElementById('run-time-mode'))"
            )
            assert tab.value("document.querySelectorAll('#run-time .uplot').length") == 1
        assert tab.problems == []


def drag(tab: Tab, start: float, end: float, y: float) -> None:
    for kind, x in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
        buttons = {"button": "left", "buttons": 0 if kind == "mouseReleased" else 1}
        tab.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, clickCount=1, **buttons)


def test_the_charts_change_with_the_colour_scheme_and_paper_is_light(
    run: Path, chromium: Chromium
) -> None:
    report(run.parent, "run")
    picture = "document.querySelector('#timeline canvas').toDataURL()"
    with chromium.open(run / "report.html") as tab:
        eventually(lambda: tab.value("document.documentElement?.dataset.drawn") == _CHARTS, 30)
        light = in_scheme(tab, "light", picture, other_than="")
        dark = in_scheme(tab, "dark", picture, other_than=light)
        assert in_scheme(tab, "light", picture, other_than=dark) == light
        folded = "document.querySelectorAll('details:not([open])').length"
        before = tab.value(folded)
        assert before > 0
        paper = base64.b64decode(tab.ask("Page.printToPDF", printBackground=True)["data"])
        assert paper.startswith(b"%PDF")
        assert tab.value(folded) == before
        assert tab.problems == []


def in_scheme(tab: Tab, scheme: str, picture: str, *, other_than: str) -> str:
    """Return *picture* in a colour scheme, once it is another one than it was."""
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    tab.ask("Emulation.setEmulatedMedia", media="screen", features=media)
    return eventually(lambda: _changed(str(tab.value(picture)), other_than), 20)


def _changed(seen: str, before: str) -> str | None:
    return None if seen == before else seen


def test_a_hostile_log_is_drawn_and_does_nothing(tmp_path: Path, chromium: Chromium) -> None:
    bad = "</script><script>document.documentElement.dataset.owned=1</script><img src=x onerror=1>"
    events = [
        {
            "timestamp": timestamp(1_795_287_600 + n),
            "hostname": bad,
            "event_type": "task_exception" if n % 3 else "task_completed",
            "task_id": f"{bad}{n}\n\x1b[2J",
            "retry": False,
            "elapsed_time": 0.5 + n % 5,
            "exception": f"Traceback\n{bad}\nE: {bad}",
        }
        for n in range(1, 60)
    ]
    lines = [json.dumps(event) for event in events]
    (tmp_path / "events.log").write_text("\n".join([*lines, bad, '{"torn']))
    report(tmp_path, "events.log", "-o", "page.html")
    dom, said = chromium.dom(tmp_path / "page.html")
    assert said == []
    assert drawn(dom) == "3"
    assert "data-owned" not in dom
    assert "<img" not in dom


def test_a_long_log_of_the_older_system_is_drawn_in_lanes(
    tmp_path: Path, chromium: Chromium
) -> None:
    with (tmp_path / "events.log").open("w") as file:
        for n in range(30_000):
            end = 1_795_287_600 + n / 10
            event = {
                "timestamp": timestamp(end),
                "hostname": f"node-{n % 3}",
                "event_type": "task_completed",
                "task_id": f"task-{n}",
                "retry": False,
                "elapsed_time": 1 + n % 4,
                "result": "ok",
            }
            file.write(f"{json.dumps(event)}\n")
    report(tmp_path, "events.log", "-o", "page.html")
    assert (tmp_path / "page.html").stat().st_size < 1_000_000
    dom, said = chromium.dom(tmp_path / "page.html")
    assert said == []
    assert drawn(dom) == "3"
    assert "laid out in as few lanes" in dom
