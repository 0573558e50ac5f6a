"""FraiseQL's PostgresCache as released, on the extension pg_fraiseql_cache: a result
that it stored with the versions of its domains is served as long as these stay.
Says in TAP whether it was never served once it was stale.
"""

import asyncio
import os
import subprocess
import sys
import uuid

import fraiseql
import psycopg
from fraiseql.caching import PostgresCache
from psycopg_pool import AsyncConnectionPool

HERE = os.path.dirname(os.path.abspath(__file__))
MIGRATIONS = os.path.join(os.path.dirname(fraiseql.__file__), "enterprise", "migrations")
ACME, GLOBEX, NOBODY = (uuid.UUID(int=n) for n in (1, 2, 3))

count = failed = 0


def ok(passed, name, detail=None):
    global count, failed
    count += 1
    failed += not passed
    print(f"{'' if passed else 'not '}ok {count} - {name}", flush=True)
    if not passed and detail is not None:
        print(f"# {detail}", flush=True)


def equal(got, expected, name):
    ok(got == expected, name, f"got {got!r}, expected {expected!r}")


class App:
    """What an application does: a tenant's users, cached with their domain versions."""

    def __init__(self, cache, database, domains=("user",)):
        self.cache = cache
        self.database = database
        self.domains = list(domains)

    async def users(self, tenant):
        """The names, and whether they came from the cache."""
        key = f"users:{tenant}"
        cached, then = await self.cache.get_with_metadata(key)
        now = await self.cache.get_domain_versions(tenant, self.domains)
        if cached is not None and then == now:
            return cached, True
        rows = await (await self.database.execute(
            "SELECT name FROM tb_user WHERE tenant_id = %s ORDER BY id", [tenant])).fetchall()
        names = [row[0] for row in rows]
        await self.cache.set(key, names, ttl=3600, versions=now)
        return names, False


async def follows_changes(cache, database):
    await database.execute(
        "CREATE TABLE tb_user (id int PRIMARY KEY, tenant_id uuid, name text);"
        "CREATE TABLE country (code text)")
    await cache.set("first", 1, ttl=60)     # it looks for the extension on first use
    ok(cache.has_domain_versioning, "the extension is found")
    equal(cache.extension_version, "1.0.0", "and its version")

    await cache.setup_table_trigger("tb_user")                  # all by default
    await cache.setup_table_trigger("public.tb_user", domain_name="person")
    await cache.setup_table_trigger("country", domain_name="country")   # has no tenants
    equal(await cache.get_domain_versions(ACME, ["user"]), {}, "no row before the first change")

    await database.execute("INSERT INTO tb_user VALUES (1, %s, 'ann'), (2, %s, 'bob')",
                           [ACME, GLOBEX])
    app = App(cache, database)
    equal(await app.users(ACME), (["ann"], False), "a first read fills the cache")
    equal(await app.users(ACME), (["ann"], True), "the second is served from it")
    equal(await app.users(GLOBEX), (["bob"], False), "another tenant fills its own")
    await database.execute("UPDATE tb_user SET name = 'anna' WHERE id = 1")
    equal(await app.users(ACME), (["anna"], False), "after a change it is not served any more")
    equal(await app.users(GLOBEX), (["bob"], True), "the other tenant's is")

    before = await cache.get_domain_versions(str(ACME), ["user", "person"])
    equal(before, {"user": before["user"], "person": before["user"]},
          "a tenant may be given as text; both domains of the table moved")
    await database.execute(
        "INSERT INTO tb_user SELECT i, %s, 'x' FROM generate_series(101, 10100) i", [ACME])
    after = await cache.get_domain_versions(ACME, ["user"])
    equal(after["user"], before["user"] + 1, "10,000 rows move a version once")
    async with database.transaction(force_rollback=True):
        await database.execute("DELETE FROM tb_user")
    equal(await cache.get_domain_versions(ACME, ["user"]), after, "a rollback moves nothing")

    await app.users(ACME), await app.users(GLOBEX)
    await database.execute("TRUNCATE tb_user")
    equal((await app.users(ACME), await app.users(GLOBEX)), (([], False), ([], False)),
          "a shared change reaches every tenant")
    await database.execute("INSERT INTO country VALUES ('fr')")
    now = await cache.get_domain_versions(GLOBEX, ["user", "country"])
    ok(now.keys() == {"user", "country"}, "also in a domain that never was the tenant's", now)
    await database.execute("INSERT INTO country VALUES ('de')")
    then = await cache.get_domain_versions(GLOBEX, ["user", "country"])
    equal(then, {"user": now["user"], "country": now["country"] + 1}, "and goes on to")
    equal(await cache.get_domain_versions(NOBODY, ["user"]), {},
          "a tenant that never changed anything has no row")
    equal(await cache.get_domain_versions(ACME, []), {}, "no domains, no versions")


async def follows_rules(cache, database):
    await cache.register_cascade_rule("user", "post", "notify")
    await cache.register_cascade_rule("user", "post")           # replaces the type
    await cache.register_cascade_rule("post", "comment")
    await database.execute("INSERT INTO tb_user VALUES (1, %s, 'ann')", [ACME])
    before = await cache.get_domain_versions(ACME, ["user", "post", "comment"])
    ok(before.keys() == {"user", "post", "comment"}, "a change is carried on", before)
    await database.execute("UPDATE tb_user SET name = 'anna' WHERE id = 1")
    after = await cache.get_domain_versions(ACME, list(before))
    equal(after, {domain: version + 1 for domain, version in before.items()}, "each time")
    equal(await cache.clear_cascade_rules("user"), 1, "rules of one source are cleared")
    equal(await cache.clear_cascade_rules(), 1, "then the others")
    await database.execute("UPDATE tb_user SET name = 'ann' WHERE id = 1")
    now = await cache.get_domain_versions(ACME, list(before))
    equal(now, {**after, "user": after["user"] + 1}, "and nothing is carried on any more")


async def packaged_migrations(cache, database):
    """What FraiseQL brings for its roles and permissions, as it is."""
    for name in ("002_rbac_tables.sql", "003_rbac_cache_setup.sql"):
        with open(os.path.join(MIGRATIONS, name)) as file:
            await database.execute(file.read())
    role = (await (await database.execute(
        "INSERT INTO roles (name, tenant_id) VALUES ('editor', %s) RETURNING id",
        [ACME])).fetchone())[0]
    domains = ["role", "permission", "role_permission", "user_role", "user_permissions"]
    before = await cache.get_domain_versions(ACME, domains)
    await database.execute(
        "INSERT INTO user_roles (user_id, role_id, tenant_id) VALUES (%s, %s, %s)",
        [NOBODY, role, ACME])
    after = await cache.get_domain_versions(ACME, domains)
    equal((after["user_role"] > before.get("user_role", 0),
           after["user_permissions"] > before["user_permissions"], after["role"]),
          (True, True, before["role"]), "a tenant's user gets a role: its permissions move")
    await database.execute("INSERT INTO permissions (resource, action) VALUES ('post', 'burn')")
    then = await cache.get_domain_versions(ACME, domains)
    equal((then["permission"] > after.get("permission", 0),
           then["user_permissions"] > after["user_permissions"]), (True, True),
          "a permission that belongs to no tenant moves every tenant's")


def example():
    """The example, in a database of its own."""
    python = os.path.join(HERE, "build/python/python3.13")
    path = os.path.join(HERE, "../../../examples/fraiseql/users")
    said = subprocess.run([python, path + ".py"], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "PGDATABASE": "example"}, check=False).stdout
    with open(path + ".out", encoding="utf-8") as file:
        equal(said, file.read(), "the example says what it should")


async def main():
    # The extension and its rights, as doc/migrating.md says. The application's role
    # owns its tables.
    commands = subprocess.run(
        [os.path.join(HERE, "..", "doc-sql"), "doc/migrating.md", "FraiseQL"],
        stdout=subprocess.PIPE, check=True).stdout
    done = subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"],
                          input=commands, check=False).returncode
    equal((done, b"CREATE EXTENSION" in commands), (0, True), "the commands to set up work")
    database = await psycopg.AsyncConnection.connect(autocommit=True)
    await database.execute("CREATE ROLE app LOGIN; GRANT CREATE ON SCHEMA public TO app")
    await database.execute("CREATE DATABASE example")
    await database.close()
    database = await psycopg.AsyncConnection.connect("user=app", autocommit=True)
    async with AsyncConnectionPool("user=app", min_size=1, max_size=2, open=False) as pool:
        cache = PostgresCache(pool)
        await follows_changes(cache, database)
        await follows_rules(cache, database)
        await packaged_migrations(cache, database)
    await database.close()
    example()
    print(f"1..{count}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
