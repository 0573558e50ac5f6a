"""A thread that listens to a relay, through Redis or Valkey, and tells a Core what it
hears. _relayed.py says what is where.

The order of things is that of a direct listener: first SUBSCRIBE, then the question how
far the relay has come, and what was missed is read from its stream (a gap is a reset);
and entries are served only once a beat is over that was begun after a question of ours.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from . import _redis
from ._core import Core, history_of
from ._errors import UnsupportedExtension
from ._listener import Listener
from ._relayed import ANEW, AWAY, PROTOCOL, Keys, State, ask_state

log = logging.getLogger("cache_notify")

# Seconds: for what was published before an answer to come in as well; and between
# questions as long as entries may not be served yet.
PATIENCE = 1.0
IMPATIENT = 0.1

# Frames that are read from the stream in one go, and at most.
CHUNK = 500
MOST = 20_000


class RedisListener(Listener):
    """Listens until close(). Every method may be called from any thread."""

    def __init__(self, url: str, core: Core, channel: str, heartbeat: float, lease: float,
                 redefined: Callable[[], None]) -> None:
        self._url, name = _redis.split_name(url)
        self._keys = Keys.of(name)
        self._client: Any = None
        self._pubsub: Any = None
        self._epoch: bytes | None = None  # whose frames were heard
        self._last = 0  # the last of them
        # when we asked, and which beat had been begun by then
        self._questions: deque[tuple[float, int]] = deque()
        self._silent_since = 0.0
        self._ask_now = False
        super().__init__(url, core, channel, heartbeat, lease, redefined)

    def close(self) -> None:
        self._closed = True
        client = self._client
        if client is not None:
            with contextlib.suppress(Exception):  # the thread may be at it as well
                client.connection_pool.disconnect()
        super().close()

    # ------------------------------------------------------------- the thread

    def _listen(self) -> None:
        timeout = max(min(self._lease, 30.0), 1.0)
        self._client = client = _redis.connect(self._url, timeout)
        self._pubsub = client.pubsub()
        try:
            self._pubsub.subscribe(self._keys.changes)
            self._await_subscription(time.monotonic() + timeout)
            self._questions.clear()
            self._silent_since = time.monotonic()
            subscribed_anew = True
            while not self._closed:
                self._ask_now = False
                asked_at, state = self._ask()
                self._follow(state, asked_at, subscribed_anew)
                subscribed_anew = False
                impatient = not self._core.listening and (
                    time.monotonic() < self._silent_since + self._lease)
                pause = min(self._heartbeat, IMPATIENT) if impatient else self._heartbeat
                self._receive_frames(asked_at + pause)
        finally:
            self._core.end_lease()
            with contextlib.suppress(Exception):
                client.connection_pool.disconnect()

    def _ask(self) -> tuple[float, State | None]:
        asked_at = time.monotonic()
        return asked_at, ask_state(self._client, self._keys)

    def _await_subscription(self, until: float) -> None:
        while not self._closed:
            message = self._pubsub.get_message(timeout=max(until - time.monotonic(), 0))
            if message is not None and message["type"] == "subscribe":
                return
            if time.monotonic() >= until:
                raise ConnectionError("Redis does not answer SUBSCRIBE")

    def _follow(self, state: State | None, asked_at: float, subscribed_anew: bool) -> None:
        """Hears all that had been published when the question was answered, and draws
        the conclusions."""
        if state is None:
            self._core.end_lease()
            self._epoch = None
        elif state.protocol != PROTOCOL:
            raise UnsupportedExtension(
                f"the relay speaks version {state.protocol.decode()} of its protocol; this "
                f"package speaks {PROTOCOL.decode()}")
        else:
            if state.epoch != self._epoch or state.n < self._last:
                self._begin_epoch(state.epoch, state.n)
            elif state.n > self._last:
                if not subscribed_anew:
                    self._receive_frames(time.monotonic() + PATIENCE, upto=state.n)
                if state.epoch == self._epoch:
                    self._read_stream(state.n)
            if state.epoch == self._epoch:
                self._trust(state, asked_at)
        self._judge()

    def _trust(self, state: State, asked_at: float) -> None:
        """A beat that was over, and begun after a question of ours."""
        proved = None
        while self._questions and self._questions[0][1] < state.beat:
            proved, _ = self._questions.popleft()
        # Of questions that saw the same beat begun, the last tells most.
        if self._questions and self._questions[-1][1] == state.started:
            self._questions.pop()
        self._questions.append((asked_at, state.started))
        if proved is not None:
            self._core.learn_history(history_of(state.position) or None)
            self._proved(proved)

    def _proved(self, asked_at: float) -> None:
        """All is heard that was committed before we asked then."""
        self._silent_since = asked_at
        if not self._closed:
            self._core.extend_lease(asked_at + self._lease)

    def _judge(self) -> None:
        """Says whether it listens."""
        if self._core.listening:
            self._failure = None
            self._tried.set()
        elif self._failure is None and (
                time.monotonic() > self._silent_since + self._lease):
            self._failed(ConnectionError(
                f"no relay has proved itself under the name of {self._keys.state!r}: is "
                "cache-notify relay running?"))

    # ---------------------------------------------------------------- frames

    def _receive_frames(self, until: float, upto: int | None = None) -> None:
        """Hears what comes until then, or until frame upto has come."""
        while not (self._closed or self._ask_now or (upto is not None and self._last >= upto)):
            wait = until - time.monotonic()
            if wait <= 0:
                break
            message = self._pubsub.get_message(timeout=wait)
            if message is not None and message["type"] == "message":
                self._take_frame(message["data"])

    def _take_frame(self, frame: bytes) -> None:
        try:
            epoch, number, payloads = frame.split(b" ", 2)
            n = int(number)
        except ValueError:
            self._reset("payload")
            return
        if epoch != self._epoch:
            self._begin_epoch(epoch, n)
            self._ask_now = True
        elif n > self._last:
            if n > self._last + 1:
                self._read_stream(n - 1)
            self._hear_all(payloads)
            self._last = n

    def _read_stream(self, upto: int) -> None:
        """Hears the frames that did not come, if they are all still there."""
        while self._last < upto <= self._last + MOST:
            entries = self._client.xrange(
                self._keys.changes, f"{self._last + 1}-0", f"{upto}-0", count=CHUNK)
            for entry, fields in entries:
                if entry != b"%d-0" % (self._last + 1) or fields[b"epoch"] != self._epoch:
                    entries = []
                    break
                self._hear_all(fields[b"payloads"])
                self._last += 1
            if not entries:
                break
        if self._last < upto:
            self._reset("relay_gap")
            self._last = upto

    def _hear_all(self, payloads: bytes) -> None:
        for payload in payloads.split(b"\n"):
            if payload == ANEW:
                self._redefined()
                self._core.listen_anew()
            elif payload == AWAY:
                self._core.end_lease()
                self._questions.clear()
                self._ask_now, self._silent_since = True, time.monotonic()
            else:
                self._heard(payload)

    def _begin_epoch(self, epoch: bytes, n: int) -> None:
        """Another numbering: what was not heard of the one before cannot be known."""
        self._core.end_lease()
        self._reset("relay_epoch" if self._epoch is not None else "began_to_listen")
        self._questions.clear()
        self._silent_since = time.monotonic()
        self._epoch, self._last = epoch, n
