"""Make long task files like those of image pipelines, and read them with other libraries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def entry(number: int) -> dict[str, Any]:
    """Make one task like those of image pipelines."""
    return {
        "task_id": f"task-{number:07d}",
        "data": {"num1": number, "num2": number * 7 % 1000, "name": f"image-{number}.fits"},
    }


def write_json(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.write("[")
        for number in range(count):
            file.write(("," if number else "") + "\n" + json.dumps(entry(number)))
        file.write("\n]\n")


def write_yaml(path: Path, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            made = entry(number)
            file.write(f"- task_id: {made['task_id']}\n  data:\n")
            file.writelines(f"    {key}: {value}\n" for key, value in made["data"].items())


#: By the format of the file.
WRITERS = {"json": write_json, "yaml": write_yaml}


def ijson_entries(path: Path) -> Iterator[Any]:
    import ijson.backends.yajl2_c as ijson

    with path.open("rb") as file:
        yield from ijson.items(file, "item", buf_size=65536, use_float=True)


def whole_json(path: Path) -> Iterator[Any]:
    with path.open() as file:
        yield from json.load(file)


def yaml_events(path: Path) -> Iterator[Any]:
    """Yield the parser event that begins each task, without building objects."""
    import yaml

    with path.open() as file:
        depth = 0
        for event in yaml.parse(file, Loader=yaml.CSafeLoader):
            name = type(event).__name__
            if name in {"MappingStartEvent", "SequenceStartEvent"}:
                depth += 1
                if depth == 2:
                    yield event
            elif name in {"MappingEndEvent", "SequenceEndEvent"}:
                depth -= 1


def whole_yaml(path: Path) -> Iterator[Any]:
    import yaml

    with path.open() as file:
        yield from yaml.load(file, Loader=yaml.CSafeLoader)
