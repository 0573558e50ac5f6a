"""The ways in which the application's five queries are answered. Each takes what an
application would: its own code for its own cache."""

from django.db import connection
from shop.models import Category, Product, Review, Shop


# The queries, of which a page needs all. Each is a list of rows.
def shop_row(shop):
    return Shop.objects.filter(id=shop).values_list("id", "name", "motto")


def categories(shop):
    return Category.objects.filter(shop=shop).order_by("name").values_list("id", "name")


def product(shop, product):
    return Product.objects.filter(id=product).values_list("id", "name", "price", "category_id", "n")


def reviews(shop, product):
    return Review.objects.filter(product=product).order_by("-n").values_list(
        "n", "author", "body")[:10]


def dearest(shop, category):
    return Product.objects.filter(category=category).order_by("-price", "id").values_list(
        "id", "name", "price", "n")[:10]


class Plain:
    """Django's mapper for each; also with django-cacheops and django-cachalot, which need
    no code where rows are read."""

    shop_row = staticmethod(lambda *args: list(shop_row(*args)))
    categories = staticmethod(lambda *args: list(categories(*args)))
    product = staticmethod(lambda *args: list(product(*args)))
    reviews = staticmethod(lambda *args: list(reviews(*args)))
    dearest = staticmethod(lambda *args: list(dearest(*args)))

    def close(self):
        pass


class RedisTtl(Plain):
    """Django's own cache framework over Redis, 60 seconds."""

    def __init__(self):
        from django.core.cache import cache

        def kept(function):
            return lambda *args: cache.get_or_set(
                "{}:{}:{}".format(function.__name__, *(*args, 0)[:2]), lambda: list(function(*args)), 60)

        for function in (shop_row, categories, product, reviews, dearest):
            setattr(self, function.__name__, kept(function))


class Keys(Plain):
    """The Python package, results named by domains and keys."""

    def __init__(self):
        from cache_notify.django import cached, get_cache

        self.cache = get_cache()
        self.cache.wait_until_listening(60)
        for function, reads in (
                (shop_row, "shop/{shop}"), (categories, "category"), (product, "product/{product}"),
                (reviews, "review/{product}"), (dearest, "shelf/{category}")):
            setattr(self, function.__name__,
                    cached(reads=[reads], tenant="{shop}")(self.listed(function)))

    @staticmethod
    def listed(function):
        import functools

        return functools.wraps(function)(lambda *args: list(function(*args)))

    def close(self):
        self.cache.close()


class Query(Plain):
    """The Python package's query(): the same SQL as the mapper's, made once, and nothing
    named."""

    def __init__(self):
        from cache_notify.django import get_cache

        self.cache = get_cache()
        self.cache.wait_until_listening(60)
        for function in (shop_row, categories, product, reviews, dearest):
            setattr(self, function.__name__, self.asked(function))

    def asked(self, function):
        marks = (111111, 222222)[:function.__code__.co_argcount]
        statement, parameters = function(*marks).query.sql_with_params()
        places = [marks.index(value) for value in parameters]

        def ask(*args):
            return self.cache.query(
                connection, statement, [args[place] for place in places], tenant=args[0])

        return ask

    def close(self):
        self.cache.close()


WAYS = {"none": Plain, "redis60": RedisTtl, "cacheops": Plain, "cachalot": Plain,
        "query": Query, "keys": Keys}
