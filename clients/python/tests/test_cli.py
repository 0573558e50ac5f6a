"""The command cache-notify, as it is installed."""

import subprocess
import sys
from pathlib import Path

import cache_notify
from cache_notify import _cli

PROGRAM = Path(sys.executable).parent / "cache-notify"


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], check=False, capture_output=True, text=True,
                          timeout=60)


def test_version():
    told = run("--version")
    assert (told.returncode, told.stdout) == (0, f"cache-notify {cache_notify.__version__}\n")


def test_without_a_command_it_says_how():
    told = run()
    assert told.returncode == 2 and "usage: cache-notify" in told.stderr


def test_a_flag_wins_over_its_environment_variable(monkeypatch):
    import argparse

    def parse(*arguments):
        parser = argparse.ArgumentParser()
        _cli.flag(parser, "--lease", "CACHE_NOTIFY_LEASE", "seconds", default=5.0, type=float)
        return parser.parse_args(arguments).lease

    assert parse() == 5.0
    monkeypatch.setenv("CACHE_NOTIFY_LEASE", "7")
    assert parse() == 7.0 and parse("--lease", "9") == 9.0
