"""The fast path in use: the compiled one where there is one, else its pure Python twin.

Rule of this module: names only. What they mean stands in `messages.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telex.engineio import messages
from telex.native import load

if TYPE_CHECKING:
    from telex.engineio.messages import (
        MessageReceiver,
        MessageSender,
    )
else:
    twin = load("messages") or messages
    MessageReceiver = twin.MessageReceiver
    MessageSender = twin.MessageSender

__all__ = [
    "MessageReceiver",
    "MessageSender",
]
