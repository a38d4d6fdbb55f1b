"""Run one contestant: ``python -m benchmarks.one MODULE:FUNCTION ARGUMENTS``.

Processes that a contestant starts may import this as their main module, so it imports little.
"""

import importlib
import json
import sys


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    figures = getattr(importlib.import_module(module), name)(**json.loads(sys.argv[2]))
    print(f"\n{json.dumps(figures)}")


if __name__ == "__main__":
    main()
