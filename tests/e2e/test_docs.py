"""What the documentation shows really works, and what it links to is there.

Blocks of a page are played in order in one folder: a block with a caption is a file of that name,
``$`` lines of a console block are run, any other Python block that has no caption is run by itself.
A comment ``<!-- exits with N -->`` stands before a console block that ends with another status
than 0.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloud_tasks.cli import COMMANDS

#: Several commands, one after the other; one of them waits for leases.
pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PLAYED = [
    "docs/quickstart.md",
    "docs/howto/program.md",
    "docs/howto/debug.md",
    "docs/howto/executor.md",
    "docs/howto/migrate.md",
    "docs/howto/at-least-once.md",
    "docs/howto/source.md",
    "docs/howto/spot.md",
    "docs/reference/task-files.md",
]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    if not path.is_relative_to(DOCS / "_build")
)
#: Seconds that one command may take on a busy machine.
LIMIT = 150.0

_BLOCK = re.compile(
    r"(?:<!-- exits with (?P<code>\d+) -->\n)?"
    r"^```(?P<directive>\{code-block\} )?(?P<language>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_CAPTION = re.compile(r":caption: (\S+)\n\n")
_LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@dataclass(frozen=True)
class Block:
    """A block of a page; *caption* is a file's name or empty."""

    language: str
    caption: str
    text: str
    exit_code: int


def blocks(page: Path) -> Iterator[Block]:
    for match in _BLOCK.finditer(page.read_text()):
        caption, text = "", match["body"]
        if match["directive"] and (found := _CAPTION.match(text)):
            caption, text = found[1], text[found.end() :]
        yield Block(match["language"], caption, text, int(match["code"] or 0))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which ``python`` and ``cloud_tasks`` are those under test."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, words in {"python": "", "cloud_tasks": "-m cloud_tasks "}.items():
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words}"$@"\n')
        script.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def run(
    command: str, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=environment,
        timeout=LIMIT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow  # every command of every page
@pytest.mark.parametrize("page", PLAYED)
def test_the_page_can_be_followed(page: str, tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    played = 0
    for block in blocks(ROOT / page):
        commands = []
        if block.caption:
            (folder / block.caption).write_text(block.text)
        elif block.language == "python":
            (folder / "snippet.py").write_text(block.text)
            commands = ["python snippet.py"]
        elif block.language == "console":
            lines = block.text.splitlines()
            commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for command in commands:
            done = run(command, folder, environment)
            assert done.returncode == block.exit_code, f"{command}\n{done.stdout}{done.stderr}"
            played += 1
    assert played


def test_the_quickstart_comes_to_its_results(tmp_path: Path, environment: dict[str, str]) -> None:
    test_the_page_can_be_followed("docs/quickstart.md", tmp_path, environment)
    printed = run("python results.py", tmp_path / "work", environment).stdout
    assert set(printed.splitlines()) == {"first 3", "second 7", "third task_exception"}


@pytest.mark.slow  # a dozen runs
@pytest.mark.timeout(150)  # a dozen runs
def test_the_recipes_come_to_their_results(tmp_path: Path, environment: dict[str, str]) -> None:
    test_the_page_can_be_followed("docs/recipes.md", tmp_path, environment)
    folder = tmp_path / "work"
    rows = [f"texts/part-{n}.txt,{n}" for n in range(1, 5)]
    assert (folder / "counts.csv").read_text().splitlines() == ["task_id,result", *rows]
    assert (folder / "one.csv").read_text().count("draw-") == 8
    assert {file.name: file.stat().st_size for file in (folder / "output").iterdir()} == {
        f"zeros-{n}.bin": n * 1_000_000 for n in range(1, 4)
    }
    lines = (folder / "squares" / "events.jsonl").read_text().splitlines()
    assert sum(json.loads(line).get("result", 0) for line in lines) == sum(
        n * n for n in range(10_000)
    )
    assert (folder / "ci" / "report.html").stat().st_size


def test_the_console_looks_as_the_quickstart_shows(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    shown = next(b.text for b in blocks(DOCS / "quickstart.md") if b.language == "text")
    for block in blocks(DOCS / "quickstart.md"):
        if block.caption:
            (tmp_path / block.caption).write_text(block.text)
    done = run(
        "python add.py --task-file tasks.json --num-simultaneous-tasks 2", tmp_path, environment
    )
    # One more, on a machine that takes its time.
    said = [line for line in _without_numbers(done.stderr) if not line.startswith("# progress")]
    assert said == _without_numbers(shown)


def _without_numbers(text: str) -> list[str]:
    """Times differ from run to run, in their units as well."""
    return re.sub(r"\d[\d.,:]*( (us|ms|s)\b)?", "#", text).splitlines()


def test_the_program_of_the_readme_runs(tmp_path: Path, environment: dict[str, str]) -> None:
    by_language = {block.language: block.text for block in blocks(ROOT / "README.md")}
    (tmp_path / "add.py").write_text(by_language["python"])
    (tmp_path / "tasks.json").write_text(by_language["json"])
    assert "`python add.py --task-file tasks.json`" in (ROOT / "README.md").read_text()
    done = run("python add.py --task-file tasks.json", tmp_path, environment)
    assert done.returncode == 0, done.stderr
    (_, event, _) = [
        json.loads(line) for line in (tmp_path / "events.log").read_text().splitlines()
    ]
    assert (event["task_id"], event["result"]) == ("first", 3)


def test_the_readme_has_one_line_for_the_demo_and_one_for_the_tests() -> None:
    lines = [block.text for block in blocks(ROOT / "README.md") if block.language == "sh"]
    set_up = "python3 -m venv .venv && .venv/bin/pip install -q"
    assert lines == [
        f"{set_up} . && .venv/bin/cloud_tasks demo\n",
        f"{set_up} tox && .venv/bin/tox\n",
    ]
    assert lines[0] in (DOCS / "quickstart.md").read_text()


def test_the_program_of_the_first_page_is_that_of_the_readme() -> None:
    first = next(blocks(DOCS / "index.md")).text
    readme = next(blocks(ROOT / "README.md")).text
    function = re.compile(r"def process_task.*\n.*\n")
    assert function.findall(first) == function.findall(readme) != []


def test_an_executor_of_another_package_is_found_by_name(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    page = list(blocks(DOCS / "howto" / "executor.md"))
    for block in page:
        if block.caption:
            (tmp_path / block.caption).write_text(block.text)
    toml = next(block.text for block in page if block.language == "toml")
    entry_point = toml.splitlines()[-1].replace('"', "")
    metadata = tmp_path / "threads_executor-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: threads-executor\n")
    (metadata / "entry_points.txt").write_text(f"[cloud_tasks.executors]\n{entry_point}\n")
    (tmp_path / "program.py").write_text(
        "import threading\n"
        "from cloud_tasks.worker import Worker\n"
        "def process_task(task_id, task_data, worker_data):\n"
        "    return False, threading.current_thread() is not threading.main_thread()\n"
        "Worker(process_task, task_source=lambda: [{'task_id': 'a', 'data': {}}]).main()\n"
    )
    done = run("python program.py --executor threads", tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert '"result": true' in (tmp_path / "events.log").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    missing = [
        link for link in _LINK.findall((ROOT / page).read_text()) if not (folder / link).exists()
    ]
    assert not missing


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text()
    listed = {line for line in index.splitlines() if (DOCS / f"{line}.md").is_file() and line}
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    unlisted = {page for page in pages - listed if not page.startswith(("_build/", "changes/"))}
    assert unlisted == {"index"}


def test_the_pages_name_no_flag_that_does_not_exist(environment: dict[str, str]) -> None:
    helps = [run(f"cloud_tasks {name} --help", ROOT, environment).stdout for name in COMMANDS]
    flags = set(re.findall(r"--[a-z][a-z-]+", "".join(helps)))
    foreign = {"--json", "--min-length", "--break-at", "--output-dir", "--order", "--notice-after"}
    foreign |= {"--member", "--role", "--host-port"}  # of gcloud
    foreign |= {"--array", "--cpus-per-task", "--requeue", "--additional-suffix"}  # of SLURM, split
    foreign |= {"--bar", "--eta", "--halt", "--joblog", "--memfree", "--memsuspend", "--results"}
    foreign |= {"--retry-failed", "--timeout"}  # of GNU parallel
    foreign |= {"--draft"}  # of towncrier
    foreign |= {"--password", "--api-key", "--token", "--client-secret", "--x"}  # of a user
    patterns = {"--flag", "--no-flag", "--retry-on-"}
    for page in PAGES:
        text = (ROOT / page).read_text()
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
        assert named <= flags | foreign | patterns, page
