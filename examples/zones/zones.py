"""Count how often the UTC offset of each time zone changed from 1900 to 2037.

The rules are those of the ``tzdata`` package; the system's own are not used.
"""

import argparse
import asyncio
import sys
import zoneinfo
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

from cloud_tasks.worker import Worker, WorkerData

zoneinfo.reset_tzpath(to=())  # makes the package the only source

FIRST = datetime(1900, 1, 1, tzinfo=timezone.utc)
DAYS = (date(2038, 1, 1) - FIRST.date()).days


def process_task(
    task_id: str, task_data: dict[str, Any], worker_data: WorkerData
) -> tuple[bool, int]:
    zone = zoneinfo.ZoneInfo(task_data["zone"])
    instants = (FIRST + timedelta(days=day) for day in range(DAYS))
    offsets = (instant.astimezone(zone).utcoffset() for instant in instants)
    return False, sum(before != after for before, after in pairwise(offsets))


def zone_tasks(zones: list[str]) -> Iterator[dict[str, Any]]:
    for zone in zones or sorted(zoneinfo.available_timezones()):
        yield {"task_id": zone, "data": {"zone": zone}}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("zones", nargs="*", metavar="ZONE", help="by default all of them")
    worker: Worker = Worker(
        process_task,
        task_source=lambda: zone_tasks(worker.data.args.zones),
        args=sys.argv[1:],
        argparser=parser,
    )
    await worker.start()


if __name__ == "__main__":
    asyncio.run(main())
