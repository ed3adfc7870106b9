"""The connection of a claimed thread: its own, in autocommit, and never waiting longer than `TIMEOUT`.

It is Django's own class for the database with a few methods before it, so that the limits apply whenever Django
connects, or connects again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.db import DataError, IntegrityError

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Connection

    class _Wrapper(Connection):
        Database: Any
        mysql_is_mariadb: bool
else:
    _Wrapper = object

TIMEOUT = 2
"""Seconds that a claimed thread waits for a connection or an answer."""
LOCK_TIMEOUT = 0.5
"""Seconds that it waits for a row: a writer holds one for milliseconds, and other jobs wait meanwhile."""
_REFUSED = re.compile("startup parameter|command-line options", re.IGNORECASE)
"""The errors with which poolers refuse PostgreSQL's start options: PgBouncer, and the proxy of Amazon RDS."""


class Claimed(_Wrapper):
    """A Django connection with statements that time out."""

    OPTIONS: ClassVar[Mapping[str, Any]] = {}
    """The driver's options that make it give up in time."""

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Limit one statement. If it fails, but for a value or a conflict, the connection is closed afterwards."""
        yield


class ClaimedPostgres(Claimed):
    """Limits its session if it can, and each transaction if a pooler is in between.

    A pooler drops or refuses settings of a session, or passes them on to other clients' sessions.
    """

    OPTIONS: ClassVar = {"connect_timeout": TIMEOUT, "tcp_user_timeout": TIMEOUT * 1000}
    _LIMITS: ClassVar = {"statement_timeout": f"{TIMEOUT}s", "lock_timeout": f"{LOCK_TIMEOUT * 1000:.0f}ms"}
    """Those of the server."""
    _takes_options = True
    _session_is_limited = False

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Ask for the limits as the session begins, or connect without them if they are refused."""
        if self._takes_options:
            limits = [f"-c {name}={limit}" for name, limit in self._LIMITS.items()]
            options = " ".join(filter(None, (conn_params.get("options"), *limits)))
            try:
                return super().get_new_connection({**conn_params, "options": options})
            except self.Database.OperationalError as error:
                if not _REFUSED.search(str(error)):
                    raise
                self._takes_options = False
        return super().get_new_connection(conn_params)

    def init_connection_state(self) -> None:
        """Check whether the session has the limits."""
        super().init_connection_state()
        with self.cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
            self._session_is_limited = cursor.fetchone() == tuple(self._LIMITS.values())

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Begin a transaction with the limits if the session does not have them; this costs two more round trips."""
        self.ensure_connection()
        if self._session_is_limited:
            yield
            return
        limits = [f"SET LOCAL {name} = '{limit}'" for name, limit in self._LIMITS.items()]
        try:
            self._execute("; ".join(("BEGIN", *limits)))
            try:
                yield
            except (IntegrityError, DataError):
                self._execute("ROLLBACK")
                raise
            self._execute("COMMIT")
        except (IntegrityError, DataError):
            raise
        except BaseException:
            self.close()
            raise

    def _execute(self, statements: str) -> None:
        with self.cursor() as cursor:
            cursor.execute(statements)


class ClaimedMySQL(Claimed):
    """Limits its session on both sides: the server would continue after the driver stops waiting."""

    OPTIONS: ClassVar = {
        **dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), TIMEOUT),
        "charset": "utf8mb4",
    }
    """With the character set that holds every text."""

    def init_connection_state(self) -> None:
        """Set the limits of the server; MySQL has none for a statement that writes, except for its locks."""
        super().init_connection_state()
        statement = f"max_statement_time = {TIMEOUT}"
        if not self.mysql_is_mariadb:
            statement = f"max_execution_time = {TIMEOUT * 1000}"
        with self.cursor() as cursor:
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {math.ceil(LOCK_TIMEOUT)}, {statement}")


class ClaimedSQLite(Claimed):
    """A SQLite connection, which needs only a timeout for its file: that has one lock for all rows."""

    OPTIONS: ClassVar = {"timeout": TIMEOUT}


_CLASSES: Mapping[str, type[Claimed]] = {"postgresql": ClaimedPostgres, "mysql": ClaimedMySQL, "sqlite": ClaimedSQLite}


def claimed_connection(ordinary: Connection) -> Claimed:
    """Return a new connection to the same database under its present name, also that of a test."""
    ordinary_settings = ordinary.settings_dict
    claimed_class = _CLASSES.get(ordinary.vendor, Claimed)
    options = {name: value for name, value in ordinary_settings["OPTIONS"].items() if name != "pool"}
    own_settings = {
        "OPTIONS": {**options, **claimed_class.OPTIONS},
        "AUTOCOMMIT": True,
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": False,
    }
    mixed: Any = type(claimed_class.__name__, (claimed_class, type(ordinary)), {})
    return cast("Claimed", mixed({**ordinary_settings, **own_settings}, ordinary.alias))
