"""The Python of the documents runs, and comes to what it says: each block of each of them in
turn, but those after "<!-- not run: reason -->". "# runs the query" and "# from memory" are
compared with what explain() tells, and what is printed with the comment that follows. Of
shell commands, those of the package are run: a relay must get through to a cache."""

import asyncio
import inspect
import re
import shlex
import subprocess
from pathlib import Path

import psycopg
import pytest
from relaying import PROGRAM

import cache_notify

ROOT = Path(__file__).resolve().parents[3]
FILES = [str(file.relative_to(ROOT)) for file in sorted(
    {ROOT / "README.md", *ROOT.glob("doc/*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("clients/*/README.md")})
    if re.search(r"^```(python|console\n\$ (cache-notify|pip) )", file.read_text(encoding="utf-8"), re.MULTILINE)]

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
    """The blocks of a document that are to run: (language, text)."""
    found = re.findall(r"(<!-- not run: [^\n]* -->\n)?^```(python|console)\n(.*?)^```$",
                       (ROOT / file).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [(language, text) for reason, language, text in found if not reason]


async def application(scope, receive, send):
    """An ASGI application for the documents to wrap."""


class App:
    """What FastAPI does with middleware, no more."""

    def add_middleware(self, middleware, **options):
        assert callable(middleware(application, **options))


class Shell:
    """Runs the package's commands, which go on until the end."""

    def __init__(self, dsn, redis):
        self.dsn, self.redis, self.running = dsn, redis, []

    def run(self, text):
        """Each command; what it shows, and its status."""
        status = None
        for command, shown in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", text.replace("\\\n", " "), flags=re.MULTILINE):
            program, *rest = shlex.split(command)
            if program == "pip":
                self.is_offered(rest)
            elif program == "cache-notify" and rest[0] == "relay":
                self.start(rest)
            elif program == "cache-notify":
                done = subprocess.run([*PROGRAM, *(each.replace("postgresql://primary/shop", self.dsn) for each in rest)],
                                      capture_output=True, text=True, check=False)
                assert done.stdout == shown
                status = done.returncode
            elif command == "echo $?":
                assert shown == f"{status}\n"

    def is_offered(self, rest):
        """What pip would install, as this package says of itself."""
        verb, package = rest
        name, extra = re.fullmatch(r"([a-z-]+)(?:\[([a-z]+)\])?", package).groups()
        about = (ROOT / "clients/python/pyproject.toml").read_text(encoding="utf-8")
        assert verb == "install"
        assert f'name = "{name}"' in about
        assert extra is None or re.search(rf"^{extra} = \[", about, flags=re.MULTILINE)

    def start(self, rest):
        where = {"host=primary dbname=shop": self.dsn, "redis://queue/0?name=shop": f"{self.redis.url}?name=shop"}
        assert {"--listen", "--redis"} <= set(rest)
        self.running.append(subprocess.Popen([*PROGRAM, *(where.get(each, each) for each in rest)],
                                             stderr=subprocess.DEVNULL))
        cache = cache_notify.Cache(where["redis://queue/0?name=shop"])
        assert cache.wait_until_listening(), cache.failure
        cache.close()

    def end(self):
        for process in self.running:
            process.terminate()
            process.wait(20)


def test_there_are_documents():
    assert {"README.md", "doc/guide.md", "clients/python/README.md"} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_a_document(file, dsn, db, other, redis):
    other.execute(SCHEMA)
    shell = Shell(dsn, redis)
    try:
        run_a_document(file, dsn, db, redis, shell)
    finally:
        shell.end()


def run_a_document(file, dsn, db, redis, shell):
    printed, expected, told, promised = [], [], [], []
    names = {"print": lambda shown: printed.append(repr(shown) if isinstance(shown, list) else str(shown)), "connection": db, "db": db, "explain": cache_notify.explain,
             "told": told, "app": App(), "application": application, "load_total": lambda db: db.execute("SELECT sum(amount) FROM price").fetchone()}
    opened = []

    def ready(cache):
        opened.append(cache)
        assert cache.wait_until_listening(), cache.failure

    names["ready"] = ready

    def line_to_run(line):
        shown = re.fullmatch(r"print\(.*\)  # (\[.*\]), by the query|print\(.*\)  # (\[.*\]), from memory", line)
        if shown:
            expected.append(shown[1] or shown[2])
        if line.startswith("print(what)  # "):
            expected.append(line.removeprefix("print(what)  # "))
        says = re.fullmatch(r"(\S.*?)\s+# (?:\[.*\], )?(?:by|runs|from) .*", line)
        if says:
            outcome = "hit" if "from memory" in line else "miss"
            promised.append(outcome)
            return f"with explain() as what: {says[1]}\ntold.append(str(what).split()[0])"
        if re.match(r"cache = Cache\(" if shell.running else r"cache = Cache\((?!\"redis:)", line):
            return f"{line}\nready(cache)"
        return line

    for language, text in blocks(file):
        if language == "console":
            shell.run(text)
            continue
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
