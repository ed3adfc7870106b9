from __future__ import annotations

from django.apps import apps

from immortus_channels import queues


def test_the_queues_that_are_installed_are_connected_once():
    apps.get_app_config("immortus_channels").ready()
    assert [queue.name for queue in queues.connected] == ["celery"]
