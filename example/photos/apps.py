"""The photo story."""

from __future__ import annotations

from django.apps import AppConfig


class PhotosConfig(AppConfig):
    """People hand in photographs; a worker paints them."""

    name = "photos"
    default_auto_field = "django.db.models.BigAutoField"
