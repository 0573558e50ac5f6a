"""As somebody has it who has never heard of it: a new environment, the wheel installed by pip,
and the first lines of its README. A page is cached, and never stale; types are checked."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

FETCHED = Path(__file__).resolve().parents[1] / "build" / "fetched"
ROUNDS = 20

# After the lines of the README: the row changes while the page is read, by somebody else.
AFTER = f"""
import json
from cache_notify import explain

other = psycopg.connect(DSN, autocommit=True)
assert cache.wait_until_listening(), cache.failure
hits = 0
for n in range(1, {ROUNDS} + 1):
    before = product(connection, "acme", 42)
    with explain() as what:
        product(connection, "acme", 42)
    hits += what.outcome == "hit"
    other.execute("UPDATE product SET name = %s WHERE id = 42", [f"chair {{n}}"])
    for _ in range(1_000_000):
        if product(connection, "acme", 42) != before:
            break
    for _ in range(10):
        assert product(connection, "acme", 42) == (f"chair {{n}}",), n
print(json.dumps([hits, *product(connection, "acme", 42)]))
cache.close()
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The Python of an environment that has nothing but the package and what it needs."""
    if not FETCHED.is_dir():
        pytest.skip("run prepare, which builds the wheel")
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index",
                    "--find-links", FETCHED, "cache-notify[binary]"], check=True)
    return python


def run(python, *arguments, **options):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([python, *arguments], env=environment, check=True, text=True,
                          stdout=subprocess.PIPE, **options).stdout


def shown(python):
    """The first program of the README that came with the wheel."""
    text = run(python, "-c", "import importlib.metadata as m; print(m.metadata('cache-notify').get_payload())")
    return re.search(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)[1]


def test_the_readme_has_ten_lines_for_it(fresh):
    lines = [line for line in shown(fresh).splitlines() if line.strip() and "import " not in line]
    assert len(lines) <= 10


def test_a_page_is_cached_and_never_stale(fresh, dsn, other, tmp_path):
    other.execute("CREATE TABLE product (id int PRIMARY KEY, tenant_id text, name text);"
                  "INSERT INTO product VALUES (42, 'acme', 'chair');"
                  "SELECT cache_notify.setup_table_invalidation('product', keys => '{id}', fields => '{keys}')")
    program = re.sub(r'"(?:host=primary )?dbname=shop"', "DSN", shown(fresh))
    (tmp_path / "page.py").write_text(f"DSN = {dsn!r}\n{program}{AFTER}", encoding="utf-8")
    assert json.loads(run(fresh, "page.py", cwd=tmp_path)) == [ROUNDS, f"chair {ROUNDS}"]


def test_what_is_installed_has_types(fresh, tmp_path):
    """As an application's mypy --strict sees it."""
    (tmp_path / "typed.py").write_text("""
import psycopg
from cache_notify import AsyncCache, Cache, Explanation, explain
from cache_notify.testing import FakeCache, check_reads

cache = Cache("dbname=shop")

@cache.cached(reads=["product/{id}"], tenant="{tenant}")
def product(db: psycopg.Connection, tenant: str, id: int) -> str:
    return str(id)

def page(db: psycopg.Connection) -> str:
    count: int = cache.get(db, "n", lambda db: 1, reads=["price"])
    with explain() as what:
        told: Explanation = what
    fake: Cache = FakeCache()
    number: int = check_reads(db, lambda db: 1, reads=["price"])
    return product(db, "acme", 42) + str(told) + str(number) + str(count) + str(fake.size)

async def other(cache: AsyncCache) -> int:
    async def load(db: object) -> int:
        return 1
    return await cache.get(None, "n", load, reads=["price"])
""", encoding="utf-8")
    told = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "--python-executable", fresh, "typed.py"],
        check=False, cwd=tmp_path, text=True, stdout=subprocess.PIPE).stdout
    assert told.startswith("Success"), told


def test_it_brings_what_it_says(fresh):
    """And nothing that only tests need."""
    found = json.loads(run(fresh, "-c", (
        "import importlib.metadata as m, json;"
        "print(json.dumps([d.metadata['Name'].lower().replace('_', '-') for d in m.distributions()]))")))
    assert set(found) - {"pip", "setuptools", "typing-extensions"} == {
        "cache-notify", "cachetools", "psycopg", "psycopg-binary"}
    assert importlib.metadata.version("cache-notify") in run(
        fresh, "-c", "import cache_notify; print(cache_notify.__version__)")
