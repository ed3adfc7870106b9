"""A folder as Celery's broker: kombu's, with messages that are whole as soon as they are there."""

from __future__ import annotations

import uuid
from pathlib import Path
from time import monotonic

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    """Kombu makes a message's file and then writes it: a worker that looks in between takes an empty one, and fails.

    See https://github.com/celery/kombu/issues/1551.
    """

    def _put(self, queue: str, payload: object, **_: object) -> None:
        name = f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        folder = Path(self.data_folder_out)
        draft = folder / f".{name}"
        draft.write_text(dumps(payload))
        draft.rename(folder / name)


class Transport(filesystem.Transport):
    """`folder://`."""

    Channel = Channel


TRANSPORT_ALIASES["folder"] = f"{__name__}:Transport"
