"""The marathons."""

from __future__ import annotations

from django.apps import AppConfig


class RacesConfig(AppConfig):
    """People start marathons; a worker runs them."""

    name = "races"
