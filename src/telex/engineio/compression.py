"""Compression of long-polling answers.

Rule of this module: sans-I/O; RFC 9110 content codings, gzip and deflate, chosen by the client's `Accept-Encoding`.
Small answers stay as they are: below the threshold compressing costs more than it saves.
"""

from __future__ import annotations

import re
import zlib

from telex.engineio.handshake import Response

__all__ = ["choose_coding", "compress"]

WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
QVALUE = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def choose_coding(accept_encoding: str) -> str | None:
    """Return the coding to use, or `None` for none; equal weights go to gzip (RFC 9110 §12.5.3)."""
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameter = item.partition(";")
        given = QVALUE.fullmatch(parameter.strip(" \t"))
        # No weight is 1, and one that cannot be read is no wish.
        weights[name.strip(" \t")] = float(given[1]) if given else float(not parameter)
    default = weights.get("*", 0.0)
    best = max(WINDOW_BITS, key=lambda name: weights.get(name, default))
    weight = weights.get(best, default)
    return best if weight > 0 and weight >= weights.get("identity", 0) else None


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
