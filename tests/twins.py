"""What is compiled, twice: the pure module, and its compiled twin.

Rule of this module: it says which of them a run must test. Where `TELEX_PURE=1` is in the environment that is the pure
one alone; everywhere else a compiled one that is missing is a failure, and not a test less.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

__all__ = ["CODECS", "IS_PURE", "TWINS", "codec_of", "compiled", "twin_of"]

IS_PURE = os.environ.get("TELEX_PURE", "") not in ("", "0")

TWINS = CODECS = ["pure"] if IS_PURE else ["pure", "compiled"]
"""Names for `twin_of` and `codec_of`, to parametrize a fixture with."""


def compiled(module: str) -> Any:
    """Import a compiled module. Fails where it was not built."""
    try:
        return import_module(module)
    except ImportError as error:
        raise AssertionError(
            f"{module} was not built, so it is not tested: run `scripts/setup python`, "
            "or set TELEX_PURE=1 to test the pure twins alone"
        ) from error


def twin_of(module: str, name: str) -> Any:
    """Return one of the two twins of a module: itself, or the compiled one beside it."""
    package, _, last = module.rpartition(".")
    return import_module(module) if name == "pure" else compiled(f"{package}._{last}")


def codec_of(name: str) -> Any:
    """Return one of the two codecs."""
    return twin_of("telex.websocket.frames", name)
