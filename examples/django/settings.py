"""Settings of a small project: what concerns the cache is at the end."""

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "for trying it only")
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"]

DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": os.environ.get("PGDATABASE", "shop"),
    "USER": os.environ.get("PGUSER", ""),
    "PASSWORD": os.environ.get("PGPASSWORD", ""),
    "HOST": os.environ.get("PGHOST", ""),
    "PORT": os.environ.get("PGPORT", ""),
}}

INSTALLED_APPS = [
    "cache_notify.django",      # the system check
    "shop",
]

# Options of cache_notify.Cache. If DATABASES leads to a pooler, "listen" must not.
CACHE_NOTIFY = {"default": {"ttl": 300}}
