"""The suite's project answers nothing."""

from __future__ import annotations

urlpatterns: list[object] = []
