"""Add two numbers a task, and write each sum to a file in a folder or a bucket."""

import argparse
import asyncio
import sys
from typing import Any

from filecache import FCPath

from cloud_tasks.worker import Worker, WorkerData


def process_task(
    task_id: str, task_data: dict[str, Any], worker_data: WorkerData
) -> tuple[bool, str]:
    file = FCPath(worker_data.args.output_dir) / f"{task_id}.txt"
    file.write_text(f"{task_data['num1'] + task_data['num2']}\n")
    return False, str(file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", default="results", help="folder, gs:// or s3:// address")
    asyncio.run(Worker(process_task, args=sys.argv[1:], argparser=parser).start())
