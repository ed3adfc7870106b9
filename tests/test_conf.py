from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core import mail
from django.test import override_settings
from django.test.utils import _TestState

from immortus_channels.conf import is_inline, is_strict, leases, settings
from immortus_channels.jobs.lifecycle import SECOND

PACKAGE = Path(__file__).parent.parent / "immortus_channels"


def test_a_setting_is_its_default_until_django_has_one():
    assert settings.FLUSH_INTERVAL == 0.2
    assert settings.STORE == {"BACKEND": "database", "OPTIONS": {}}


def test_every_access_reads_the_settings_anew():
    with override_settings(IMMORTUS_FLUSH_INTERVAL=3):
        assert settings.FLUSH_INTERVAL == 3
    assert settings.FLUSH_INTERVAL == 0.2


def test_a_setting_that_does_not_exist_is_an_attribute_error():
    with override_settings(IMMORTUS_NONSENSE=1), pytest.raises(AttributeError):
        _ = settings.NONSENSE


def test_leases_follow_the_settings():
    with override_settings(IMMORTUS_STALLED_AFTER=2, IMMORTUS_LOST_AFTER=5):
        assert (leases().running, leases().stalled) == (2 * SECOND, 3 * SECOND)


def test_lost_never_comes_before_stalled():
    with override_settings(IMMORTUS_STALLED_AFTER=20, IMMORTUS_LOST_AFTER=5):
        assert leases().stalled == 0


@pytest.mark.parametrize("inline", [None, True, False])
def test_mistakes_are_raised_in_debug_and_where_jobs_are_written_inline(inline):
    with override_settings(IMMORTUS_INLINE=inline):
        assert is_strict() is is_inline()
        with override_settings(DEBUG=True):
            assert is_strict()


@pytest.mark.parametrize(("inline", "in_tests", "elsewhere"), [(None, True, False), (True, True, True), (False,) * 3])
def test_the_setting_says_whether_writes_are_inline_and_none_guesses(monkeypatch, inline, in_tests, elsewhere):
    with override_settings(IMMORTUS_INLINE=inline):
        assert is_inline() is in_tests
        monkeypatch.delattr(_TestState, "saved_data")
        assert hasattr(mail, "outbox"), "a mail backend makes it too, so it does not tell"
        assert is_inline() is elsewhere


def test_no_other_module_guesses_whether_it_is_under_a_test_runner():
    guesses = re.compile(r"_TestState|test\.utils|mail\.outbox|pytest|unittest|under_test")
    modules = [file for file in PACKAGE.rglob("*.py") if file.name != "conf.py" and "testing" not in file.parts]
    assert [file.name for file in modules if guesses.search(file.read_text())] == []
