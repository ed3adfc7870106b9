"""`manage.py immortus_doctor`: follow one job all the way, and say where the way ends."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from immortus_channels.checks.doctor.examine import examine
from immortus_channels.checks.doctor.finding import Finding
from immortus_channels.jobs import namespaces


class Command(BaseCommand):
    """Sends a probe job and watches it as a page would."""

    help = "Sends a probe job and reports whether queue, worker, store, channel layer and socket do their part."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take how long to wait, and where to look."""
        parser.add_argument("--timeout", type=float, default=5.0, help="seconds to wait for each part (default: 5)")
        parser.add_argument("--queue", help="the queue to send the probe to (default: where tasks go by default)")
        parser.add_argument("--url", help="the address of the running site, to try its socket: https://example.com")

    def handle(
        self, *_args: object, timeout: float = 5.0, queue: str | None = None, url: str | None = None, **_options: Any
    ) -> None:
        """Print what each part does; exit with status 1 when one is wrong."""
        if not 0 < timeout < float("inf"):
            msg = f"--timeout is {timeout}; it must be a finite number of seconds above 0."
            raise CommandError(msg)
        wrong = 0
        with namespaces.inside(""):  # the threads that it asks in have no tenant
            for finding in examine(timeout, queue, url):
                self._show(finding)
                wrong += finding.level == "wrong"
        if wrong:
            msg = f"{wrong} of the parts above went wrong."
            raise CommandError(msg)

    def _show(self, finding: Finding) -> None:
        style = {"ok": self.style.SUCCESS, "note": self.style.WARNING, "wrong": self.style.ERROR}[finding.level]
        self.stdout.write(f"{style(f'{finding.level:5}')} {finding.part:8} {finding.message}")
        if finding.hint:
            self.stdout.write(f"{'':15}→ {finding.hint}")
