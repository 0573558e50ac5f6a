from django.urls import path

from . import views

urlpatterns = [
    path("<str:tenant>", views.catalogue),
    path("<str:tenant>/<int:id>", views.one),
]
