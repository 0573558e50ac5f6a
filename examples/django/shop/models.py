from django.db import models


class Product(models.Model):
    tenant_id = models.TextField()
    name = models.TextField()
    price = models.DecimalField(max_digits=10, decimal_places=2)
