"""The shared tier: results in Redis or Valkey, for processes that would otherwise each
compute what another one has.

An entry's key contains the token that its result was computed under, and whoever reads
it has just got that token from the server. So a stale entry cannot be read, whatever is
lost, late or left behind; it goes by its time to live.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import weakref
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from ._codec import Codec, JsonCodec, NotShareable

if TYPE_CHECKING:
    from ._metrics import Metrics

log = logging.getLogger("cache_notify")

# The form of keys and values: doc/protocol.md.
FORM = "1"

# In the place of a result: whoever needs it must compute it. For so many seconds after a
# computation has failed; as long as an entry, where the result cannot be told to others.
NOTHING = f"{FORM} none\n".encode()
FAILED_FOR = 1.0

# Seconds without a question after the store did not answer: the first, the longest.
FIRST_REST = 0.5
LAST_REST = 10.0


class RedisTier:
    """Entries in Redis or Valkey, shared by all processes with this url and prefix.

    Needs the redis package: pip install cache-notify[redis]. Losing the store costs
    hits and nothing else. Whoever can write to it can plant results, so it must be as
    well protected as the database.

    url: redis://, rediss:// or unix://. prefix: how its keys begin; change it when what
    your loaders return has another form than before. ttl: seconds after which an entry
    goes, at most. timeout: seconds for one question. wait: seconds for which one process
    lets another one compute a result that both lack (by claim_refresh() of the server);
    0: each computes its own. codec: how results become bytes; JsonCodec() leaves those
    unshared that are not made of plain values, PickleCodec() takes more, and runs what
    it reads. One object may be given to several caches."""

    def __init__(self, url: str, *, prefix: str = "cache_notify", ttl: float = 3600.0,
                 timeout: float = 0.25, wait: float = 10.0,
                 codec: Codec | None = None) -> None:
        if not 0 <= wait <= 300:
            raise ValueError("wait must be 0 to 300 seconds")
        if ttl <= 0 or timeout <= 0:
            raise ValueError("ttl and timeout must be positive")
        self.url = url
        self.prefix = prefix
        self.ttl = ttl
        self.timeout = timeout
        self.wait = wait
        self.codec = codec or JsonCodec()

    def connect(self, client: Any, retry: Any) -> Any:
        """A client of this class, which tries by this class."""
        from redis.backoff import NoBackoff

        # Once more, for a connection that the store has closed meanwhile.
        options = {"socket_timeout": self.timeout, "retry": retry(NoBackoff(), 1)}
        if not self.url.startswith("unix://"):
            options["socket_connect_timeout"] = self.timeout
        return client.from_url(self.url, **options)

    def place(self, name: str, token: str) -> Place:
        """Where the result of this name and token is."""
        digest = hashlib.sha256(name.encode()).hexdigest()
        return Place(f"{self.prefix}:{FORM}:{digest}:{token}", digest, token)


class Place(NamedTuple):
    """Where a result is: its key, and what claims are made with."""

    key: str
    digest: str
    token: str


class Found(NamedTuple):
    """What lies in a place."""

    value: Any
    ttl: float  # seconds


#: Nothing is there, and somebody may put something there.
MISSING = object()

#: Nothing will come of it: compute it.
COMPUTE = object()


class Store:
    """One cache's view of the tier: errors are counted here, and end here."""

    def __init__(self, tier: RedisTier, metrics: Metrics) -> None:
        self.tier = tier
        self._metrics = metrics
        self._rests_until = 0.0
        self._rest = FIRST_REST
        self._said: set[str] = set()

    def get(self, place: Place) -> Any:
        """A Found, MISSING or COMPUTE; in asyncio an awaitable of it."""
        raise NotImplementedError

    def put(self, place: Place, data: bytes, ttl: float, replace: bool = True) -> Any:
        """Puts it there, if the store answers."""
        raise NotImplementedError

    def encoded(self, value: Any) -> bytes | None:
        codec = self.tier.codec
        try:
            return f"{FORM} {codec.name}\n".encode() + codec.dumps(value)
        except (NotShareable, ValueError, RecursionError) as error:
            self._metrics.count("tier", "not_shareable")
            self._say(f"not shared between processes: {error}")
            return None

    def _decoded(self, answer: list[Any]) -> Any:
        data, milliseconds = answer
        if data is None or milliseconds <= 0:
            return MISSING
        if data == NOTHING:
            return COMPUTE
        head, _, body = data.partition(b"\n")
        try:
            if head.decode() != f"{FORM} {self.tier.codec.name}":
                raise ValueError(f"it begins with {head[:40]!r}")
            return Found(self.tier.codec.loads(body), milliseconds / 1000)
        except Exception as error:  # noqa: BLE001 (anything may lie there)
            self._metrics.count("tier", "unreadable")
            self._say(f"an entry of the shared tier cannot be read: {type(error).__name__}: {error}")
            return MISSING

    def _say(self, message: str) -> None:
        if message not in self._said and len(self._said) < 100:
            self._said.add(message)
            log.warning("%s", message)

    def _rests(self) -> bool:
        return monotonic() < self._rests_until

    def _answered(self) -> None:
        self._rest = FIRST_REST

    def _failed(self, error: Exception) -> None:
        # Not each caller is to wait for a store that is gone.
        self._metrics.count("tier", "error")
        self._rests_until = monotonic() + self._rest
        self._rest = min(2 * self._rest, LAST_REST)
        self._say(f"the shared tier does not answer: {type(error).__name__}: {error}")


class SyncStore(Store):
    """Thread-safe; may be used after a fork."""

    def __init__(self, tier: RedisTier, metrics: Metrics) -> None:
        super().__init__(tier, metrics)
        from redis import Redis
        from redis.retry import Retry

        self._client = tier.connect(Redis, Retry)

    def get(self, place: Place) -> Any:
        return self._ask(lambda pipe: pipe.get(place.key).pttl(place.key), self._decoded)

    def put(self, place: Place, data: bytes, ttl: float, replace: bool = True) -> Any:
        return self._ask(lambda pipe: pipe.set(
            place.key, data, px=max(1, int(ttl * 1000)), nx=not replace), bool)

    def _ask(self, add: Callable[[Any], Any], read: Callable[[list[Any]], Any]) -> Any:
        if self._rests():
            return COMPUTE
        try:
            with self._client.pipeline(transaction=False) as pipe:
                add(pipe)
                answer = pipe.execute()
        except Exception as error:  # noqa: BLE001 (it costs a hit)
            self._failed(error)
            return COMPUTE
        self._answered()
        return read(answer)

    def close(self) -> None:
        self._client.close()


class AsyncStore(Store):
    """For tasks of any event loop: each has connections of its own."""

    def __init__(self, tier: RedisTier, metrics: Metrics) -> None:
        super().__init__(tier, metrics)
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry

        self._connect: Callable[[], Any] = lambda: tier.connect(Redis, Retry)
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = (
            weakref.WeakKeyDictionary())

    def get(self, place: Place) -> Any:
        return self._ask(lambda pipe: pipe.get(place.key).pttl(place.key), self._decoded)

    def put(self, place: Place, data: bytes, ttl: float, replace: bool = True) -> Any:
        return self._ask(lambda pipe: pipe.set(
            place.key, data, px=max(1, int(ttl * 1000)), nx=not replace), bool)

    async def _ask(self, add: Callable[[Any], Any], read: Callable[[list[Any]], Any]) -> Any:
        if self._rests():
            return COMPUTE
        try:
            async with self._client().pipeline(transaction=False) as pipe:
                add(pipe)
                answer = await pipe.execute()
        except Exception as error:  # noqa: BLE001 (it costs a hit)
            self._failed(error)
            return COMPUTE
        self._answered()
        return read(answer)

    def _client(self) -> Any:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self._connect()
        return client

    async def close(self) -> None:
        """Those of this event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            close: Any = getattr(client, "aclose", None) or client.close  # before and since 5.0
            await close()
