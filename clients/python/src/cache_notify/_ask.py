"""The questions to the server, for every driver.

{0}, {1} ... stand for parameters; all of them are texts, so that no driver needs to
know an array. Adapters write them as their driver does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ._core import Part

# One statement, one snapshot: the token and the versions belong together.
ASK = """
    SELECT cache_notify.token({0}::text, VARIADIC {1}::text::text[]),
           pg_catalog.current_setting('transaction_isolation') = 'read committed',
           pg_catalog.pg_is_in_recovery(),
           pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL,
           v.tenant_id, v.domain, v.key, v.version, v.shared_version, v.known
    FROM cache_notify.near_versions({0}::text, VARIADIC {1}::text::text[]) v"""

@dataclass(frozen=True)
class Answer:
    """What the server says of the names that a result is made from."""

    token: str | None  # None: do not cache
    reason: str  # why not
    read_committed: bool
    in_recovery: bool
    has_written: bool
    parts: tuple[Part, ...]


def answer_of(rows: Sequence[Sequence[Any]]) -> Answer:
    if not rows:  # the extension was dropped while the statement ran
        return Answer(None, "unknown_domain", False, False, False, ())
    token, read_committed, in_recovery, has_written = rows[0][:4]
    parts = []
    reason = "" if token is not None else "changed_by_transaction"
    for row in rows:
        tenant, domain, key, version, shared_version, known = row[4:]
        if not known:
            token, reason = None, "unknown_domain"
        elif version is None or shared_version is None:
            token = None
        else:
            parts.append(Part(tenant, domain, key, version, shared_version))
    return Answer(token, reason, read_committed, in_recovery, has_written, tuple(parts))


def array(names: Sequence[str]) -> str:
    """Names as the text of an array."""
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
    return "{" + ",".join(f'"{name}"' for name in quoted) + "}"
