"""What a relay and its nodes agree upon, in Redis or Valkey.

A relay hears what PostgreSQL sends, and hands it on in frames that are numbered without
gaps. Each frame is appended to a stream, so that a node that missed some can read them,
and published, so that the others need not ask. One script does both at once.

Keys, all of which begin with a name (one for each database):

    NAME:relay    hash: what is true now (below)
    NAME:leader   the id of the relay that may publish, for as long as its lease lasts
    NAME:changes  the stream of frames: entry N-0 is frame N of `epoch`, its `payloads`
                  separated by newlines; and the channel on which they are published, as
                  "EPOCH N PAYLOADS"

    epoch      names the numbering. A new one means that frames may be lost: a reset
    n          the last frame
    started    the last beat that was begun
    beat       the last beat that is over
    position   what cache_notify.changes_since() needs to tell what is not published yet;
               nodes see in it which database they hear of
    settled    the last frame that HTTP caches need not be told of any more
    run        of the Redis server whose memory this is. After a restart it may be
               older than what nodes have heard, so it counts for nothing
    database   whose changes these are
    protocol   of this description

A beat proves that the relay is alive. It is begun, then PostgreSQL is asked over the
listening connection what has changed, all of which is published, and only then is the
beat over. So whoever asked for `started` before the beat was begun knows, once it is over
and all frames up to `n` are heard, that nothing is missing that was committed before the
question. No clock is compared with another one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ._core import INTERNAL
from ._payload import Change, parse_payload

PROTOCOL = b"1"

# Told to nodes when the relay has listened anew: see Core.listen_anew().
ANEW = b'{"relay": "anew"}'
RESET = b'{"reset": true}'

# Told to nodes when the relay has lost its connection to PostgreSQL: they serve nothing
# from memory until it has proved itself again. Without it, they would until their lease
# ends.
AWAY = b'{"relay": "away"}'


@dataclass(frozen=True)
class Keys:
    state: str
    leader: str
    changes: str

    @classmethod
    def of(cls, name: str) -> Keys:
        return cls(f"{name}:relay", f"{name}:leader", f"{name}:changes")


@dataclass(frozen=True)
class State:
    """What the relay says of itself."""

    protocol: bytes
    epoch: bytes
    n: int
    started: int
    beat: int
    position: str


def ask_state(client: Any, keys: Keys) -> State | None:
    """None if no relay has ever been here, or what it said is lost."""
    protocol, epoch, position, *numbers = client.hmget(
        keys.state, "protocol", "epoch", "position", "n", "started", "beat")
    if protocol is None or epoch is None or None in numbers:
        return None
    n, started, beat = map(int, numbers)
    return State(protocol, epoch, n, started, beat, (position or b"").decode())


# Any definition may have moved.
DEFINITIONS = Change(None, INTERNAL, 0)


def published_since(client: Any, keys: Keys, frame: int, upto: int) -> list[Change] | None:
    """What the frames after this one told; None: that is not known any more, or anything."""
    changes = []
    entries = client.xrange(keys.changes, f"{frame + 1}-0", f"{upto}-0") if frame < upto else []
    if len(entries) < upto - frame:
        return None
    for _, fields in entries:
        for payload in fields[b"payloads"].split(b"\n"):
            change = DEFINITIONS if payload == ANEW else parse_payload(payload)
            if change is None and payload != AWAY:
                return None
            if change is not None:
                changes.append(change)
    return changes


def payload_of(change: Change) -> bytes:
    """A change as PostgreSQL would send it."""
    told: dict[str, Any] = {
        "tenant_id": change.tenant, "domain": change.domain, "version": change.version}
    if change.keys is not None:
        told["keys"] = list(change.keys)
    return json.dumps(told).encode()
