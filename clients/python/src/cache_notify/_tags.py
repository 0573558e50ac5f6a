"""Tags of what a response was made from, and of what a change concerns: HTTP caches drop
a response when one of its tags is purged.

A tag is a short hash, so that any text can be a tenant or a key, and that no header tells
tenants of each other. Both packages make the same ones: the first 12 characters of the
SHA-256 in base64url of the name of the database's relay, what kind of tag it is, tenant,
domain and key, with a NUL after each ("" for what there is not).

    response reads              tags                        purged by changes of
    domain of a tenant          tenant, shared              the tenant; no tenant
    key of a tenant             tenant/*, tenant/key,       the tenant, all keys or this one;
                                shared/*, shared/key        no tenant, likewise
    whole domain                whole                       any tenant
    key of a whole domain       whole/*, whole/key          any tenant, likewise
    a definition                definition, definitions     it; unknown ones
    anything                    all                         anything, when that is not known
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable

from ._core import INTERNAL, Part
from ._heard import fold
from ._payload import Change

# Bytes of tags that a response may have: servers and proxies limit headers.
MOST = 4_000

LENGTH = 12


@functools.lru_cache(maxsize=50_000)
def tag(name: str, kind: str, tenant: str | None = None, domain: str = "",
        key: str | None = None) -> str:
    text = "".join(f"{part}\0" for part in (name, kind, tenant or "", domain, key or ""))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).decode()[:LENGTH]


def tags_of(name: str, parts: Iterable[Part]) -> list[str]:
    """Of a response. If they are too many, those of keys become those of their domains."""
    parts = set(parts)
    tags = _tags_of(name, parts)
    if len(tags) * (LENGTH + 1) > MOST:
        tags = _tags_of(name, {Part(part.tenant, part.domain, None, 0, 0) for part in parts})
    if len(tags) * (LENGTH + 1) > MOST:
        tags = _tags_of(name, {Part(None, part.domain, None, 0, 0) for part in parts})
    return tags


def _tags_of(name: str, parts: Iterable[Part]) -> list[str]:
    tags = {tag(name, "all"): None}
    for part in sorted(parts, key=lambda part: (part.domain, part.tenant or "", part.key or "")):
        tenant, domain, key = part.tenant, part.domain, fold(part.key)
        if part.internal:
            found = [tag(name, "definition", None, domain), tag(name, "definitions")]
        elif tenant is None:
            found = _kinds(name, "whole", None, domain, key)
        else:
            found = [*_kinds(name, "tenant", tenant, domain, key),
                     *_kinds(name, "shared", None, domain, key)]
        tags.update(dict.fromkeys(found))
    return list(tags)


def _kinds(name: str, kind: str, tenant: str | None, domain: str, key: str | None) -> list[str]:
    if key is None:
        return [tag(name, kind, tenant, domain)]
    return [tag(name, kind + "/*", tenant, domain), tag(name, kind + "/key", tenant, domain, key)]


def tags_concerned(name: str, changes: Iterable[Change] | None) -> set[str]:
    """Of the responses that these changes concern; None: any."""
    if changes is None:
        return {tag(name, "all")}
    tags = set()
    for change in changes:
        if change.domain.startswith(INTERNAL):
            definitions = change.domain == INTERNAL
            tags.add(tag(name, "definitions") if definitions
                     else tag(name, "definition", None, change.domain))
            continue
        mine = "shared" if change.tenant is None else "tenant"
        for kind, tenant in ((mine, change.tenant), ("whole", None)):
            tags.add(tag(name, kind, tenant, change.domain))
            if change.keys is None:
                tags.add(tag(name, kind + "/*", tenant, change.domain))
            for key in change.keys or ():
                tags.add(tag(name, kind + "/key", tenant, change.domain, fold(key)))
    return tags
