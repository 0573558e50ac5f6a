from cache_notify.django.operations import WatchTable
from django.contrib.postgres.operations import CreateExtension
from django.db import migrations, models


def first_products(apps, schema_editor):
    apps.get_model("shop", "Product").objects.bulk_create(
        apps.get_model("shop", "Product")(id=id, tenant_id=tenant, name=name, price=price)
        for id, tenant, name, price in (
            (1, "acme", "Anvil", 40), (2, "acme", "Rocket", 250), (3, "globex", "Dome", 9000)))


class Migration(migrations.Migration):
    initial = True
    operations = [
        CreateExtension("cache_notify"),
        migrations.CreateModel("Product", [
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False,
                                       verbose_name="ID")),
            ("tenant_id", models.TextField()),
            ("name", models.TextField()),
            ("price", models.DecimalField(max_digits=10, decimal_places=2)),
        ]),
        migrations.RunPython(first_products, migrations.RunPython.noop),
        # From here on each statement that changes a product moves its tenant's version.
        WatchTable("shop_product", "product", keys=["id"], fields=["keys"]),
    ]
