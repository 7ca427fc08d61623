"""The masking keys of this process, for the frames of all its clients.

Rule of this module: the operating system's randomness and nothing else. A key is never handed out twice, and a child
process never goes on with its parent's.

Source: RFC 6455 §5.3.
"""

from __future__ import annotations

import os
from contextlib import suppress

from telex.tokens import token_bytes
from telex.websocket.codec import Keys

__all__ = ["KEYS"]

KEYS = Keys(token_bytes)

with suppress(AttributeError):  # where there is no fork
    os.register_at_fork(after_in_child=KEYS.forget)
