"""JSONP: payloads as scripts and forms, for pages that can do nothing else.

Rule of this module: sans-I/O, and nothing of payloads but what is put around them. Such a page polls with a `<script>`,
so an answer is a call of the function that waits for it, and it posts with a `<form>`, whose only field is `d`.

Source: the original's `transports/polling-jsonp`; the client's is `engine.io-client` 3.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

import msgspec

from telex.errors import EnginePacketError

__all__ = ["MEDIA_TYPE", "is_index", "unwrap", "wrap"]

MEDIA_TYPE = "text/javascript; charset=UTF-8"

INDEX = re.compile(r"[0-9]{1,9}")

NEWLINES = re.compile(r"(\\?)\\n")


def is_index(text: str) -> bool:
    """Whether this may be the number of a page's callback. It becomes part of a script, so nothing else may."""
    return INDEX.fullmatch(text) is not None


def wrap(payload: str, index: str) -> bytes:
    """Make the script that hands a payload of text to a page's callback.

    U+2028 and U+2029 end a line within a string in scripts of before 2019, though not in JSON: they are escaped.
    """
    string = msgspec.json.encode(payload).decode().replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")
    return f"___eio[{index}]({string});".encode()


def unwrap(body: bytes) -> str:
    r"""Return the payload in a form's body.

    Browsers change the line ends of what a form sends, so the client writes them as `\n`, and what was `\n` as `\\n`.
    Raises `EnginePacketError` for a body that is no form, or has any other field than one `d`.
    """
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1)
    except ValueError as error:
        raise EnginePacketError("the form of a JSONP client cannot be read") from error
    if len(fields) != 1 or fields[0][0] != "d":
        raise EnginePacketError("the form of a JSONP client has no field d")
    return NEWLINES.sub(lambda found: r"\n" if found[1] else "\n", fields[0][1])
