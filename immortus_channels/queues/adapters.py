"""Adapters of task queues: each is made and connected once a module of its queue has been imported."""

from __future__ import annotations

from django.utils.module_loading import import_string

from immortus_channels import queues
from immortus_channels.logs import logger
from immortus_channels.queues.base import Queue
from immortus_channels.queues.port import Port
from immortus_channels.queues.tracker import Tracker

_brought: set[str] = set()
"""The modules that have brought their adapters along: `AppConfig.ready()` may be called twice."""
_ports: dict[Queue, Port] = {}


def connect(path: str, tracker: Tracker, *, brought_by: str) -> None:
    """Connect the adapter with this dotted path, again for each further module that brings it along.

    What goes wrong is logged, and the queue runs untracked.
    """
    if brought_by in _brought:
        return
    tried = "nothing"
    try:
        kind = import_string(path)
        tried = _releases(kind)
        queue = next((each for each in queues.connected if type(each) is kind), None) or kind()
        queue.connect(_ports.setdefault(queue, Port(queue, tracker)))
    except Exception:
        msg = "The adapter %s (tried with %s) cannot be connected, so the jobs of its queue run untracked"
        logger.exception(msg, path, tried)
        return
    _brought.add(brought_by)
    _list(queue)


def _releases(kind: type[Queue]) -> str:
    return "; ".join(f"{package} {', '.join(releases)}" for package, releases in kind.tried.items()) or "nothing"


def _list(queue: Queue) -> None:
    """List the adapter before those that give way to others; other threads may be reading the list."""
    if queue not in queues.connected:
        others = [each for each in queues.connected if not each.gives_way]
        queues.connected.insert(len(queues.connected if queue.gives_way else others), queue)
