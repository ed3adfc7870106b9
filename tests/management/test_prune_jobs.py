"""`manage.py prune_jobs`."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.management.commands import prune_jobs
from immortus_channels.stores import get_store
from immortus_channels.stores.base import Filter


@pytest.fixture(autouse=True)
def jobs(settings):
    """Three jobs that ended 10, 100 and 1,000 seconds ago."""
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    for age in (10, 100, 1000):
        get_store().update(
            str(age),
            lambda _job, now, age=age: replace(
                Job(job_id=str(age)), state=State.FINISHED, version=now, finished_at=now - age * SECOND
            ),
        )


def pruned(**options) -> str:
    out = StringIO()
    call_command("prune_jobs", stdout=out, **options)
    return out.getvalue()


def left() -> set[str]:
    return set(get_store().get_many(["10", "100", "1000"]).jobs)


def test_jobs_older_than_the_retention_go(settings):
    settings.IMMORTUS_RETENTION = 500
    assert pruned() == "1 jobs pruned.\n"
    assert left() == {"10", "100"}


def test_another_age_may_be_given_and_batches_go_on_until_nothing_is_left(monkeypatch):
    monkeypatch.setattr(prune_jobs, "BATCH", 1)
    assert pruned(older_than=50) == "2 jobs pruned.\n"
    assert left() == {"10"}


@pytest.mark.parametrize("age", [-1, float("nan"), float("inf")])
def test_an_age_that_is_none_is_refused(age):
    with pytest.raises(CommandError, match="not negative"):
        pruned(older_than=age)
    assert len(left()) == 3


def test_a_store_that_does_not_answer_is_told_in_one_line(settings):
    settings.IMMORTUS_STORE = {"BACKEND": "redis", "OPTIONS": {"url": "redis://127.0.0.1:1/0"}}
    with pytest.raises(CommandError, match="Redis"):
        pruned()


# Of one owner


def owned(job_id, **fields):
    get_store().update(job_id, lambda _job, now: replace(Job(job_id=job_id), version=now, **fields))


def test_the_jobs_of_an_owner_go_and_those_that_are_not_over_lose_theirs():
    owned("over", owner="shop.customer:17", state=State.FAILED, finished_at=1)
    owned("runs", owner="shop.customer:17", state=State.RUNNING)
    owned("another", owner="17", state=State.FAILED, finished_at=1)
    assert pruned(owner="shop.customer:17") == "2 jobs of 'shop.customer:17' forgotten.\n"
    jobs = get_store().get_many(["over", "runs", "another", "10"]).jobs
    assert {job_id: job.owner for job_id, job in jobs.items()} == {"runs": "", "another": "17", "10": None}


def test_a_name_in_place_of_a_primary_key_is_an_error():
    with pytest.raises(CommandError, match="'ann', which is not a primary key"):
        pruned(owner="ann")


@pytest.mark.django_db
def test_a_primary_key_that_no_user_has_is_told(django_user_model):
    assert "No user has the primary key '4711'" in pruned(owner="4711")
    user = django_user_model.objects.create_user("ann")
    assert pruned(owner=str(user.pk)) == f"0 jobs of '{user.pk}' forgotten.\n"


def test_where_there_is_no_user_model_any_key_may_be_one(settings):
    settings.AUTH_USER_MODEL = "none.at_all"
    assert pruned(owner="ann") == "0 jobs of 'ann' forgotten.\n"


@pytest.mark.parametrize(
    ("options", "told"), [({"owner": ""}, "--owner is empty"), ({"owner": "17", "older_than": 3}, "does not go with")]
)
def test_an_owner_is_named_alone(options, told):
    with pytest.raises(CommandError, match=told):
        pruned(**options)
    assert left() == {"10", "100", "1000"}


def test_a_namespace_without_an_owner_is_refused_and_prunes_nothing():
    with pytest.raises(CommandError, match="--namespace goes with --owner"):
        pruned(older_than=0, namespace="acme")
    assert len(left()) == 3


def test_all_of_a_namespace_go_those_that_are_not_over_too():
    owned("acme\x1fover", owner="acme\x1f17", state=State.FAILED, finished_at=1)
    owned("acme\x1fruns", owner="acme\x1f17", state=State.RUNNING)
    owned("acme\x1fnobodys", state=State.RUNNING)
    owned("acme2\x1fruns", state=State.RUNNING)
    out = StringIO()
    call_command("prune_jobs", "--namespace", "acme", "--all", stdout=out)
    assert out.getvalue() == "3 jobs of 'acme' deleted.\n"
    assert {job.job_id for job in get_store().list(Filter())} == {"acme2\x1fruns", "10", "100", "1000"}


@pytest.mark.parametrize("options", [[], ["--namespace=a", "--owner=17"], ["--namespace=a", "--older-than=0"]])
def test_all_goes_with_a_namespace_alone(options):
    with pytest.raises(CommandError, match="--all goes with --namespace"):
        call_command("prune_jobs", "--all", *options)
    assert left() == {"10", "100", "1000"}
