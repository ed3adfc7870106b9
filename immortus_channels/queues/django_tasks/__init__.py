"""django.tasks, which came with Django 6, and django-tasks, its backport."""

from __future__ import annotations

from immortus_channels.queues.django_tasks.adapter import DjangoTasksQueue

__all__ = ["DjangoTasksQueue"]
