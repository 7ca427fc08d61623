"""Say in words why a server refused: what it answered, and the sentence that stands in it.

Rule of this module: sans-I/O. A server's words go into errors and logs, so they are cut and hold no control characters.

Source: Engine.IO protocol v4: a refusal is JSON, `{"code", "message"}`; over WebSocket it is the bare message.
"""

from __future__ import annotations

import msgspec

from telex.errors import InvalidStatus
from telex.types import Headers

__all__ = ["refused"]

MAX_SENTENCE = 200
"""Characters of a server's own words that are shown."""


def refused(status: int, phrase: str, headers: Headers, body: bytes) -> InvalidStatus:
    """Return the error that says what a server answered, in its own words where it has some."""
    sentence = f"the server answered {status} {phrase}".rstrip()
    said = _words(body, headers.get("content-type", ""))
    return InvalidStatus(status, f"{sentence}: {said}" if said else sentence, list(headers), body)


def _words(body: bytes, media_type: str) -> str:
    """Return the sentence in a body: a message in JSON, or a short text; nothing of an HTML page."""
    text = ""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError):
        text = body.decode("utf-8", "replace")
        if len(text) > MAX_SENTENCE or "<" in text:
            return ""
    else:
        if isinstance(fields, dict):
            parts = [fields.get("message"), fields.get("hint")]
            text = "; ".join([part for part in parts if isinstance(part, str) and part])
    shown = "".join([character if character.isprintable() else " " for character in text[: 2 * MAX_SENTENCE]])
    return shown.strip()
