"""For HTTP caches in front of an application: each response says what it was made from,
and cache-notify relay --purge drops it when that changes.

    app.add_middleware(SurrogateKeys)           # Starlette, FastAPI
    application = SurrogateKeys(application)    # any ASGI application

A response gets tags (Surrogate-Key, Cache-Tag) and an ETag if everything that it read
through caches of this package can be cached, is current, and was read not long ago. What
it reads in another way is the application's to name with depends_on(), or to rule out with
uncacheable().
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from ._core import Part
from ._names import domain_of, tenant_text
from ._nesting import Loading, loadings, within
from ._redis import NAME
from ._tags import tags_of

__all__ = ["SurrogateKeys", "depends_on", "uncacheable"]

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# Headers that a 304 does not have: they describe a body.
_OF_BODY = {b"content-length", b"content-type", b"content-encoding", b"content-language"}

# For shared caches that are purged. Fastly reads no no-store (fastly.com/documentation/guides/
# concepts/edge-state/cache/cache-freshness), and without these the times of Cache-Control.
_NOT_KEPT = b"no-store, max-age=0, stale-while-revalidate=0, stale-if-error=0"

# What tells one user from another.
_OF_USER = (b"authorization", b"cookie")


class _Reading(Loading):
    """What a response read so far. Not a loader, but given what loaders are given."""

    __slots__ = ("all_parts", "since", "tokens", "unknown")

    def __init__(self) -> None:
        super().__init__()
        self.all_parts: set[Part] = set()
        self.tokens: set[str] = set()
        self.unknown = False
        self.since = 0.0

    def took(self, parts: Iterable[Part], token: str | None) -> None:
        self.since = self.since or time.monotonic()
        if token is None:
            self.unknown = True
        else:
            self.tokens.add(token)
            # Versions move with other keys, too.
            self.all_parts.update(
                Part(part.tenant, part.domain, part.key, 0, 0) for part in parts)

    def is_known(self, seconds: float) -> bool:
        """And all of it was current so many seconds ago."""
        return bool(self.tokens) and not self.unknown and not self.spoilt and (
            time.monotonic() <= self.since + seconds)


def uncacheable() -> None:
    """This response depends on something that nobody tells of."""
    for it in loadings():
        it.took((), None)


def depends_on(name: str, token: str, tenant: Any = None) -> None:
    """This response depends on a domain, or on a key of it, read in another way: token is
    that of the name and tenant, asked for before reading. The server's spelling of both.
    tenant None: of every tenant."""
    domain = domain_of(name)
    key = name[len(name.split("/", 1)[0]) + 1:] or None
    part = Part(None if tenant is None else tenant_text(tenant), domain, key, 0, 0)
    for it in loadings():
        it.took([part], token)


class SurrogateKeys:
    """ASGI middleware; see above.

    name: the name of the relay (redis://...?name=). headers: what the tags are told in; a
    space separates them in Surrogate-Key, a comma in Cache-Tag. release: what else the
    responses depend on, such as the application's version: part of the ETag. strong: whether
    the same reads always make the same bytes, so that the ETag may be a strong one. within:
    seconds after the first read in which a response must be ready to get tags; the relay's
    --purge-again must be longer than this and the nodes' lease together."""

    def __init__(self, app: App, *, name: str = NAME,
                 headers: Iterable[str] = ("Surrogate-Key", "Cache-Tag"), release: str = "",
                 strong: bool = False, within: float = 2.0) -> None:
        self._app = app
        self._name = name
        self._headers = [header.encode() for header in headers]
        self._release = release
        self._strong = strong
        self._within = within

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with within(_Reading()) as reading:
            assert isinstance(reading, _Reading)
            response = _Response(self, scope, send, reading)
            await self._app(scope, receive, response.send)

    def told(self, scope: Scope, status: int, headers: Headers, reading: _Reading) -> Headers:
        """The headers that the response gets besides, none if it may not be cached."""
        if (scope["method"] not in ("GET", "HEAD") or status != 200
                or not reading.is_known(self._within) or not _may_be_shared(scope, headers)):
            return []
        tags = tags_of(self._name, reading.all_parts)
        told = [(header, (b"," if header.lower() == b"cache-tag" else b" ").join(
            tag.encode() for tag in tags)) for header in self._headers]
        if not any(header.lower() == b"etag" for header, _ in headers):
            told.append((b"etag", self._etag(scope, headers, reading)))
        return told

    def _etag(self, scope: Scope, headers: Headers, reading: _Reading) -> bytes:
        """Of what was read, and of what in the request the response may depend on."""
        asked = {header.lower(): value for header, value in scope["headers"]}
        varies = _listed(headers, b"vary") | set(_OF_USER)
        made_from = [self._release.encode(), *sorted(token.encode() for token in reading.tokens)]
        made_from += [header + b":" + asked.get(header, b"") for header in sorted(varies)]
        digest = hashlib.sha256(b"\0".join(made_from)).digest()
        text = base64.urlsafe_b64encode(digest)[:22]
        return b'"' + text + b'"' if self._strong else b'W/"' + text + b'"'


class _Response:
    """Holds the head of a response back until its first body has come: only then it is
    known what was read. One that comes in several pieces may read more after its head, so
    it gets no tags."""

    def __init__(self, keys: SurrogateKeys, scope: Scope, send: Send, reading: _Reading) -> None:
        self._keys, self._scope, self._send, self._reading = keys, scope, send, reading
        self._start: Message | None = None
        self._over = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is None or message["type"] != "http.response.body":
            if not self._over:
                await self._send(message)
            return
        start, self._start = self._start, None
        headers: Headers = list(start.get("headers", ()))
        told: Headers = []
        if not message.get("more_body", False):
            told = self._keys.told(self._scope, start["status"], headers, self._reading)
        if not told:
            # Whatever else the headers say, shared caches that we purge do not keep it.
            headers.append((b"surrogate-control", _NOT_KEPT))
            headers.append((b"cdn-cache-control", b"no-store"))
            if not _may_be_shared(self._scope, headers):
                _add_private(headers)
        headers += told
        if told and _matches(self._scope, headers):
            self._over = True
            await self._send({**start, "status": 304, "headers": [
                (header, value) for header, value in headers if header.lower() not in _OF_BODY]})
            await self._send({"type": "http.response.body", "body": b""})
            return
        await self._send({**start, "headers": headers})
        await self._send(message)


def _add_private(headers: Headers) -> None:
    """To what Cache-Control says already, in one line: some caches read no other."""
    if b"private" in _listed(headers, b"cache-control"):
        return
    control = [value for header, value in headers if header.lower() == b"cache-control"]
    headers[:] = [(header, value) for header, value in headers
                  if header.lower() != b"cache-control"]
    headers.append((b"cache-control", b", ".join([*control, b"private"])))


def _listed(headers: Headers, name: bytes) -> set[bytes]:
    return {word.strip().lower() for header, value in headers if header.lower() == name
            for word in value.split(b",")}


def _may_be_shared(scope: Scope, headers: Headers) -> bool:
    """Whether one user's response may be another's, as far as headers tell."""
    names = {header.lower() for header, _ in headers}
    control = {word.split(b"=")[0] for word in _listed(headers, b"cache-control")}
    vary = _listed(headers, b"vary")
    if b"set-cookie" in names or b"*" in vary or control & {b"private", b"no-store"}:
        return False
    asked = {header.lower() for header, _ in scope["headers"]}
    return all(header not in asked or header in vary or b"public" in control
               for header in _OF_USER)


def _matches(scope: Scope, headers: Headers) -> bool:
    """Whether the client has it already: If-None-Match, compared weakly."""
    etag = next(value for header, value in headers if header.lower() == b"etag")
    wanted = {word.strip().removeprefix(b"W/") for header, value in scope["headers"]
              if header.lower() == b"if-none-match" for word in value.split(b",")}
    return b"*" in wanted or etag.removeprefix(b"W/") in wanted
