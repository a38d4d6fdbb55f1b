"""The peak memory of single tasks, as the kernel counts it for their process."""

from __future__ import annotations

from cloud_tasks.executors.common.call import NOT_MEASURED

#: Only runs at least this long, in seconds, pay for asking the kernel about everything.
WORTH_MEASURING = 0.005


class PeakMemory:
    """Peak memory of single tasks in one process.

    The kernel's high-water mark never falls by itself, so it is reset before a task, but only
    while tasks are long enough to bear the two system calls.
    """

    def __init__(self) -> None:
        self._worth_it = True
        self._clean = False

    def before(self) -> None:
        """Begin a task."""
        if self._worth_it:
            try:
                with open("/proc/self/clear_refs", "wb", buffering=0) as file:  # noqa: PTH123
                    file.write(b"5")
                self._clean = True
            except OSError:
                self._clean = False

    def after(self, run_time: float) -> float:
        """Return the peak in MiB, NaN where it is not this task's own."""
        clean, self._clean = self._clean, False
        self._worth_it = run_time >= WORTH_MEASURING
        if not clean:
            return NOT_MEASURED
        try:
            with open("/proc/self/status", "rb", buffering=0) as file:  # noqa: PTH123
                text = file.read(4096)
            return int(text.partition(b"VmHWM:")[2].split(None, 1)[0]) / 1024
        except (OSError, ValueError, IndexError):
            return NOT_MEASURED


class PeakMemoryOfForked:
    """The same in a process that was just forked: its mark stands at what it began with."""

    def before(self) -> None:
        """Begin the task."""

    def after(self, run_time: float) -> float:
        """Return the peak in MiB."""
        import resource  # which not every platform has

        # Elsewhere, what the process was before its exec would count, too.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
