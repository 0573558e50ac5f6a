"""An application of five queries a page under load: four processes, 95 % reads, Zipf. Run
by bench/app.py with Django and what it is compared with; prints JSON.

Every change of a product, and every review, has a number of its own, which pages show. The
processes share what was committed and when, so each page can be compared with what was
committed when it was asked for.
"""

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import accumulate

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "clients", "python", "src")]
sys.dont_write_bytecode = True

PROCESSES = 4
SHOPS, PRODUCTS, CATEGORIES = 25, 1000, 4      # the last: of each shop
WRITES = 0.05                                   # of all that is done
REVIEWS = 0.3                                   # of the writes
WARM_UP_S = 2
PATIENCE_S = 600
REMEMBERED = 64                                 # changes of a product whose times are known
LATE_S = 1.0                                    # so old is no matter of a moment

TICK = os.sysconf("SC_CLK_TCK")


class Committed:
    """What was committed, in memory that all processes share: how many changes of each
    product (or reviews), and when each of the last ones."""

    def __init__(self, first):
        self.numbers = multiprocessing.RawArray("i", PRODUCTS + 1)
        self.numbers[:] = [first] * (PRODUCTS + 1)
        self.times = multiprocessing.RawArray("d", (PRODUCTS + 1) * REMEMBERED)
        self.locks = [multiprocessing.Lock() for _ in range(64)]

    def change(self, product, write):
        """write(number) commits it."""
        with self.locks[product % len(self.locks)]:
            number = self.numbers[product] + 1
            write(number)
            self.times[product * REMEMBERED + number % REMEMBERED] = time.monotonic()
            self.numbers[product] = number

    def age(self, product, shown, known, asked):
        """How many seconds before it was asked for a page had become older than it
        should be; None if it had not."""
        if shown >= known:
            return None
        overtaken = max(shown + 1, known - REMEMBERED + 1)
        return asked - self.times[product * REMEMBERED + overtaken % REMEMBERED]


def configure(way, redis):
    import django
    from django.conf import settings

    installed, more = ["shop"], {}
    if way in ("redis60", "cachalot"):
        more["CACHES"] = {"default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis}}
    if way == "cachalot":
        installed.append("cachalot")
    if way == "cacheops":
        installed.append("cacheops")
        more["CACHEOPS_REDIS"] = redis
        more["CACHEOPS"] = {"shop.*": {"ops": "all", "timeout": 3600}}
    settings.configure(
        DATABASES={"default": {
            "ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"],
            "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"], "CONN_MAX_AGE": None}},
        INSTALLED_APPS=installed, USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        CACHE_NOTIFY={"default": {"ttl": None, "max_entries": 100_000}}, **more)
    django.setup()


class Worker:
    def __init__(self, options, number, changes, reviews):
        from django.db import connection

        from ways import WAYS

        self.rng = random.Random(options.seed * PROCESSES + number)
        self.changes, self.reviews = changes, reviews
        self.weights = list(accumulate(1 / k for k in range(1, PRODUCTS + 1)))
        self.products = range(1, PRODUCTS + 1)
        self.way, self.keeps = WAYS[options.way](), options.way != "none"
        self.counts = dict.fromkeys(("pages", "writes", "queries", "behind", "late"), 0)
        self.oldest = 0.0
        self.reading = False
        connection.execute_wrappers.append(self.count_query)

    def count_query(self, execute, sql, params, many, context):
        """Not what a cache asks the server about itself."""
        if self.reading and "cache_notify." not in str(sql):
            self.counts["queries"] += 1
        return execute(sql, params, many, context)

    def page(self, product):
        way, shop = self.way, 1 + product % SHOPS
        known, reviewed = bytes(self.changes.numbers), self.reviews.numbers[product]
        asked = time.monotonic()
        self.reading = True
        shown = (way.shop_row(shop), way.categories(shop), way.product(shop, product),
                 way.reviews(shop, product))
        category = shown[2][0][3]
        dearest = way.dearest(shop, category)
        self.reading = False
        self.counts["pages"] += 1
        self.check(product, shown, dearest, memoryview(known).cast("i"), reviewed, asked)

    def check(self, product, shown, dearest, known, reviewed, asked):
        ages = [self.changes.age(product, shown[2][0][4], known[product], asked),
                self.reviews.age(product, shown[3][0][0], reviewed, asked),
                *(self.changes.age(row[0], row[3], known[row[0]], asked) for row in dearest)]
        age = max((age for age in ages if age is not None), default=None)
        if age is not None:
            self.counts["behind"] += 1
            self.counts["late"] += age > LATE_S
            self.oldest = max(self.oldest, age)

    def write(self, product):
        from shop.models import Product, Review

        shop, self.counts["writes"] = 1 + product % SHOPS, self.counts["writes"] + 1
        if self.rng.random() < REVIEWS:
            self.reviews.change(product, lambda n: Review.objects.create(
                shop_id=shop, product_id=product, author=f"author {n}", body="a review " * 10, n=n))
        else:
            price = self.rng.randrange(100, 10000)
            self.changes.change(product, lambda n: Product(
                id=product, shop_id=shop, category_id=category_of(product),
                name=f"product {product}", price=price, n=n).save(force_update=True))

    def warm_up(self):
        """A page of each product, where that leaves anything behind; then what goes on."""
        if self.keeps:
            for product in self.products:
                self.page(product)
        self.run(time.monotonic() + WARM_UP_S)

    def run(self, until):
        while True:
            for product in self.rng.choices(self.products, cum_weights=self.weights, k=256):
                if time.monotonic() >= until:
                    return
                if self.rng.random() < WRITES:
                    self.write(product)
                else:
                    self.page(product)


def category_of(product):
    shop = product % SHOPS
    return shop * CATEGORIES + product // SHOPS % CATEGORIES + 1


def work(options, number, changes, reviews, barrier, results):
    try:
        worker = Worker(options, number, changes, reviews)
        barrier.wait(PATIENCE_S)
        worker.warm_up()
        barrier.wait(PATIENCE_S)
        worker.counts, worker.oldest = dict.fromkeys(worker.counts, 0), 0.0
        cpu = time.process_time()
        worker.run(time.monotonic() + options.seconds)
        cpu = time.process_time() - cpu
        results.put({**worker.counts, "cpu_s": cpu, "oldest_s": worker.oldest})
        barrier.wait(PATIENCE_S)
        worker.way.close()
    except BaseException:
        barrier.abort()         # nobody need wait for this one
        raise


def cpu_of(pid):
    """Seconds of processor time of a process and its children."""
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(name) == pid:
                total += sum(map(int, fields[11:15]))
            elif int(fields[1]) == pid:
                total += sum(map(int, fields[11:13]))
    return total / TICK


def postmaster():
    import psycopg

    with psycopg.connect() as connection:
        with open(f"/proc/{connection.info.backend_pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])


def measure(options, redis):
    context = multiprocessing.get_context("fork")
    changes, reviews = Committed(0), Committed(1)
    barrier, results = context.Barrier(PROCESSES + 1), context.Queue()
    workers = [context.Process(target=work, args=(options, i, changes, reviews, barrier, results))
               for i in range(PROCESSES)]
    others = [postmaster(), *([redis.pid] if redis else [])]
    try:
        for worker in workers:
            worker.start()
        barrier.wait(PATIENCE_S)
        barrier.wait(PATIENCE_S)
        cpu = [cpu_of(pid) for pid in others]
        began = time.monotonic()
        parts = [results.get(timeout=options.seconds + PATIENCE_S) for _ in workers]
        took = time.monotonic() - began
        cpu = [cpu_of(pid) - before for pid, before in zip(others, cpu)]
        barrier.wait(PATIENCE_S)
        for worker in workers:
            worker.join(PATIENCE_S)
    finally:
        for worker in workers:
            if worker.pid:
                worker.terminate()
    return parts, took, [*cpu, 0.0][:2]


def report(parts, took, cpu):
    total = {name: sum(part[name] for part in parts) for name in parts[0]}
    pages = total["pages"]
    return {
        "pages": pages,
        "writes": total["writes"],
        "pages_per_s": pages / took,
        "pages_per_cpu_s": pages / (total["cpu_s"] + sum(cpu)),
        "application_cpu_us": 1e6 * total["cpu_s"] / pages,
        "server_cpu_us": 1e6 * cpu[0] / pages,
        "redis_cpu_us": 1e6 * cpu[1] / pages,
        "hit_rate": 1 - total["queries"] / (5 * pages),
        "behind": total["behind"] / pages,
        "late": total["late"],
        "oldest_s": max(part["oldest_s"] for part in parts),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("way")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        redis, url = None, f"unix://{folder}/redis"
        if options.way in ("redis60", "cacheops", "cachalot"):
            redis = subprocess.Popen(
                ["redis-server", "--port", "0", "--unixsocket", "redis", "--save", ""],
                cwd=folder, stdout=subprocess.DEVNULL)
            while not os.path.exists(f"{folder}/redis"):
                time.sleep(0.01)
        try:
            configure(options.way, url)
            print(json.dumps(report(*measure(options, redis))))
        finally:
            if redis:
                redis.kill()
                redis.wait()


if __name__ == "__main__":
    main()
