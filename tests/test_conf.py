from __future__ import annotations

import pytest
from django.core import mail
from django.test import override_settings
from django.test.utils import _TestState

from immortus_channels.conf import is_strict, is_under_test, leases, settings
from immortus_channels.jobs.lifecycle import SECOND


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


def test_mistakes_are_raised_in_debug_and_under_a_test_runner_only(monkeypatch):
    assert is_strict()
    monkeypatch.delattr(_TestState, "saved_data")
    assert not is_strict(), "an outbox is made by a mail backend too"
    with override_settings(DEBUG=True):
        assert is_strict()


def test_a_test_runner_is_not_taken_from_an_outbox_which_a_mail_backend_makes_too(monkeypatch):
    assert is_under_test()
    monkeypatch.delattr(_TestState, "saved_data")
    assert hasattr(mail, "outbox")
    assert not is_under_test()
