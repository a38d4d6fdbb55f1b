"""Describe the machine of a measurement, and the CPU that other processes used meanwhile."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchmarks.checkout import ROOT, environment

_TICK = os.sysconf("SC_CLK_TCK")
#: Fields of the first line of ``/proc/stat`` in which a process ran.
_USER, _NICE, _SYSTEM, _INTERRUPTS, _SOFT_INTERRUPTS, _STOLEN = 0, 1, 2, 5, 6, 7
#: Packages that ours uses.
_OURS = ("loky", "psutil", "PyYAML", "numpy", "ijson")
_OWN_VERSION = "import cloud_tasks; print(cloud_tasks.__version__)"
_LIST_VERSIONS = """
import json, sys
from importlib import metadata
found = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
print(json.dumps({name: found[name] for name in sys.argv[1:] if name in found}))
"""


@dataclass(frozen=True, slots=True)
class Cores:
    """CPU seconds up to one moment.

    Attributes:
        wall: seconds of the monotonic clock.
        all: of every process of the machine.
        own: of this process and what it has reaped.
        stolen: that the hypervisor took for other machines.
    """

    wall: float
    all: float
    own: float
    stolen: float

    @classmethod
    def now(cls) -> Cores:
        """Read the counters, in ticks of mostly 10 ms."""
        line = Path("/proc/stat").read_text().partition("\n")[0]
        ticks = [int(number) for number in line.split()[1:]]
        busy = sum(ticks[n] for n in (_USER, _NICE, _SYSTEM, _INTERRUPTS, _SOFT_INTERRUPTS))
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = time.process_time() + reaped.ru_utime + reaped.ru_stime
        return cls(time.monotonic(), busy / _TICK, own, ticks[_STOLEN] / _TICK)

    def others(self, since: Cores) -> float:
        """Return the cores that others used, on average."""
        used = self.all - since.all - (self.own - since.own)
        return max(0.0, used / max(1e-9, self.wall - since.wall))

    def taken(self, since: Cores) -> float:
        """Return the cores that were stolen, on average."""
        return (self.stolen - since.stolen) / max(1e-9, self.wall - since.wall)


def describe() -> dict[str, str]:
    """Return the facts of this machine and its Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def versions(peers: Path | None, names: list[str]) -> dict[str, str]:
    """Return versions by name: of this Python's packages, and of *names* of the peers'.

    Args:
        peers: their interpreter; None: there is none.
        names: of packages.
    """
    found = {"cloud_tasks": _said([sys.executable, "-c", _OWN_VERSION])}
    for name in _OURS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if peers is not None:
        for name, version in _versions_of(peers, names).items():
            found[f"peer {name}"] = version
    commit = _said(["git", "describe", "--always", "--dirty"])
    return {**found, **({"commit": commit} if commit else {}), **_tools()}


def _versions_of(python: Path, names: list[str]) -> dict[str, str]:
    said = _said([str(python), "-c", _LIST_VERSIONS, *map(str.lower, names)])
    found: dict[str, str] = json.loads(said) if said else {}
    return found


def _tools() -> dict[str, str]:
    said = {name: _said([name, "--version"]).partition("\n")[0] for name in ("parallel", "xargs")}
    return {name: text for name, text in said.items() if text}


def _said(command: list[str]) -> str:
    """Return the output of *command*; an empty text if it can't run."""
    try:
        done = subprocess.run(
            command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
