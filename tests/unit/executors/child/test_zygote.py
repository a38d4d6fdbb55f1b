"""What loses its parent below a process that has asked for orphans is found, and ended."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.interpreter,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans away"),
]

_PROGRAM = """
import json, os, subprocess, sys, time
from cloud_tasks.executors.child import zygote

zygote.adopt()
kept = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
daemon = '''
import os, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
print(os.getpid(), flush=True); os.close(1); time.sleep(60)
'''
pid = int(subprocess.run([sys.executable, "-S", "-c", daemon], stdout=subprocess.PIPE).stdout)
found = zygote.children()
rounds = 0
while not zygote.end({kept.pid}):
    rounds += 1
    time.sleep(0.01)
gone = not os.path.exists(f"/proc/{pid}")
alive = kept.poll() is None
kept.kill()
kept.wait()
print(json.dumps([found >= {kept.pid, pid}, gone, alive, rounds > 0]))
"""


def test_a_daemon_is_found_and_ended_and_what_is_to_stay_stays() -> None:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, check=True)
    assert json.loads(ended.stdout) == [True, True, True, True]
