"""Compression of long-polling answers.

Rule of this module: sans-I/O; RFC 9110 content codings, gzip and deflate, chosen by the client's `Accept-Encoding`.
Small answers stay as they are: below the threshold compressing costs more than it saves.
"""

from __future__ import annotations

import zlib

from .handshake import Response

__all__ = ["choose_coding", "compress"]

WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def choose_coding(accept_encoding: str) -> str | None:
    """Return the coding to use, or `None`; equal weights go to gzip (RFC 9110 §12.5.3)."""
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameter = item.partition(";")
        key, _, value = parameter.partition("=")
        try:
            weights[name.strip()] = float(value) if key.strip() == "q" else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    default = weights.get("*", 0.0)
    best = max(WINDOW_BITS, key=lambda name: weights.get(name, default))
    return best if weights.get(best, default) > 0 else None


def compress(response: Response, accept_encoding: str, threshold: int) -> None:
    """Compress an answer's body in place, if the client takes it and it is worth it."""
    if len(response.body) < threshold:
        return
    response.headers.append(("vary", "Accept-Encoding"))
    coding = choose_coding(accept_encoding)
    if coding is not None:
        compressor = zlib.compressobj(wbits=WINDOW_BITS[coding])
        response.body = compressor.compress(response.body) + compressor.flush()
        response.headers.append(("content-encoding", coding))
