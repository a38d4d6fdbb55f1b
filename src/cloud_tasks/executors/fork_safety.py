"""Whether a process can be forked with what has been imported into it."""

from __future__ import annotations

import contextlib
import os
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading

#: They start threads when they are imported, and know how to live with a fork.
_KNOWN_TO_COPE = ("numpy", "scipy")
_INSTEAD = "open it in the task, or use --executor spawn"


def doubts() -> list[str]:
    """Return what of this process will not work in a fork of it, as sentences."""
    found = []
    names = [thread.name for thread in other_threads()]
    native = _native_threads() - 1 - len(names)
    if names:
        found.append(
            f"importing your module started {_count(len(names))} ({', '.join(names[:3])}), which "
            "the processes of tasks will not have: start them in the task, or use "
            "--executor spawn"
        )
    if native > 0 and "grpc" in sys.modules:
        found.append(
            f"importing your module opened gRPC, which does not work in a fork: {_INSTEAD}"
        )
    elif native > 0 and not any(name in sys.modules for name in _KNOWN_TO_COPE):
        found.append(
            f"importing your module started {_count(native)} of C code, which the processes of "
            "tasks will not have: start them in the task, or use --executor spawn"
        )
    if _has_gpu():
        found.append(
            f"importing your module opened CUDA, which does not work in a fork: {_INSTEAD}"
        )
    return found


def other_threads() -> list[threading.Thread]:
    """Return the threads of Python beside the main one."""
    # Where nobody has imported it, there are none; and it has work to do after each fork.
    module = sys.modules.get("threading")
    if module is None:
        return []
    return [thread for thread in module.enumerate() if thread is not module.main_thread()]


def _count(n: int) -> str:
    return "a thread" if n == 1 else f"{n} threads"


def _native_threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - imports little
    except OSError:
        return 1


def _has_gpu() -> bool:
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - imports little
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}").startswith("/dev/nvidia"):  # noqa: PTH115
                    return True
    return False


def renew_random_state() -> None:
    """Give this process random numbers of its own, as a fresh import would.

    Python does so for ``random``. Generators that a module made at its import stay as they are.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        # Where it is given none, it draws one in 0.1 ms.
        numpy_random.seed(struct.unpack("8I", os.urandom(32)))
