"""cache-notify relay: the command line of a relay."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from typing import Any

from ._cli import flag
from ._errors import ConfigurationError

DESCRIPTION = """
Holds one listening connection to PostgreSQL for any number of nodes, which listen with
listen="redis://...". Run two of them under one name: the second stands by, and goes on
where the first one ended.
"""


def add_to(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "relay", help="hand changes on to Redis or Valkey, for many nodes",
        description=DESCRIPTION)
    flag(parser, "--listen", "CACHE_NOTIFY_LISTEN", default="",
         help="connection string of the primary; what it lacks, PGHOST and the like say")
    flag(parser, "--redis", "CACHE_NOTIFY_REDIS", default="redis://localhost",
         help="URL of Redis or Valkey; ?name=NAME tells databases apart, for nodes as well")
    flag(parser, "--channel", "CACHE_NOTIFY_CHANNEL", default="cache_invalidation",
         help="where the extension sends its payloads")
    flag(parser, "--heartbeat", "CACHE_NOTIFY_HEARTBEAT", default=0.5, type=float,
         help="seconds between proofs of life")
    flag(parser, "--lease", "CACHE_NOTIFY_RELAY_LEASE", default=3.0, type=float,
         help="seconds after which another relay takes over from one that is not heard")
    flag(parser, "--interval", "CACHE_NOTIFY_INTERVAL", default=0.01, type=float,
         help="seconds between frames: what comes sooner goes into one; five times as long while "
         "much comes")
    flag(parser, "--keep", "CACHE_NOTIFY_KEEP", default=10_000, type=int,
         help="frames that are kept for nodes that were away")
    flag(parser, "--purge", "CACHE_NOTIFY_PURGE", default="",
         help="HTTP caches to purge by tag, separated by spaces: varnish://HOST:PORT, "
         "fastly://SERVICE, cloudflare://ZONE")
    flag(parser, "--purge-again", "CACHE_NOTIFY_PURGE_AGAIN", default=10.0, type=float,
         help="seconds after which each tag is purged once more: longer than the nodes' lease "
         "and a response take")
    flag(parser, "--metrics", "CACHE_NOTIFY_METRICS",
         help="HOST:PORT where /metrics (Prometheus) and /health are answered")
    flag(parser, "--log-level", "CACHE_NOTIFY_LOG", default="INFO",
         help="DEBUG, INFO, WARNING or ERROR")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Relays until SIGTERM or SIGINT."""
    from ._publisher import Publisher
    from ._purge import Purger, target_of
    from ._redis import connect, split_name
    from ._relay import Relay
    from ._relay_metrics import RelayMetrics, serve

    _check(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    url, name = split_name(arguments.redis)
    connect(url, 1.0).close()  # what is wrong with the URL is said now
    metrics = RelayMetrics()
    publisher = Publisher(url, name, metrics, lease=arguments.lease, keep=arguments.keep,
                          interval=arguments.interval)
    targets = [target_of(each) for each in arguments.purge.split()]
    publisher.purgers = [Purger(target, name, arguments.purge_again, metrics)
                         for target in targets]
    server = serve(metrics, arguments.metrics) if arguments.metrics else None
    relay = Relay(arguments.listen, publisher, arguments.channel, arguments.heartbeat,
                  arguments.lease)
    stop.wait()
    relay.close()
    for purger in publisher.purgers:
        purger.close()
    if server is not None:
        server.shutdown()
    return 0


def _check(arguments: argparse.Namespace) -> None:
    level = logging.getLevelName(arguments.log_level.upper())
    if not isinstance(level, int):
        raise ConfigurationError(f"no such log level: {arguments.log_level}")
    # systemd and containers add the time.
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    if not 0 < arguments.heartbeat < arguments.lease:
        raise ConfigurationError("--lease must be longer than --heartbeat")
    if arguments.interval < 0 or arguments.keep < 1:
        raise ConfigurationError("--interval and --keep must be positive")
