"""Access tokens as time leaves them."""

from __future__ import annotations

import time
from dataclasses import replace

from immortus_channels import access_token
from immortus_channels.access import tokens


def expired_token(job: object, user: object, seconds: float = 1) -> str:
    """A token that expired so many seconds ago."""
    token = tokens.read(access_token(job, user))
    assert token is not None
    return replace(token, expires=time.time() - seconds).text()
