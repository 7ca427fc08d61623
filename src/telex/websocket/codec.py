"""The codec in use: the compiled one where there is one, else its pure Python twin.

Rule of this module: names only. What they mean stands in `frames.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telex.native import load
from telex.websocket import frames

if TYPE_CHECKING:
    from telex.websocket.frames import (
        FrameReader,
        Keys,
        Sender,
        Utf8Validator,
        apply_mask,
        decode_text,
        encode_frame,
        send_to_all,
        write_message,
        write_text,
        write_to_all,
    )
else:
    twin = load("frames") or frames
    FrameReader = twin.FrameReader
    Keys = twin.Keys
    Sender = twin.Sender
    Utf8Validator = twin.Utf8Validator
    apply_mask = twin.apply_mask
    decode_text = twin.decode_text
    encode_frame = twin.encode_frame
    send_to_all = twin.send_to_all
    write_message = twin.write_message
    write_text = twin.write_text
    write_to_all = twin.write_to_all

__all__ = [
    "FrameReader",
    "Keys",
    "Sender",
    "Utf8Validator",
    "apply_mask",
    "decode_text",
    "encode_frame",
    "send_to_all",
    "write_message",
    "write_text",
    "write_to_all",
]
