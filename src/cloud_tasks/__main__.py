"""Run the command ``cloud_tasks`` as ``python -m cloud_tasks``."""

import sys

from cloud_tasks.cli import main

if __name__ == "__main__":
    sys.exit(main())
