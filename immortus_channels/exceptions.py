"""What can go wrong, drawn as a tree.

ImmortusError
├── ConfigurationError (also Django's ImproperlyConfigured)
│   ├── StrategyNotFound
│   ├── HandlerNotFound
│   └── StoreNotFound
├── JobNotFound
├── JobExists
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


class ImmortusError(Exception):
    """The root of every error this package raises on purpose."""


class ConfigurationError(ImmortusError, ImproperlyConfigured):
    """A setting or a declaration cannot be used as it stands."""


class StrategyNotFound(ConfigurationError):
    """A tracking strategy was named that cannot be found; the message lists what was tried."""


class HandlerNotFound(ConfigurationError):
    """A job handler was named that cannot be found; the message lists what was tried."""


class StoreNotFound(ConfigurationError):
    """`IMMORTUS_STORE` names a backend that cannot be loaded."""


class JobNotFound(ImmortusError):
    """No job of this id is known to the store, or it is not for the user who asks."""


class JobExists(ImmortusError):
    """A job of this id was already created by `JobRepository.create`."""


class ReservedMetaKey(ImmortusError, ValueError):
    """Meta named a key that belongs to the job document itself."""


class InvalidValue(ImmortusError, ValueError):
    """A value cannot be shown: it cannot be written as JSON, or is no finite number of 0 or more."""


class DocumentTooLarge(ImmortusError, ValueError):
    """A value would make what the job says exceed 24 KiB: its document, of at most 32, has more to hold."""


class StoreUnavailable(ImmortusError):
    """The store could not be reached or did not answer in time; the write may be tried again."""


class UnreadableRecord(ImmortusError):
    """A job's record in the store cannot be read here, as when a later release wrote it; it is not written over."""


class JobFailed(ImmortusError):
    """Raised by a task to end its job as `failed` with exactly this code and message, also from within another error.

    Both are shown to end users, so neither may carry secrets.
    """

    def __init__(self, code: str, message: object = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        """Read like a log line: the code, then the sentence."""
        return f"{self.code}: {self.message}"


class JobCancelled(ImmortusError):
    """Raised inside a task at a checkpoint once its cancellation was asked for.

    It ends the job as `cancelled`, also from within another error; as `failed` where nobody has asked.
    """
