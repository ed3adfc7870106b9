"""Access: nobody sees a job that is not theirs, and a rule that cannot be asked means no."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.core.exceptions import PermissionDenied, SynchronousOnlyOperation
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from django.urls import path

from immortus_channels import JobRepository, get_job, started_by
from immortus_channels.access import can_cancel, permissions
from immortus_channels.api.job import JobHandle
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.exceptions import ConfigurationError, StoreUnavailable
from immortus_channels.jobs.job import Job
from immortus_channels.tracking import rules, strategies

ANYBODYS = Job(job_id="a")
ALICES = Job(job_id="a", owner="4711")
STAFFS = Job(job_id="a", staff_only=True)

alice, bob = User(pk=4711, username="alice"), User(pk=4712, username="bob")
nobody = AnonymousUser()


@pytest.fixture
def boss(db):
    """A member of staff who may view all jobs."""
    user = User.objects.create(username="boss", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_jobrecord"))
    return user


def test_a_job_with_an_owner_is_theirs():
    assert rules.by_setting(alice, ALICES)
    assert not rules.by_setting(bob, ALICES)
    assert not rules.by_setting(nobody, ALICES)


def test_a_job_without_an_owner_is_for_whoever_knows_its_id():
    assert rules.by_setting(bob, ANYBODYS)
    assert rules.by_setting(nobody, ANYBODYS)


def test_a_job_whose_owner_got_lost_is_for_staff(boss):
    assert not rules.by_setting(alice, STAFFS)
    assert not rules.by_setting(nobody, STAFFS)
    assert rules.by_setting(boss, STAFFS)


def test_staff_who_may_view_jobs_see_all(boss):
    assert rules.by_setting(boss, ALICES)


@pytest.mark.parametrize("change", [{"is_staff": False}, {"is_active": False}])
def test_the_permission_counts_for_active_staff_alone(boss, change):
    for name, value in change.items():
        setattr(boss, name, value)
    assert not rules.by_setting(boss, ALICES)


def test_staff_without_the_permission_see_their_own(db):
    assert not rules.by_setting(User.objects.create(username="clerk", is_staff=True), ALICES)


def test_login_means_anybody_who_is_logged_in(settings):
    settings.IMMORTUS_ACCESS = "login"
    assert rules.by_setting(bob, ALICES)
    assert not rules.by_setting(nobody, ANYBODYS)


def only_bob(user, job):
    return user.username == "bob" and job.job_id == "a"


def test_a_dotted_path_is_asked(settings):
    settings.IMMORTUS_ACCESS = "tests.access.test_permissions.only_bob"
    assert rules.by_setting(bob, ALICES) is True
    assert rules.by_setting(alice, ALICES) is False


def test_a_setting_that_names_nothing_is_said_and_lets_nobody_in(settings, caplog):
    settings.IMMORTUS_ACCESS = "tests.access.test_permissions.missing"
    with pytest.raises(ConfigurationError, match=r"test_permissions\.missing', which cannot be imported"):
        rules.by_setting(bob, ALICES)
    assert not permissions.may_see(bob, ANYBODYS)
    assert "tests.access.test_permissions.missing" in caplog.text


class Strict(TrackingStrategy):
    def allows(self, user, job):
        return user.username == "bob"

    def allows_cancel(self, user, job):
        return job.owner == "4711"


class Broken(TrackingStrategy):
    def allows(self, user, job):
        raise ConnectionError

    allows_cancel = allows


def test_the_strategy_has_the_last_word(monkeypatch):
    monkeypatch.setattr(strategies, "strategy_of", lambda *_: Strict())
    assert permissions.may_see(bob, ALICES)
    assert not permissions.may_see(alice, ALICES)
    assert permissions.may_cancel(bob, ALICES)
    assert not permissions.may_cancel(bob, ANYBODYS)


def test_a_rule_that_says_no_leaves_a_debug_line(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, "immortus_channels")
    monkeypatch.setattr(strategies, "strategy_of", lambda *_: Strict())
    permissions.may_see(bob, ALICES)
    assert not caplog.records
    permissions.may_see(alice, ALICES)
    (line,) = caplog.records
    assert line.levelno == logging.DEBUG
    assert "allows() of" in line.getMessage()
    assert ALICES.job_id in line.getMessage()


def test_a_strategy_that_raises_means_no_and_a_log_line(monkeypatch, caplog):
    monkeypatch.setattr(strategies, "strategy_of", lambda *_: Broken())
    assert permissions.may_see(alice, ALICES) is False
    assert permissions.may_cancel(alice, ALICES) is False
    assert len(caplog.records) == 2
    assert "ConnectionError" in caplog.text


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_that_is_away_is_no_refusal(monkeypatch, error):
    def asks(user, job):
        raise error

    monkeypatch.setattr(Strict, "allows", lambda self, user, job: asks(user, job))
    monkeypatch.setattr(strategies, "strategy_of", lambda *_: Strict())
    with pytest.raises(StoreUnavailable, match=error.__name__):
        permissions.may_see(alice, ALICES)


def test_a_silent_strategy_of_any_class_leaves_the_decision_to_the_setting(monkeypatch):
    monkeypatch.setattr(strategies, "strategy_of", lambda *_: object())
    assert permissions.may_see(alice, ALICES)
    assert not permissions.may_see(bob, ALICES)
    assert permissions.may_cancel(alice, ALICES)


async def lets_nobody_in(user, job):
    return False


class Late(TrackingStrategy):
    async def allows(self, user, job):
        return False


@pytest.mark.parametrize("where", ["setting", "strategy"])
def test_a_rule_that_is_a_coroutine_lets_nobody_in(settings, monkeypatch, caplog, where):
    if where == "setting":
        settings.IMMORTUS_ACCESS = lets_nobody_in
    else:
        monkeypatch.setattr(strategies, "strategy_of", lambda *_: Late())
    assert not permissions.may_see(bob, ALICES)
    assert "not `async def`" in caplog.text


# Cancelling


@pytest.fixture
def operator(db):
    """Somebody, not of the staff, who may change all jobs."""
    user = User.objects.create(username="operator")
    user.user_permissions.add(Permission.objects.get(codename="change_jobrecord"))
    return user


def test_by_default_a_job_without_an_owner_is_cancelled_by_whoever_sees_it():
    assert permissions.may_cancel(nobody, ANYBODYS)
    assert permissions.may_cancel(bob, ANYBODYS)


def test_by_default_the_owner_and_those_who_may_change_jobs_may_cancel(boss, operator):
    assert permissions.may_cancel(alice, ALICES)
    assert permissions.may_cancel(operator, ALICES)
    for other in (bob, nobody, boss):
        assert not permissions.may_cancel(other, ALICES)


def test_whoever_sees_every_job_by_the_setting_cancels_their_own(settings):
    settings.IMMORTUS_ACCESS = "login"
    assert permissions.may_see(bob, ALICES)
    assert not permissions.may_cancel(bob, ALICES)
    assert permissions.may_cancel(alice, ALICES)


def test_the_permission_to_change_jobs_ends_with_the_account(operator):
    operator.is_active = False
    assert not permissions.may_cancel(operator, ALICES)


def test_an_account_that_only_looks_like_the_owners_cancels_nothing():
    class Forged(AnonymousUser):
        pk = 4711

    assert not permissions.may_cancel(Forged(), ALICES)


def stop(request, job_id):
    """A view of a project's own."""
    job = get_job(job_id, user=request.user)
    if not can_cancel(request.user, job):
        raise PermissionDenied
    job.cancel()
    return HttpResponse()


urlpatterns = [path("stop/<job_id>", stop)]


@pytest.mark.urls(__name__)
@pytest.mark.django_db
def test_a_view_of_a_project_asks_who_may_see_and_who_may_cancel(client, settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    users = [User.objects.create(username=name) for name in ("ann", "bob")]
    with started_by(users[0]):
        job = JobRepository().create()
    for user, expected in ((users[1], 404), (users[0], 200), (users[0], 403)):
        client.force_login(user)
        assert client.get(f"/stop/{job.id}").status_code == expected
    assert get_job(job.id).state == "cancelled"
    assert client.get("/stop/nobody").status_code == 404


def test_who_cancels_a_job_may_see_it_too():
    operator = User(pk=5, is_active=True)
    operator.has_perm = lambda permission: permission == rules.CHANGE_ALL
    job = JobHandle("a", record=ALICES)
    assert permissions.may_cancel(operator, ALICES)
    assert [can_cancel(user, job) for user in (alice, bob, None, operator)] == [True, False, False, False]
    assert not can_cancel(alice, JobHandle("a", record=replace(ALICES, cancel="never")))
    with pytest.raises(TypeError, match="is not a user"):
        can_cancel("alice", job)
    for no_job in ("a", None, User(pk=1)):
        with pytest.raises(TypeError, match=r"as get_job\(id\) returns it"):
            can_cancel(alice, no_job)


async def test_on_an_event_loop_the_question_names_its_async_form():
    with pytest.raises(SynchronousOnlyOperation, match="sync_to_async"):
        can_cancel(None, JobHandle("a", record=ANYBODYS))


# Whose it is


class Customers:
    """Stands for a model of users beside AUTH_USER_MODEL."""

    is_authenticated = True
    pk = 4711
    _meta = Group._meta


def test_a_row_of_another_model_with_the_same_number_is_somebody_else():
    assert not permissions.may_see(Customers(), ALICES)
    assert not permissions.may_cancel(Customers(), ALICES)
    assert permissions.may_see(Customers(), Job(job_id="a", owner="auth.group:4711"))
    assert not permissions.may_see(alice, Job(job_id="a", owner="auth.group:4711"))


def test_a_source_without_a_user_is_anonymous():
    assert not permissions.user_of(object()).is_authenticated
