"""The command line: ``greeninfer COMMAND``. Each command adds its parser in a small function and runs in its module."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from greeninfer import dashboards, demo, top
from greeninfer._clock import SystemClock
from greeninfer._doctor import examine, render
from greeninfer._settings import Settings
from greeninfer.bench import _commands as bench
from greeninfer.errors import SettingsError

if TYPE_CHECKING:
    # argparse makes this class private, and it is what add_subparsers returns.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

Run = Callable[[argparse.Namespace], int]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; ``run`` of its result is what the command does."""
    parser = argparse.ArgumentParser(
        prog="greeninfer", description="Joules and seconds for every single inference request."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_doctor(commands)
    _add_demo(commands)
    _add_top(commands)
    _add_bench(commands)
    _add_dashboards(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 2 for wrong arguments or settings, else the command's own."""
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    if not hasattr(parsed, "run"):
        parser.print_help()
        return 0
    run: Run = parsed.run
    try:
        return run(parsed)
    except SettingsError as error:
        print(f"greeninfer: {error}", file=sys.stderr)
        return 2


def _add_doctor(commands: Commands) -> None:
    text = "Say which meters this machine has, why the others do not work, and the line that mends it."
    parser = commands.add_parser("doctor", help="what this machine can measure", description=text)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    report = examine(Settings.from_env(os.environ), os.environ, SystemClock())
    print(json.dumps(dataclasses.asdict(report), indent=2) if arguments.json else render(report))
    return 0 if report.healthy else 1


def _add_demo(commands: Commands) -> None:
    text = "Serve real classifiers, put them under load and show the joules of each request."
    parser = commands.add_parser("demo", help="a real service under load, joules per request live", description=text)
    demo.add_arguments(parser)
    parser.set_defaults(run=demo.main)


def _add_top(commands: Commands) -> None:
    text = "Show joules and latency of a running service, live, from its /metrics."
    parser = commands.add_parser("top", help="live table of a running service", description=text)
    top.add_arguments(parser)
    parser.set_defaults(run=top.main)


def _add_bench(commands: Commands) -> None:
    text = "Find the model that gives the accuracy that is needed for the least energy, here, before it serves."
    parser = commands.add_parser("bench", help="accuracy and energy of candidate models", description=text)
    bench.add_arguments(parser)
    parser.set_defaults(run=bench.main)


def _add_dashboards(commands: Commands) -> None:
    text = "Write the Grafana dashboards, the Prometheus rules and what runs both."
    parser = commands.add_parser("dashboards", help="for Grafana and Prometheus", description=text)
    dashboards.add_arguments(parser)
    parser.set_defaults(run=dashboards.main)
