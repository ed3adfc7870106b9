"""The doctor's probe, as workers of each queue find it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from immortus_channels.jobs.events import Origin
from immortus_channels.queues import probing
from immortus_channels.stores.sqlite import witness
from immortus_channels.writer.run import Run, current_run
from tests.site import ROOT

WORKER = """
from django.conf import settings
settings.configure()
{imports}
import sys
import immortus_channels.tasks
print(*sorted({{*sys.modules}} & {{"celery", "dramatiq", "huey", "rq"}}))
"""


@pytest.mark.parametrize("package", ["", "celery", "dramatiq", "huey", "rq"])
def test_a_worker_of_one_queue_imports_no_other(package):
    code = WORKER.format(imports=f"import {package}" if package else "")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ([package] if package else [])


def test_what_cannot_be_declared_stops_no_worker(monkeypatch, caplog):
    monkeypatch.setattr(probing, "import_module", lambda name: 1 / 0)
    probing.declare(["celery"])
    assert "cannot be declared for celery" in caplog.text


def test_where_only_the_project_knows_how_to_send_there_is_no_probe(monkeypatch):
    monkeypatch.delitem(sys.modules, "django_rq", raising=False)
    assert probing.probe_of("rq") is probing.probe_of("arq") is None


def test_the_probe_tells_whose_file_it_was_run_with(monkeypatch):
    asked = []
    monkeypatch.setattr(witness, "testify", asked.append)
    monkeypatch.setattr(probing, "_WHILE", 0)
    probing.be_probed()
    token = current_run.set(Run(job_id="a", job_class="c", run_id="r", origin=Origin()))
    try:
        probing.be_probed()
    finally:
        current_run.reset(token)
    assert asked == ["a"]
