"""What is wrong with how a project has set up Procrastinate, found without connecting to anything."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name

from immortus_channels.jobs import namespaces


def problems(tracked: list[str]) -> Iterator[CheckMessage]:
    """Yield what keeps these tracked tasks from being followed."""
    if tracked and namespaces.are_used():
        yield Warning(
            "Procrastinate's jobs have no room for the name of a tenant, so those that a tenant's user sends through "
            f"{tracked[0]!r} are told to be lost, and their runs are for staff outside of all tenants.",
            hint="Track the tasks of another queue, or give each job a record of its own with JobRepository().create()."
            " Silence this where each tenant has workers of its own, whose namespace is the tenant's.",
            id="immortus_channels.W056",
        )
