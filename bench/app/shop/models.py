"""The tables of bench/app.py, as Django knows them."""

from django.db import models


class Shop(models.Model):
    name = models.TextField()
    motto = models.TextField()

    class Meta:
        db_table = "shop"


class Category(models.Model):
    shop = models.ForeignKey(Shop, models.CASCADE)
    name = models.TextField()

    class Meta:
        db_table = "category"


class Product(models.Model):
    shop = models.ForeignKey(Shop, models.CASCADE)
    category = models.ForeignKey(Category, models.CASCADE)
    name = models.TextField()
    price = models.IntegerField()
    n = models.IntegerField()       # which change of this product it is

    class Meta:
        db_table = "product"


class Review(models.Model):
    shop = models.ForeignKey(Shop, models.CASCADE)
    product = models.ForeignKey(Product, models.CASCADE)
    author = models.TextField()
    body = models.TextField()
    n = models.IntegerField()       # which review of this product it is

    class Meta:
        db_table = "review"
