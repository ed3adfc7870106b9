"""The wheel holds the package as it stands in the repository, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.site import ROOT

pytestmark = pytest.mark.slow

NAME = "immortus_channels"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ("-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir", str(folder))
    done = subprocess.run([sys.executable, *build, str(ROOT)], capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"`pip wheel` failed; it needs a package index for hatchling: {done.stderr[-500:]}"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    (built,) = folder.iterdir()
    return built


def names(wheel: Path) -> set[str]:
    return set(ZipFile(wheel).namelist())


def test_the_wheel_has_each_file_of_the_package_and_no_other(wheel):
    package = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / NAME).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name for name in names(wheel) if ".dist-info/" not in name} == package


@pytest.mark.parametrize(
    "name", ["py.typed", "static/immortus_channels/immortus.js", "templates/immortus_channels/job_page.html"]
)
def test_the_wheel_has_what_is_not_python(wheel, name):
    assert f"{NAME}/{name}" in names(wheel)


def test_the_wheel_has_the_version_of_the_project_and_its_licence(wheel):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"{NAME}-{version}.dist-info/METADATA" in names(wheel)
    assert f"{NAME}-{version}.dist-info/licenses/LICENSE" in names(wheel)
