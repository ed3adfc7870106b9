"""The channel layer that pushes go through, and the names of its groups."""

from __future__ import annotations

from typing import Any

from channels.layers import (  # type: ignore[import-untyped]
    InMemoryChannelLayer,
    channel_layers,
    get_channel_layer,
)
from django.utils.crypto import salted_hmac

from immortus_channels.conf import settings
from immortus_channels.threads import is_in_event_loop


def group_name(job_id: str) -> str:
    """Return the channel layer group of a job: a keyed hash, so that any id makes a valid, opaque name."""
    return f"immortus.job.{salted_hmac('immortus.job', job_id, algorithm='sha256').hexdigest()}"


def hubs_group_name() -> str:
    """Return the one group of the channel layer that every hub is in: a keyed hash, like those of the jobs."""
    return f"immortus.access.{salted_hmac('immortus.access', 'hubs', algorithm='sha256').hexdigest()}"


def shared_layer() -> Any:
    """Return the channel layer that reaches other processes; None if there is none."""
    layer = get_channel_layer(settings.CHANNEL_LAYER)
    return None if isinstance(layer, InMemoryChannelLayer) else layer


def has_shared_layer() -> bool:
    """Return whether pushes reach other processes."""
    try:
        return shared_layer() is not None
    except RuntimeError:
        if is_in_event_loop():
            raise
        return True  # it can only be made in a running event loop, like that of channels_rabbitmq


def is_bound_to_one_loop() -> bool:
    """Return whether the layer can be made and used only in one running event loop, like that of channels_rabbitmq."""
    try:
        channel_layers.make_backend(settings.CHANNEL_LAYER)
    except RuntimeError:
        return True
    except Exception:  # noqa: BLE001 - its first use reports what is wrong with its settings
        return False
    return False


async def make_layer() -> Any:
    """Make a layer of its own for the running event loop."""
    return channel_layers.make_backend(settings.CHANNEL_LAYER)
