"""The Python of the documents runs, and comes to what it says: each block of each of them in
turn, but those after "<!-- not run: reason -->". "# runs the query" and "# from memory" are
compared with what explain() tells, and what is printed with the comment that follows."""

import asyncio
import inspect
import re
from pathlib import Path

import psycopg
import pytest

import cache_notify

ROOT = Path(__file__).resolve().parents[3]
FILES = [str(file.relative_to(ROOT)) for file in sorted(
    {ROOT / "README.md", *ROOT.glob("doc/*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("clients/*/README.md")})
    if "```python\n" in file.read_text(encoding="utf-8")]

SCHEMA = """
    CREATE TABLE tv_contract (id int PRIMARY KEY, tenant_id text, name text);
    SELECT cache_notify.setup_table_invalidation('tv_contract');
    INSERT INTO tv_contract VALUES (1, 'acme', 'renamed');
    CREATE TABLE contract (id int PRIMARY KEY, tenant_id text, name text);
    SELECT cache_notify.setup_table_invalidation('contract');
    CREATE TABLE product (id int PRIMARY KEY, tenant_id text, name text);
    SELECT cache_notify.setup_table_invalidation('product', keys => '{id}', fields => '{keys}');
    CREATE TABLE category (id int PRIMARY KEY, tenant_id text);
    SELECT cache_notify.setup_table_invalidation('category');
    INSERT INTO product VALUES (42, 'acme', 'chair');
"""



def blocks(file):
    """The blocks of a document that are to run."""
    found = re.findall(r"(<!-- not run: .* -->\n)?^```python\n(.*?)^```$", (ROOT / file).read_text(encoding="utf-8"),
                       flags=re.MULTILINE | re.DOTALL)
    return [text for reason, text in found if not reason]


def test_there_are_documents():
    assert {"README.md", "doc/guide.md", "clients/python/README.md"} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_a_document(file, dsn, db, other, redis):
    other.execute(SCHEMA)
    printed, expected, told, promised = [], [], [], []
    names = {"print": lambda rows: printed.append(repr(rows)), "connection": db, "db": db, "explain": cache_notify.explain,
             "told": told, "load_total": lambda db: db.execute("SELECT sum(amount) FROM price").fetchone()}
    opened = []

    def ready(cache):
        opened.append(cache)
        assert cache.wait_until_listening(), cache.failure

    names["ready"] = ready

    def line_to_run(line):
        shown = re.fullmatch(r"print\(.*\)  # (\[.*\]), by the query|print\(.*\)  # (\[.*\]), from memory", line)
        if shown:
            expected.append(shown[1] or shown[2])
        says = re.fullmatch(r"(\S.*?)\s+# (?:\[.*\], )?(?:by|runs|from) .*", line)
        if says:
            outcome = "hit" if "from memory" in line else "miss"
            promised.append(outcome)
            return f"with explain() as what: {says[1]}\ntold.append(str(what).split()[0])"
        if re.match(r"cache = Cache\((?!\"redis:)", line):
            return f"{line}\nready(cache)"
        return line

    for text in blocks(file):
        text = "\n".join(map(line_to_run, text.splitlines()))
        text = re.sub(r'"(?:host=primary )?dbname=shop"', repr(dsn), text)
        text = text.replace("redis://cache:6379", redis.url)
        text = text.replace("redis://queue/0?name=shop", f"{redis.url}?name=shop")
        if "await " in text:
            asyncio.run(coroutine(file, text, names, dsn))
        else:
            exec(compile(text, file, "exec"), names)  # noqa: S102 (our own document)
    for name, value in list(names.items()):
        if name.startswith("test_") and inspect.isfunction(value):
            value(db)
    for cache in opened:
        cache.close()
    if isinstance(names.get("cache"), cache_notify.Cache):
        names["cache"].close()
    if names["db"] is not db:
        names["db"].close()
    assert printed == expected
    assert told == promised


async def coroutine(file, text, names, dsn):
    """What stands in a coroutine."""
    async def load_total(db):
        return await (await db.execute("SELECT sum(amount) FROM price")).fetchone()

    inside = "".join(f"    {line}\n" for line in text.splitlines())
    exec(compile(f"async def shown(pool, load_total):\n{inside}    return cache\n", file, "exec"), names)  # noqa: S102
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as pool:
        cache = await names["shown"](pool, load_total)
        cache.close()
