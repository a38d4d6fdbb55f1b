"""What SQS calls the queue that users call so-and-so, and its messages' keys."""

from __future__ import annotations

import hashlib
import re

from cloud_tasks.queues.names import dead_name, events_name

#: By this end of its name SQS tells a queue that keeps order and drops repeats.
FIFO = ".fifo"

_SUFFIXES = (events_name(""), dead_name(""))
#: What SQS takes as the group or deduplication id of a message.
_KEY = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")


def sqs_name(name: str, *, fifo: bool) -> str:
    """Return the name in SQS of the queue *name*.

    ``job.fifo-events``, which is what becomes of the queue ``job.fifo`` where its events are
    named, is ``job-events.fifo``. A name with that ending is one of a FIFO queue in any case,
    since SQS allows no other queue a dot.
    """
    suffix = next((end for end in _SUFFIXES if name.removesuffix(FIFO).endswith(end)), "")
    stem = name.removesuffix(FIFO).removesuffix(suffix)
    if fifo or name.endswith(FIFO) or stem.endswith(FIFO):
        return f"{stem.removesuffix(FIFO)}{suffix}{FIFO}"
    return name


def message_key(key: str) -> str:
    """Return *key* if SQS takes it as an id, else a digest that is as good as unique."""
    if _KEY.fullmatch(key):
        return key
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
