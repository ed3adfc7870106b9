"""Jobs that are sent from inside a database transaction."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers import PostgresServer, RedisServer
from tests.site import Site, eventually, redis_options, running_site

pytestmark = [pytest.mark.postgresql, pytest.mark.redis, pytest.mark.slow]


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, redis_server: RedisServer
) -> Iterator[Site]:
    database = json.dumps(postgres.database)
    options = redis_options(redis_server.url) | {"POSTGRES": database, "BROKER_URL": f"{redis_server.url[:-1]}3"}
    with running_site(tmp_path_factory.mktemp("site"), **options) as site:
        site.start_worker()
        yield site


@pytest.mark.case(6)
@pytest.mark.fault("E3")
@pytest.mark.parametrize("ending", ["", "&rollback=1"])
def test_a_job_sent_in_a_long_transaction_starts_at_once_and_ends_right(site: Site, ending: str) -> None:
    job_id = f"in-transaction{ending}".replace("&", "-").replace("=", "-")
    sending = threading.Thread(
        target=site.http.post, args=[f"/start-in-transaction/quick?seconds=5&task_id={job_id}{ending}"]
    )
    began = time.monotonic()
    sending.start()
    document = eventually(lambda: (d := site.verify(job_id)).get("completed") and d, within=4)
    assert time.monotonic() - began < 4
    sending.join()
    time.sleep(0.3)
    assert site.verify(job_id) == document


@pytest.mark.case(39)
def test_progress_inside_the_job_s_transaction_is_seen_before_it_commits(site: Site) -> None:
    job_id = site.start("in_own_transaction")
    seen = eventually(lambda: (d := site.verify(job_id)).get("current") and d, within=5)
    assert seen["state"] == "running"
    document = site.wait_until_over(job_id)
    assert (document["state"], document["error"]["code"]) == ("failed", "error")
