"""cache-notify tail: what listeners hear, as it comes."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import select
import sys
import time
import zlib
from collections import Counter
from typing import Any

#: Where it goes if nobody names a channel: every one that a watched table is told on. A
#: template has as many as there are tenants.
CHANNELS = """
    SELECT channel FROM cache_notify.v_invalidation_status
    WHERE channel IS NOT NULL AND strpos(channel, '{') = 0
    UNION SELECT channel FROM cache_notify.v_schema_invalidation
    UNION SELECT current_setting('cache_notify.channel', true)
    ORDER BY 1"""

COLOURS = (32, 33, 34, 35, 36, 92, 93, 94, 95, 96)


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "tail", help="show payloads as they come",
        description="Shows what listeners hear: in colour on a terminal, else as JSON, one"
        " object a line. Every so often it says how many came of each domain.")
    parser.add_argument("dsn", nargs="?", default="",
                        help="the database, as postgresql://… or dbname=…; default: PGHOST and the like")
    parser.add_argument("--channel", action="append", dest="channels", metavar="NAME",
                        help="listen here; may be repeated; default: every channel in use")
    parser.add_argument("--domain", action="append", dest="domains", metavar="NAME", help="of this domain only")
    parser.add_argument("--tenant", help="of this tenant, and shared ones, only")
    parser.add_argument("--rates", type=float, default=10.0, metavar="SECONDS",
                        help="how often to say how many came; 0: never; default 10")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many payloads")
    parser.add_argument("--seconds", type=float, metavar="N", help="end after so many seconds")
    parser.add_argument("--json", action="store_true", help="JSON on a terminal as well")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import psycopg
    from psycopg import sql

    tail = Tail(arguments)
    try:
        with psycopg.connect(arguments.dsn, autocommit=True, connect_timeout=10, client_encoding="UTF8",
                             application_name="cache-notify tail") as connection:
            # Loads the library, and with it the setting.
            connection.execute("SELECT cache_notify.lane_in_effect()")
            channels = arguments.channels or [name for name, in connection.execute(CHANNELS)]
            for channel in channels:
                connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            print("listening on " + ", ".join(channels), file=sys.stderr, flush=True)
            tail.follow(connection)
    except psycopg.Error as error:
        print(f"cache-notify tail: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        tail.say_rates()
    except BrokenPipeError:
        # Nobody reads any more; nor shall the interpreter write what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


class Tail:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.as_json = arguments.json or not sys.stdout.isatty()
        self.in_colour = not self.as_json and "NO_COLOR" not in os.environ
        self.seen = 0
        self.counted: Counter[str] = Counter()
        self.since = time.monotonic()

    def follow(self, connection: Any) -> None:
        end = None if self.arguments.seconds is None else self.since + self.arguments.seconds
        while end is None or time.monotonic() < end:
            while (heard := connection.pgconn.notifies()) is not None:
                self.take(heard.relname.decode(errors="replace"), heard.extra)
                if self.seen == self.arguments.count:
                    self.say_rates()
                    return
            until = [time for time in (end, self.next_rates()) if time is not None]
            wait = max(0.0, min(until) - time.monotonic()) if until else None
            if select.select([connection.pgconn.socket], [], [], wait)[0]:
                connection.pgconn.consume_input()
            due = self.next_rates()
            if due is not None and time.monotonic() >= due:
                self.say_rates()
        self.say_rates()

    def next_rates(self) -> float | None:
        return self.since + self.arguments.rates if self.arguments.rates > 0 else None

    def take(self, channel: str, payload: bytes) -> None:
        text = payload.decode(errors="replace")
        try:
            told = json.loads(text)
        except ValueError:
            told = text
        domain = told.get("domain") if isinstance(told, dict) else None
        tenant = told.get("tenant_id") if isinstance(told, dict) else None
        # What names no domain, as a reset, concerns all.
        if self.arguments.domains and domain is not None and domain not in self.arguments.domains:
            return
        if self.arguments.tenant is not None and tenant not in (None, self.arguments.tenant):
            return
        self.seen += 1
        name = domain if isinstance(domain, str) else channel
        self.counted[name] += 1
        now = datetime.datetime.now().astimezone()
        if self.as_json:
            self.say(json.dumps({"at": now.isoformat(timespec="milliseconds"), "channel": channel, "payload": told}))
        else:
            self.say(f"{now:%H:%M:%S}.{now.microsecond // 1000:03} {self.line(channel, name, told)}")

    def line(self, channel: str, name: str, told: Any) -> str:
        """A payload of ours as columns; what else comes as it is."""
        if not isinstance(told, dict) or "domain" not in told:
            return f"{self.paint(name)} {told if isinstance(told, str) else json.dumps(told)}"
        rest = {key: value for key, value in told.items() if key not in ("domain", "tenant_id", "version")}
        tenant = "(shared)" if told.get("tenant_id") is None else told["tenant_id"]
        return (f"{self.paint(name)} {tenant} {told.get('version')}"
                + (f" {json.dumps(rest)}" if rest else ""))

    def paint(self, name: str) -> str:
        if not self.in_colour:
            return name
        return f"\033[{COLOURS[zlib.crc32(name.encode()) % len(COLOURS)]}m{name}\033[0m"

    def say_rates(self) -> None:
        """How many of each domain came since the last time; nothing if none did."""
        seconds, self.since = time.monotonic() - self.since, time.monotonic()
        counted, self.counted = self.counted, Counter()
        if not counted or self.arguments.rates <= 0:
            return
        rates = {name: round(number / max(seconds, 0.001), 2) for name, number in counted.most_common()}
        if self.as_json:
            self.say(json.dumps({"seconds": round(seconds, 3), "payloads": dict(counted.most_common()), "per_second": rates}))
        else:
            self.say("-- per second: " + ", ".join(f"{self.paint(name)} {rate}" for name, rate in rates.items()))

    def say(self, line: str) -> None:
        print(line, flush=True)
