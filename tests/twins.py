"""The codec twice: the pure module, and its compiled twin.

Rule of this module: it says which of them a run must test. Where `TELEX_PURE=1` is in the environment that is the pure
one alone; everywhere else a compiled one that is missing is a failure, and not a test less.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import telex.websocket.frames

__all__ = ["CODECS", "IS_PURE", "codec_of", "compiled"]

IS_PURE = os.environ.get("TELEX_PURE", "") not in ("", "0")

CODECS = ["pure"] if IS_PURE else ["pure", "compiled"]
"""Names for `codec_of`, to parametrize a fixture with."""


def compiled(module: str) -> Any:
    """Import a compiled module. Fails where it was not built."""
    try:
        return import_module(module)
    except ImportError as error:
        raise AssertionError(
            f"{module} was not built, so it is not tested: run `scripts/setup python`, "
            "or set TELEX_PURE=1 to test the pure twins alone"
        ) from error


def codec_of(name: str) -> Any:
    """Return one of the two twins."""
    return telex.websocket.frames if name == "pure" else compiled("telex.websocket._frames")
