"""Two web servers and two workers behind nginx, set up as the documents say: nobody can tell that there are two."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.pages_of_docs import page
from tests.servers import NginxServer, RedisServer
from tests.site import Site, eventually, redis_options
from tests.watcher import SocketWatcher

pytestmark = [pytest.mark.redis, pytest.mark.slow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What visitors meet, and the sites behind it: one project and one database, with two ports."""

    nginx: NginxServer
    http: httpx.Client
    sites: tuple[Site, Site]

    def start(self, task: str, **kwargs: object) -> str:
        answer = self.http.post(f"/start/{task}", json={"kwargs": kwargs})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def verify(self, job_id: str) -> dict[str, object]:
        answer = self.http.get(f"/immortus/verify/{job_id}")
        assert answer.status_code == 200, answer.text
        document: dict[str, object] = answer.json()
        return document

    def watch(self, *job_ids: str) -> SocketWatcher:
        return SocketWatcher(f"ws://127.0.0.1:{self.nginx.port}/ws/immortus/", *job_ids)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    var = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        options = redis_options(stack.enter_context(RedisServer()).url, store=True)
        sites = (Site(var, **options), Site(var, **options))
        sites[0].migrate()
        for site in sites:
            stack.callback(site.close)
            site.start_web()
            site.start_worker(concurrency=1)
        samples = {one.title: one.text for one in page("how-to/deployment.md").samples if one.language == "nginx"}
        block = samples["nginx"] + samples["nginx: in the server"]
        ports = [site.port for site in sites]
        nginx = stack.enter_context(NginxServer(block, ports, samples["nginx: beside the server"]))
        http = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{nginx.port}", timeout=20))
        yield Fleet(nginx=nginx, http=http, sites=sites)


def test_the_whole_story_with_two_web_servers_and_two_workers(fleet: Fleet) -> None:
    jobs = [fleet.start("steps", count=15, pause=0.2) for _ in range(4)]
    with fleet.watch(*jobs) as one, fleet.watch(*jobs) as other:
        # A worker runs one job at a time, and keeps the next.
        eventually(lambda: [fleet.verify(job)["state"] for job in jobs].count("running") == 2, within=20)
        for watcher in (one, other):
            watcher.until_over(*jobs, within=30)
    servers = {request["server"] for request in fleet.nginx.requests() if request["path"].startswith("/ws/")}
    assert len(servers) == 2
    for job in jobs:
        last = fleet.verify(job)
        assert last["state"] == "finished"
        assert one.documents[job][-1] == other.documents[job][-1] == last
        for watcher in (one, other):
            versions = [document["version"] for document in watcher.documents[job]]
            assert versions == sorted(set(versions))
            assert len(versions) > 5


def test_the_end_of_one_web_server_is_no_more_than_a_new_socket(fleet: Fleet) -> None:
    job = fleet.start("steps", count=40, pause=0.2)
    with fleet.watch(job) as one, fleet.watch(job) as other:
        eventually(lambda: fleet.verify(job)["state"] == "running", within=20)
        for watcher in (one, other):
            while job not in watcher.documents:
                watcher.receive(timeout=10)
        site = fleet.sites[0]
        site.processes[0].kill()
        cut_off = [watcher for watcher in (one, other) if not survives(watcher)]
        assert len(cut_off) == 1
        version = cut_off[0].documents[job][-1]["version"]
        with fleet.watch() as back:
            back.watch(job, version)
            back.until_over(job, within=30)
    site.start_web()
    assert back.documents[job][0]["version"] > version
    assert back.documents[job][-1] == fleet.verify(job)


def test_the_proxy_limits_immortus_sockets_and_requests_and_nothing_else(fleet: Fleet) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(fleet.watch())
        with pytest.raises(InvalidStatus) as refused, fleet.watch():
            """One more than the recipe allows."""
        assert refused.value.response.status_code == 429
        assert fleet.http.get("/immortus/verify/a").status_code == 404
    eventually(lambda: opens(fleet), within=10)
    with ThreadPoolExecutor(20) as threads:
        told = [one.status_code for one in threads.map(lambda _: fleet.http.get("/immortus/verify/a"), range(1_500))]
        others = [one.status_code for one in threads.map(lambda _: fleet.http.get("/page"), range(100))]
    assert told.count(429) > 100
    assert told.count(404) >= 500
    assert 429 not in others


def opens(fleet: Fleet) -> bool:
    """Whether a socket gets through."""
    try:
        with fleet.watch():
            return True
    except InvalidStatus:
        return False


def survives(watcher: SocketWatcher) -> bool:
    """Whether its socket brings some more documents."""
    try:
        for _ in range(5):
            watcher.receive(timeout=10)
    except ConnectionClosed:
        return False
    return True
