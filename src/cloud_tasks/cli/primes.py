"""Count primes: the job of ``cloud_tasks demo`` and of ``examples/primes``.

It needs only Python, and its answer is known: a right sum shows that no task was lost, and none
counted twice.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from math import isqrt
from typing import Any

from cloud_tasks.worker_data import WorkerData


def prime_tasks(limit: int = 10**8, tasks: int = 1000) -> Iterator[dict[str, Any]]:
    """Yield *tasks* tasks that together cover ``range(limit)``, of nearly equal length."""
    for number in range(tasks):
        start, stop = limit * number // tasks, limit * (number + 1) // tasks
        yield {"task_id": f"primes-{start}", "data": {"start": start, "stop": stop}}


def count_primes(
    task_id: str, task_data: dict[str, Any], worker_data: WorkerData
) -> tuple[bool, int]:
    """Return ``(False, n)``: there are *n* primes in ``range(start, stop)`` of the task's data.

    A sieve of Eratosthenes over the odd numbers of that range: one byte a number.
    """
    start, stop = task_data["start"], task_data["stop"]
    first = max(start, 3) | 1
    is_prime = bytearray(b"\1") * len(range(first, stop, 2))
    # Rounded up to a power of two, so that all tasks of a job share one or two lists.
    for prime in _odd_primes(1 << isqrt(max(stop - 1, 0)).bit_length()):
        multiple = max(prime * prime, -(-first // prime) * prime)
        multiple += prime * (multiple % 2 == 0)
        rest = range((multiple - first) // 2, len(is_prime), prime)
        is_prime[rest.start :: prime] = bytes(len(rest))
    return False, is_prime.count(1) + (start <= 2 < stop)


@functools.cache
def _odd_primes(last: int) -> list[int]:
    """Return the odd primes up to *last*; a reused process keeps them from task to task."""
    return [
        number
        for number in range(3, last + 1, 2)
        if all(number % prime for prime in _odd_primes(isqrt(number)))
    ]
