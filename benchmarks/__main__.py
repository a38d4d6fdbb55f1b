"""Run the command ``python -m benchmarks TOPIC``, from the root of the repository."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

from benchmarks import machine, page, peers, table, topics
from benchmarks.contest import hold
from benchmarks.results import Result


def main(argv: list[str]) -> int:
    """Run the command line *argv*; return 1 if a contestant failed."""
    if argv and argv[0] in topics.PROGRAMS:
        return topics.run_program(argv[0], argv[1:])
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        if args.topic == "peers":
            peers.make(args.peers)
            return 0
        if args.topic == "page":
            page.write(args.results, args.output)
            return 0
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.json and not args.json.parent.is_dir():
        parser.error(f"there is no folder {args.json.parent} to write results to")
    # Raised as an exception, SIGTERM also ends the running contestant.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return _measure(args, " ".join(["python -m benchmarks", *argv]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure cloud_tasks against similar packages."
    )
    # A parent parser, so that the help of each topic shows the option.
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--peers",
        type=Path,
        metavar="FOLDER",
        default=peers.FOLDER,
        help="environment of the peers [default: benchmarks/.venv]",
    )
    commands = parser.add_subparsers(dest="topic", metavar="TOPIC", required=True)
    for name, words in topics.CONTESTS.items():
        topic = commands.add_parser(name, help=words, description=words, parents=[common])
        topic.add_argument(
            "--rounds",
            type=int,
            metavar="N",
            help="number of rounds; each runs every contestant once",
        )
        topic.add_argument(
            "--json", type=Path, metavar="FILE", help="write all measurements to FILE"
        )
        topic.add_argument("--quick", action="store_true", help="use few tasks, to try it out")
    for name, words in topics.PROGRAMS.items():
        commands.add_parser(name, help=words, add_help=False)
    words = "make the environment of the peers"
    commands.add_parser("peers", help=words, description=words, parents=[common])
    words = "make the page of the documentation from files of --json"
    made = commands.add_parser("page", help=words, description=words)
    made.add_argument("results", type=Path, nargs="+", metavar="FILE")
    made.add_argument("--output", type=Path, metavar="FILE", default=page.PAGE)
    return parser


def _measure(args: argparse.Namespace, command: str) -> int:
    topic = topics.load(args.topic)
    rounds = args.rounds or (1 if args.quick else topic.ROUNDS)
    python = peers.python(args.peers)
    began = datetime.now(timezone.utc).isoformat(timespec="seconds")
    made = []
    for contest in topic.contests(args.quick):
        print(f"# {contest.title}", flush=True)
        made.append(hold(contest, rounds, python, lambda line: print(line, flush=True)))
    result = Result(
        topic=args.topic,
        command=command,
        began=began,
        rounds=rounds,
        quick=args.quick,
        machine=machine.describe(),
        versions=machine.versions(python if python.exists() else None, peers.names()),
        contests=made,
    )
    if args.json:
        result.write(args.json)
    print("\n".join(table.terminal(result)))
    return int(any(contest.failed for contest in made))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
