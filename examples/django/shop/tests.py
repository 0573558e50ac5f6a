"""Tests of the shop: what its pages show, and what they say of the cache."""

import html
import re
import time
from io import StringIO

from cache_notify.django import get_cache
from cache_notify.testing import check_reads
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection
from django.test import TransactionTestCase

from . import views
from .models import Product


class ShopTest(TransactionTestCase):
    """Not TestCase: within its transaction nothing is kept."""

    def setUp(self):
        Product.objects.all().delete()
        for id, tenant, name, price in ((1, "acme", "Anvil", 40), (2, "acme", "Rocket", 250),
                                        (3, "globex", "Dome", 9000)):
            Product.objects.create(id=id, tenant_id=tenant, name=name, price=price)
        get_cache().wait_until_listening()
        get_cache().forget_all()
        self.addClassCleanup(get_cache().close)

    def get(self, path):
        """A page, and what the cache did for it."""
        answer = self.client.get(path)
        self.assertEqual(answer.status_code, 200)
        page = answer.content.decode()
        told = html.unescape(re.search("<footer>(.*)</footer>", page)[1]).partition(": ")[2]
        return page, answer.headers.get("X-Cache-Notify", told)

    def until(self, path, text):
        """The page once it shows the text: a change is heard within milliseconds."""
        for _ in range(500):
            page, told = self.get(path)
            if text in page:
                return told
            time.sleep(0.01)
        self.fail(f"{path} does not show {text}: {page}")

    def test_page_is_kept_until_something_changes(self):
        self.assertEqual(self.get("/acme")[1], "miss")
        self.assertEqual(self.get("/acme")[1], "hit")
        Product.objects.filter(id=1).update(price=41)
        self.assertEqual(self.until("/acme", "41.00"), "miss")
        self.assertEqual(self.get("/acme")[1], "hit")

    def test_one_row(self):
        self.assertIn("miss (", self.get("/acme/1")[1])
        self.assertEqual(self.get("/acme/1")[1], "hit (in memory)")
        Product.objects.filter(id=2).update(price=251)
        self.until("/acme/2", "251.00")
        self.until("/acme", "251.00")
        self.assertEqual(self.get("/acme/1")[1], "hit (in memory)")
        Product.objects.filter(id=1).update(price=41)
        self.assertEqual(self.until("/acme/1", "41.00"), "miss (product/1 of acme has changed)")

    def test_the_writer_sees_his_change_at_once(self):
        for price in range(1, 30):
            self.get("/acme/1")
            answer = self.client.post("/acme/1", {"price": price}, follow=True)
            self.assertContains(answer, f'value="{price}.00"')
            self.assertIn(f"{price}.00", self.get("/acme")[0])

    def test_what_is_not_there(self):
        self.assertEqual(self.client.get("/globex/1").status_code, 404)

    def test_reads_names_all_that_is_read(self):
        check_reads(connection, lambda db: views.product.__wrapped__("acme", 1),
                    reads=["product/1"], tenant="acme")

    def test_system_check(self):
        def check():
            call_command("check", databases=["default"], stdout=StringIO())

        check()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE shop_product DISABLE TRIGGER USER")
        try:
            self.assertRaisesMessage(SystemCheckError, "cache_notify.E001", check)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE shop_product ENABLE TRIGGER USER")

    def test_migrations_go_back(self):
        call_command("migrate", "shop", "zero", verbosity=0)
        call_command("migrate", "shop", verbosity=0)
        # The extension is another one; the cache hears of that with its next heartbeat.
        for _ in range(500):
            if self.get("/acme")[1] == "hit":
                return
            time.sleep(0.01)
        self.fail("nothing is kept any more")
