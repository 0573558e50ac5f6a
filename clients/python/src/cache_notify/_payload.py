"""What a listener hears, read so that nothing can end it.

A payload is what anybody may send with NOTIFY. So whatever is not exactly what
the extension sends, of any shape and size, is a reset: the cache drops
everything, which costs hits and is never wrong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

# Versions are below 2^53 always, so that every JSON parser reads them exactly.
MAX_VERSION = 2**53


@dataclass(frozen=True)
class Change:
    """One (tenant, domain) has reached a version.

    tenant None: the shared part, which concerns every tenant. keys None: any
    key may have changed."""

    tenant: str | None
    domain: str
    version: int
    keys: tuple[str, ...] | None = None


def parse_payload(payload: bytes) -> Change | None:
    """The change that a payload tells of. None stands for a reset."""
    try:
        told = json.loads(payload.decode("utf-8"))
        tenant, domain, version = told["tenant_id"], told["domain"], told["version"]
        keys = told.get("keys")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError):
        return None
    if "reset" in told or not is_version(version):
        return None
    if not isinstance(domain, str) or not (tenant is None or isinstance(tenant, str)):
        return None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        keys = None  # primary keys of several columns are lists: they have no name
    return Change(tenant, domain, version, None if keys is None else tuple(keys))


def is_version(version: object) -> bool:
    return type(version) is int and 0 <= version < MAX_VERSION
