"""Decode the messages of a task queue: ``{"task_id": ..., "data": {...}}`` in UTF-8."""

from __future__ import annotations

from dataclasses import replace

from cloud_tasks.queues.base import Message
from cloud_tasks.sources.entries import Item, shown
from cloud_tasks.sources.json_entries import JsonDecoder, to_json_item
from cloud_tasks.task import Delivery, Malformed

_BLANKS = " \t\r\n"


def to_delivery(message: Message, receipt: object) -> Item:
    """Return the delivery of the task in *message*, or the problem with it, with *receipt*."""

    def position() -> str:
        return f"message {message.message_id}"

    try:
        text = message.body.decode("utf-8").strip(_BLANKS)
    except UnicodeDecodeError as error:
        return Malformed(position(), f"is no UTF-8 at byte {error.start + 1}", receipt=receipt)
    if not text:
        return Malformed(position(), _no_body(message), receipt=receipt)
    item = to_json_item(JsonDecoder(), text, position)
    if isinstance(item, Delivery):
        return Delivery(item.task, receipt, message.attempt)
    return replace(item, receipt=receipt)


def _no_body(message: Message) -> str:
    if not message.attributes:
        return "is empty"
    return f"has no body, only the attributes {shown(sorted(message.attributes), 200)}"
