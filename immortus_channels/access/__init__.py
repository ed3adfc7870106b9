"""Who may see and cancel which job, and how much of a server one visitor may use."""

from __future__ import annotations

from immortus_channels.tracking.rules import is_owner

__all__ = ["is_owner"]
