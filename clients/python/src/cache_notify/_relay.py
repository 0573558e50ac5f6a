"""Listens once on behalf of many nodes, and hands what it hears on to Redis or Valkey.

It is the listener of every cache, with a Publisher in the place of a core: what a core
would drop is published, and what would extend its lease becomes the end of a beat. So
both are proved by the same order of things, and what a relay lost by being away is a
catch-up or a reset before it says that it is alive.
"""

from __future__ import annotations

import time

import psycopg

from ._core import Core
from ._errors import ConfigurationError
from ._listener import Listener, readable
from ._publisher import Publisher


class Relay(Listener):
    """Stands by, or relays, until close()."""

    _CONSEQUENCE = "not relaying"

    def __init__(self, conninfo: str, publisher: Publisher, channel: str, heartbeat: float,
                 lease: float) -> None:
        self._publisher = publisher
        self._nodes_serve = True
        core: Core = publisher  # type: ignore[assignment]  # what of it a listener uses
        super().__init__(conninfo, core, channel, heartbeat, lease, _nothing)

    def _listen(self) -> None:
        try:
            if self._publisher.lead(self._stand_by):
                super()._listen()
        except (psycopg.Error, ConfigurationError):
            self._publisher.away()
            raise
        finally:
            self._publisher.resign()

    def _stand_by(self, seconds: float) -> bool:
        # Nothing has failed, so what had is over.
        self._failure = None
        self._tried.set()
        readable([self._woken], seconds)
        return not self._closed

    def _check_server(self, connection: psycopg.Connection) -> None:
        super()._check_server(connection)
        self._publisher.take_up(connection.info.dbname)
        self._position = self._settled = self._publisher.position

    def _catch_up(self, connection: psycopg.Connection, may_catch_up: bool) -> None:
        self._publisher.begin_beat()
        self._nodes_serve = True
        super()._catch_up(connection, may_catch_up)
        self._publisher.finish_beat(self._settled, complete=not self._overdue)

    def _missed(self, tenant: str | None, domain: str | None, version: object,
                all_keys: bool) -> None:
        # What was missed comes in no order: a node could serve what is older than the
        # change that it has just heard of.
        if all_keys and self._nodes_serve:
            self._publisher.pause_nodes()
            self._nodes_serve = False
        super()._missed(tenant, domain, version, all_keys)

    def _heard(self, payload: bytes) -> None:
        self._publisher.hear_raw(payload)
        super()._heard(payload)

    def _drained(self) -> float:
        due = self._publisher.flush_due()
        if due <= time.monotonic():
            self._publisher.flush()
            return self._publisher.flush_due()
        return due


def _nothing() -> None:
    """Definitions are remembered by nodes, who hear of them as of other changes."""
