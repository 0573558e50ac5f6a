"""Whether reads names everything that a loader reads, by what the server locked for it.

Within a transaction every relation that a statement names, itself or through views, rules,
policies and functions, stays locked, whether or not a row of it was looked at. So the
locks say what a loader reads, whichever driver or mapper it uses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from typing import Any, TypeVar

from . import _steps
from ._adapters import Adapter, adapter_of
from ._aio_adapters import async_adapter_of
from ._ask import ASK, answer_of, array
from ._course import Course
from ._names import WHOLE_DOMAIN, names, tenant_text

T = TypeVar("T")

# Scans are counted for a caller who is in a transaction already, and may have locked
# everything before.
READ = """
    SELECT c.oid::text,
           pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
           coalesce(s.seq_scan, 0) + coalesce(s.idx_scan, 0),
           EXISTS (SELECT FROM pg_catalog.pg_locks l
                   WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation'
                   AND l.relation = c.oid
                   AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                     WHERE d.datname = pg_catalog.current_database())),
           pg_catalog.transaction_timestamp()::text
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_stat_xact_all_tables s ON s.relid = c.oid
    WHERE c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast',
                          'cache_notify', '_cache_notify')"""

# Not what redefines a relation, which no list of reads names.
FED = """
    SELECT d.certainty, d.domain, d.reason
    FROM cache_notify.domains_of('SELECT * FROM ' || {0}::text) d
    WHERE d.certainty <> 'definition'"""

RULES = """
    SELECT r.source_domain, r.target_domain FROM cache_notify.v_cascade_rules r
    WHERE r.rule_type = 'invalidate'"""


class MissingReads(AssertionError):
    """A loader reads what `reads` does not name; the message says what."""


def check_reads(db: Any, load: Callable[[Any], T], *, reads: Sequence[str],
                tenant: Any = WHOLE_DOMAIN, ignore: Iterable[str] = ()) -> T:
    """Runs load(db) in a transaction, and raises MissingReads if that read a table none of
    whose domains is in reads, or one that is not watched. Returns what load() returned.

    db: a connection or session (a pool's own connections cannot be looked at). ignore:
    tables that need not be in reads, as schema.table. It looks at whole domains: whether
    the keys and the tenant are the right ones, it cannot say; nor does it see what
    changes by itself (now()), which query() does."""
    return _steps.run(_check(  # type: ignore[no-any-return]
        adapter_of(db), lambda: _run_in(db, load), reads, tenant, ignore))


async def check_reads_async(db: Any, load: Callable[[Any], Awaitable[T]], *,
                            reads: Sequence[str], tenant: Any = WHOLE_DOMAIN,
                            ignore: Iterable[str] = ()) -> T:
    """check_reads() for asyncio."""
    return await _steps.run_async(_check(
        async_adapter_of(db), lambda: _run_in_async(db, load), reads, tenant, ignore))


def _check(adapter: Adapter, load: Callable[[], Any], reads: Sequence[str], tenant: Any,
           ignore: Iterable[str]) -> Course[Any]:
    if adapter.shared:
        raise TypeError("check_reads() needs one connection or session, not a pool or an engine")
    told = names(reads)
    value, before, after = yield load
    ignored = set(ignore)
    tables = sorted(
        name for oid, (name, scans, locked) in after.items() if name not in ignored
        and ((locked and not before[oid][2]) or scans > before[oid][1]))
    answer = answer_of((yield lambda: adapter.run(ASK, [tenant_text(tenant), array(told)])))
    if answer.reason == "unknown_domain":
        raise MissingReads(f"nothing feeds one of the domains {', '.join(told)}")
    covered = {part.domain for part in answer.parts}
    rules = yield lambda: adapter.run(RULES)
    complaints = []
    for table in tables:
        fed = yield lambda table=table: adapter.run(FED, [table])  # type: ignore[misc]
        complaint = _complaint(table, fed, rules, covered)
        if complaint:
            complaints.append(complaint)
    if complaints:
        raise MissingReads(
            f"reads={list(told)} is not all that the loader reads:\n  " + "\n  ".join(complaints))
    return value


def _complaint(table: str, fed: Sequence[Sequence[Any]], rules: Sequence[Sequence[Any]],
               covered: set[str]) -> str | None:
    """What reads lacks for this table; None if nothing."""
    domains = {domain for certainty, domain, _ in fed if certainty == "exact"}
    if not domains:
        return f"{table}: not watched ({'; '.join(sorted({str(why) for *_, why in fed}))})"
    reached, more = set(domains), True
    while more:
        more = {target for source, target in rules if source in reached} - reached != set()
        reached |= {target for source, target in rules if source in reached}
    if reached & covered:
        return None
    return f"{table}: add {' or '.join(repr(domain) for domain in sorted(domains))}"


Seen = dict[str, tuple[str, int, bool]]


def _seen(rows: Sequence[Sequence[Any]]) -> tuple[str, Seen]:
    """In which transaction, and what is read in it by now."""
    return rows[0][4], {row[0]: (row[1], int(row[2]), row[3]) for row in rows}


def _differ(value: Any, before: tuple[str, Seen], after: tuple[str, Seen]) -> tuple[Any, Seen, Seen]:
    if before[0] != after[0]:
        raise RuntimeError("the loader has ended the transaction in which it was looked at")
    return value, before[1], after[1]


def _run_in(db: Any, load: Callable[[Any], T]) -> tuple[Any, Seen, Seen]:
    with _transaction(db):
        adapter = adapter_of(db)
        before = _seen(adapter.run(READ))
        value = load(db)
        return _differ(value, before, _seen(adapter.run(READ)))


async def _run_in_async(db: Any, load: Callable[[Any], Awaitable[T]]) -> tuple[Any, Seen, Seen]:
    async with _async_transaction(db):
        adapter = async_adapter_of(db)
        before = _seen(await adapter.run(READ))
        value = await load(db)
        return _differ(value, before, _seen(await adapter.run(READ)))


def _transaction(db: Any) -> AbstractContextManager[Any]:
    kind = type(adapter_of(db)).__name__
    if kind == "Psycopg":
        return db.transaction()  # type: ignore[no-any-return]
    if kind == "Psycopg2":
        return _psycopg2_transaction(db)
    if kind == "Django":
        from django.db import transaction

        return transaction.atomic(using=db.alias)  # type: ignore[no-any-return]
    return db.begin_nested() if db.in_transaction() else db.begin()  # type: ignore[no-any-return]


@contextmanager
def _psycopg2_transaction(db: Any) -> Any:
    if not db.autocommit:
        yield  # it begins by itself
        return
    db.autocommit = False
    try:
        yield
        db.commit()
    finally:
        db.rollback()
        db.autocommit = True


def _async_transaction(db: Any) -> AbstractAsyncContextManager[Any]:
    if type(async_adapter_of(db)).__name__ in ("AsyncPsycopg", "Asyncpg"):
        return db.transaction()  # type: ignore[no-any-return]
    return db.begin_nested() if db.in_transaction() else db.begin()  # type: ignore[no-any-return]
