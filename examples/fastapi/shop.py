"""A shop in FastAPI whose pages are kept in memory, and never stale.

    tools/with-server sh -c 'psql -qf examples/fastapi/schema.sql &&
        cd examples/fastapi && build/venv/bin/uvicorn shop:app'

Then look at http://127.0.0.1:8000/acme, change a price there or in psql, and look again: at
the foot of the page stands what the cache did.
"""

import html
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated

from cache_notify import AsyncCache, explain
from fastapi import FastAPI, Form, HTTPException
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

# Where PGHOST and the like lead to. Queries may go through a pooler; LISTEN may not.
DATABASE = LISTEN = ""


@asynccontextmanager
async def lifespan(app: FastAPI):
    global cache, pool
    cache = AsyncCache(LISTEN, ttl=300)
    async with AsyncConnectionPool(
            DATABASE, kwargs={"autocommit": True, "row_factory": dict_row}, open=False) as pool:
        yield
    await cache.aclose()


app = FastAPI(lifespan=lifespan)


@app.get("/metrics", response_class=PlainTextResponse)
async def metrics() -> str:
    return cache.metrics.prometheus()


async def catalogue(tenant: str) -> list[dict]:
    """Says only whose rows it reads: what the statement reads, the server finds out."""
    return await cache.query(
        pool, "SELECT id, name, price FROM product WHERE tenant_id = %s ORDER BY id", [tenant],
        tenant=tenant)


async def product(tenant: str, id: int) -> dict | None:
    """Made from one row: changes of others leave it where it is."""
    async def load(pool: AsyncConnectionPool) -> dict | None:
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT id, name, price FROM product WHERE tenant_id = %s AND id = %s", [tenant, id])
            return await cursor.fetchone()

    return await cache.get(pool, ("product", id), load, reads=[f"product/{id}"], tenant=tenant)


@app.get("/{tenant}", response_class=HTMLResponse)
async def show_catalogue(tenant: str) -> str:
    with explain() as what:
        products = await catalogue(tenant)
    rows = "".join(
        f'<tr><td><a href="/{html.escape(tenant)}/{row["id"]}">{html.escape(row["name"])}</a>'
        f"<td>{row['price']}" for row in products)
    return page(f"Products of {tenant}", f"<table>{rows}</table>", f"catalogue: {what}")


@app.get("/{tenant}/{id}", response_class=HTMLResponse)
async def show_product(tenant: str, id: int) -> str:
    with explain() as what:
        row = await product(tenant, id)
    if row is None:
        raise HTTPException(404)
    form = (f'<form method="post"><input name="price" value="{row["price"]}">'
            "<button>Change the price</button></form>")
    return page(row["name"], form, f"product/{id}: {what}")


@app.post("/{tenant}/{id}")
async def change_price(tenant: str, id: int, price: Annotated[Decimal, Form(gt=0)]) -> RedirectResponse:
    # Whoever follows the redirect sees the new price, even before it is delivered here.
    async with cache.writing(pool, changes=[f"product/{id}"], tenant=tenant), pool.connection() as connection:
        await connection.execute(
            "UPDATE product SET price = %s WHERE tenant_id = %s AND id = %s", [price, tenant, id])
    return RedirectResponse(f"/{tenant}/{id}", status_code=303)


def page(title: str, body: str, told: str) -> str:
    return (f"<!DOCTYPE html><title>{html.escape(title)}</title><h1>{html.escape(title)}</h1>{body}"
            f"<footer>{html.escape(told)}</footer>")
