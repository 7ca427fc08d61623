"""The fast path in use: the compiled one where there is one, else its pure Python twin.

Rule of this module: names only. What they mean stands in `handover.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telex.native import load
from telex.websocket import handover

if TYPE_CHECKING:
    from telex.websocket.handover import Acted, Handover
else:
    twin = load("handover") or handover
    Acted = twin.Acted
    Handover = twin.Handover

__all__ = ["Acted", "Handover"]
