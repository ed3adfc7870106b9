"""Who may see and cancel which job, and how much of a server one visitor may use."""

from __future__ import annotations

from immortus_channels.access.permissions import is_owner

__all__ = ["is_owner"]
