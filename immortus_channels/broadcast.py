"""The name of a job's group in the channel layer, for a project's own consumers: docs/protocol.md."""

from __future__ import annotations

from immortus_channels.push.layer import group_name

__all__ = ["group_name"]
