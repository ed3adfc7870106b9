"""Two tenants with equal ids of users and of jobs: neither sees, lists, changes or hinders a job of the other."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.servers import PostgresServer, RedisServer, need_package
from tests.site import Process, Site, eventually, redis_options
from tests.watcher import SocketWatcher

pytestmark = [pytest.mark.redis, pytest.mark.postgresql, pytest.mark.slow]

TENANTS = {"a": ("ann", "arne"), "b": ("bob", "bea"), "public": ("paul", "petra", "otto")}
"""The users of each schema in the order of their keys: the first owns jobs, the second is staff, Otto sees all."""
SET_UP = f"""
from django.contrib.auth.models import Permission, User
from django_tenants.utils import schema_context
from tests.tenants.customers.models import Client, Domain
for name, users in {TENANTS!r}.items():
    client, _ = Client.objects.get_or_create(schema_name=name)
    Domain.objects.create(tenant=client, domain="localhost" if name == "public" else f"{{name}}.localhost")
    with schema_context(name):
        owner, *staff = [User.objects.create_user(user, password="secret") for user in users]
        for one in staff:
            one.is_staff = True
            one.save()
            about = Permission.objects.filter(content_type__app_label="immortus_channels")
            one.user_permissions.set(about.exclude(codename="view_jobs_of_all_namespaces"))
        if name == "public":
            one.user_permissions.set(about)
"""
UNKNOWN = "nobodys-17"


class TenantSite(Site):
    """The project of `tests.tenants`, run for real."""

    def __init__(self, var: Path, **options: Any) -> None:
        super().__init__(var, DJANGO_SETTINGS_MODULE="tests.tenants.settings", **options)

    def migrate(self) -> None:
        """Make the schemas, and everybody in them."""
        self.manage("migrate_schemas", "--shared", "-v", "0")
        self.manage("shell", "-v", "0", "-c", SET_UP)

    def start_web(self, asgi: str = "tests.tenants.asgi:application") -> Process:
        """Start the web server, which knows the tenants by their hosts."""
        commands = {
            "uvicorn": ("uvicorn", "--port", str(self.port), "--no-access-log", asgi),
            "daphne": ("daphne", "-p", str(self.port), "-b", "127.0.0.1", asgi),
        }
        web = self.spawn("web", *commands[self.server])
        eventually(lambda: self.http.get("/immortus/health").status_code, within=30)
        return web

    def start_worker(self, *options: str, concurrency: int = 2, log: str = "worker") -> Process:
        """Start a Celery worker and wait until it is ready."""
        where = ("-A", "tests.tenants", "worker", "-c", str(concurrency))
        worker = self.spawn(log, "celery", *where, "-l", "INFO", *options)
        eventually(lambda: " ready." in worker.output, within=30)
        return worker

    @contextmanager
    def visitor(self, tenant: str, user: str | None = None) -> Iterator[Visitor]:
        """A browser at the tenant's host, logged in as the tenant's first user or as this one."""
        with httpx.Client(base_url=self.url, timeout=20, headers={"Host": self.host(tenant)}) as client:
            visitor = Visitor(self, tenant, client)
            assert client.get(f"/log-in/{user or TENANTS[tenant][0]}").status_code == 200
            yield visitor

    def host(self, tenant: str) -> str:
        """The host by which a browser names the tenant."""
        return f"{'' if tenant == 'public' else tenant + '.'}localhost:{self.port}"


class Visitor:
    """A browser at one tenant's host."""

    def __init__(self, site: TenantSite, tenant: str, client: httpx.Client) -> None:
        self.site, self.tenant, self.client = site, tenant, client
        self.get = client.get

    def start(self, task: str, task_id: str, **kwargs: Any) -> str:
        answer = self.client.post(f"/start/{task}", json={"task_id": task_id, "kwargs": kwargs})
        assert answer.status_code == 202, answer.text
        assert answer.json()["job_id"] == task_id
        return task_id

    def post(self, path: str, **data: Any) -> httpx.Response:
        form = {**data, "csrfmiddlewaretoken": self.client.get("/page/any").text.split()[0]}
        return self.client.post(path, data=form, headers={"Referer": f"http://{self.site.host(self.tenant)}/"})

    def verify(self, job_id: str) -> dict[str, Any]:
        document: dict[str, Any] = self.client.get(f"/immortus/verify/{job_id}").json()
        return document

    def end_of(self, job_id: str) -> dict[str, Any]:
        over = {"finished", "failed", "cancelled", "lost"}
        return eventually(lambda: (d := self.verify(job_id)).get("state") in over and d, within=20)

    def socket(self, *job_ids: str, tenant: str | None = None) -> SocketWatcher:
        cookies = "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())
        host = self.site.host(tenant or self.tenant)
        where = {"address": ("127.0.0.1", self.site.port), "origin": f"http://{host}"}
        return SocketWatcher(f"ws://{host}/ws/immortus/", *job_ids, additional_headers={"Cookie": cookies}, **where)

    def told(self, job_id: str) -> dict[str, Any]:
        """What a socket answers to a watch of this job."""
        with self.socket(job_id) as watcher:
            frame = watcher.receive(5)
            while frame["type"] == "hello":
                frame = watcher.receive(5)
        return frame


@pytest.fixture(scope="module", autouse=True)
def django_tenants() -> None:
    need_package("django_tenants", "django-tenants")


@pytest.fixture(scope="module", params=["uvicorn-database", "daphne-redis"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[TenantSite]:
    server, store = request.param.split("-")
    options = redis_options(redis_server.url, store=store == "redis") | {"BROKER_URL": f"{redis_server.url[:-1]}5"}
    with PostgresServer() as postgres:
        site = TenantSite(
            tmp_path_factory.mktemp("tenants"),
            server=server,
            POSTGRES=json.dumps(postgres.database),
            RESULT_BACKEND=f"{redis_server.url[:-1]}6",
            **options,
        )
        try:
            site.migrate()
            site.start_web()
            site.start_worker()
            yield site
        finally:
            site.close()


@pytest.fixture
def ann(site: TenantSite) -> Iterator[Visitor]:
    with site.visitor("a") as visitor:
        yield visitor


@pytest.fixture
def bob(site: TenantSite) -> Iterator[Visitor]:
    with site.visitor("b") as visitor:
        yield visitor


# HTTP


def test_each_tenant_has_its_own_job_of_an_id(ann: Visitor, bob: Visitor) -> None:
    ann.start("imports", "import-17", steps=3)
    bob.start("imports", "import-17", steps=4)
    ours, theirs = ann.end_of("import-17"), bob.end_of("import-17")
    assert (ours["state"], theirs["state"]) == ("finished", "finished")
    assert (ours["total"], theirs["total"]) == (3, 4)
    assert ours["job_id"] == theirs["job_id"] == ours["knows_itself"] == "import-17"


def test_the_other_tenants_job_is_as_unknown_by_http(ann: Visitor, bob: Visitor) -> None:
    job_id = ann.start("imports", "only-anns-17")
    assert ann.end_of(job_id)["state"] == "finished"
    for path in ("/immortus/verify/{}", "/immortus/verify/{}/some.class", "/immortus/verify?job_id={}", "/api/{}"):
        theirs, nobodys = bob.get(path.format(job_id)), bob.get(path.format(UNKNOWN))
        assert theirs.status_code == nobodys.status_code
        assert theirs.text.replace(job_id, UNKNOWN) == nobodys.text
    pages = [bob.get(f"/immortus/jobs/{one}/").text.replace(one, UNKNOWN) for one in (job_id, UNKNOWN)]
    assert _without_secrets(pages[0]) == _without_secrets(pages[1])
    bars = [bob.get(f"/page/{one}").text.replace(one, UNKNOWN) for one in (job_id, UNKNOWN)]
    assert _without_secrets(bars[0]) == _without_secrets(bars[1])
    assert bob.post(f"/immortus/cancel/{job_id}").status_code == 404


def _without_secrets(page: str) -> str:
    return re.sub(r"[A-Za-z0-9]{64}", "", page)


def test_a_batch_names_the_tenants_own_jobs_alone(ann: Visitor, bob: Visitor) -> None:
    for tenant in (ann, bob):
        tenant.start("imports", "batch-1")
    ann.start("imports", "batch-2")
    ann.end_of("batch-2")
    bob.end_of("batch-1")
    first, second = bob.get("/immortus/verify?job_id=batch-1&job_id=batch-2").json()["jobs"]
    assert (first["job_id"], first["state"]) == ("batch-1", "finished")
    assert second["error"]["code"] == "unknown_job"


def test_a_cancel_stops_the_tenants_own_job_alone(ann: Visitor, bob: Visitor) -> None:
    for tenant in (ann, bob):
        tenant.start("imports", "stop-17", steps=20, pause=0.1)
    eventually(lambda: ann.verify("stop-17").get("state") == "running", within=10)
    assert ann.post("/immortus/cancel/stop-17").status_code == 202
    assert ann.end_of("stop-17")["state"] == "cancelled"
    assert bob.end_of("stop-17")["state"] == "finished"


def test_a_cancelled_waiting_job_leaves_the_other_tenants(ann: Visitor, bob: Visitor) -> None:
    for tenant in (ann, bob):
        answer = tenant.client.post("/start/imports", json={"task_id": "wait-17", "countdown": 3})
        assert answer.status_code == 202
    assert ann.post("/immortus/cancel/wait-17").json()["state"] == "cancelled"
    assert bob.end_of("wait-17")["state"] == "finished"


def test_lists_and_handles_are_of_the_tenant_alone(ann: Visitor, bob: Visitor) -> None:
    ann.client.post("/create/listed-1")
    bob.client.post("/create/listed-2")
    ours, theirs = ann.get("/api/listed-1").json(), bob.get("/api/listed-1").json()
    assert ours["found"] == {"id": "listed-1", "owner": "1", "document": "listed-1", "page": "/immortus/jobs/listed-1/"}
    assert ours["is_there"]
    assert (theirs["found"], theirs["is_there"]) == (None, False)
    for listed in ("all", "mine", "by_key"):
        assert "listed-1" in ours[listed]
        assert "listed-2" not in ours[listed]
        assert "listed-1" not in theirs[listed]
        assert "listed-2" in theirs[listed]


def test_a_job_page_and_a_bar_show_the_tenants_own_job(ann: Visitor, bob: Visitor) -> None:
    ann.client.post("/create/shown-17")
    page = ann.get("/immortus/jobs/shown-17/").text
    assert 'job-id="shown-17"' in page
    assert 'state="enqueued"' in page
    assert '"state": "enqueued"' in ann.get("/page/shown-17").text
    assert bob.get("/immortus/jobs/shown-17/").status_code == 404
    assert '"state": ' not in bob.get("/page/shown-17").text


def test_a_token_is_of_its_tenant_alone(ann: Visitor, bob: Visitor, site: TenantSite) -> None:
    for tenant in (ann, bob):
        tenant.client.post("/create/token-17")
    bearer = {"Authorization": f"Bearer {ann.get('/token/token-17').text}"}
    with httpx.Client(base_url=site.url, timeout=20) as nobody:
        at = {name: {**bearer, "Host": site.host(name)} for name in TENANTS}
        assert nobody.get("/immortus/verify/token-17", headers=at["a"]).json()["job_id"] == "token-17"
        assert nobody.post("/immortus/token", headers=at["a"]).json()["token"].startswith("immortus.")
        for other in ("b", "public"):
            assert nobody.get("/immortus/verify/token-17", headers=at[other]).status_code == 404
            assert nobody.post("/immortus/token", headers=at[other]).status_code == 404
    for tenant, is_theirs in ((ann, True), (bob, False)):
        with tenant.socket() as watcher:
            command = {"type": "watch", "job_id": "token-17", "token": bearer["Authorization"].split()[1]}
            watcher._socket.send(json.dumps(command))
            assert watcher.receive(5)["type"] == "hello"
            assert (watcher.receive(5)["type"] == "job") is is_theirs


# Sockets


def test_a_socket_follows_the_tenants_own_job(ann: Visitor, bob: Visitor) -> None:
    with ann.socket("socket-17") as ours, bob.socket("socket-17") as theirs:
        ours.receive(5)
        theirs.receive(5)
    ann.start("imports", "socket-17", steps=20, pause=0.05)
    bob.client.post("/create/socket-17")
    with ann.socket("socket-17") as ours, bob.socket("socket-17") as theirs:
        ours.until_over("socket-17")
        with contextlib.suppress(TimeoutError):
            while True:
                theirs.receive(0.5)
    assert ours.states("socket-17")[-1] == "finished"
    assert theirs.states("socket-17") == ["enqueued"]


def test_the_other_tenants_job_is_as_unknown_on_a_socket(ann: Visitor, bob: Visitor) -> None:
    ann.client.post("/create/hidden-17")
    assert ann.told("hidden-17")["job"]["job_id"] == "hidden-17"
    theirs, nobodys = bob.told("hidden-17"), bob.told(UNKNOWN)
    assert {**theirs, "job_id": UNKNOWN} == nobodys
    assert nobodys["authenticated"]


def test_a_session_of_one_tenant_is_none_at_another(ann: Visitor) -> None:
    ann.client.post("/create/session-17")
    with ann.socket("session-17", tenant="b") as watcher:
        assert watcher.receive(5)["type"] == "hello"
        assert watcher.receive(5)["authenticated"] is False


def test_a_socket_to_a_host_of_no_tenant_is_refused(ann: Visitor) -> None:
    with pytest.raises(InvalidStatus), ann.socket(tenant="c"):
        pass


def test_a_logout_ends_the_watches_of_this_tenants_user_alone(ann: Visitor, bob: Visitor, site: TenantSite) -> None:
    for tenant in (ann, bob):
        tenant.client.post("/create/left-17")
    with ann.socket("left-17") as ours, bob.socket("left-17") as theirs:
        assert ours.receive(5)["type"] == theirs.receive(5)["type"] == "hello"
        assert ours.receive(5)["type"] == theirs.receive(5)["type"] == "job"
        site.manage("tenant_command", "shell", "--schema=a", "-v", "0", "-c", DISABLE)
        with pytest.raises(Exception, match="4401"):
            ours.receive(10)
        with pytest.raises(TimeoutError):
            theirs.receive(0.5)
        site.manage("tenant_command", "shell", "--schema=a", "-v", "0", "-c", DISABLE.replace("False", "True"))


DISABLE = "from django.contrib.auth.models import User; u = User.objects.get(pk=1); u.is_active = False; u.save()"


# The worker, and the project's own code


def test_hooks_and_permissions_run_in_the_jobs_schema(ann: Visitor, bob: Visitor) -> None:
    for tenant in (ann, bob):
        tenant.start("counted", "counted-17")
    for tenant in (ann, bob):
        assert tenant.told("counted-17")["job"]["job_id"] == "counted-17"
        document = tenant.end_of("counted-17")
        assert document["users"] == list(TENANTS[tenant.tenant])
        assert document["asked_for"] == "counted-17"
        assert document["state_here"] == "finished"


def test_a_job_started_by_a_job_is_of_the_same_tenant(ann: Visitor, bob: Visitor) -> None:
    ann.start("starts_another", "outer-17", inner="inner-17")
    assert ann.end_of("inner-17")["state"] == "finished"
    assert ann.get("/api/inner-17").json()["found"]["owner"] == "1"
    assert bob.verify("inner-17")["error"]["code"] == "unknown_job"


def test_a_link_of_a_chain_is_of_the_tenant_that_sent_it(ann: Visitor, bob: Visitor) -> None:
    ann.client.post("/chain/chained-17")
    assert ann.end_of("chained-17")["state"] == "finished"
    assert ann.get("/api/chained-17").json()["found"]["owner"] == "1"
    assert bob.verify("chained-17")["error"]["code"] == "unknown_job"


def test_a_killed_process_fails_the_job_of_its_tenant_alone(ann: Visitor, bob: Visitor) -> None:
    bob.client.post("/create/dies-17")
    ann.start("dies", "dies-17")
    assert ann.end_of("dies-17")["error"]["code"] == "worker_lost"
    assert bob.verify("dies-17")["state"] == "enqueued"


def test_an_async_view_and_a_streamed_answer_start_the_tenants_jobs(ann: Visitor, bob: Visitor) -> None:
    for tenant in (ann, bob):
        tenant.client.post("/start-async/async-17")
        assert tenant.get("/streamed/streamed-17").text == "begun streamed-17"
    for tenant in (ann, bob):
        for job_id in ("async-17", "streamed-17"):
            assert tenant.end_of(job_id)["state"] == "finished"
            assert tenant.get(f"/api/{job_id}").json()["found"]["owner"] == "1"


def test_a_public_job_that_enters_a_tenant_starts_its_jobs(ann: Visitor, bob: Visitor, site: TenantSite) -> None:
    site.manage("shell", "-v", "0", "-c", "from tests.tenants.shop.tasks import remind_all; remind_all.delay()")
    for tenant in (ann, bob):
        assert tenant.end_of("reminded-17")["state"] == "finished"
    with site.visitor("public") as paul:
        assert paul.verify("reminded-17")["error"]["code"] == "unknown_job"


def test_the_doctor_finds_each_part_at_work(site: TenantSite) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "django", "immortus_doctor", "--timeout=20"],
        env=site.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_app_in_each_tenant_is_an_error_of_check(tmp_path: Path) -> None:
    site = TenantSite(tmp_path, APP_PER_TENANT="1")
    with pytest.raises(subprocess.CalledProcessError) as error:
        site.manage("check", "--tag", "immortus")
    site.close()
    assert "immortus_channels.E016" in error.value.stderr
    assert "SHARED_APPS" in error.value.stderr


def test_what_started_by_names_belongs_to_the_tenant_in_force(ann: Visitor, bob: Visitor, site: TenantSite) -> None:
    for name in ("a", "b"):
        site.manage("tenant_command", "shell", f"--schema={name}", "-v", "0", "-c", START_BY.format(f"by-{name}"))
    assert ann.get("/api/by-a").json()["found"]["owner"] == "1"
    assert bob.get("/api/by-b").json()["found"]["owner"] == "1"
    assert ann.get("/api/by-b").json()["found"] is None


START_BY = """
from django.contrib.auth.models import User
from immortus_channels import JobRepository, started_by
with started_by(User.objects.get(pk=1)):
    JobRepository().create({!r})
"""


def test_a_user_of_one_tenant_owns_nothing_in_another(bob: Visitor, site: TenantSite) -> None:
    site.manage("tenant_command", "shell", "--schema=a", "-v", "0", "-c", START_ELSEWHERE)
    assert bob.get("/api/elsewhere").json()["found"] is None
    with site.visitor("b", "bea") as staff:
        assert staff.get("/api/elsewhere").json()["found"]["owner"] == ""


def test_a_view_that_enters_another_tenant_keeps_its_user(ann: Visitor, bob: Visitor, site: TenantSite) -> None:
    assert ann.get("/elsewhere/lazy-17").text == "ann"
    with site.visitor("b", "bea") as staff:
        assert staff.get("/api/lazy-17").json()["found"]["owner"] == ""
    assert bob.get("/api/lazy-17").json()["found"] is None


def test_a_user_whom_all_tenants_share_may_own_jobs_in_each(site: TenantSite) -> None:
    told = site.manage("tenant_command", "shell", "--schema=a", "-v", "0", "-c", KEYS)
    assert json.loads(told.splitlines()[-1]) == {"auth": ["a/1"], "customers": ["1", "a/1", "b/1"]}


KEYS = """
import json
from immortus_channels.jobs.namespaces import keys_of_user
found = {app: [key.replace(chr(31), "/") for key in sorted(keys_of_user(app, "1"))] for app in ("auth", "customers")}
print(json.dumps(found))
"""
START_ELSEWHERE = """
from django.contrib.auth.models import User
from django_tenants.utils import schema_context
from immortus_channels import JobRepository, started_by
with started_by(User.objects.get(pk=1)), schema_context("b"):
    JobRepository().create("elsewhere")
"""


def test_a_deleted_users_jobs_of_this_tenant_alone_are_forgotten(site: TenantSite) -> None:
    for name in ("a", "b"):
        site.manage("tenant_command", "shell", f"--schema={name}", "-v", "0", "-c", MAKE_LEAVER)
    site.manage("tenant_command", "shell", "--schema=a", "-v", "0", "-c", DELETE_LEAVER)
    owners = {}
    for name in ("a", "b"):
        with site.visitor(name, TENANTS[name][1]) as staff:
            owners[name] = staff.get("/api/leaver-17").json()["found"]["owner"]
    assert owners == {"a": "", "b": "77"}


MAKE_LEAVER = """
from django.contrib.auth.models import User
from immortus_channels import JobRepository, started_by
with started_by(User.objects.create(pk=77, username="leaver")):
    JobRepository().create("leaver-17")
"""
DELETE_LEAVER = "from django.contrib.auth.models import User; User.objects.get(pk=77).delete()"


def test_a_deleted_tenants_jobs_are_not_those_of_the_next_of_its_name(site: TenantSite, ann: Visitor) -> None:
    ann.client.post("/create/stays-17")
    told = site.manage("shell", "-v", "0", "-c", DELETE_TENANT)
    assert json.loads(told.splitlines()[-1]) == [[["over", "1"], ["waits", "1"]], [["waits", ""]]]
    assert ann.verify("stays-17")["state"] == "enqueued"


DELETE_TENANT = """
import json, time
from django.contrib.auth.models import User
from django_tenants.utils import schema_context
from immortus_channels import JobRepository, JobState, started_by
from tests.tenants.customers.models import Client
client = Client.objects.create(schema_name="c")
def listed():
    with schema_context("c"):
        return sorted((job.id, job.owner) for job in JobState.all())
with schema_context("c"), started_by(User.objects.create(pk=1, username="cleo")):
    JobRepository().create("waits")
    JobRepository().create("over").complete()
before = listed()
client.delete(force_drop=True)
until = time.time() + 10
while listed() != [("waits", "")] and time.time() < until:
    time.sleep(0.1)
print(json.dumps([before, listed()]))
"""


# Staff


def staff_page(site: TenantSite, tenant: str, user: str, path: str = "") -> httpx.Response:
    with site.visitor(tenant, user) as visitor:
        return visitor.get(f"/admin/immortus_channels/jobrecord/{path}")


def test_the_admin_shows_staff_the_jobs_of_their_tenant(site: TenantSite, ann: Visitor, bob: Visitor) -> None:
    _need_database(site)
    for tenant in (ann, bob):
        tenant.client.post(f"/create/admin-{tenant.tenant}")
    listed = {name: staff_page(site, name, TENANTS[name][1]).text for name in TENANTS}
    assert [name for name, text in listed.items() if "admin-a" in text] == ["a"]
    assert [name for name, text in listed.items() if "admin-b" in text] == ["b"]
    assert ">admin-a</a></th>" in listed["a"]
    link = re.search(r'href="/admin/immortus_channels/jobrecord/([^"]*admin-a[^"]*/change/)', listed["a"])
    assert link is not None
    assert "<immortus-job" in staff_page(site, "a", "arne", link[1]).text
    for tenant, user in (("b", "bea"), ("public", "petra")):
        assert staff_page(site, tenant, user, link[1]).status_code == 302


def test_public_staff_see_all_tenants_by_a_permission_of_its_own(site: TenantSite, ann: Visitor) -> None:
    _need_database(site)
    ann.client.post("/create/audited-17")
    text = staff_page(site, "public", "otto", "?q=audited-17").text
    link = re.search(r'href="/admin/immortus_channels/jobrecord/([^"?]*audited-17[^"?]*/change/)', text)
    assert link is not None
    assert "audited-17" in staff_page(site, "public", "otto", link[1]).text
    with site.visitor("public", "otto") as otto:
        assert otto.verify("audited-17")["error"]["code"] == "unknown_job"


def test_the_admin_cancels_a_job_of_the_tenant(site: TenantSite, ann: Visitor, bob: Visitor) -> None:
    _need_database(site)
    for tenant in (ann, bob):
        tenant.client.post("/create/admin-stop")
    with site.visitor("a", "arne") as staff:
        text = staff.get("/admin/immortus_channels/jobrecord/?q=admin-stop").text
        key = re.search(r'name="_selected_action" value="([^"]*admin-stop)"', text)
        assert key is not None
        staff.post("/admin/immortus_channels/jobrecord/", action="cancel", _selected_action=key[1])
    assert ann.end_of("admin-stop")["state"] == "cancelled"
    assert bob.verify("admin-stop")["state"] == "enqueued"


def _need_database(site: TenantSite) -> None:
    if "STORE" in site.env:
        pytest.skip("the admin shows what a database keeps")


def test_pruning_one_owner_takes_that_of_one_tenant(site: TenantSite, ann: Visitor, bob: Visitor) -> None:
    for tenant in (ann, bob):
        tenant.client.post("/create/pruned-17")
        tenant.post("/immortus/cancel/pruned-17")
    told = site.manage("tenant_command", "prune_jobs", "--schema=a", "--owner=1")
    assert "forgotten" in told
    assert ann.verify("pruned-17").get("error", {}).get("code") == "unknown_job"
    assert bob.verify("pruned-17")["state"] == "cancelled"
    site.manage("prune_jobs", "--older-than=0")
    assert bob.verify("pruned-17").get("error", {}).get("code") == "unknown_job"


def test_no_process_of_the_site_has_logged_an_error(site: TenantSite) -> None:
    web, worker = site.processes
    assert "Traceback" not in web.output
    assert not re.search(r"Tracking .*failed|immortus_channels/", worker.output)
