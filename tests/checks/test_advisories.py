"""Known holes: the releases told in SECURITY.md, in pyproject.toml and by the check are the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from immortus_channels.checks.advisories import ADVISORIES, Advisory

ROOT = Path(__file__).parent.parent.parent
BY_NAME = {advisory.package.lower(): advisory for advisory in ADVISORIES}


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [
        *project["dependencies"],
        *(one for name in ("celery", "redis", "daphne", "uvicorn") for one in extras[name]),
    ]


@pytest.mark.parametrize(
    ("release", "is_old"),
    [
        ((5, 1, 9), True),
        ((5, 2, 15), True),
        ((5, 2, 16), False),
        ((6, 0), True),
        ((6, 0, 6), True),
        ((6, 0, 7), False),
        ((6, 1), False),
        ((7, 0), False),
    ],
)
def test_each_series_has_its_first_release_without_the_hole(release, is_old):
    advisory = Advisory(package="x", fixed=[(5, 2, 16), (6, 0, 7)], names=["CVE"], harm="harms")
    assert advisory.concerns(release) is is_old
    assert advisory.hint == "5.2.16 or 6.0.7"


@pytest.mark.parametrize("advisory", ADVISORIES, ids=lambda advisory: advisory.package)
def test_what_is_installed_with_this_package_has_none_of_the_holes(advisory):
    (requirement,) = [one for one in requirements() if re.match(rf"{advisory.package}\b", one, re.IGNORECASE)]
    least = tuple(int(part) for part in re.search(r">=([\d.]+)", requirement)[1].split("."))
    assert least[:2] == min(advisory.fixed)[:2]
    assert not advisory.concerns((*least, 0, 0)[:3])
    series = [fixed for fixed in advisory.fixed if fixed != min(advisory.fixed)]
    refused = {f"!={x}.{y}" + (f".{patch}" if patch else "") for x, y, z in series for patch in range(z)}
    assert refused == set(re.findall(r"!=[\d.]+", requirement))


def test_the_policy_tells_the_same_releases():
    rows = re.findall(
        r"^\| ([\w-]+) \| (\S+(?: or \S+)*) \| (.+) \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE
    )
    told = {name.lower(): (least, harm) for name, least, harm in rows if "CVE" in harm}
    for name, advisory in BY_NAME.items():
        least, harm = told[name]
        assert least == advisory.hint
        assert all(cve in harm for cve in advisory.names)
    assert told["daphne"][0] == "4.2.2"
