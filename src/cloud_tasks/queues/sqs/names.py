"""Translate the names of queues and the keys of messages into those that SQS allows."""

from __future__ import annotations

import hashlib
import re

from cloud_tasks.queues.base import dead_name, events_name

#: Suffix that SQS requires in the name of a FIFO queue, which keeps order and drops repeats.
FIFO = ".fifo"

_SUFFIXES = (events_name(""), dead_name(""))
#: Longest name of a queue, the suffix included.
_MAX_NAME = 80
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.fifo)?")
#: Valid group and deduplication ids of messages.
_KEY = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")


def sqs_name(name: str, *, fifo: bool) -> str:
    """Return the name in SQS of the queue *name*.

    The event queue of ``job.fifo``, which would be ``job.fifo-events``, is ``job-events.fifo``. A
    name that ends in ``.fifo`` is one of a FIFO queue in any case, because SQS allows no dot in
    the name of any other queue.
    """
    suffix = next((end for end in _SUFFIXES if name.removesuffix(FIFO).endswith(end)), "")
    stem = name.removesuffix(FIFO).removesuffix(suffix)
    if fifo or name.endswith(FIFO) or stem.endswith(FIFO):
        return f"{stem.removesuffix(FIFO)}{suffix}{FIFO}"
    return name


def name_problem(name: str) -> str | None:
    """Return why SQS takes no queue of *name*, which is one of its own names; None if it does."""
    if len(name) > _MAX_NAME:
        return f"has {len(name)} characters, and SQS allows {_MAX_NAME}"
    if not _NAME.fullmatch(name):
        return "has other characters than letters, digits, '-' and '_' of ASCII"
    return None


def message_key(key: str) -> str:
    """Return *key* if SQS accepts it as an id, else its SHA-256 digest."""
    if _KEY.fullmatch(key):
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
