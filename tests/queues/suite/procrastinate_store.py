"""The suite's store in a PostgreSQL, which holds up nobody while a transaction is open."""

from __future__ import annotations

from tests.queues.suite.told import TellingStore


class TellingPostgresStore(TellingStore):
    """Keeps jobs in the database itself, beside which there is no file."""

    def _file_pool(self) -> None:
        """There is none."""

    def waits_for_caller(self) -> bool:
        """A transaction of the caller's locks nothing that the writer needs."""
        return False
