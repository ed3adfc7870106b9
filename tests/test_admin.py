"""Jobs in Django's admin: to look at and to cancel, however many there are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import localize

from immortus_channels.admin_list import BoundedPaginator, JobClassFilter
from immortus_channels.api.strategy import TrackingStrategy
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.job import Job, State
from immortus_channels.jobs.lifecycle import SECOND
from immortus_channels.models import JobRecord
from immortus_channels.stores import get_store
from immortus_channels.urls import immortus_jobs
from tests.pages import Process

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

urlpatterns = [*immortus_jobs(), path("admin/", admin.site.urls)]


class OnlyAdmin:
    """A project that has not included the package's addresses."""

    urlpatterns = (path("admin/", admin.site.urls),)


LIST = "admin:immortus_channels_jobrecord_changelist"
DETAIL = "admin:immortus_channels_jobrecord_change"
DELETE = "admin:immortus_channels_jobrecord_delete"


@pytest.fixture
def boss(client) -> User:
    """A superuser, logged in."""
    user = User.objects.create_superuser("boss", password="x")
    client.force_login(user)
    return user


def clerk(client, *permissions: str) -> User:
    """Log in somebody with these permissions alone."""
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=[f"{name}_jobrecord" for name in permissions]))
    client.force_login(user)
    return user


def page(client, name: str, *args: str, **query: str) -> str:
    response = client.get(reverse(name, args=args), query)
    assert response.status_code == 200, response
    return response.content.decode()


def act(client, action: str, *job_ids: str, **data: str) -> Any:
    data = {"action": action, "_selected_action": job_ids, **data}
    return client.post(reverse(LIST), data, follow=True)


def told(response) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def overdue(job_id: str) -> None:
    """A running job of which nothing was heard for long enough."""
    process = Process(job_id)
    process.enqueued()
    process.started()
    JobRecord.objects.filter(pk=job_id).update(lease_until=1)


def test_an_unreadable_record_is_listed_by_its_columns_and_hides_no_other(client, boss):
    Process("well").enqueued()
    JobRecord.objects.create(job_id="odd", job_class="later.task", state="running", version=1, record="{")
    text = page(client, LIST)
    assert ("well" in text, "later.task" in text) == (True, True)
    assert "later.task" in page(client, DETAIL, "odd")


# Looking


def test_the_list_shows_what_is_known(boss, client):
    process = Process("job-1", owner="7")
    process.enqueued()
    process.started()
    process.reported(50_000)
    html = page(client, LIST)
    for text in ("job-1", "shop.paint", "running", ">7<", "50.0 %"):
        assert text in html


def test_an_overdue_job_is_told_as_stalled_on_its_page_and_in_the_list(boss, client):
    overdue("job-1")
    page(client, LIST)
    assert get_store().get_many(["job-1"]).jobs["job-1"].stalled
    overdue("job-2")
    assert "&quot;stalled&quot;: true" in page(client, DETAIL, "job-2")


def test_a_job_lost_for_good_is_shown_as_lost_at_first_sight(boss, client):
    overdue("job-1")
    page(client, LIST)
    JobRecord.objects.filter(pk="job-1").update(lease_until=1)
    assert ">lost<" in page(client, LIST)


def test_a_page_is_shown_although_the_store_does_not_answer(boss, client, monkeypatch):
    Process("job-1").enqueued()

    def unavailable(job_ids):
        msg = "locked"
        raise StoreUnavailable(msg)

    monkeypatch.setattr("immortus_channels.tracking.read", unavailable)
    assert "This may be out of date: locked" in page(client, DETAIL, "job-1")


def test_the_page_shows_the_document_and_a_live_element(boss, client):
    Process("job-1").enqueued()
    html = page(client, DETAIL, "job-1")
    assert "&quot;job_id&quot;: &quot;job-1&quot;" in html
    assert '<immortus-job job-id="job-1"' in html
    assert "immortus.js" in html


@pytest.mark.case(55)
def test_nothing_in_a_document_becomes_html(boss, client):
    process = Process("job-1")
    process.enqueued()
    get_store().update("job-1", lambda job, now: replace(job, message="<script>alert(1)", version=now))
    html = page(client, DETAIL, "job-1")
    assert "&lt;script&gt;alert(1)" in html
    assert "<script>alert" not in html


def test_the_page_of_a_job_shows_times_as_django_does_and_nothing_for_none(boss, client, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    Process("job-1").enqueued()
    html = page(client, DETAIL, "job-1")
    sent = datetime.fromtimestamp(get_store().get_many(["job-1"]).jobs["job-1"].enqueued_at / SECOND, UTC)
    assert localize(timezone.localtime(sent)) in html
    assert "+00:00" not in html
    assert "None" not in html


def test_without_the_package_s_addresses_there_is_no_live_element(boss, client, settings):
    settings.ROOT_URLCONF = OnlyAdmin
    Process("job-1").enqueued()
    html = page(client, DETAIL, "job-1")
    assert "job-1" in html
    assert "<immortus-job" not in html


class Secret(TrackingStrategy):
    """Shows its jobs to nobody, whose ids begin so, and would let anybody cancel them."""

    def allows(self, user, job):
        return not job.job_id.startswith("secret")

    def allows_cancel(self, user, job):
        return True


@pytest.fixture
def secret(settings) -> str:
    """A job that is over and that its strategy shows to nobody."""
    settings.IMMORTUS_TRACKING_STRATEGY = f"{__name__}.Secret"
    process = Process("secret-1")
    process.enqueued()
    process.cancelled()
    return "secret-1"


def test_the_list_leaves_out_what_the_strategy_does_not_show(boss, client, secret):
    Process("job-1").enqueued()
    changes = client.get(reverse(LIST)).context["cl"]
    assert [record.pk for record in changes.result_list] == ["job-1"]
    assert changes.result_count == 1
    assert secret not in page(client, LIST)


@pytest.mark.parametrize("name", [DETAIL, DELETE, "admin:immortus_channels_jobrecord_history"])
def test_a_job_that_is_not_shown_and_one_that_is_not_there_look_the_same(boss, client, secret, name):
    for job_id in (secret, "nothing-1"):
        response = client.get(reverse(name, args=[job_id]), follow=True)
        assert response.redirect_chain == [("/admin/", 302)]
        (said,) = told(response)
        assert said.startswith(f"job with ID “{job_id}” doesn")
    pages = [client.get(reverse(LIST), {"q": job_id}).context["cl"] for job_id in (secret, "nothing-1")]
    assert [(one.result_count, list(one.result_list)) for one in pages] == [(0, [])] * 2


def test_no_filter_of_ones_own_counts_what_is_not_shown(boss, client, secret):
    for lookup in ("record__contains", "owner", "job_id__startswith", "lease_holder__exact"):
        assert client.get(reverse(LIST), {lookup: "s"}).status_code == 400


def test_what_is_not_shown_is_neither_cancelled_nor_deleted(boss, client, secret):
    Process("secret-2").enqueued()
    Process("job-1").enqueued()
    assert told(act(client, "delete_selected", "secret-2")) == told(act(client, "delete_selected", "nothing-1"))
    assert told(act(client, "cancel", "secret-2", "job-1")) == ["1 job was asked to stop."]
    assert get_store().get_many(["secret-2"]).jobs["secret-2"].state is State.ENQUEUED
    assert secret not in act(client, "delete_selected", secret).content.decode()
    act(client, "delete_selected", secret, post="yes")
    assert JobRecord.objects.filter(pk=secret).exists()


def test_a_user_whom_no_rule_admits_sees_only_what_they_see_elsewhere(client, settings):
    settings.IMMORTUS_ACCESS = f"{__name__}.nothing_at_all"
    clerk(client, "view")
    Process("job-1").enqueued()
    assert "job-1" not in page(client, LIST)


def nothing_at_all(user, job):
    return False


def test_a_rule_that_cannot_be_asked_shows_nothing_and_says_so(boss, client, settings):
    settings.IMMORTUS_ACCESS = f"{__name__}.asks_a_database_that_is_away"
    Process("job-1").enqueued()
    response = client.get(reverse(LIST))
    assert list(response.context["cl"].result_list) == []
    assert told(response) == ["The database cannot answer for permissions: OperationalError"]


def asks_a_database_that_is_away(user, job):
    raise OperationalError


def test_who_may_change_jobs_may_look_at_them_as_in_any_admin(client):
    clerk(client, "change")
    Process("job-1", owner="7").enqueued()
    assert "job-1" in page(client, LIST)


class Hidden(TrackingStrategy):
    """Lets nobody cancel its jobs."""

    def allows_cancel(self, user, job):
        return False


@pytest.mark.case(19)
@pytest.mark.parametrize("job_id", ["job-1", "two words", 'say "hello"', "a/b"])
def test_the_search_finds_the_job_of_exactly_this_id(boss, client, job_id):
    for other in (job_id, f"{job_id}0", "other"):
        Process(other).enqueued()
    for asked in (job_id, f"{job_id} "):
        response = client.get(reverse(LIST), {"q": asked})
        assert [record.pk for record in response.context["cl"].result_list] == [job_id]


def test_the_filters_let_the_chosen_jobs_through(boss, client):
    Process("job-1").enqueued()
    ended = Process("job-2")
    ended.enqueued()
    ended.cancelled()
    JobRecord.objects.filter(pk="job-2").update(job_class="shop.frame")

    def shown(**query: str) -> list[str]:
        return [record.pk for record in client.get(reverse(LIST), query).context["cl"].result_list]

    assert shown(state__exact="cancelled") == shown(job_class="shop.frame") == ["job-2"]
    assert shown(job_class="shop.paint") == ["job-1"]
    html = page(client, LIST)
    assert "?job_class=shop.frame" in html
    assert "?job_class=shop.paint" in html


def test_no_more_classes_are_offered_than_a_page_can_hold(boss, client, monkeypatch):
    monkeypatch.setattr(JobClassFilter, "LIMIT", 2)
    JobRecord.objects.bulk_create(record(number, job_class=f"class-{number}") for number in range(4))
    assert "class-1" in page(client, LIST, q="1")
    assert "class-2" not in page(client, LIST, q="1")


def test_jobs_of_another_store_are_not_shown_as_none(boss, client, settings):
    settings.IMMORTUS_STORE = {"BACKEND": "memory"}
    assert "jobrecord" not in page(client, "admin:index")
    assert client.get(reverse(LIST)).status_code == 403


# However many there are


def record(number: int, **fields: Any) -> JobRecord:
    fields = {"state": "finished", "job_class": "shop.paint", **fields}
    job = Job(job_id=f"job-{number}", job_class=fields["job_class"], state=State(fields["state"]), version=number + 1)
    return JobRecord(job_id=job.job_id, version=job.version, record=job.to_record(), **fields)


def test_no_page_counts_further_than_its_bound(boss, client, monkeypatch):
    monkeypatch.setattr(BoundedPaginator, "BOUND", 150)
    JobRecord.objects.bulk_create(record(number) for number in range(300))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        response = client.get(reverse(LIST), {"p": "2"})
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert counts
    assert all("LIMIT 150" in sql for sql in counts)
    assert response.context["cl"].result_count == 150
    assert len(response.context["cl"].result_list) == 50


# Doing


def test_nobody_may_add_or_change_a_job(boss, client):
    Process("job-1").enqueued()
    assert client.get(reverse("admin:immortus_channels_jobrecord_add")).status_code == 403
    assert client.post(reverse(DETAIL, args=["job-1"]), {"state": "finished"}).status_code == 403
    assert 'name="_save"' not in page(client, DETAIL, "job-1")


def test_a_job_that_waits_is_cancelled_and_the_log_says_by_whom(boss, client):
    Process("job-1").enqueued()
    response = act(client, "cancel", "job-1")
    assert told(response) == ["1 job was asked to stop."]
    assert get_store().get_many(["job-1"]).jobs["job-1"].state is State.CANCELLED
    assert LogEntry.objects.get().object_id == "job-1"


def test_a_running_job_is_asked_to_stop(boss, client):
    process = Process("job-1")
    process.enqueued()
    process.started()
    act(client, "cancel", "job-1")
    job = get_store().get_many(["job-1"]).jobs["job-1"]
    assert (job.state, job.cancel_requested) == (State.RUNNING, True)


def test_what_is_over_or_may_not_be_cancelled_is_counted_and_left_alone(boss, client):
    Process("waits").enqueued()
    Process("never", cancel="never").enqueued()
    over = Process("over")
    over.enqueued()
    over.cancelled()
    response = act(client, "cancel", "waits", "never", "over")
    assert told(response) == [
        "1 job was asked to stop.",
        "2 jobs were not asked to stop: they are over or cannot be cancelled.",
    ]
    assert LogEntry.objects.count() == 1


def test_the_strategy_may_forbid_it(boss, client, settings):
    settings.IMMORTUS_TRACKING_STRATEGY = f"{__name__}.Hidden"
    Process("job-1").enqueued()
    act(client, "cancel", "job-1")
    assert get_store().get_many(["job-1"]).jobs["job-1"].state is State.ENQUEUED


def test_a_store_that_does_not_answer_is_told(boss, client, monkeypatch):
    Process("job-1").enqueued()

    def unavailable(job_id):
        msg = "not confirmed"
        raise StoreUnavailable(msg)

    monkeypatch.setattr("immortus_channels.tracking.cancel", unavailable)
    assert "not confirmed" in told(act(client, "cancel", "job-1"))


def test_who_may_only_look_may_not_cancel(client):
    clerk(client, "view")
    Process("job-1").enqueued()
    assert "job-1" in page(client, LIST)
    act(client, "cancel", "job-1")
    assert get_store().get_many(["job-1"]).jobs["job-1"].state is State.ENQUEUED


def test_who_may_change_jobs_may_cancel(client):
    clerk(client, "view", "change")
    Process("job-1").enqueued()
    act(client, "cancel", "job-1")
    assert get_store().get_many(["job-1"]).jobs["job-1"].state is State.CANCELLED


def test_only_a_job_that_is_over_may_be_deleted(boss, client):
    process = Process("job-1")
    process.enqueued()
    assert client.post(reverse(DELETE, args=["job-1"]), {"post": "yes"}).status_code == 403
    process.cancelled()
    client.post(reverse(DELETE, args=["job-1"]), {"post": "yes"})
    assert not JobRecord.objects.exists()


def test_no_selection_deletes_a_job_that_is_not_over(boss, client):
    Process("waits").enqueued()
    over = Process("over")
    over.enqueued()
    over.cancelled()
    asked = act(client, "delete_selected", "waits", "over")
    assert "1 job stays: it is not over." in told(asked)
    assert "/over/change/" in asked.content.decode()
    assert "/waits/change/" not in asked.content.decode()
    act(client, "delete_selected", "waits", "over", post="yes")
    assert {record.pk for record in JobRecord.objects.all()} == {"waits"}
    assert told(act(client, "delete_selected", "waits")) == ["1 job stays: it is not over."]


def test_a_job_that_comes_back_to_life_before_it_is_deleted_stays(boss):
    Process("job-1").enqueued()
    admin.site.get_model_admin(JobRecord).delete_queryset(None, JobRecord.objects.all())
    assert JobRecord.objects.exists()
