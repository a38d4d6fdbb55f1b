"""Add the digits of a number, with a breakpoint for one of the tasks."""

import argparse
import sys
from typing import Any

from cloud_tasks.worker import Worker, WorkerData


def process_task(
    task_id: str, task_data: dict[str, Any], worker_data: WorkerData
) -> tuple[bool, int]:
    digits = [int(digit) for digit in task_data["number"]]
    if task_id == worker_data.args.break_at:
        breakpoint()
    return False, sum(digits)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--break-at", metavar="TASK_ID", help="stop in the debugger at this task")
    Worker(process_task, args=sys.argv[1:], argparser=parser).main()
