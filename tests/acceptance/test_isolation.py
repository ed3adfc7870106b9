"""Nobody is told a byte of a job that is not theirs, on any way in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.servers import RedisServer
from tests.site import Site, eventually, redis_options, running_site
from tests.watcher import SocketWatcher

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module", params=["uvicorn", pytest.param("daphne", marks=pytest.mark.slow)])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[Site]:
    options = redis_options(redis_server.url) | {"BROKER_URL": f"{redis_server.url[:-1]}4"}
    with running_site(tmp_path_factory.mktemp("site"), server=request.param, **options) as site:
        site.start_worker()
        yield site


@contextmanager
def visitor(site: Site, name: str | None) -> Iterator[httpx.Client]:
    """A browser of its own, logged in under this name."""
    with httpx.Client(base_url=site.url, timeout=20) as client:
        if name is not None:
            assert client.get(f"/log-in/{name}").text == name
        yield client


def socket_of(site: Site, client: httpx.Client, *job_ids: str) -> SocketWatcher:
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    return SocketWatcher(site.websocket_url, *job_ids, additional_headers={"Cookie": cookies}, origin=site.url)


def told_by_socket(site: Site, client: httpx.Client, job_id: str) -> dict[str, object]:
    with socket_of(site, client, job_id) as watcher:
        frame = watcher.receive(5)
        while frame["type"] == "hello":
            frame = watcher.receive(5)
    return {key: value for key, value in frame.items() if key != "job_id"}


@pytest.mark.case(20)
@pytest.mark.parametrize("stranger", ["bob", None])
def test_a_stranger_is_answered_as_for_an_unknown_id_everywhere(site: Site, stranger: str | None) -> None:
    with visitor(site, "alice") as alice, visitor(site, stranger) as other:
        job_id = alice.post("/start/steps", json={}).json()["job_id"]
        unknown = "00000000-0000-4000-8000-000000000000"
        assert alice.get(f"/immortus/verify/{job_id}").status_code == 200
        for address in ("/immortus/verify/{}", "/immortus/verify/{}/some.class", "/immortus/verify?job_id={}"):
            theirs, nobodys = other.get(address.format(job_id)), other.get(address.format(unknown))
            assert theirs.status_code == nobodys.status_code
            assert theirs.text.replace(job_id, unknown) == nobodys.text
        token = other.get("/page").text.split('data-csrf-token="')[1].split('"')[0]
        headers = {"X-CSRFToken": token}
        refused, missing = (other.post(f"/immortus/cancel/{i}", headers=headers) for i in (job_id, unknown))
        assert (refused.status_code, missing.status_code) == (404, 404)
        assert told_by_socket(site, other, job_id) == told_by_socket(site, other, unknown)
        assert site_finishes(alice, job_id)


def site_finishes(client: httpx.Client, job_id: str) -> bool:
    document = eventually(
        lambda: (d := client.get(f"/immortus/verify/{job_id}").json()).get("completed") and d, within=10
    )
    return not document["cancel_requested"]


def test_the_owner_is_pushed_every_change(site: Site) -> None:
    with visitor(site, "alice") as alice:
        job_id = alice.post("/start/steps", json={}).json()["job_id"]
        with socket_of(site, alice, job_id) as watcher:
            watcher.until_over(job_id)
        assert watcher.states(job_id)[-1] == "finished"


def test_staff_with_the_permission_may_look_and_without_it_may_not(site: Site) -> None:
    with visitor(site, "alice") as alice, visitor(site, "boss") as boss:
        job_id = alice.post("/start/quick", json={}).json()["job_id"]
        assert boss.get(f"/immortus/verify/{job_id}").status_code == 404
        site.manage("shell", "-v", "0", "-c", GRANT)
        assert boss.get(f"/immortus/verify/{job_id}").status_code == 200
        site.manage("shell", "-v", "0", "-c", GRANT.replace("add", "remove"))


GRANT = """
from django.contrib.auth.models import Permission, User
User.objects.get(username="boss").user_permissions.add(Permission.objects.get(codename="view_jobrecord"))
"""


def test_a_job_started_by_a_job_belongs_to_the_same_owner(site: Site) -> None:
    with visitor(site, "alice") as alice, visitor(site, "bob") as bob:
        outer, inner = f"outer-{site.server}", f"inner-{site.server}"
        alice.post("/start/starts_another", json={"task_id": outer, "kwargs": {"task_id": inner}})
        assert site_finishes(alice, outer)
        assert site_finishes(alice, inner)
        assert bob.get(f"/immortus/verify/{inner}").status_code == 404


LINKED = [
    "link",
    "link_error",
    "time_limit",
    "link_of_a_link",
    "link_of_a_chain",
    "chain_as_link",
    "group_as_link",
    "started_by_a_link",
]


@pytest.mark.parametrize("how", LINKED)
def test_a_job_that_comes_of_an_untracked_task_is_whose_who_sent_that(site: Site, how: str) -> None:
    job_id = f"{how}-{site.server}"
    with visitor(site, "alice") as alice, visitor(site, "bob") as bob:
        alice.post(f"/linked/{how}/{job_id}")
        assert site_finishes(alice, job_id)
        assert bob.get(f"/immortus/verify/{job_id}").status_code == 404
