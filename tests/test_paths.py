"""The dotted paths that the README, the documentation and the example name lead to what they name."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from tests.pages_of_docs import PAGES, README, ROOT

NAME = "immortus_channels"
NO_PYTHON = re.compile(rf"{NAME}\.(?:[EIW]\d{{3}}|view_jobrecord|change_jobrecord|jobrecord|sqlite3?)\b")
"""Ids of checks, permissions, labels: written alike."""

FIRST = [
    "access_token",
    "aget_job",
    "celery.TrackedTask",
    "broadcast.group_name",
    "current_job",
    "exceptions.JobNotFound",
    "get_job",
    "get_strategy",
    "handles.JobHandle",
    "job_info",
    "metrics.Sample",
    "metrics.read",
    "metrics.samples",
    "middleware.JobOwnerMiddleware",
    "queues.base.Queue",
    "render_immortus",
    "revoke_access",
    "routing.websocket_application",
    "routing.websocket_urlpatterns",
    "started_by",
    "stores.base.Store",
    "testing.Answer",
    "testing.FaultyChannelLayer",
    "testing.FaultyProxy",
    "testing.Faults",
    "testing.History",
    "testing.LayerFaults",
    "testing.recorded_jobs",
    "tracked",
    "urls.immortus_jobs",
    "access.is_owner",
    "jobs.State",
    "jobs.Job",
    "jobs.Error",
]
"""What was named before the package had rooms: projects import these."""


IMPORT = re.compile(rf"^ *from ({NAME}[\w.]*) import (\([^)]*\)|[^\n#]+)", re.MULTILINE)


def texts() -> list[str]:
    example = (file.read_text() for file in (ROOT / "example").rglob("*.py"))
    return [*(one.text for one in (README, *PAGES)), *example]


def named() -> set[str]:
    return {path for text in texts() for path in re.findall(rf"\b{NAME}(?:\.[A-Za-z_]\w*)+", NO_PYTHON.sub("", text))}


def imported() -> set[str]:
    found = (match.groups() for text in texts() for match in IMPORT.finditer(text))
    return {f"{module}.{name}" for module, names in found for name in re.findall(r"\w+", names)}


def found_at(path: str) -> object:
    """What stands at a dotted path. Raises AttributeError where there is nothing."""
    module, _, name = path.rpartition(".")
    try:
        return import_module(path)
    except ModuleNotFoundError:
        return getattr(found_at(module), name)


@pytest.mark.parametrize("path", sorted({*named(), *imported()}))
def test_what_is_named_is_there(path):
    assert found_at(path) is not None


@pytest.mark.parametrize("path", FIRST)
def test_what_was_named_before_there_were_rooms_is_still_there(path):
    assert found_at(f"{NAME}.{path}") is not None
