"""Run the command ``cloud_tasks``: of the console script, and as ``python -m cloud_tasks``.

A Ctrl-C while the command is being imported, most of its first fifth of a second, ends it with the
exit code of any other Ctrl-C, and without a traceback.
"""

from __future__ import annotations

try:
    import os
    import signal
    import sys
except KeyboardInterrupt:
    raise SystemExit(130) from None


def main() -> int:
    """Import the command and run it on the arguments of this process; return the exit code."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else: as under nohup
            signal.signal(signal.SIGINT, _exit_at_once)
        from cloud_tasks import cli

        if signal.getsignal(signal.SIGINT) is _exit_at_once:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return cli.main()
    except KeyboardInterrupt:
        return 130


def _exit_at_once(*_: object) -> None:
    # Not by an exception, which an import may catch or turn into another one.
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
