from __future__ import annotations

import subprocess
import sys

import pytest

import immortus_channels

PUBLIC = {
    "JobCancelled",
    "JobFailed",
    "JobHandler",
    "JobRepository",
    "JobState",
    "TrackingStrategy",
    "access_token",
    "aget_job",
    "current_job",
    "get_job",
    "get_strategy",
    "job_info",
    "job_page_url",
    "render_immortus",
    "revoke_access",
    "started_by",
    "tracked",
}


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_package_imports_neither_models_nor_other_modules():
    others = "('immortus_channels.', 'django', 'celery', 'channels')"
    done = run(f"import sys, immortus_channels; print([m for m in sys.modules if m.startswith({others})])")
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_what_task_modules_import_needs_no_app_registry():
    done = run("from immortus_channels import JobCancelled, JobFailed, started_by, tracked; tracked(lambda: None)")
    assert (done.returncode, done.stderr) == (0, "")


def test_every_public_name_can_be_imported():
    assert set(immortus_channels.__all__) >= PUBLIC
    for name in immortus_channels.__all__:
        assert getattr(immortus_channels, name).__name__ == name


def test_the_names_are_listed_sorted_and_completed_by_dir():
    assert immortus_channels.__all__ == sorted(immortus_channels.__all__)
    assert set(immortus_channels.__all__) <= set(dir(immortus_channels))


def test_an_unknown_name_is_an_ordinary_attribute_error():
    with pytest.raises(AttributeError, match="module 'immortus_channels' has no attribute 'tracker'"):
        _ = immortus_channels.tracker
