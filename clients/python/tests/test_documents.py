"""The Python of the documents: that of the README runs, and prints what it says; the rest
is Python."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def blocks(file):
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / file).read_text(encoding="utf-8"),
                      flags=re.MULTILINE | re.DOTALL)


def test_the_ten_lines_of_the_readme(dsn, other):
    other.execute("CREATE TABLE tv_contract (id int PRIMARY KEY, tenant_id text, name text)")
    other.execute("SELECT cache_notify.setup_table_invalidation('tv_contract')")
    other.execute("INSERT INTO tv_contract VALUES (1, 'acme', 'renamed')")
    text, = blocks("README.md")
    expected = re.findall(r"^print\(.*\)  # (\[.*\]), ", text, flags=re.MULTILINE)
    assert len(expected) == 3
    printed = []
    names = {"print": lambda rows: printed.append(repr(rows))}
    try:
        exec(compile(text.replace('"dbname=shop"', repr(dsn)), "README.md", "exec"), names)  # noqa: S102 (our own document)
    finally:
        for name in ("cache", "db"):
            if name in names:
                names[name].close()
    assert printed == expected


@pytest.mark.parametrize("file", ["README.md", "clients/python/README.md"])
def test_the_rest_is_python(file):
    found = blocks(file)
    assert found
    for number, text in enumerate(found):
        # Some show what stands in a coroutine.
        indented = "".join(f"    {line}\n" for line in text.splitlines())
        compile(f"async def shown():\n{indented}", f"{file} {number}", "exec")
