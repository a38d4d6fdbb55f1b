"""Measure the peak memory of single tasks, as the kernel counts it for their process."""

from __future__ import annotations

from cloud_tasks.executors.common.call import NOT_MEASURED

#: Seconds. A task is measured only if the one before it took as long, because measuring takes six
#: system calls (two files of /proc), more than a very short task itself.
WORTH_MEASURING = 0.005


class PeakMemory:
    """Measure the peak memory of one task after the other in a reused process.

    The kernel's high-water mark never falls by itself, so it is reset before a task.
    """

    def __init__(self) -> None:
        self._enabled = True
        self._was_reset = False

    def before(self) -> None:
        """Reset the mark before a task, unless the last task was too short."""
        if self._enabled:
            try:
                with open("/proc/self/clear_refs", "wb", buffering=0) as file:  # noqa: PTH123
                    file.write(b"5")
                self._was_reset = True
            except OSError:
                self._was_reset = False

    def after(self, run_time: float) -> float:
        """Return the peak in MiB of a task that took *run_time* s; NaN if it was not measured."""
        was_reset, self._was_reset = self._was_reset, False
        self._enabled = run_time >= WORTH_MEASURING
        if not was_reset:
            return NOT_MEASURED
        try:
            with open("/proc/self/status", "rb", buffering=0) as file:  # noqa: PTH123
                text = file.read(4096)
            return int(text.partition(b"VmHWM:")[2].split(None, 1)[0]) / 1024
        except (OSError, ValueError, IndexError):
            return NOT_MEASURED


class PeakMemoryOfForked:
    """Measure the peak memory of the only task of a forked process, whose mark needs no reset."""

    def before(self) -> None:
        """Do nothing."""

    def after(self, run_time: float) -> float:
        """Return the peak in MiB."""
        import resource  # not on every platform

        # Only right after a fork: ru_maxrss survives an exec, and would count what was before it.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def held_memory() -> int:
    """Return the bytes of this process that no file backs: the kernel can't drop them."""
    with open("/proc/self/status", "rb", buffering=0) as file:  # noqa: PTH123
        text = file.read(4096)
    amounts = (text.partition(name)[2].split(None, 1)[0] for name in (b"RssAnon:", b"RssShmem:"))
    return sum(int(amount) * 1024 for amount in amounts)
