"""Tests of the shop: what its pages show, and what they say of the cache."""

import html
import re
import time
import unittest

import psycopg
import shop
from fastapi.testclient import TestClient


class ShopTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.database = psycopg.connect(shop.DATABASE, autocommit=True)
        cls.client = cls.enterClassContext(TestClient(shop.app))
        assert shop.cache.wait_until_listening()

    @classmethod
    def tearDownClass(cls):
        cls.database.close()

    def setUp(self):
        self.database.execute("UPDATE product SET price = 40 WHERE id = 1")
        self.database.execute("UPDATE product SET price = 250 WHERE id = 2")
        shop.cache.forget_all()

    def get(self, path):
        """A page, and what the cache did for it."""
        answer = self.client.get(path)
        self.assertEqual(answer.status_code, 200)
        told = re.search("<footer>(.*)</footer>", answer.text)[1]
        return answer.text, html.unescape(told).partition(": ")[2]

    def until(self, path, text):
        """The page once it shows the text: a change is heard within milliseconds."""
        for _ in range(500):
            page, told = self.get(path)
            if text in page:
                return told
            time.sleep(0.01)
        self.fail(f"{path} does not show {text}: {page}")

    def test_page_is_kept_until_something_changes(self):
        page, told = self.get("/acme")
        self.assertTrue(told.startswith("miss ("), told)
        self.assertEqual(self.get("/acme"), (page.replace(html.escape(told), "hit (in memory)"), "hit (in memory)"))
        self.database.execute("UPDATE product SET price = 41 WHERE id = 1")
        self.assertEqual(self.until("/acme", "41.00"), "miss (product of acme has changed)")
        self.assertEqual(self.get("/acme")[1], "hit (in memory)")

    def test_another_row_or_tenant_does_not_matter(self):
        for path in "/acme/1", "/globex":
            self.get(path)
        self.database.execute("UPDATE product SET price = 251 WHERE id = 2")
        self.until("/acme/2", "251")
        self.until("/acme", "251")
        for path in "/acme/1", "/globex":
            self.assertEqual(self.get(path)[1], "hit (in memory)")

    def test_the_writer_sees_his_change_at_once(self):
        for price in range(1, 30):
            self.get("/acme/1")
            self.get("/acme")
            answer = self.client.post("/acme/1", data={"price": price})
            self.assertIn(f'value="{price}.00"', answer.text)
            self.assertIn(f"{price}.00", self.get("/acme")[0])

    def test_what_is_not_there(self):
        for _ in range(2):
            self.assertEqual(self.client.get("/globex/1").status_code, 404)
        self.assertEqual(self.client.post("/acme/1", data={"price": "-1"}).status_code, 422)

    def test_metrics(self):
        self.get("/acme")
        self.get("/acme")
        self.assertRegex(self.client.get("/metrics").text, r"cache_notify_client_hits_total [1-9]")


if __name__ == "__main__":
    unittest.main()
