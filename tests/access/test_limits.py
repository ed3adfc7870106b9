"""The limits: defaults, and what a project changes."""

from __future__ import annotations

from dataclasses import asdict

from immortus_channels.access.limits import NAMES, Limits, limits
from tests.pages_of_docs import page


def test_without_a_setting_the_defaults_hold():
    assert limits() == Limits()


def test_a_project_changes_what_it_names(settings):
    settings.IMMORTUS_LIMITS = {"sockets_per_user": 3, "ping": 5}
    assert limits() == Limits(sockets_per_user=3, ping=5)


def test_a_name_that_there_is_not_breaks_nothing(settings):
    settings.IMMORTUS_LIMITS = {"sokets": 3}
    assert limits() == Limits()
    assert "sokets" not in NAMES


def test_each_limit_stands_in_the_settings_reference_with_its_default():
    told = {}
    for names, defaults, _ in (
        row for row in page("reference/settings.md").rows if not row[0].startswith("`IMMORTUS_")
    ):
        told |= dict(zip(names.replace("`", "").split(", "), map(float, defaults.split(", ")), strict=True))
    assert told == asdict(Limits())
