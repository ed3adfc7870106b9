"""The package's errors, as a tree.

ImmortusError
├── ConfigurationError (also Django's ImproperlyConfigured)
│   ├── StrategyNotFound
│   ├── HandlerNotFound
│   └── StoreNotFound
├── JobNotFound (also Django's Http404: a view answers 404)
├── JobExists
├── JobRunning
├── ReservedMetaKey (also ValueError)
├── InvalidValue (also ValueError)
├── DocumentTooLarge (also ValueError)
├── StoreUnavailable
├── UnreadableRecord
├── JobFailed       raised by a task to end its job as failed
└── JobCancelled    raised inside a task whose job was asked to stop
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.http import Http404


class ImmortusError(Exception):
    """The root of every error this package raises on purpose."""


class ConfigurationError(ImmortusError, ImproperlyConfigured):
    """A setting or a declaration cannot be used as it is."""


class StrategyNotFound(ConfigurationError):
    """The tracking strategy named cannot be found; the message lists what was tried."""


class HandlerNotFound(ConfigurationError):
    """The job handler named cannot be found; the message lists what was tried."""


class StoreNotFound(ConfigurationError):
    """`IMMORTUS_STORE` names a backend that cannot be loaded."""


class JobNotFound(ImmortusError, Http404):
    """The store has no job of this id, or the user may not see it; a view that does not catch it answers 404."""


class JobExists(ImmortusError):
    """`JobRepository.create` has already created a job of this id."""


class JobRunning(ImmortusError):
    """A block `running()` was begun for a job that this process runs already, in a block or as a queue's task."""


class ReservedMetaKey(ImmortusError, ValueError):
    """Meta names a key that belongs to the job document itself."""


class InvalidValue(ImmortusError, ValueError):
    """A value cannot be shown: it cannot be written as JSON, or is not a finite number of 0 or more."""


class DocumentTooLarge(ImmortusError, ValueError):
    """The values a job publishes exceed 24 KiB (its document may have 32 KiB), or its data and params 128 KiB."""


class StoreUnavailable(ImmortusError):
    """The store could not be reached or did not answer in time; the write may be retried."""


class UnreadableRecord(ImmortusError):
    """A job's record in the store cannot be read here, as when a later release wrote it; it is not overwritten."""


class JobFailed(ImmortusError):
    """Raised by a task to end its job as `failed` with exactly this code and message, also from within another error.

    End users see both, so neither may carry secrets.
    """

    def __init__(self, code: str, message: object = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        """Return a text like a log line: the code, then the sentence."""
        return f"{self.code}: {self.message}"


class JobCancelled(ImmortusError):
    """Raised inside a task at a checkpoint once its job was asked to stop.

    It ends the job as `cancelled`, also from within another error; as `failed` if no cancellation was requested.
    """
