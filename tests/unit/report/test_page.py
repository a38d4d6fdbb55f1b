from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from unit.report.logs import HOSTILE, documented, ours, raised, run_dir, write

from cloud_tasks.cli import main
from cloud_tasks.report.page import page
from cloud_tasks.report.text import lines

LARGEST = 1_000_000


class Elements(HTMLParser):
    """All elements of a page, and what stands in the scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script":
            self.scripts[-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def made(tmp_path: Path, *events: dict[str, Any], **more: Any) -> str:
    return page(documented(write(tmp_path / "e.log", *events), **more))


def failing(number: int, **more: Any) -> dict[str, Any]:
    return ours(number, 0.5, "task_exception", exception=raised(f"{number}"), **more)


def test_the_page_refers_to_nothing_outside(tmp_path: Path) -> None:
    text = made(tmp_path, ours(1, 0.5), failing(2))
    assert "http:" not in text
    assert "https:" not in text
    elements = Elements(text)
    assert not [tag for tag, _ in elements.found if tag in ("link", "img", "iframe", "base")]
    assert not [a for _, a in elements.found if a.keys() & {"src", "style", "onclick", "onload"}]
    assert all(str(a["href"]).startswith("#") for a in elements.all("a"))
    assert "@import" not in text
    assert "url(" not in text
    (policy,) = [a for a in elements.all("meta") if a.get("http-equiv")]
    assert str(policy["content"]).startswith("default-src 'none'")
    assert "unsafe" not in str(policy["content"])


def test_other_peoples_text_is_text(tmp_path: Path) -> None:
    plain = Elements(made(tmp_path, ours(1, 0.5), failing(2)))
    bad = {"task_id": HOSTILE, "hostname": HOSTILE}
    start = {
        "event": "start",
        "command": [HOSTILE],
        "function": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
        "settings": [{"name": HOSTILE, "value": HOSTILE, "origin": HOSTILE}],
    }
    folder = run_dir(
        tmp_path / "<img src=x>",
        ours(1, 0.5, **bad),
        {**failing(2, **bad), "exception": raised(HOSTILE)},
        {"event_type": HOSTILE},
        {"event_type": "fatal_exception", "exception": HOSTILE, "stack_trace": HOSTILE, **bad},
        starts=[start, {"event": "end", "summary": {"stop_reason": HOSTILE, "exit_code": HOSTILE}}],
    )
    text = page(documented(folder))
    elements = Elements(text)
    assert len(elements.scripts) == len(plain.scripts) == 2
    assert not elements.all("img")
    assert "\x1b" not in text
    data = json.loads(elements.scripts[0])
    assert data["tries"][0][3] == HOSTILE


def test_tables_have_captions_and_named_columns_and_pictures_have_words(tmp_path: Path) -> None:
    text = made(
        tmp_path, *(ours(n, 0.5, max_rss_mb=9.0, cpu_time=0.4) for n in range(1, 9)), failing(9)
    )
    elements = Elements(text)
    assert len(elements.all("table")) == text.count("<caption>") > 5
    assert all(a.get("scope") in ("col", "row") for a in elements.all("th"))
    charts = [a for a in elements.all("div") if "chart" in str(a.get("class"))]
    assert len(charts) == 4
    assert all(a.get("role") == "img" and a.get("aria-label") for a in charts)
    ids = [a["id"] for _, a in elements.found if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {str(a["href"])[1:] for a in elements.all("a")}
    assert targets <= set(ids)


def test_the_page_tells_causes_with_traceback_example_and_command(tmp_path: Path) -> None:
    start = {"event": "start", "command": ["python", "my.py", "--task-file", "t.json"]}
    folder = run_dir(tmp_path / "run", ours(1, 0.5), failing(2), starts=[start])
    text = page(documented(folder))
    for part in (
        "ValueError: #",
        "pipeline.py:12 in process_task",
        "raise ValueError",
        "python my.py --task-file t.json --task-id t-2",
    ):
        assert part in text


def test_each_cause_has_its_hosts(tmp_path: Path) -> None:
    events = [ours(n, 0.5, "task_exited", exit_code=n, hostname=f"host-{n}") for n in range(1, 9)]
    text = made(tmp_path, *events)
    assert all(f"host-{n} (1)" in text for n in range(1, 9))


def test_a_page_without_a_task_has_no_chart(tmp_path: Path) -> None:
    text = made(tmp_path)
    assert "No task has ended yet" in text
    assert "<script" not in text


def test_ten_thousand_causes_stay_below_a_megabyte(tmp_path: Path) -> None:
    letters = "abcdefghij"
    events = [
        failing(n, task_id=f"t{n}" * 60)
        | {"exception": raised("".join(letters[int(d)] for d in str(n)) + "x" * 3000)}
        for n in range(10_000)
    ]
    text = made(tmp_path, *events)
    assert len(text.encode()) < LARGEST
    found = re.search(r"and ([\d,]+) attempts for ([\d,]+) other", text)
    assert found is not None
    shown = 10_000 - int(found[1].replace(",", ""))
    assert shown >= 40


@pytest.mark.parametrize(("length", "kept"), [(7, True), (60, False)])
def test_attempts_are_drawn_one_by_one_where_they_fit(
    tmp_path: Path, length: int, kept: bool
) -> None:
    events = [ours(n / 10, 0.09, task_id=f"{n:0{length}}") for n in range(1, 12_001)]
    text = made(tmp_path, *events)
    assert len(text.encode()) < LARGEST
    data = json.loads(Elements(text).scripts[0])
    assert (data["tries"] is not None) is kept


def test_the_largest_of_everything_stays_below_a_megabyte(tmp_path: Path) -> None:
    events = [
        failing(n, hostname=f"{n % 520}-{'h' * 110}", slot=n % 3, task_id="é" * 2000)
        for n in range(1, 1600)
    ]
    problem = {
        "event_type": "fatal_exception",
        "exception": "&" * 9999,
        "stack_trace": "<\n" * 9999,
    }
    notes = [{**ours(n, 1), **problem} for n in range(300)]
    assert len(made(tmp_path, *events, *notes).encode()) < LARGEST


def test_a_lone_half_of_a_pair_is_no_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write(tmp_path / "e.log", failing(1, task_id="\ud800", hostname="\udfff"))
    assert main(["report", str(log), "-o", str(tmp_path / "r.html")]) == 0
    assert (tmp_path / "r.html").stat().st_size > 50_000
    assert "\\ud800" in capsys.readouterr().out


# -- the command


def test_a_run_directory_gets_a_page_and_the_console_a_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_dir(tmp_path / "run", ours(1, 0.5), starts=[])
    assert main(["report", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == lines(documented(folder))
    assert f"page: {folder / 'report.html'}" in err
    assert sorted(p.name for p in folder.iterdir()) == ["events.jsonl", "report.html", "runs.jsonl"]


def test_a_log_gets_a_page_only_where_one_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write(tmp_path / "e.log", ours(1, 0.5))
    assert main(["report", str(log)]) == 0
    assert main(["report", str(log), "--json"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["e.log"]
    assert main(["report", str(log), "-o", str(tmp_path / "r.html")]) == 0
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")


def test_json_is_one_document_and_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_dir(tmp_path / "run", ours(1, 0.5), starts=[])
    assert main(["report", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["ok"] == 1
    assert not (folder / "report.html").exists()


def test_what_is_not_there_is_said_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path / "none")]) == 4
    assert "there is no run directory and no event log" in capsys.readouterr().err


def test_a_page_that_can_not_be_written_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write(tmp_path / "e.log", ours(1, 0.5))
    (tmp_path / "taken").mkdir()
    for target in (tmp_path / "no" / "r.html", tmp_path / "taken"):
        assert main(["report", str(log), "-o", str(target)]) == 4
        assert "choose another place with -o" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.log", "taken"]


def test_a_time_of_no_sense_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["report", "x", "--since", "yesterday"])
    assert caught.value.code == 2
