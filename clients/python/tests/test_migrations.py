"""Migrations as Django and Alembic run them: what changes a result moves, what does not stays."""

import os
import subprocess
import sys

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

MODEL = """[
    migrations.CreateModel("Item", [
        ("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=20))]),
    migrations.CreateModel("Other", [("id", models.BigAutoField(primary_key=True))])]"""

# operations of Django's, those of Alembic that do the same, and whether shop_item has changed
STEPS = [
    ('[migrations.AddField("item", "price", models.IntegerField(null=True))]',
     'op.add_column("shop_item", sa.Column("price", sa.Integer))', True),
    ('[migrations.AlterField("item", "price", models.IntegerField(null=True, help_text="in cents"))]',
     'op.alter_column("shop_item", "price", comment="in cents")', False),
    ('[migrations.AlterField("item", "price", models.BigIntegerField(null=True))]',
     'op.alter_column("shop_item", "price", type_=sa.BigInteger)', True),
    ('[migrations.RenameField("item", "price", "amount")]',
     'op.alter_column("shop_item", "price", new_column_name="amount")', True),
    ('[migrations.AddIndex("item", models.Index(fields=["name"], name="by_name"))]',
     'op.create_index("by_name", "shop_item", ["name"])', False),
    ('[migrations.AddField("other", "item", models.ForeignKey("Item", models.CASCADE, null=True))]',
     'op.add_column("shop_other", sa.Column("item_id", sa.BigInteger, sa.ForeignKey("shop_item.id")))', False),
    ('[migrations.RemoveField("item", "amount")]', 'op.drop_column("shop_item", "amount")', True),
]


def run(folder, *command, **environment):
    done = subprocess.run([sys.executable, *command], cwd=folder, text=True, check=False,
                          capture_output=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr


def django_project(folder, dsn):
    server = conninfo_to_dict(dsn)
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": server.get("dbname"), "USER": server.get("user", ""),
                "HOST": server.get("host", ""), "PORT": server.get("port", "")}
    (folder / "settings.py").write_text(
        f"INSTALLED_APPS = ['shop']\nDATABASES = {{'default': {database!r}}}\n")
    shop = folder / "shop" / "migrations"
    shop.mkdir(parents=True)
    for path in (shop.parent / "__init__.py", shop / "__init__.py"):
        path.touch()
    for i, operations in enumerate([MODEL, *(step[0] for step in STEPS)]):
        dependencies = [("shop", f"{i - 1:04}_step")] if i else []
        (shop / f"{i:04}_step.py").write_text(
            "from django.db import migrations, models\nclass Migration(migrations.Migration):\n"
            f"    dependencies = {dependencies}\n    operations = {operations}\n")
    return lambda i: run(folder, "-m", "django", "migrate", "shop", f"{i:04}", "--pythonpath", ".",
                         DJANGO_SETTINGS_MODULE="settings")


def alembic_project(folder, dsn):
    (folder / "versions").mkdir()
    (folder / "alembic.ini").write_text("[alembic]\nscript_location = .\n")
    (folder / "env.py").write_text(
        "import psycopg, sqlalchemy\nfrom alembic import context\n"
        f"engine = sqlalchemy.create_engine('postgresql+psycopg://', creator=lambda: psycopg.connect({dsn!r}))\n"
        "with engine.connect() as connection:\n    context.configure(connection=connection)\n"
        "    with context.begin_transaction():\n        context.run_migrations()\n")
    first = ('op.create_table("shop_item", sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("name", sa.String(20)))\n'
             '    op.create_table("shop_other", sa.Column("id", sa.BigInteger, primary_key=True))')
    for i, operation in enumerate([first, *(step[1] for step in STEPS)]):
        (folder / "versions" / f"step{i}.py").write_text(
            "from alembic import op\nimport sqlalchemy as sa\n"
            f"revision = 'r{i}'\ndown_revision = {f'r{i - 1}' if i else None!r}\n"
            f"def upgrade():\n    {operation}\n")
    return lambda i: run(folder, "-m", "alembic", "upgrade", f"r{i}")


@pytest.mark.parametrize("project", [django_project, alembic_project])
def test_migrations(project, tmp_path, dsn):
    pytest.importorskip("django" if project is django_project else "alembic")
    migrate = project(tmp_path, dsn)
    migrate(0)
    with psycopg.connect(dsn, autocommit=True) as other:
        def ask(sql, *arguments):
            return other.execute(sql, arguments).fetchone()[0]

        ask("SELECT cache_notify.setup_table_invalidation('shop_item')")
        for i, (operations, _, moves) in enumerate(STEPS, 1):
            token = ask("SELECT cache_notify.token_for('SELECT * FROM shop_item')")
            assert token is not None
            migrate(i)
            assert ask("SELECT cache_notify.is_current(%s)", token) is not moves, operations
            # Again, as at every start of the application: nothing moves.
            token = ask("SELECT cache_notify.token_for('SELECT * FROM shop_item')")
            migrate(i)
            assert ask("SELECT cache_notify.is_current(%s)", token), operations
