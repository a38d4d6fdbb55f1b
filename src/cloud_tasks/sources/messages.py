"""What a message of a task queue looks like: ``{"task_id": ..., "data": {...}}`` in UTF-8."""

from __future__ import annotations

import json
from dataclasses import replace

from cloud_tasks.queues.base import Message
from cloud_tasks.sources.entries import Item, known_id, to_item
from cloud_tasks.sources.json_decoding import JsonDecoder
from cloud_tasks.task import Delivery, Malformed

_BLANKS = " \t\r\n"


def to_delivery(message: Message, receipt: object) -> Item:
    """Make of *message* the delivery of its task, or say why it is no task.

    Args:
        message: as it was received.
        receipt: what the delivery carries for its source.
    """
    item = _read(message)
    if isinstance(item, Delivery):
        return Delivery(item.task, receipt, message.attempt)
    return replace(item, receipt=receipt)


def _read(message: Message) -> Item:
    def position() -> str:
        return f"message {message.message_id}"

    decoder = JsonDecoder()
    try:
        text = message.body.decode("utf-8").strip(_BLANKS)
        value, end = decoder.decode(text, 0)
    except UnicodeDecodeError as error:
        return Malformed(position(), f"is no UTF-8 at byte {error.start + 1}")
    except json.JSONDecodeError as error:
        return Malformed(position(), f"is no valid JSON: {error.msg} at column {error.pos + 1}")
    except RecursionError:
        return Malformed(position(), "is nested too deeply")
    if end != len(text):
        return Malformed(position(), f"has more than one JSON value, from column {end + 1} on")
    if decoder.problem:
        return Malformed(position(), decoder.problem, known_id(value))
    return to_item(value, position)
