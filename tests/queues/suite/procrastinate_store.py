"""The suite's store in a PostgreSQL, which holds up nobody while a transaction is open."""

from __future__ import annotations

from immortus_channels.stores.database import DatabaseStore
from tests.queues.suite.told import TellingStore


class TellingPostgresStore(TellingStore):
    """Keeps jobs as a project on PostgreSQL does."""

    def waits_for_caller(self) -> bool:
        """Return what PostgreSQL's own store does: there is no file, and none is needed."""
        return DatabaseStore.waits_for_caller(self)
