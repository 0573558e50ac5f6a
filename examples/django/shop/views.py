"""Pages that are kept in memory, and never stale. What the cache did for a page stands at
its foot, or in the header X-Cache-Notify where the whole page is kept."""

from decimal import Decimal

from cache_notify import explain
from cache_notify.django import cached, cached_view, get_cache
from django.db import connection
from django.http import Http404, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.utils.html import format_html, format_html_join
from django.views.decorators.http import require_GET, require_http_methods

from .models import Product


@cached(reads=["product/{id}"], tenant="{tenant}")
def product(tenant, id):
    """Made from one row: changes of others leave it where it is."""
    return Product.objects.filter(tenant_id=tenant, id=id).values("name", "price").first()


@require_GET
@cached_view(reads=["product"], tenant="{tenant}")
def catalogue(request, tenant):
    """A whole page, kept by its URL."""
    rows = Product.objects.filter(tenant_id=tenant).order_by("id").values_list("id", "name", "price")
    return page(f"Products of {tenant}", format_html(
        "<table>{}</table>", format_html_join("", '<tr><td><a href="{}">{}</a><td>{}', (
            (f"/{tenant}/{id}", name, price) for id, name, price in rows))))


@require_http_methods(["GET", "POST"])
def one(request, tenant, id):
    if request.method == "POST":
        # Whoever follows the redirect sees the new price, even before it is delivered here.
        with get_cache().writing(connection, changes=["product"], tenant=tenant):
            Product.objects.filter(tenant_id=tenant, id=id).update(price=Decimal(request.POST["price"]))
        return redirect(f"/{tenant}/{id}")
    with explain() as what:
        found = product(tenant, id)
    if found is None:
        raise Http404
    return page(found["name"], format_html(
        '<form method="post"><input type="hidden" name="csrfmiddlewaretoken" value="{}">'
        '<input name="price" value="{}"><button>Change the price</button></form>',
        get_token(request), found["price"]), f"product/{id}: {what}")


def page(title, body, told=""):
    return HttpResponse(format_html(
        "<!DOCTYPE html><title>{}</title><h1>{}</h1>{}<footer>{}</footer>", title, title, body, told))
