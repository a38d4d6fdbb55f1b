"""Reading YAML in the tests: with both parsers, and what was said at the end."""

from __future__ import annotations

import io
from typing import Any

import pytest
import yaml

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.files.opening import ByteFeed
from cloud_tasks.sources.files.text_feed import TextFeed
from cloud_tasks.sources.files.yaml_file import YamlListReader
from cloud_tasks.task import Delivery, Malformed

LOADERS = [yaml.SafeLoader] + ([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])
BOTH = pytest.mark.parametrize("loader", LOADERS)


def read(
    text: str | bytes, chunk: int = 65536, loader: Any = None, *, live: bool = False
) -> tuple[list[Delivery | Malformed], str]:
    """Return what was read, and the message of the error at the end, or nothing."""
    data = text.encode() if isinstance(text, str) else text
    items: list[Delivery | Malformed] = []
    try:
        feed = ByteFeed(io.BytesIO(data), "f", live=live, chunk=chunk)
        reader = YamlListReader(TextFeed(feed), loader)
        reader.begin()
        items.extend(reader.items())
    except TaskFormatError as error:
        return items, str(error)
    return items, ""
