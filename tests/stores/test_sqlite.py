"""The file of the jobs beside a SQLite database: how it comes to be, who finds it, and what becomes of it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.servers import PostgresServer
from tests.site import ROOT

KEY = "SELECT key FROM immortus_channels_jobsfilekey"
JOBS = "SELECT job_id FROM immortus_channels_jobrecord ORDER BY job_id"
NOUGHTS = "0" * 16
CREATE = "from immortus_channels import JobRepository; JobRepository().create(id={!r})"

PUT = """
import json
from dataclasses import replace
from immortus_channels.jobs.job import Job, State
from immortus_channels.stores.database import DatabaseStore
def put(store, job_ids, fields):
    fields = {"version": 1, **fields, "state": State(fields.get("state", "enqueued"))}
    for job_id in job_ids:
        store.update(job_id, lambda job, now: replace(job or Job(job_id=job_id), **fields))
"""
IN_A_HURRY = """
import sqlite3
from pathlib import Path
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from immortus_channels.stores.base import Filter
from immortus_channels.stores.sqlite.place import Place
Place.EVERY = 0.0
def found():
    return sorted(job.job_id for job in get_store().list(Filter()))
"""


class Project:
    """A project of its own, whose commands are run as its developer does."""

    def __init__(self, folder: Path, **database: Any) -> None:
        self.folder = folder
        self.database = folder / "db.sqlite3"
        self.settings: dict[str, Any] = {"DATABASES": {"default": self.sqlite("db.sqlite3") | database}}

    def sqlite(self, name: str, **options: Any) -> dict[str, Any]:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(self.folder / name), **options}

    def run(self, *arguments: str, is_fine: bool = True, **environ: str) -> str:
        """What a management command prints."""
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)]),
            "DJANGO_SETTINGS_MODULE": "tests.project.settings",
            "PROJECT_VAR": str(self.folder),
            "SETTINGS": json.dumps(self.settings),
            **environ,
        }
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments], env=env, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) is is_fine, done.stdout + done.stderr
        return done.stdout + done.stderr

    def shell(self, code: str, **options: Any) -> str:
        return self.run("shell", "-v", "0", "-c", f"from immortus_channels.stores import get_store\n{code}", **options)

    def migrate(self, *arguments: str, **options: Any) -> str:
        return self.run("migrate", *arguments, **options)

    def create(self, *job_ids: str) -> None:
        self.shell("\n".join(CREATE.format(job_id) for job_id in job_ids))

    def put(self, *job_ids: str, **fields: Any) -> None:
        """Write jobs as they are to stand, where the store keeps them."""
        self.shell(f"{PUT}put(get_store(), {job_ids!r}, {fields!r})")

    def put_into_the_table(self, job_ids: list[str], **fields: Any) -> None:
        """Write jobs into the database itself, as releases without a file did."""
        self.shell(f"{PUT}put(DatabaseStore(), {job_ids!r}, {fields!r})")

    def migrate_with_noughts(self) -> str:
        """Migrate with a key that is known before."""
        return self.shell(
            f"import secrets; secrets.token_hex = lambda _: {NOUGHTS!r}\n"
            "from django.core.management import call_command; call_command('migrate', verbosity=0)"
        )

    def jobs(self) -> list[str]:
        """What the store finds."""
        return json.loads(
            self.shell(
                "import json; from immortus_channels.stores.base import Filter\n"
                "print(json.dumps(sorted(job.job_id for job in get_store().list(Filter()))))"
            )
        )

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*-jobs-????????????????"))

    def file(self) -> Path:
        (only,) = self.files()
        return only

    def rows(self, query: str, database: Path | None = None) -> list[Any]:
        with closing(sqlite3.connect(database or self.database)) as connection:
            return [row[0] for row in connection.execute(query)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def migrated(project: Project) -> Project:
    project.migrate("-v", "0")
    return project


# How it comes to be


@pytest.mark.slow
def test_migrate_makes_the_file_names_it_by_the_key_and_says_so_once(project: Project) -> None:
    told = project.migrate()
    assert told.count("Jobs are kept in a file of their own") == 1
    assert project.file().name == f"db.sqlite3-jobs-{project.rows(KEY)[0]}"
    assert project.rows("PRAGMA journal_mode", project.file()) == ["wal"]
    assert "file of their own" not in project.migrate()
    project.create("a")
    assert (project.jobs(), project.rows(JOBS), project.rows(JOBS, project.file())) == (["a"], [], ["a"])


@pytest.mark.slow
def test_nothing_of_it_is_in_databases_nor_left_to_migrate(migrated: Project) -> None:
    told = migrated.shell(
        "from django.conf import settings; from django.db import connections\n"
        "alias = get_store().using; print(list(settings.DATABASES), alias in connections, get_store().path)"
    )
    assert told.split() == ["['default']", "True", str(migrated.file())]
    assert "No changes" in migrated.run("makemigrations", "--check", "immortus_channels")


@pytest.mark.slow
def test_the_jobs_of_before_move_and_on_the_way_back_they_come_back(project: Project) -> None:
    ids = [f"{number:04}" for number in range(1_203)]
    project.migrate("-v", "0")
    project.migrate("immortus_channels", "0001", "-v", "0")
    project.put_into_the_table(ids, message="of before")
    project.migrate("-v", "0")
    assert (project.rows(JOBS, project.file()), project.rows(JOBS)) == (ids, [])
    assert "of before" in project.shell("print(get_store().get_many(['0007']).jobs['0007'].message)")
    project.migrate("immortus_channels", "0001", "-v", "0")
    assert (project.files(), project.rows(JOBS)) == ([], ids)


@pytest.mark.slow
def test_the_next_migrate_fetches_newer_jobs_an_old_worker_wrote_late(
    migrated: Project,
) -> None:
    migrated.put("a", "b", message="in the file", version=5)
    migrated.put_into_the_table(["a"], message="newer", version=6)
    migrated.put_into_the_table(["b"], message="older", version=4)
    migrated.migrate("-v", "0")
    shown = migrated.shell("jobs = get_store().get_many(['a', 'b']).jobs; print(jobs['a'].message, jobs['b'].message)")
    assert (shown.split(), migrated.rows(JOBS)) == (["newer", "in", "the", "file"], [])


@pytest.mark.slow
def test_the_file_belongs_to_whoever_owns_the_database(project: Project) -> None:
    project.database.touch()
    project.database.chmod(0o660)
    if os.getuid() == 0:
        os.chown(project.database, 12_345, 12_346)
    project.migrate("-v", "0")
    ours, theirs = project.file().stat(), project.database.stat()
    assert stat.S_IMODE(ours.st_mode) == 0o660
    assert (ours.st_uid, ours.st_gid) == (theirs.st_uid, theirs.st_gid)


@pytest.mark.slow
def test_where_wal_is_refused_another_journal_mode_does(tmp_path: Path) -> None:
    project = Project(tmp_path, NAME=f"file:{tmp_path}/db.sqlite3?vfs=unix-dotfile")
    project.migrate("-v", "0")
    project.create("a")
    assert (project.jobs(), project.rows("PRAGMA journal_mode", project.file())) == (["a"], ["delete"])


@pytest.mark.slow
def test_where_wal_is_promised_and_fails_another_journal_mode_does(project: Project) -> None:
    (project.folder / f"db.sqlite3-jobs-{NOUGHTS}-shm").mkdir()
    project.migrate_with_noughts()
    project.create("a")
    assert (project.jobs(), project.rows("PRAGMA journal_mode", project.file())) == (["a"], ["delete"])


@pytest.mark.slow
def test_migrate_says_that_no_file_can_be_made_and_the_jobs_stay_in_place(project: Project) -> None:
    (project.folder / f"db.sqlite3-jobs-{NOUGHTS}").mkdir()
    assert "cannot be made or migrated" in project.migrate_with_noughts()
    project.create("a")
    assert (project.jobs(), project.rows(JOBS), project.rows(KEY)) == (["a"], ["a"], [])


@pytest.mark.slow
def test_routers_that_know_their_own_databases_alone_keep_nothing_from_it(project: Project) -> None:
    (project.folder / "routing.py").write_text(
        "class Router:\n    def allow_migrate(self, db, app_label, **hints):\n        return db == 'default'\n"
    )
    project.settings["DATABASE_ROUTERS"] = ["routing.Router"]
    project.migrate("-v", "0")
    project.create("a")
    assert project.rows(JOBS, project.file()) == ["a"]
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        project.rows("SELECT 1 FROM auth_user", project.file())


@pytest.mark.slow
def test_no_file_is_made_while_the_database_is_between_two_releases(project: Project) -> None:
    later = project.folder / "later"
    shutil.copytree(ROOT / "immortus_channels" / "migrations", later)
    (later / "9999_later.py").write_text(
        "from django.db import migrations\nclass Migration(migrations.Migration):\n"
        f"    dependencies = [('immortus_channels', '{newest_migration()}')]\n"
    )
    project.settings["MIGRATION_MODULES"] = {"immortus_channels": "later"}
    project.migrate("immortus_channels", newest_migration(), "-v", "0")
    assert project.files() == []
    project.migrate("-v", "0")
    assert "9999_later" in project.rows("SELECT name FROM django_migrations", project.file())


def newest_migration() -> str:
    return max(path.stem for path in (ROOT / "immortus_channels" / "migrations").glob("0*.py"))


# Who has none


@pytest.mark.parametrize(
    "store",
    [{"OPTIONS": {"using": "default"}}, {"OPTIONS": {"using": "other"}}, {"BACKEND": "memory"}, {"BACKEND": "typo"}],
    ids=str,
)
@pytest.mark.slow
def test_a_named_database_or_another_store_has_none(project: Project, store) -> None:
    project.settings["DATABASES"]["other"] = project.sqlite("other.sqlite3")
    project.settings["IMMORTUS_STORE"] = store
    project.migrate("-v", "0", "--skip-checks")
    if store.get("BACKEND") != "typo":
        project.migrate("-v", "0", "--database", "other", "--skip-checks")
        project.create("a")
    assert (project.files(), project.rows(KEY)) == ([], [])


@pytest.mark.slow
def test_other_sqlite_databases_have_none(migrated: Project) -> None:
    migrated.settings["DATABASES"]["other"] = migrated.sqlite("other.sqlite3")
    migrated.migrate("-v", "0", "--database", "other")
    assert [file.name.partition("-")[0] for file in migrated.files()] == ["db.sqlite3"]


@pytest.mark.slow
def test_a_database_in_memory_has_none(tmp_path: Path) -> None:
    project = Project(tmp_path, NAME=":memory:")
    told = project.shell(
        f"from django.core.management import call_command; call_command('migrate', verbosity=0)\n{CREATE.format('a')}\n"
        "print(get_store().using, get_store().path)"
    )
    assert (told.split()[:2], project.files()) == (["default", "None"], [])


@pytest.mark.slow
def test_a_database_by_another_driver_has_none(project: Project) -> None:
    (project.folder / "encrypted").mkdir()
    (project.folder / "encrypted" / "base.py").write_text(
        "import sqlite3, types\nfrom django.db.backends.sqlite3 import base\n"
        "class DatabaseWrapper(base.DatabaseWrapper):\n    Database = types.SimpleNamespace(**vars(sqlite3.dbapi2))\n"
    )
    project.settings["DATABASES"]["default"]["ENGINE"] = "encrypted"
    project.migrate("-v", "0")
    project.create("a")
    assert (project.files(), project.rows(KEY), project.rows(JOBS)) == ([], [], ["a"])


@pytest.mark.postgresql
@pytest.mark.slow
def test_a_database_server_has_none(tmp_path: Path, postgres: PostgresServer) -> None:
    project = Project(tmp_path)
    project.settings["DATABASES"] = {"default": postgres.database}
    project.migrate("-v", "0")
    assert project.shell("print(type(get_store()).__name__, get_store().using)").split() == ["DatabaseStore", "default"]
    assert project.files() == []


# What becomes of it


@pytest.mark.slow
def test_a_database_made_anew_inherits_no_jobs_even_while_processes_run(migrated: Project) -> None:
    migrated.create("a")
    told = migrated.shell(
        IN_A_HURRY + "print(found())\n"
        "connections.close_all(); Path(settings.DATABASES['default']['NAME']).unlink()\n"
        "call_command('migrate', verbosity=0); print(found())\n" + CREATE.format("b") + "\nprint(found())"
    )
    assert told.splitlines() == ["['a']", "[]", "['b']"]
    assert (migrated.jobs(), len(migrated.files())) == (["b"], 2)


@pytest.mark.slow
def test_a_database_that_is_flushed_keeps_no_jobs(migrated: Project) -> None:
    migrated.create("a")
    migrated.run("flush", "--no-input")
    migrated.create("b")
    assert migrated.jobs() == ["b"]


@pytest.mark.parametrize("options", [[], ["--all"]], ids=str)
@pytest.mark.slow
def test_a_dump_carries_neither_jobs_nor_the_key(migrated: Project, options) -> None:
    migrated.create("a")
    assert migrated.run("dumpdata", "immortus_channels", *options).strip() == "[]"


@pytest.mark.slow
def test_a_file_that_is_missing_is_named_with_its_cure_and_made_by_migrate(migrated: Project) -> None:
    migrated.create("a")
    file = migrated.file()
    file.unlink()
    told = migrated.shell("get_store().get_many(['a'])", is_fine=False)
    assert "StoreUnavailable" in told
    assert f"{file}, which keeps the jobs of db.sqlite3, cannot be reached here" in told
    assert "migrate immortus_channels" in told
    migrated.migrate("-v", "0")
    assert (migrated.file(), migrated.jobs()) == (file, [])


@pytest.mark.slow
def test_running_processes_notice_a_file_that_took_the_place_of_another(migrated: Project) -> None:
    migrated.create("a")
    told = migrated.shell(
        IN_A_HURRY + "print(found()); get_store().path.unlink(); call_command('migrate', verbosity=0); print(found())"
    )
    assert told.splitlines() == ["['a']", "[]"]


@pytest.mark.slow
def test_a_database_that_was_not_migrated_says_what_to_do(project: Project) -> None:
    assert "manage.py migrate immortus_channels" in project.shell("get_store().get_many(['a'])", is_fine=False)


@pytest.mark.slow
def test_while_the_database_does_not_answer_what_it_said_last_counts(migrated: Project) -> None:
    told = migrated.shell(
        IN_A_HURRY
        + CREATE.format("a")
        + "\nprint(found())\nother = sqlite3.connect(settings.DATABASES['default']['NAME'])\n"
        "other.execute('BEGIN EXCLUSIVE'); print(found())"
    )
    assert told.splitlines() == ["['a']"] * 2


# Who uses it


@pytest.mark.slow
def test_a_job_sent_in_atomic_is_on_record_at_once_and_outlives_a_rollback(migrated: Project) -> None:
    told = migrated.shell(
        "from django.contrib.auth.models import Group; from django.db import transaction\n"
        "with transaction.atomic():\n"
        "    Group.objects.create(name='holds the lock')\n"
        f"    {CREATE.format('a')}\n"
        "    print(get_store().waits_for_caller(), list(get_store().get_many(['a']).jobs))\n"
        "    transaction.set_rollback(True)\n"
    )
    assert told.split() == ["False", "['a']"]
    assert migrated.jobs() == ["a"]


@pytest.mark.slow
def test_a_child_uses_no_connection_of_its_parent(migrated: Project) -> None:
    migrated.create("a")
    told = migrated.shell(
        "import os; from django.db import connections; from immortus_channels.stores.sqlite import pool\n"
        "from immortus_channels import tracking\n"
        "get_store().get_many(['a']); connections[get_store().using].ensure_connection()\n"
        "free = get_store()._place._pool._free; parents = [free[0], connections[get_store().using]]\n"
        "if (child := os.fork()) == 0:\n"
        "    get_store().get_many(['a'])\n"
        "    fresh = [free[0], connections[get_store().using]]\n"
        "    print(any(one in parents for one in fresh), all(one.connection for one in parents), flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0); print(list(get_store().get_many(['a']).jobs))"
    )
    assert [line for line in told.splitlines() if "Warning" not in line and "os.fork" not in line] == [
        "False True",
        "['a']",
    ]


@pytest.mark.slow
def test_threads_share_a_few_connections_and_leave_none_behind(migrated: Project) -> None:
    told = migrated.shell(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "for _ in range(20):\n"
        "    with ThreadPoolExecutor(20) as threads:\n"
        "        list(threads.map(lambda _: get_store().get_many(['a']), range(100)))\n"
        "print(len(get_store()._place._pool._free) <= 8)"
    )
    assert told.split() == ["True"]


@pytest.mark.slow
def test_the_admin_lists_shows_cancels_and_deletes_what_is_in_the_file(migrated: Project) -> None:
    migrated.create("waits", "over")
    told = migrated.shell(
        "from django.contrib.admin.models import LogEntry; from django.contrib.auth.models import User\n"
        "from django.test import Client; from immortus_channels import get_job\n"
        "get_job('over').fail()\n"
        "client = Client(); client.force_login(User.objects.create_superuser('boss'))\n"
        "url = '/admin/immortus_channels/jobrecord/'\n"
        "page = client.get(url).content.decode(); print('waits' in page, 'over' in page)\n"
        "print(client.get(f'{url}waits/change/').status_code)\n"
        "client.post(url, {'action': 'cancel', '_selected_action': ['waits']}); print(get_job('waits').state)\n"
        "print(client.post(f'{url}over/delete/', {'post': 'yes'}).status_code)\n"
        "client.post(url, {'action': 'delete_selected', '_selected_action': ['waits'], 'post': 'yes'})\n"
        "print(LogEntry.objects.count(), LogEntry.objects.first().content_type.model)"
    )
    assert told.split() == ["True", "True", "200", "cancelled", "302", "3", "jobrecord"]
    assert migrated.jobs() == []


@pytest.mark.slow
def test_old_jobs_are_pruned_from_it(migrated: Project) -> None:
    migrated.put("old", state="finished", version=1, finished_at=1)
    assert "1 jobs pruned" in migrated.run("prune_jobs")


@pytest.mark.slow
def test_the_doctor_says_where_the_jobs_are(migrated: Project) -> None:
    examine = ("immortus_doctor", "--no-color", "--timeout", "0.1")
    assert f"jobs are in {migrated.file()}" in migrated.run(*examine, is_fine=False)
    with closing(sqlite3.connect(migrated.database)) as connection, connection:
        connection.execute("DELETE FROM immortus_channels_jobsfilekey")
    told = migrated.run(*examine, is_fine=False)
    assert "note  store    SQLiteStore answered" in told
    assert "the database keeps the jobs itself" in told


# Test runners

TESTS = """
import json, os, subprocess, sys
from django.db import connection, connections
from django.test import TestCase, TransactionTestCase
from immortus_channels import JobRepository
from immortus_channels.stores import get_store

class InATransaction(TestCase):
    databases = "__all__"
    def test_jobs_are_in_the_test_s_database(self):
        JobRepository().create(id="a")
        assert get_store().using == "default"
        with connection.cursor() as cursor:
            cursor.execute("SELECT job_id FROM immortus_channels_jobrecord")
            assert cursor.fetchall() == [("a",)]

class Committed(TransactionTestCase):
    databases = "__all__"
    def test_first_as_second(self):
        name = connection.settings_dict["NAME"]
        JobRepository().create(id="a")
        if os.path.exists(name):  # as a worker that the test starts
            env = {**os.environ, "SETTINGS": json.dumps({"DATABASES": {"default": {
                "ENGINE": "django.db.backends.sqlite3", "NAME": name}}})}
            migrate = [sys.executable, "-m", "django", "migrate", "-v", "0"]
            subprocess.run(migrate, env=env, check=True)
            code = "from immortus_channels.stores import get_store; print(list(get_store().get_many(['a']).jobs))"
            command = [sys.executable, "-m", "django", "shell", "-v", "0", "-c", code]
            assert subprocess.run(command, env=env, capture_output=True, text=True).stdout.strip() == "['a']"
    test_second_as_first = test_first_as_second
"""
EARLY = """
from django.test.runner import DiscoverRunner
from immortus_channels.stores import get_store

class Runner(DiscoverRunner):
    def setup_databases(self, **options):
        return super().setup_databases(**options)
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        print(get_store().using)
"""


@pytest.mark.parametrize("name", [None, "test.sqlite3"], ids=["memory", "file"])
@pytest.mark.parametrize("options", [[], ["--parallel", "2"]], ids=["one", "parallel"])
@pytest.mark.slow
def test_a_test_runner_keeps_jobs_in_its_test_database_and_off_the_file(migrated: Project, name, options) -> None:
    migrated.create("mine")
    (migrated.folder / "probe_tests.py").write_text(TESTS)
    (migrated.folder / "early.py").write_text(EARLY)
    migrated.settings["TEST_RUNNER"] = "early.Runner"
    migrated.settings["DATABASES"]["default"]["TEST"] = {"NAME": name and str(migrated.folder / name)}
    told = migrated.run("test", "probe_tests", "--no-input", *options)
    assert "OK" in told
    assert "immortus." in told
    assert (migrated.jobs(), len(migrated.files())) == (["mine"], 1)


@pytest.mark.slow
def test_a_project_that_writes_inline_for_a_while_finds_its_file_again(migrated: Project) -> None:
    migrated.create("mine")
    migrated.settings["IMMORTUS_INLINE"] = True
    migrated.migrate()
    migrated.create("inline")
    assert migrated.jobs() == ["inline"]
    del migrated.settings["IMMORTUS_INLINE"]
    assert migrated.jobs() == ["mine"]
    migrated.migrate()
    assert migrated.jobs() == ["inline", "mine"]
