"""The command cache-notify."""

import argparse
import importlib.metadata
import subprocess
import sys

import cache_notify
from cache_notify import _cli

# Not the script: in a copy of the virtual environment that would run the first one's.
PROGRAM = [sys.executable, "-m", "cache_notify._cli"]


def run(*arguments):
    return subprocess.run([*PROGRAM, *arguments], check=False, capture_output=True, text=True,
                          timeout=60)


def test_it_is_installed_under_its_name():
    script, = importlib.metadata.entry_points(group="console_scripts", name="cache-notify")
    assert script.load() is _cli.main


def test_version():
    told = run("--version")
    assert (told.returncode, told.stdout) == (0, f"cache-notify {cache_notify.__version__}\n")


def test_without_a_command_it_says_how():
    told = run()
    assert told.returncode == 2 and "usage: cache-notify" in told.stderr


def test_a_flag_wins_over_its_environment_variable(monkeypatch):
    def parse(*arguments):
        parser = argparse.ArgumentParser()
        _cli.flag(parser, "--lease", "CACHE_NOTIFY_LEASE", "seconds", default=5.0, type=float)
        return parser.parse_args(arguments).lease

    assert parse() == 5.0
    monkeypatch.setenv("CACHE_NOTIFY_LEASE", "7")
    assert parse() == 7.0 and parse("--lease", "9") == 9.0
