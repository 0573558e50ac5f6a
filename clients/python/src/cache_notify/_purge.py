"""What a relay tells HTTP caches: which tags changed, and that it is alive.

Each target is a URL:

    varnish://HOST:PORT          PURGE requests, as examples/varnish answers them
    fastly://SERVICE             needs $CACHE_NOTIFY_FASTLY_TOKEN
    cloudflare://ZONE            needs $CACHE_NOTIFY_CLOUDFLARE_TOKEN

A response can be computed before a change, and stored after its purge. So each tag is
purged at once and once more after a while, when no response is under way any more that
lacks the change. What must still be purged is remembered by Redis: a relay that takes over
purges all since the last frame that was settled, or everything.

Varnish also gets a lease, as nodes have: it serves nothing from memory unless it was told
not long ago that all from before then has been purged. The time is Varnish's own, given
with the answer to one beat and sent back with the next, so a relay that was paused in
between extends nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from urllib.parse import parse_qs, urlsplit

from ._errors import ConfigurationError
from ._payload import Change
from ._relay_metrics import RelayMetrics
from ._tags import tags_concerned

log = logging.getLogger("cache_notify.relay")

TIMEOUT = 3.0

# Seconds between attempts at a target that fails, the first and the longest.
FIRST_DELAY = 0.1
LAST_DELAY = 5.0

# Seconds between looks whether there is anything to do.
IDLE = 1.0

# Tags that wait for one target; beyond that, everything is purged.
MOST_WAITING = 20_000


# The longest that a vendor may ask us to wait.
MOST_DELAY = 60.0


class PurgeError(Exception):
    """The HTTP cache did not do it. after: it asks to be left alone for so many seconds."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class Target:
    """An HTTP cache. To add one: a subclass with purge(), and its line in TARGETS."""

    batch = 100  # tags in one call
    pause = 0.0  # seconds between calls, where a vendor limits them

    def __init__(self, url: str, default_api: str = "") -> None:
        self.url = url
        parts = urlsplit(url)
        self.place = parts.netloc
        api = urlsplit(parse_qs(parts.query).get("api", [default_api or f"http://{self.place}"])[0])
        self._secure, self._host = api.scheme == "https", api.netloc
        self._connection: http.client.HTTPConnection | None = None

    def purge(self, tags: list[str]) -> None:
        """PurgeError or OSError if that did not succeed."""
        raise NotImplementedError

    def beat(self, stamp: str) -> str | None:
        """Says that all is purged that had changed before the target gave that stamp. Its
        next one; None if it has no lease."""
        return None

    def call(self, method: str, path: str, headers: dict[str, str],
             body: str | None = None) -> tuple[int, http.client.HTTPMessage, bytes]:
        try:
            if self._connection is None:
                self._connection = (
                    http.client.HTTPSConnection(self._host, timeout=TIMEOUT,
                                                context=ssl.create_default_context())
                    if self._secure else http.client.HTTPConnection(self._host, timeout=TIMEOUT))
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise PurgeError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
        self._connection = None


class Varnish(Target):
    def purge(self, tags: list[str]) -> None:
        status, _, _ = self.call("PURGE", "/", {"Surrogate-Key": " ".join(tags)})
        if status != 200:
            raise PurgeError(f"PURGE was answered with {status}")

    def beat(self, stamp: str) -> str | None:
        status, headers, _ = self.call("BEAT", "/", {"Cache-Notify-Stamp": stamp})
        if status != 200:
            raise PurgeError(f"BEAT was answered with {status}")
        return headers.get("Cache-Notify-Stamp")


class Vendor(Target):
    """One with an interface that takes and gives JSON, and a token in the environment."""

    def __init__(self, url: str, api: str, variable: str) -> None:
        super().__init__(url, api)
        if not os.environ.get(variable):
            raise ConfigurationError(f"${variable} must have the token for the vendor's interface")
        self._token = os.environ[variable]

    def post(self, path: str, headers: dict[str, str], content: object,
             succeeded: Callable[[bytes], bool] = lambda answer: True) -> None:
        """PurgeError unless it is answered with 200, and with what is taken for success."""
        status, told, answer = self.call(
            "POST", path, {**headers, "Content-Type": "application/json"}, json.dumps(content))
        if status != 200 or not succeeded(answer):
            raise PurgeError(f"answered with {status}: {answer[:200].decode(errors='replace')}",
                             _seconds(told.get("Retry-After", "")))


def _seconds(text: str) -> float:
    """What Retry-After says, if not a date."""
    return min(float(text), MOST_DELAY) if text.isdecimal() else 0.0


class Fastly(Vendor):
    """fastly.com/documentation/reference/api/purging: up to 256 keys in a call. Not softly,
    which leaves what is stale to be served in some cases."""

    batch = 256

    def __init__(self, url: str) -> None:
        super().__init__(url, "https://api.fastly.com", "CACHE_NOTIFY_FASTLY_TOKEN")

    def purge(self, tags: list[str]) -> None:
        self.post(f"/service/{self.place}/purge",
                  {"Fastly-Key": self._token, "Accept": "application/json"},
                  {"surrogate_keys": tags})


class Cloudflare(Vendor):
    """developers.cloudflare.com/cache/how-to/purge-cache: up to 100 tags in a call; 5 calls a
    second on the plan Pro, on others more, and on Free 5 a minute after the first 25."""

    batch = 100
    pause = 0.2

    def __init__(self, url: str) -> None:
        super().__init__(url, "https://api.cloudflare.com", "CACHE_NOTIFY_CLOUDFLARE_TOKEN")

    def purge(self, tags: list[str]) -> None:
        self.post(f"/client/v4/zones/{self.place}/purge_cache",
                  {"Authorization": f"Bearer {self._token}"}, {"tags": tags}, self._succeeded)

    @staticmethod
    def _succeeded(answer: bytes) -> bool:
        try:
            return json.loads(answer)["success"] is True
        except (ValueError, KeyError, TypeError):
            return False


TARGETS: dict[str, Callable[[str], Target]] = {
    "varnish": Varnish, "fastly": Fastly, "cloudflare": Cloudflare}


def target_of(url: str) -> Target:
    scheme = url.partition("://")[0]
    if scheme not in TARGETS or not urlsplit(url).netloc:
        raise ConfigurationError(
            f"not an HTTP cache that is known: {url!r}; there are "
            + ", ".join(f"{known}://" for known in TARGETS))
    return TARGETS[scheme](url)


class Purger:
    """A thread that keeps one target told. Every method may be called from any thread."""

    def __init__(self, target: Target, name: str, again: float, metrics: RelayMetrics) -> None:
        self._target, self._name, self._again, self._metrics = target, name, again, metrics
        self._condition = threading.Condition()
        self._begun = self._closed = False
        self._terms = 0  # how often a relay has begun to lead
        self._waiting: set[str] = set()  # tags to purge now
        self._frame = 0  # the last one whose tags wait, or were purged
        self._purged = 0  # the last one of which, and of all before it, no tag waits
        # to purge once more: when, the last frame that has none of them, tags; in this order
        self._later: deque[tuple[float, int, set[str]]] = deque()
        self._settled = 0
        self._stamp = ""
        self._stamped_at = 0.0  # by our clock; inf: the target has no lease
        self._proved = 0.0
        self._thread = threading.Thread(target=self._run, name="cache_notify purger", daemon=True)
        self._thread.start()

    def begin(self, settled: int) -> None:
        """A relay begins to lead, and will say what has changed since this frame."""
        with self._condition:
            self._waiting.clear()
            self._later.clear()
            self._frame = self._purged = self._settled = settled
            self._proved = 0.0
            self._begun = True
            self._terms += 1

    def changed(self, changes: Iterable[Change] | None, frame: int) -> None:
        tags = tags_concerned(self._name, changes)
        with self._condition:
            self._waiting |= tags
            if len(self._waiting) > MOST_WAITING:
                self._waiting = tags_concerned(self._name, None)
            self._frame = frame
            self._condition.notify()

    def proved(self, asked_at: float) -> None:
        """All is published, and so waits or is purged, that had changed by then."""
        with self._condition:
            self._proved = asked_at
            self._condition.notify()

    @property
    def settled(self) -> int:
        """The last frame whose tags need not be purged any more."""
        with self._condition:
            return self._settled

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join(2 * TIMEOUT)

    # ------------------------------------------------------------- the thread

    def _run(self) -> None:
        delay, failing = FIRST_DELAY, False
        while not self._closed:
            try:
                self._work()
                delay, failing = FIRST_DELAY, False
            except Exception as error:  # noqa: BLE001 (nothing may end the purger)
                self._metrics.count("purge_failures")
                if not failing:
                    log.warning("cannot purge %s: %s", self._target.url, error)
                failing = True
                wait = max(delay, getattr(error, "after", 0.0))
                self._sleep(wait)
                delay = min(2 * delay, LAST_DELAY)
        self._target.close()

    def _sleep(self, seconds: float) -> None:
        """Whatever changes meanwhile."""
        end = time.monotonic() + seconds
        with self._condition:
            while not self._closed and time.monotonic() < end:
                self._condition.wait(end - time.monotonic())

    def _has_work(self) -> bool:
        return self._closed or (self._begun and bool(
            self._waiting or self._proved > self._stamped_at
            or (self._later and self._later[0][0] <= time.monotonic())))

    def _work(self) -> None:
        """Purges what waits and what is due, then says that it is alive."""
        with self._condition:
            while not self._has_work():
                due = self._later[0][0] - time.monotonic() if self._later else IDLE
                self._condition.wait(min(max(due, 0.0), IDLE))
            tags, self._waiting = self._waiting, set()
            frame, proved, now, late = self._frame, self._proved, time.monotonic(), set()
            term = self._terms
            while self._later and self._later[0][0] <= now:
                late |= self._later.popleft()[2]
        left = sorted(tags | late)
        try:
            while left:
                self._purge(left[:self._target.batch])
                del left[:self._target.batch]
        finally:
            self._settle(term, frame, tags, set(left))
        self._say_alive(proved)

    def _settle(self, term: int, frame: int, tags: set[str], left: set[str]) -> None:
        """Notes what is purged of these tags, all up to a frame, and what is left."""
        with self._condition:
            if term != self._terms:
                return  # begin() was told of all of it
            if tags - left:
                self._later.append((time.monotonic() + self._again, self._purged, tags - left))
            # Late ones as well: it does no harm that they will come twice more.
            self._waiting |= left
            if not left:
                self._purged = frame
            if not self._waiting:
                self._settled = self._later[0][1] if self._later else self._frame

    def _purge(self, tags: list[str]) -> None:
        self._target.purge(tags)
        self._metrics.count("purges", n=len(tags))
        if self._target.pause:
            time.sleep(self._target.pause)

    def _say_alive(self, proved: float) -> None:
        """What was published before the proof was among what waited: it is purged."""
        if proved > self._stamped_at:
            stamp = self._target.beat(self._stamp)
            self._stamp = stamp or ""
            self._stamped_at = float("inf") if stamp is None else time.monotonic()
