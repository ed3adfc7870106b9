"""Who may see and cancel which job, and how much of a server one visitor may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from immortus_channels.loading import Later

if TYPE_CHECKING:
    from immortus_channels.access.permissions import can_cancel
    from immortus_channels.tracking.rules import is_owner

__all__ = ["can_cancel", "is_owner"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    home = "tracking.rules" if name == "is_owner" else "access.permissions"
    return getattr(Later(f"immortus_channels.{home}"), name)
