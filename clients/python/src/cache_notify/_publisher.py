"""The side of a relay that faces Redis: what it publishes, and whether it may.

At most one relay publishes. Which, the lease of NAME:leader says, and every script
compares; a relay that was paused for longer than its lease can therefore say nothing
any more. The scripts also compare the epoch and the number of the last frame, so that
a memory that went back in time (a restart from an old file, a failover of Redis) is
noticed before anything is added to it.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable
from typing import Any

from . import _redis
from ._errors import ConfigurationError
from ._payload import Change
from ._purge import Purger
from ._relay_metrics import RelayMetrics
from ._relayed import (
    ANEW,
    AWAY,
    DEFINITIONS,
    PROTOCOL,
    RESET,
    Keys,
    payload_of,
    published_since,
)

log = logging.getLogger("cache_notify.relay")

# What was published is remembered of so many (tenant, domain).
MAX_HEARD = 100_000

# Seconds between looks whether another relay still leads.
STAND_BY = 0.25

# Payloads in one frame. A frame in the stream is read back whole.
MAX_FRAME = 500

# While each frame has several payloads, it is waited for them longer: up to so many times
# the interval. Each frame wakes every process that listens.
MAX_STRETCH = 5

# KEYS: state, leader, changes. ARGV: id, lease in ms, epoch, n, and what each needs.
# Whoever leads and is not the caller: nothing is done. Nobody: the caller goes on.
_GUARD = """
local leader = redis.call('GET', KEYS[2])
if leader and leader ~= ARGV[1] then return redis.error_reply('NOTLEADER') end
local state = redis.call('HMGET', KEYS[1], 'epoch', 'n')
if state[1] ~= ARGV[3] or state[2] ~= ARGV[4] then return redis.error_reply('STATELOST') end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
"""

# ARGV: the stream's length, payloads
_PUBLISH = _GUARD + """
local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], n .. '-0',
    'epoch', ARGV[3], 'payloads', ARGV[6])
return redis.call('PUBLISH', KEYS[3], ARGV[3] .. ' ' .. n .. ' ' .. ARGV[6])
"""

_BEGIN = _GUARD + "return redis.call('HINCRBY', KEYS[1], 'started', 1)"

# ARGV: the beat that was begun, the position, the beat that is over, the last frame whose
# tags are purged for good
_FINISH = _GUARD + """
if redis.call('HGET', KEYS[1], 'started') ~= ARGV[5] then
    return redis.error_reply('STATELOST')
end
return redis.call('HSET', KEYS[1], 'position', ARGV[6], 'beat', ARGV[7], 'settled', ARGV[8])
"""

# KEYS: state, leader, changes. ARGV: id, epoch, run, database, protocol
_BEGIN_EPOCH = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return redis.error_reply('NOTLEADER') end
redis.call('DEL', KEYS[1], KEYS[3])
return redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'n', '0', 'started', '0', 'beat', '0',
    'position', '', 'run', ARGV[3], 'database', ARGV[4], 'protocol', ARGV[5])
"""

_RESIGN = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class Publisher:
    """What a Listener tells a core, published. One thread uses it; the gauges of
    its metrics are read by others."""

    def __init__(self, url: str, name: str, metrics: RelayMetrics, *, lease: float,
                 keep: int, interval: float) -> None:
        self.metrics = metrics
        self.id = f"{uuid.uuid4().hex}:{os.getpid()}"  # who that is, people can tell
        self.position: str | None = None  # where the relay before us had come to
        self.purgers: list[Purger] = []
        self._begun_at = self._begun_before = 0.0
        self._url = url
        self._keys = Keys.of(name)
        self._lease = lease
        self._keep = keep
        self._interval = self._pause = interval
        self._client: Any = None
        self._epoch = b""
        self._n = 0
        self._beat = self._beat_before = 0
        self._waiting: list[bytes] = []
        self._changes: list[Change] | None = []  # those waiting; None: any
        self._raw: bytes | None = None
        self._flushed_at = 0.0
        self._heard: dict[tuple[str | None, str], int] = {}

    # ---------------------------------------------------------------- leading

    def lead(self, wait: Callable[[float], bool]) -> bool:
        """Waits until this relay may publish; wait() sleeps, and says whether to go on.
        Whether it may now."""
        self._client = client = _redis.connect(self._url, timeout=max(self._lease, 1.0))
        milliseconds = int(self._lease * 1000)
        standing_by = False
        while not client.set(self._keys.leader, self.id, nx=True, px=milliseconds):
            if client.get(self._keys.leader) == self.id.encode():
                client.pexpire(self._keys.leader, milliseconds)
                break
            if not standing_by:
                log.info("standing by: another relay leads")
                standing_by = True
                self.metrics.set("standing_by", 1)
            if not wait(min(self._lease / 5, STAND_BY)):
                return False
        self.metrics.set("standing_by", 0)
        self.metrics.set("leading", 1)
        self.metrics.count("elections")
        log.info("leading")
        return True

    def take_up(self, database: str) -> None:
        """Goes on where the relay before us ended, or begins a new epoch."""
        run = self._client.info("server")["run_id"].encode()
        epoch, n, position, last_run, of = self._client.hmget(
            self._keys.state, "epoch", "n", "position", "run", "database")
        if of is not None and of != database.encode():
            raise ConfigurationError(
                f"the relay's name is taken for database {of.decode()!r}: give the one for "
                f"{database!r} another --name, or delete {self._keys.state} in Redis")
        self._waiting, self._changes, self._heard = [], [], {}
        if epoch is not None and last_run == run and None not in (n, position):
            self._epoch, self._n = epoch, int(n)
            self.position = position.decode() or None
            self._begin_purging()
            return
        self._epoch, self._n, self.position = uuid.uuid4().hex.encode(), 0, None
        log.warning("a new epoch: nodes start empty, because %s", (
            "there was none" if epoch is None else "Redis has been restarted"))
        self.metrics.count("epochs")
        self._client.eval(_BEGIN_EPOCH, 3, self._keys.state, self._keys.leader,
                          self._keys.changes, self.id, self._epoch, run, database, PROTOCOL)
        self._begin_purging()

    def _begin_purging(self) -> None:
        """What the relay before us had not purged for good is purged once more."""
        self._begun_at = self._begun_before = 0.0
        if not self.purgers:
            return
        settled = self._client.hget(self._keys.state, "settled")
        since = int(settled) if settled else 0
        changes = published_since(self._client, self._keys, since, self._n) if settled else None
        for purger in self.purgers:
            purger.begin(since)
            purger.changed(changes, self._n)

    def resign(self) -> None:
        """Lets another relay lead at once, if that can be said."""
        self.metrics.set("leading", 0)
        self.metrics.set("standing_by", 0)
        client, self._client = self._client, None
        if client is None:
            return
        try:
            client.eval(_RESIGN, 1, self._keys.leader, self.id)
        except Exception as error:  # noqa: BLE001 (the lease ends by itself)
            log.debug("could not resign: %s", error)
        client.close()

    # ------------------------------------------- what a listener tells a core

    @property
    def listening(self) -> bool:
        return time.monotonic() < self.metrics.lease_ends

    def extend_lease(self, until: float) -> None:
        self.metrics.lease_ends = until

    def end_lease(self) -> None:
        self.metrics.lease_ends = 0.0

    def learn_history(self, history: str | None) -> None:
        """Nodes see it in the position."""

    def heard_version(self, tenant: str | None, domain: str) -> int | None:
        return self._heard.get((tenant, domain))

    def hear(self, change: Change) -> None:
        if len(self._heard) >= MAX_HEARD:
            self._heard.clear()
        place = (change.tenant, change.domain)
        self._heard[place] = max(change.version, self._heard.get(place, 0))
        raw, self._raw = self._raw, None
        # A newline would end a payload in its frame.
        told = payload_of(change) if raw is None or b"\n" in raw else raw
        if self._changes is not None:
            self._changes.append(change)
        self._add(told)
        self.metrics.count("payloads")

    def hear_raw(self, payload: bytes) -> None:
        """The next change is told as it came, with fields that others may read."""
        self._raw = payload

    def reset(self, reason: str = "reset") -> None:
        self._raw = None
        self.metrics.count("resets", reason)
        log.info("reset: %s", reason)
        self._changes = None
        self._heard.clear()
        self._add(RESET)

    def listen_anew(self) -> None:
        self._heard.clear()
        if self._changes is not None:
            self._changes.append(DEFINITIONS)
        self._add(ANEW)

    def away(self) -> None:
        """PostgreSQL is lost: nobody should rely on us until the next beat."""
        if self._client is None or not self._epoch:
            return
        try:
            self._waiting, self._changes = [AWAY], []
            self.flush()
        except Exception as error:  # noqa: BLE001 (then their leases end)
            log.debug("could not say so: %s", error)

    def pause_nodes(self) -> None:
        """Before all that waits: nobody should rely on us until the next beat."""
        self._waiting.insert(0, AWAY)

    # -------------------------------------------------------------- publishing

    def _add(self, payload: bytes) -> None:
        self._waiting.append(payload)
        if len(self._waiting) >= MAX_FRAME:
            self.flush()

    def flush_due(self) -> float:
        """When what waits should be published; inf if nothing waits."""
        return self._flushed_at + self._pause if self._waiting else float("inf")

    def flush(self) -> None:
        """Publishes what waits."""
        if not self._waiting:
            return
        payloads, count, self._waiting = b"\n".join(self._waiting), len(self._waiting), []
        self._pause = (min(self._pause * 2, self._interval * MAX_STRETCH) if count > 1
                       else max(self._pause / 2, self._interval))
        changes, self._changes = self._changes, []
        nodes = self._run(_PUBLISH, self._keep, payloads)
        self._n += 1
        self._flushed_at = time.monotonic()
        self.metrics.count("frames")
        self.metrics.set("nodes", nodes)
        for purger in self.purgers:
            purger.changed(changes, self._n)

    def begin_beat(self) -> None:
        self._begun_before, self._begun_at = self._begun_at, time.monotonic()
        self._beat_before, self._beat = self._beat, self._run(_BEGIN)

    def finish_beat(self, position: str | None, complete: bool) -> None:
        """Says that all that was committed before the beat began has been published; or
        not yet with all its keys, but all from before the last one."""
        self.flush()
        over = self._beat if complete else self._beat_before
        settled = min((purger.settled for purger in self.purgers), default="")
        self._run(_FINISH, self._beat, position or "", over, settled)
        for purger in self.purgers:
            purger.proved(self._begun_at if complete else self._begun_before)
        self.metrics.count("beats")

    def _run(self, script: str, *arguments: Any) -> Any:
        keys = self._keys
        # Short scripts: sent whole, they need no memory of the server's.
        return self._client.eval(
            script, 3, keys.state, keys.leader, keys.changes,
            self.id, int(self._lease * 1000), self._epoch, self._n, *arguments)
