"""The command cache-notify: one sub-command for each module that COMMANDS names.

To add one: write a module with add_to(commands), which makes a parser with
commands.add_parser() and sets its default `run`, a function that takes the parsed
arguments and returns the exit status; and name the module in COMMANDS. The module is
imported only when somebody runs cache-notify, and should import what it needs
besides the standard library within run, so that --help works without it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ._errors import CacheError

COMMANDS: tuple[str, ...] = ("_doctor", "_relay_command", "_tail")


def flag(parser: argparse.ArgumentParser, name: str, variable: str, help: str, *,
         default: Any = None, type: Callable[[str], Any] = str) -> None:
    """A flag that an environment variable may set as well. The flag wins."""
    from_environment = os.environ.get(variable)
    shown = "" if default is None else f", default {default}"
    parser.add_argument(
        name, type=type, metavar=name.rpartition("-")[2].upper(),
        # argparse converts a default that is text, and complains as it does of a flag
        default=default if from_environment is None else from_environment,
        help=f"{help} (${variable}{shown})")


def parser() -> argparse.ArgumentParser:
    from . import __version__

    everything = argparse.ArgumentParser(prog="cache-notify")
    everything.add_argument("--version", action="version", version=f"cache-notify {__version__}")
    commands = everything.add_subparsers(title="commands", dest="command", required=True)
    for name in COMMANDS:
        importlib.import_module(f".{name}", __package__).add_to(commands)
    return everything


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the exit status. What its user can mend is said, without a trace."""
    parsed = parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except CacheError as error:
        print(f"cache-notify {parsed.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
