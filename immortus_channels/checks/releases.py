"""Whether installed packages have known vulnerabilities, and whether their queues' adapters were tried with them."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from django.conf import settings as django_settings
from django.core.checks import Warning  # noqa: A004 - Django's name

from immortus_channels import queues
from immortus_channels.checks.advisories import ADVISORIES
from immortus_channels.checks.finding import ID, Findings


def check_versions() -> Findings:
    """Find installed packages with known vulnerabilities."""
    for advisory in ADVISORIES:
        installed = release_of(advisory.package)
        if installed and advisory.concerns(installed):
            yield Warning(
                f"{advisory.package} {'.'.join(map(str, installed))} {advisory.harm} ({', '.join(advisory.names)}).",
                hint=f"Install {advisory.hint}, or the newest release.",
                id=f"{ID}.W013",
            )


def check_daphne() -> Findings:
    """Find a release of Daphne that does not bound what a stranger may send."""
    installed = release_of("daphne")
    if getattr(django_settings, "ASGI_APPLICATION", None) and () < installed < (4, 2, 2):
        yield Warning(
            f"daphne {'.'.join(map(str, installed))} takes WebSocket messages of any size (CVE-2026-44545) and can be "
            "made to see headers that the client did not send (CVE-2026-44546).",
            hint="`pip install 'daphne>=4.2.2'`.",
            id=f"{ID}.W009",
        )


def check_adapters() -> Findings:
    """Find releases of task queues that their adapters were not tried with."""
    for queue in queues.connected:
        for package, tried in queue.tried.items() if queue.tracked_names() else ():
            installed = ".".join(map(str, release_of(package)[:2]))
            if installed and installed not in tried:
                yield Warning(
                    f"{package} {installed} is installed, and its adapter was tried with {', '.join(tried)}: the "
                    "states of its jobs may be wrong.",
                    hint=f"Install one of these, or try what your tasks do (failures, retries, cancels) and silence "
                    f"{ID}.W024.",
                    id=f"{ID}.W024",
                )


def release_of(package: str) -> tuple[int, ...]:
    """Return the installed release of a package; () when it is not installed."""
    try:
        return tuple(int(part) for part in re.findall(r"\d+", version(package))[:3])
    except PackageNotFoundError:
        return ()
