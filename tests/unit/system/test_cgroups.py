from __future__ import annotations

from pathlib import Path

import pytest

from cloud_tasks.executors.pool.crash_info import OomWatch
from cloud_tasks.system.cgroups import ControlGroups

pytestmark = pytest.mark.interpreter

MB = 2**20


class Tree:
    """What the kernel tells, in files of our own."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.mount = folder / "proc", folder / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self.mount.mkdir()

    def of_process(self, *lines: str) -> None:
        (self.proc / "self" / "cgroup").write_text("".join(f"{line}\n" for line in lines))

    def group(self, path: str, **files: object) -> None:
        folder = self.mount / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / f"memory.{name}").write_text(f"{content}\n")

    @property
    def groups(self) -> ControlGroups:
        return ControlGroups(self.proc, self.mount)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_where_there_are_no_groups_nothing_is_known(tree: Tree) -> None:
    assert tree.groups.free_memory() is None
    assert tree.groups.oom_kills() == 0


def test_the_tightest_group_above_counts_and_files_that_can_go_are_free(tree: Tree) -> None:
    tree.of_process("0::/a/b/c")
    tree.group("a", max=1000 * MB, current=900 * MB, stat=f"anon 5\ninactive_file {50 * MB}")
    tree.group("a/b", max="max", current=100 * MB)
    tree.group("a/b/c", max=500 * MB, current=100 * MB)
    assert tree.groups.free_memory() == 150 * MB


def test_version_1_is_read_too(tree: Tree) -> None:
    tree.of_process("9:name=systemd:/", "4:memory:/x", "3:cpu,cpuacct:/", "0::/")
    tree.group("memory", limit_in_bytes=9223372036854771712, usage_in_bytes=5 * MB)
    tree.group(
        "memory/x",
        limit_in_bytes=300 * MB,
        usage_in_bytes=200 * MB,
        stat=f"inactive_file 0\ntotal_inactive_file {MB}",
        oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 7",
    )
    assert tree.groups.free_memory() == 101 * MB
    assert tree.groups.oom_kills() == 7


def test_inside_a_container_the_root_stands_for_a_path_of_the_host(tree: Tree) -> None:
    tree.of_process("0::/docker/0123")
    tree.group("", max=64 * MB, current=70 * MB, events="oom 3\noom_kill 2\noom_group_kill 0")
    assert tree.groups.free_memory() == 0
    assert tree.groups.oom_kills() == 2


def test_files_that_cannot_be_read_or_understood_tell_nothing(tree: Tree) -> None:
    tree.of_process("0::/a", "nonsense", "4:memory", "5:memory:/../../up")
    tree.group("a", max="12 MB", current="", stat="inactive_file", events="oom_kill x")
    (tree.mount / "a" / "memory.max").chmod(0)
    (tree.mount / "a" / "memory.current").unlink()
    (tree.mount / "a" / "memory.current").mkdir()
    assert tree.groups.free_memory() is None
    assert tree.groups.oom_kills() == 0


def test_each_of_several_kills_at_one_moment_explains_one_death(tree: Tree) -> None:
    tree.of_process("0::/")
    tree.group("", events="oom_kill 3")
    watch = OomWatch(tree.groups)
    assert watch.hint(-9) is None
    tree.group("", events="oom_kill 5")
    assert [watch.hint(code) for code in (-11, None, -9, -9, -9)] == [
        None, None, "out of memory", "out of memory", None,
    ]  # fmt: skip


def test_where_no_group_counts_kills_the_machine_does(tree: Tree) -> None:
    tree.of_process("0::/")
    (tree.proc / "vmstat").write_text("nr_free_pages 1\noom_kill 12\n")
    assert tree.groups.oom_kills() == 12
