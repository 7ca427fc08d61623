"""Frames: what RFC 6455 §5 allows and forbids, in every split, by the pure codec and by its compiled twin."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import socket
import struct
import sys
import threading
import time
import tracemalloc
import weakref
from array import array
from collections.abc import Awaitable, Callable, Iterable
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.errors import FrameError
from telex.streams.fairness import FRAMES_PER_TURN
from telex.types import Data
from telex.websocket.frames import (
    CLOSE_CODES,
    MAX_CLOSE_REASON,
    Frame,
    FrameReader,
    Opcode,
    decode_close,
    encode_close,
)
from tests.splitter import SPLITS, noise, split
from tests.twins import CODECS, IS_PURE, codec_of, compiled
from tests.websocket.wire import Wire

KEY = b"\x37\xfa\x21\x3d"
LIMIT = 1000
LENGTHS = (0, 1, 2, 3, 4, 5, 7, 124, 125, 126, 127, 128, 255, 256, 65535, 65536)


@pytest.fixture(scope="module", params=CODECS)
def codec(request: pytest.FixtureRequest) -> Any:
    """Give each of the twins that this run must test."""
    return codec_of(request.param)


def reader(
    codec: Any, *, masked: bool = False, rsv1: bool = False, size: int = 1 << 20, fragments: int = 1024
) -> FrameReader:
    found: FrameReader = codec.FrameReader(
        expect_masked=masked, allow_rsv1=rsv1, max_message_size=size, max_fragments=fragments
    )
    return found


def parts(frames: FrameReader, pieces: Iterable[bytes]) -> list[Frame]:
    """Feed pieces and return all that is handed out."""
    found: list[Frame] = []
    for piece in pieces:
        frames.feed(piece)
        while (frame := frames.read()) is not None:
            found.append(frame)
    return found


def whole(found: Iterable[Frame]) -> list[Frame]:
    """Join parts to frames, and check that they are marked as parts must be."""
    frames: list[Frame] = []
    open_frame: Frame | None = None
    for part in found:
        assert part.begins is (open_frame is None)
        if open_frame is not None:
            assert part[:1] + part[2:4] == open_frame[:1] + open_frame[2:4]
            assert part.payload, "an empty part of a frame that has payload"
            part = part._replace(payload=open_frame.payload + part.payload, begins=True)  # noqa: PLW2901
        if part.ends:
            frames.append(part)
        open_frame = None if part.ends else part
    assert open_frame is None
    return frames


def naive_frame(first: int, payload: bytes, *, key: bytes | None = None, form: int = 0) -> bytes:
    """Encode a frame in the plainest way, with a length in 16 or 64 bits where `form` says so, however short it is."""
    length = len(payload)
    form = form or (7 if length < 126 else 16 if length < 65536 else 64)
    masked = 0x80 if key else 0
    head = {
        7: lambda: bytes([first, masked | length]),
        16: lambda: struct.pack("!BBH", first, masked | 126, length),
        64: lambda: struct.pack("!BBQ", first, masked | 127, length),
    }[form]()
    return head + (key + bytes(b ^ key[i % 4] for i, b in enumerate(payload)) if key else payload)


def error_of(frames: FrameReader, pieces: Iterable[bytes]) -> tuple[FrameError, list[Frame]]:
    """Feed pieces until the reader refuses; return why, and what it handed out before."""
    found: list[Frame] = []
    for piece in pieces:
        frames.feed(piece)
        try:
            while (frame := frames.read()) is not None:
                found.append(frame)
        except FrameError as error:
            return error, found
    pytest.fail("nothing was refused")


# What is allowed


@pytest.mark.parametrize(
    ("wire", "frames"),
    [
        ("810548656c6c6f", [Frame(Opcode.TEXT, b"Hello")]),
        ("818537fa213d7f9f4d5158", [Frame(Opcode.TEXT, b"Hello")]),
        ("010348656c80026c6f", [Frame(Opcode.TEXT, b"Hel", fin=False), Frame(Opcode.CONTINUATION, b"lo")]),
        ("890548656c6c6f", [Frame(Opcode.PING, b"Hello")]),
        ("8a8537fa213d7f9f4d5158", [Frame(Opcode.PONG, b"Hello")]),
        ("827e0100" + "61" * 256, [Frame(Opcode.BINARY, b"a" * 256)]),
        ("827f0000000000010000" + "61" * 65536, [Frame(Opcode.BINARY, b"a" * 65536)]),
    ],
)
@pytest.mark.parametrize("how", SPLITS)
def test_the_examples_of_the_rfc(codec: Any, wire: str, frames: list[Frame], how: str) -> None:
    masked = wire[3] == "5" and wire[2] == "8"
    data = bytes.fromhex(wire)
    assert whole(parts(reader(codec, masked=masked), split(data, how))) == frames
    encoded = b"".join(
        codec.encode_frame(opcode, payload, fin=fin, mask=KEY if masked else None)
        for opcode, payload, fin, *_ in frames
    )
    assert encoded == data


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_is_written_and_read_back(codec: Any, length: int, masked: bool, how: str) -> None:
    payload = noise(length, length)
    key = KEY if masked else None
    data = codec.encode_frame(Opcode.BINARY, payload, mask=key)
    assert data == naive_frame(0x82, payload, key=key)
    frames = reader(codec, masked=masked)
    # The next frame's first byte trails, so that no reader can rely on the end of its input.
    assert whole(parts(frames, split(data + b"\x82", how))) == [Frame(Opcode.BINARY, payload)]
    assert frames.has_input
    assert whole(parts(frames, [bytes([0x80 if masked else 0]) + (KEY if masked else b"")])) == [
        Frame(Opcode.BINARY, b"")
    ]
    assert not frames.has_input
    assert not frames.has_open_message


def test_parts_are_handed_out_as_they_arrive_and_only_the_header_waits(codec: Any) -> None:
    frames = reader(codec, masked=True)
    data = codec.encode_frame(Opcode.TEXT, b"abcdefgh", mask=KEY)
    assert parts(frames, [data[:5]]) == []
    assert parts(frames, [data[5:6]]) == []
    assert frames.has_open_message
    assert not frames.has_input
    assert parts(frames, [data[6:9]]) == [Frame(Opcode.TEXT, b"abc", begins=True, ends=False)]
    assert parts(frames, [data[9:11]]) == [Frame(Opcode.TEXT, b"de", begins=False, ends=False)]
    assert parts(frames, [data[11:]]) == [Frame(Opcode.TEXT, b"fgh", begins=False, ends=True)]
    assert not frames.has_open_message


def test_control_frames_are_handed_out_whole(codec: Any) -> None:
    data = codec.encode_frame(Opcode.PING, b"x" * 125)
    frames = reader(codec)
    assert parts(frames, split(data[:-1], "bytewise")) == []
    assert frames.has_open_message
    assert parts(frames, [data[-1:]]) == [Frame(Opcode.PING, b"x" * 125)]


@pytest.mark.parametrize("how", SPLITS)
def test_control_frames_may_stand_between_fragments(codec: Any, how: str) -> None:
    sequence = [
        Frame(Opcode.TEXT, b"one", fin=False),
        Frame(Opcode.PING, b"?"),
        Frame(Opcode.CONTINUATION, b"", fin=False),
        Frame(Opcode.PONG, b""),
        Frame(Opcode.CONTINUATION, b"two"),
        Frame(Opcode.CLOSE, b"\x03\xe8"),
    ]
    data = b"".join(codec.encode_frame(opcode, payload, fin=fin) for opcode, payload, fin, *_ in sequence)
    assert whole(parts(reader(codec), split(data, how))) == sequence


def test_a_message_is_open_from_its_first_byte_to_its_last(codec: Any) -> None:
    frames = reader(codec)
    data = codec.encode_frame(Opcode.TEXT, b"ab", fin=False) + codec.encode_frame(Opcode.CONTINUATION, b"c")
    assert not frames.has_open_message
    for i, byte in enumerate(split(data, "bytewise")):
        parts(frames, [byte])
        assert frames.has_open_message is (i < len(data) - 1)


_frames = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY]), st.binary(max_size=300)),
        st.tuples(st.sampled_from([Opcode.PING, Opcode.PONG, Opcode.CLOSE]), st.binary(max_size=125)),
    ),
    max_size=6,
)


@given(sent=_frames, key=st.one_of(st.none(), st.binary(min_size=4, max_size=4)), cuts=st.lists(st.integers(0, 2000)))
def test_any_frames_in_any_split_are_read_back(
    codec: Any, sent: list[tuple[Opcode, bytes]], key: bytes | None, cuts: list[int]
) -> None:
    data = b"".join(codec.encode_frame(opcode, payload, mask=key) for opcode, payload in sent)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    found = whole(parts(reader(codec, masked=key is not None), pieces))
    assert found == [Frame(opcode, payload) for opcode, payload in sent]


@given(data=st.binary(max_size=400), masked=st.booleans(), rsv1=st.booleans())
def test_arbitrary_bytes_give_the_same_frames_and_the_same_error_in_every_split(
    codec: Any, data: bytes, masked: bool, rsv1: bool
) -> None:
    results = []
    for how in SPLITS:
        frames = reader(codec, masked=masked, rsv1=rsv1, size=200)
        found: list[Frame] = []
        failure = None
        for piece in split(data, how):
            frames.feed(piece)
            try:
                while (frame := frames.read()) is not None:
                    found.append(frame)
            except FrameError as error:
                failure = error.args
                break
        payloads = [(f.opcode, f.fin, f.rsv1, f.begins, f.ends) for f in found if f.begins and f.ends and not f.payload]
        results.append((payloads, b"".join(f.payload for f in found), failure))
    assert all(result == results[0] for result in results)


# What is forbidden


def allowed_first_byte(first: int, *, rsv1: bool) -> bool:
    """Say what RFC 6455 §5.2, §5.5 and RFC 7692 §6 allow as the first byte, where no message is open."""
    fin, bit1, bit2, bit3 = (first >> shift & 1 for shift in (7, 6, 5, 4))
    opcode = first & 15
    if bit2 or bit3:
        return False
    if opcode in (1, 2):
        return not bit1 or rsv1
    return opcode in (8, 9, 10) and bool(fin) and not bit1


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rsv1", [False, True])
@pytest.mark.parametrize("how", ["whole", "bytewise"])
def test_w03_w04_w05_w07_every_first_byte(codec: Any, how: str, rsv1: bool, masked: bool) -> None:
    n_allowed = 0
    for first in range(256):
        data = bytes([first, 0x80 if masked else 0]) + (KEY if masked else b"")
        frames = reader(codec, masked=masked, rsv1=rsv1)
        if allowed_first_byte(first, rsv1=rsv1):
            n_allowed += 1
            expected = Frame(Opcode(first & 15), b"", bool(first & 0x80), bool(first & 0x40))
            assert parts(frames, split(data, how)) == [expected]
        else:
            error, found = error_of(frames, split(data, how))
            assert error.code == 1002
            assert found == []
    assert n_allowed == (11 if rsv1 else 7)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (0xC1, "RSV1 is set"),
        (0xA1, "a reserved bit is set"),
        (0x91, "a reserved bit is set"),
        (0x83, "opcode 0x3 is reserved"),
        (0x8F, "opcode 0xf is reserved"),
        (0x09, "a control frame is fragmented"),
        (0x80, "there is no message to continue"),
    ],
)
def test_the_reason_says_which_rule_was_broken(codec: Any, first: int, reason: str) -> None:
    error, _ = error_of(reader(codec), [bytes([first, 0])])
    assert error.args == (1002, reason)


@pytest.mark.parametrize("first", [0x40, 0xC0, 0xC8, 0xC9, 0x49])
def test_w04_rsv1_on_a_continuation_or_a_control_frame(codec: Any, first: int) -> None:
    frames = reader(codec, rsv1=True)
    assert len(parts(frames, [bytes([0x41, 0])])) == 1
    error, _ = error_of(frames, [bytes([first, 0])])
    assert error.code == 1002


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 126])
@pytest.mark.parametrize("how", SPLITS)
def test_w01_w02_masked_where_it_must_not_be_and_the_other_way_round(codec: Any, payload: bytes, how: str) -> None:
    for masked in (False, True):
        data = codec.encode_frame(Opcode.TEXT, payload, mask=None if masked else KEY)
        error, found = error_of(reader(codec, masked=masked), split(data, how))
        assert error.code == 1002
        assert ("not masked" in error.reason) is masked
        assert found == []


@pytest.mark.parametrize("form", [126, 127])
@pytest.mark.parametrize("first", [0x88, 0x89, 0x8A])
def test_w06_a_control_frame_with_a_long_length(codec: Any, first: int, form: int) -> None:
    error, _ = error_of(reader(codec), [bytes([first, form])])
    assert error.args == (1002, "a control frame is longer than 125 bytes")


@pytest.mark.parametrize("how", SPLITS)
def test_w08_a_continuation_with_nothing_open(codec: Any, how: str) -> None:
    for before in (
        b"",
        codec.encode_frame(1, b"a"),
        codec.encode_frame(1, b"a", fin=False) + codec.encode_frame(0, b"b"),
    ):
        error, found = error_of(reader(codec), split(before + codec.encode_frame(0, b"c"), how))
        assert error.args == (1002, "there is no message to continue")
        assert b"".join(f.payload for f in found) == bytes(b for b in before if chr(b) in "ab")


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
@pytest.mark.parametrize("how", SPLITS)
def test_w09_a_message_inside_another(codec: Any, opcode: Opcode, how: str) -> None:
    data = (
        codec.encode_frame(Opcode.TEXT, b"a", fin=False)
        + codec.encode_frame(Opcode.PING, b"")
        + codec.encode_frame(opcode, b"b")
    )
    error, found = error_of(reader(codec), split(data, how))
    assert error.args == (1002, "a message begins inside another")
    assert [f.opcode for f in found] == [Opcode.TEXT, Opcode.PING]


@pytest.mark.parametrize(
    ("length", "code"),
    [(1 << 63, 1002), ((1 << 64) - 1, 1002), ((1 << 63) - 1, 1009), (1 << 62, 1009), (LIMIT + 65536, 1009)],
)
@pytest.mark.parametrize("how", ["whole", "bytewise"])
def test_w10_absurd_lengths_are_refused_by_the_header_alone(codec: Any, length: int, code: int, how: str) -> None:
    data = struct.pack("!BBQ", 0x82, 0x80 | 127, length) + KEY
    tracemalloc.start()
    error, found = error_of(reader(codec, masked=True, size=LIMIT), split(data, how))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (error.code, found) == (code, [])
    assert peak < 20_000


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize(("form", "longest"), [(16, 125), (64, 65535)])
def test_w11_lengths_that_are_not_minimal(codec: Any, form: int, longest: int, how: str) -> None:
    for length in (0, 5, longest):
        error, found = error_of(reader(codec), split(naive_frame(0x82, b"x" * length, form=form), how))
        assert (error.code, found) == (1002, [])
        assert "shortest" in error.reason
    shortest = naive_frame(0x82, b"x" * (longest + 1), form=form)
    assert len(whole(parts(reader(codec), split(shortest, how)))) == 1


def test_w12_an_oversized_frame_is_refused_before_its_payload(codec: Any) -> None:
    ok, bad = (naive_frame(0x82, b"x" * size) for size in (LIMIT, LIMIT + 1))
    assert parts(reader(codec, size=LIMIT), [ok[:4]]) == []
    error, _ = error_of(reader(codec, size=LIMIT), [bad[:4]])
    assert error.args == (1009, f"a message is larger than {LIMIT} bytes")


@pytest.mark.parametrize("sizes", [(400, 400, 201), (1000, 1), (0, 999, 0, 2), (500, 501)])
def test_w13_fragments_that_add_up_are_refused_by_the_header_that_crosses(codec: Any, sizes: tuple[int, ...]) -> None:
    *before, last = sizes
    frames = reader(codec, size=LIMIT)
    for i, size in enumerate(before):
        data = codec.encode_frame(0 if i else 2, b"x" * size, fin=False)
        assert whole(parts(frames, [data]))
    assert parts(frames, [codec.encode_frame(0, b"x" * (last - 1))[:1]]) == []  # a header's first byte says nothing yet
    header = codec.encode_frame(0, b"x" * last)[: 2 if last < 126 else 4]
    error, _ = error_of(frames, [header[1:]])
    assert error.code == 1009


def test_w13_the_budget_is_one_messages_own(codec: Any) -> None:
    frames = reader(codec, size=LIMIT)
    for _ in range(3):
        data = (
            codec.encode_frame(2, b"x" * 600, fin=False)
            + codec.encode_frame(9, b"y" * 100)
            + codec.encode_frame(0, b"x" * 400)
        )
        assert len(whole(parts(frames, [data]))) == 3


def test_a_compressed_message_may_exceed_the_limit_by_what_compression_can_add(codec: Any) -> None:
    for first, allowed in ((0xC2, LIMIT + 64), (0x82, LIMIT)):
        assert parts(reader(codec, size=LIMIT, rsv1=True), [struct.pack("!BBH", first, 126, allowed)]) == []
        error, _ = error_of(reader(codec, size=LIMIT, rsv1=True), [struct.pack("!BBH", first, 126, allowed + 1)])
        assert error.code == 1009
    # the second fragment of a compressed message is charged to the same, larger budget
    frames = reader(codec, size=LIMIT, rsv1=True)
    assert parts(frames, [naive_frame(0x42, b"x" * 900)])
    assert parts(frames, [naive_frame(0x80, b"x" * 164)])


@pytest.mark.parametrize("payload", [b"", b"x"])
@pytest.mark.parametrize("how", SPLITS)
def test_w14_w15_more_fragments_than_allowed(codec: Any, payload: bytes, how: str) -> None:
    first, more, last = (codec.encode_frame(op, payload, fin=fin) for op, fin in ((1, False), (0, False), (0, True)))
    frames = reader(codec, fragments=5)
    for _ in range(2):
        assert len(whole(parts(frames, split(first + more * 3 + last, how)))) == 5
    error, found = error_of(frames, split(first + more * 5, how))
    assert error.args == (1008, "a message has more than 5 fragments")
    assert len(found) == 5
    error, found = error_of(reader(codec, fragments=5), split(first + more * 4 + last, how))
    assert (error.code, len(found)) == (1008, 5)


def test_w33_frames_before_a_bad_one_are_handed_out_first(codec: Any) -> None:
    data = (
        codec.encode_frame(1, b"good") + codec.encode_frame(9, b"fine") + b"\x83\x00" + codec.encode_frame(1, b"never")
    )
    error, found = error_of(reader(codec), [data])
    assert error.code == 1002
    assert [f.payload for f in found] == [b"good", b"fine"]


# Memory


def test_w17_the_reader_keeps_nothing_of_an_unfinished_frame(codec: Any) -> None:
    size = 50_000
    data = codec.encode_frame(Opcode.BINARY, bytes(size), mask=KEY)
    frames = reader(codec, masked=True)
    frames.feed(data[:8])
    frames.read()
    tracemalloc.start()
    total = 0
    for byte in split(data[8:-1], "bytewise"):
        frames.feed(byte)
        part = frames.read()
        assert part is not None
        total += len(part.payload)
        assert frames.read() is None
    retained, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == size - 1
    assert retained < 2000


@pytest.mark.parametrize("trailing", [0, 1, 7, 8])
def test_a_chunk_is_let_go_when_it_has_been_read(codec: Any, trailing: int) -> None:
    frames = reader(codec, masked=True)
    frame = codec.encode_frame(Opcode.BINARY, bytes(1000), mask=KEY)
    tracemalloc.start()
    frames.feed(frame * 200 + frame[:trailing])
    while frames.read() is not None:
        pass
    retained, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert retained < 2000
    assert len(parts(frames, [frame[trailing:]])) == 1


# Masking


@pytest.mark.parametrize("length", range(68))
def test_w45_masking_is_right_for_every_length_and_alignment(codec: Any, length: int) -> None:
    payload = noise(length + 3, length)
    for start, offset in product(range(3), range(-1, 9)):
        view = payload[start : start + length]
        expected = bytes(byte ^ KEY[(offset + i) % 4] for i, byte in enumerate(view))
        assert codec.apply_mask(view, KEY, offset) == expected
        assert codec.apply_mask(memoryview(payload)[start : start + length], KEY, offset) == expected
        assert codec.apply_mask(bytearray(view), KEY, offset) == expected


@pytest.mark.parametrize("key", [b"", b"abc", b"abcde"])
def test_w45_a_key_of_the_wrong_length_is_refused(codec: Any, key: bytes) -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        codec.apply_mask(b"payload", key)
    with pytest.raises(ValueError, match="4 bytes"):
        codec.encode_frame(Opcode.TEXT, b"", mask=key)


# Writing


def test_w41_what_is_written_is_what_the_payload_was(codec: Any) -> None:
    payload = bytearray(b"before")
    plain, masked = codec.encode_frame(2, payload), codec.encode_frame(2, payload, mask=KEY)
    payload[:] = b"after!"
    assert parts(reader(codec), [plain])[0].payload == b"before"
    assert parts(reader(codec, masked=True), [masked])[0].payload == b"before"
    assert codec.encode_frame(2, memoryview(b"abc")) == b"\x82\x03abc"


@pytest.mark.parametrize("opcode", [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_a_control_frame_that_nobody_may_send_is_refused(codec: Any, opcode: Opcode) -> None:
    assert len(codec.encode_frame(opcode, bytes(125))) == 127
    with pytest.raises(ValueError, match="control frame"):
        codec.encode_frame(opcode, bytes(126))
    with pytest.raises(ValueError, match="control frame"):
        codec.encode_frame(opcode, b"", fin=False)


@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("rsv1", [False, True])
def test_the_bits_of_the_first_byte_are_written(codec: Any, fin: bool, rsv1: bool) -> None:
    assert codec.encode_frame(1, b"", fin=fin, rsv1=rsv1)[0] == 1 | fin << 7 | rsv1 << 6


# UTF-8

# RFC 3629 §4, the grammar: ranges of bytes, one sequence a line.
UTF8 = [
    [(0x00, 0x7F)],
    [(0xC2, 0xDF), (0x80, 0xBF)],
    [(0xE0, 0xE0), (0xA0, 0xBF), (0x80, 0xBF)],
    [(0xE1, 0xEC), (0x80, 0xBF), (0x80, 0xBF)],
    [(0xED, 0xED), (0x80, 0x9F), (0x80, 0xBF)],
    [(0xEE, 0xEF), (0x80, 0xBF), (0x80, 0xBF)],
    [(0xF0, 0xF0), (0x90, 0xBF), (0x80, 0xBF), (0x80, 0xBF)],
    [(0xF1, 0xF3), (0x80, 0xBF), (0x80, 0xBF), (0x80, 0xBF)],
    [(0xF4, 0xF4), (0x80, 0x8F), (0x80, 0xBF), (0x80, 0xBF)],
]
EDGES = (0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xEC, 0xED, 0xEE, 0xEF,
         0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF)  # fmt: skip


def first_impossible(data: bytes) -> int | None:
    """Return the index of the first byte after which no text begins with these bytes, by the grammar."""
    start = 0
    while start < len(data):
        candidates, i = UTF8, 0
        for i, byte in enumerate(data[start:]):
            candidates = [c for c in candidates if i < len(c) and c[i][0] <= byte <= c[i][1]]
            if not candidates:
                return start + i
            if len(candidates[0]) == i + 1:
                break
        start += i + 1
    return None


def first_refused(codec: Any, data: bytes) -> int | None:
    decoder = codec.Utf8Validator()
    for i, byte in enumerate(split(data, "bytewise")):
        try:
            decoder.validate(byte)
        except FrameError as error:
            return i if error.code == 1007 else -1
    return None


def test_w22_w23_bad_utf8_is_refused_at_the_first_byte_that_decides(codec: Any) -> None:
    sequences = [bytes(s) for n in (1, 2) for s in product(range(256), repeat=n) if n == 1 or s[0] > 0x7F]
    sequences += [bytes(s) for s in product(EDGES[9:], EDGES, EDGES)]
    sequences += [bytes(s) for s in product((0xF0, 0xF1, 0xF4), (0x80, 0x8F, 0x90, 0xBF), (0x41, 0x80, 0xC2), EDGES)]
    refused = [first_refused(codec, sequence) for sequence in sequences]
    assert refused == [first_impossible(sequence) for sequence in sequences]
    assert {None, 0, 1, 2, 3} <= set(refused)


@pytest.mark.parametrize("text", ["", "\0", "\ufeff", "\ufffe", "\U0010ffff", "\ud7ff\ue000", "κόσμε", "a" * 1000])
@pytest.mark.parametrize("how", SPLITS)
def test_w24_valid_text_comes_out_unchanged(codec: Any, text: str, how: str) -> None:
    decoder = codec.Utf8Validator()
    for piece in split(text.encode(), how):
        decoder.validate(piece)
    decoder.validate(b"", True)
    assert codec.decode_text(text.encode()) == text


@pytest.mark.parametrize("data", ["c3", "e282", "f09f98", "61c3"])
def test_w22_text_that_ends_inside_a_character_is_refused_at_its_end_only(codec: Any, data: str) -> None:
    decoder = codec.Utf8Validator()
    decoder.validate(bytes.fromhex(data))
    with pytest.raises(FrameError) as refused:
        decoder.validate(b"", True)
    assert refused.value.code == 1007
    with pytest.raises(FrameError) as refused:
        codec.decode_text(bytes.fromhex(data))
    assert refused.value.code == 1007


# Close


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_w26_close_codes_that_may_not_be_sent(code: int) -> None:
    with pytest.raises(FrameError) as refused:
        decode_close(code.to_bytes(2, "big") + b"why")
    assert refused.value.code == 1002
    with pytest.raises(ValueError, match=str(code)):
        encode_close(code)


def test_w26_a_code_that_does_not_fit() -> None:
    for code in (-1, 65536, 1 << 40):
        with pytest.raises(ValueError, match="may not be sent"):
            encode_close(code)


def test_w27_close_codes_that_may_be_sent() -> None:
    expected = [*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)]
    assert sorted(CLOSE_CODES) == expected
    for code in expected:
        payload = encode_close(code, "because")
        assert payload == struct.pack("!H", code) + b"because"
        assert decode_close(payload) == (code, "because")


def test_a_close_without_a_code() -> None:
    assert encode_close() == b""
    assert decode_close(b"") == (1005, "")
    with pytest.raises(ValueError, match="needs a code"):
        encode_close(None, "why")


def test_w25_a_close_of_one_byte() -> None:
    with pytest.raises(FrameError) as refused:
        decode_close(b"\x03")
    assert refused.value.code == 1002


@pytest.mark.parametrize("reason", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"ok\xc0\xaf"])
def test_w28_a_reason_that_is_not_utf8(reason: bytes) -> None:
    with pytest.raises(FrameError) as refused:
        decode_close(b"\x03\xe8" + reason)
    assert refused.value.code == 1007


def test_w43_reasons_that_cannot_be_sent() -> None:
    assert decode_close(encode_close(1000, "é" * 61 + "x")) == (1000, "é" * 61 + "x")
    assert len(encode_close(1000, "x" * MAX_CLOSE_REASON)) == 125
    for reason in ("x" * 124, "é" * 62, "\ud800"):
        with pytest.raises(ValueError, match=r"123 bytes|surrogates"):
            encode_close(1000, reason)
    with pytest.raises(TypeError, match="bytes"):
        encode_close(1000, b"reason")  # type: ignore[arg-type]  # what a program may do by mistake


# Whole messages

WHOLE: list[tuple[Data, bytes]] = [
    ("Hello", bytes.fromhex("810548656c6c6f")),
    (b"", bytes.fromhex("8200")),
    ("", bytes.fromhex("8100")),
    (b"x" * 126, naive_frame(0x82, b"x" * 126)),
    ("é" * 33_000, naive_frame(0x81, "é".encode() * 33_000)),
    (b"\x00", bytes.fromhex("820100")),
]


@pytest.mark.parametrize("masked", [False, True])
def test_whole_messages_are_read_in_one_step(codec: Any, masked: bool) -> None:
    frames = reader(codec, masked=masked)
    assert frames.read_message() is None
    key = KEY if masked else None
    frames.feed(b"".join(naive_frame(0x81 if isinstance(m, str) else 0x82, encoded(m), key=key) for m, _ in WHOLE))
    for message, _ in WHOLE:
        assert frames.has_input
        found = frames.read_message()
        assert found == message
        assert type(found) is type(message)
    assert frames.read_message() is None
    assert not frames.has_open_message


def encoded(message: Data) -> bytes:
    return message.encode() if isinstance(message, str) else message


@pytest.mark.parametrize(
    "wire",
    [
        naive_frame(0x81, b"Hello", key=KEY),
        naive_frame(0x01, b"a"),
        naive_frame(0xC1, b"a"),
        naive_frame(0x89, b"a"),
        naive_frame(0x80, b"a"),
        naive_frame(0x91, b"a"),
        naive_frame(0x81, b"\xff"),
        naive_frame(0x81, b"a" * 5, form=16),
        naive_frame(0x81, b"a" * 126, form=64),
        naive_frame(0x82, b"a" * (LIMIT + 1)),
        struct.pack("!BBQ", 0x82, 127, 1 << 63),
        struct.pack("!BBQ", 0x82, 127, 65536),
    ],
)
def test_what_is_not_plainly_a_whole_message_is_left_to_read(codec: Any, wire: bytes) -> None:
    frames, other = (reader(codec, size=LIMIT) for _ in range(2))
    frames.feed(wire)
    assert frames.read_message() is None
    assert frames.has_input
    other.feed(wire)

    def outcome(frames: FrameReader) -> object:
        try:
            return frames.read()
        except FrameError as error:
            return error.args

    assert outcome(frames) == outcome(other) is not None


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", [0, 1, 125, 126, 65536])
def test_a_message_that_has_not_come_whole_is_left_to_read(codec: Any, length: int, masked: bool) -> None:
    wire = naive_frame(0x82, b"x" * length, key=KEY if masked else None)
    header = len(wire) - length
    for cut in {0, 1, 2, 3, 4, 7, header - 1, header, len(wire) - 1}:
        if not 0 <= cut < len(wire):
            continue
        frames = reader(codec, masked=masked)
        frames.feed(wire[:cut])
        assert frames.read_message() is None
        found = parts(frames, [])
        frames.feed(wire[cut:])
        if cut <= header and length and not found:
            assert frames.read_message() == b"x" * length
        else:
            found += parts(frames, [b""])
            assert whole(found) == [Frame(Opcode.BINARY, b"x" * length)]


def test_no_message_is_read_inside_another_or_inside_a_frame(codec: Any) -> None:
    frames = reader(codec)
    frames.feed(codec.encode_frame(1, b"a", fin=False) + codec.encode_frame(1, b"inside"))
    assert frames.read() is not None
    assert frames.read_message() is None
    with pytest.raises(FrameError, match="inside another"):
        frames.read()
    frames = reader(codec)
    message = codec.encode_frame(2, b"\x82\x01a")
    assert len(parts(frames, [message[:2]])) == 0
    frames.feed(message[2:])
    assert frames.read_message() is None
    assert parts(frames, [])[0:0] == []
    part = frames.read()
    assert part is not None
    assert part.payload == b"\x82\x01a"


def test_limits_without_end(codec: Any) -> None:
    """`Limits` takes any positive number."""
    frames = reader(codec, size=10**30, fragments=10**30)
    assert len(parts(frames, [codec.encode_frame(2, b"a", fin=False), codec.encode_frame(0, b"b")])) == 2


# Writing messages


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize(
    ("message", "opcode", "payload"),
    [
        ("", 1, b""),
        ("ascii", 1, b"ascii"),
        ("héé\U0001f600", 1, "héé\U0001f600".encode()),
        ("x" * 65536, 1, b"x" * 65536),
        (b"", 2, b""),
        (b"\x00", 2, b"\x00"),
        (b"x" * 126, 2, b"x" * 126),
        (bytearray(b"mutable"), 2, b"mutable"),
        (memoryview(b"a view"), 2, b"a view"),
        (memoryview(b"abcdef")[::2], 2, b"ace"),
        (memoryview(array("H", [0x4141, 0x4242])), 2, b"AABB"),
        (type("Text", (str,), {})("sub"), 1, b"sub"),
        (type("Blob", (bytes,), {})(b"sub"), 2, b"sub"),
    ],
)
def test_a_message_is_written_as_one_frame(
    codec: Any, message: Any, opcode: int, payload: bytes, key: bytes | None
) -> None:
    wire = Wire(backlog=7)
    keys = None if key is None else codec.Keys(lambda n: (key * n)[:n])
    assert codec.write_message(wire, message, keys) == 7
    assert wire.take() == naive_frame(0x80 | opcode, payload, key=key)


@pytest.mark.parametrize("message", [None, 1, ["a"], object()])
def test_what_is_no_message_is_refused(codec: Any, message: Any) -> None:
    wire = Wire()
    with pytest.raises(TypeError, match=f"a message is str or bytes, not {type(message).__name__}"):
        codec.write_message(wire, message)
    with pytest.raises(ValueError, match="surrogates"):
        codec.write_message(wire, "\ud800")
    for keys in (b"key", KEY):
        with pytest.raises((TypeError, AttributeError)):
            codec.write_message(wire, "text", keys)
    assert wire.take() == b""


def test_a_written_message_is_a_copy(codec: Any) -> None:
    wire = Wire()
    message = bytearray(b"before")
    codec.write_message(wire, message)
    message[:] = b"after!"
    assert wire.take() == b"\x82\x06before"


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_text_in_two_parts_is_written_as_one_frame(codec: Any, length: int, key: bytes | None) -> None:
    payload = noise(length, length).hex().encode()[:length]
    keys = None if key is None else codec.Keys(lambda n: (key * n)[:n])
    for cut in {0, min(1, length), min(2, length), min(3, length), length // 2, length}:
        wire = Wire(backlog=7)
        assert codec.write_text(wire, payload[:cut], payload[cut:], keys) == 7
        assert wire.take() == naive_frame(0x81, payload, key=key)


def test_a_text_may_be_cut_anywhere(codec: Any) -> None:
    payload = "é☃\U0001f600\0".encode()
    for cut in range(len(payload) + 1):
        wire = Wire()
        assert codec.write_text(wire, payload[:cut], payload[cut:]) == 0
        assert wire.take() == naive_frame(0x81, payload)


@pytest.mark.parametrize(("head", "body"), [("text", b""), (b"", "text"), (None, b""), (b"", None), (1, b"")])
def test_what_is_no_part_of_a_text_is_refused(codec: Any, head: Any, body: Any) -> None:
    wire = Wire()
    with pytest.raises(TypeError):
        codec.write_text(wire, head, body)
    assert wire.take() == b""


def test_a_sender_writes_what_is_plain_and_passes_on_the_rest(codec: Any) -> None:
    class Sender(codec.Sender):  # type: ignore[misc]  # which of the twins is known when it runs
        done = "done"

        def _send(self, message: Any, compress: bool | None) -> Any:
            return "sent", message, compress

        def _over(self, buffered: int, message: Any) -> Any:
            return "over", buffered, message

    wire = Wire(backlog=100)
    sender = Sender()
    sender.plain, sender.keys, sender.high_mark, sender.n_sent = None, None, 100, 0
    assert sender.send("a") == ("sent", "a", None)
    assert sender.send("a", compress=False) == ("sent", "a", False)
    assert (wire.take(), sender.n_sent) == (b"", 0)
    sender.plain = wire
    assert sender.send("b", compress=True) == "done"
    assert (wire.take(), sender.n_sent) == (b"\x81\x01b", 1)
    wire.backlog = 101
    assert sender.send(b"c") == ("over", 101, b"c")
    assert (wire.take(), sender.n_sent) == (b"\x82\x01c", 2)
    with pytest.raises(TypeError, match="not int"):
        sender.send(5)
    assert (wire.take(), sender.n_sent) == (b"", 2)


def test_a_sender_with_keys_masks_each_message_anew(codec: Any) -> None:
    sender, wire = codec.Sender(), Wire()
    sender.plain, sender.keys, sender.high_mark, sender.n_sent = wire, codec.Keys(os.urandom), 100, 0
    used = set()
    for n in range(1000):
        sender.send(f"{n:04}")
        frame = wire.take()
        assert (frame[:2], len(frame)) == (b"\x81\x84", 10)
        used.add(frame[2:6])
        assert bytes(byte ^ frame[2 + i % 4] for i, byte in enumerate(frame[6:])) == f"{n:04}".encode()
    assert len(used) > 990  # of 2**32


def test_keys_are_handed_out_once(codec: Any) -> None:
    asked = 0

    def token(n: int) -> bytes:
        """Give the numbers from 1 on, in four bytes each."""
        nonlocal asked
        first, asked = asked, asked + n // 4
        return b"".join((first + i + 1).to_bytes(4, "big") for i in range(n // 4))

    keys, wire = codec.Keys(token), Wire()
    for n in range(1, 2000, 3):
        assert keys.take() == n.to_bytes(4, "big")
        codec.write_message(wire, b"\0\0\0\0", keys)
        assert wire.take() == b"\x82\x84" + (n + 1).to_bytes(4, "big") * 2
        codec.write_text(wire, b"\0", b"\0\0\0", keys)
        assert wire.take() == b"\x81\x84" + (n + 2).to_bytes(4, "big") * 2
    before = asked
    keys.forget()
    assert int.from_bytes(keys.take(), "big") == before + 1


def test_keys_are_nothing_less_than_four_bytes(codec: Any) -> None:
    wire = Wire()
    for few in range(4):
        keys = codec.Keys(lambda n, few=few: bytes(few))
        with pytest.raises(ValueError, match=f"4 bytes, not {few}"):
            keys.take()
        with pytest.raises(ValueError, match="4 bytes"):
            codec.write_message(wire, "text", keys)
        with pytest.raises(ValueError, match="4 bytes"):
            codec.write_text(wire, b"te", b"xt", keys)

    def fail(n: int) -> bytes:
        raise OSError("no randomness")

    keys = codec.Keys(fail)
    for _ in range(2):
        with pytest.raises(OSError, match="no randomness"):
            codec.write_text(wire, b"te", b"xt", keys)
    assert wire.take() == b""


def test_threads_get_keys_of_their_own(codec: Any) -> None:
    numbers = itertools.count(1)

    def token(n: int) -> bytes:
        found = b"".join(next(numbers).to_bytes(4, "big") for _ in range(n // 4))
        time.sleep(0)  # another thread may come here meanwhile
        return found

    keys = codec.Keys(token)
    found: list[bytes] = []

    def work() -> None:
        mine = [keys.take() for _ in range(2000)]
        found.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == len(found) == 8000


def test_a_sender_alone_sends_what_is_plain_and_minds_no_lag(codec: Any) -> None:
    class Sender(codec.Sender):  # type: ignore[misc]  # which of the twins is known when it runs
        done = "done"

    wire = Wire(backlog=101)
    sender = Sender()
    sender.plain, sender.keys, sender.high_mark, sender.n_sent = wire, None, 100, 0
    assert sender.send("a") == "done"
    assert wire.take() == b"\x81\x01a"
    sender.plain = None
    with pytest.raises(TypeError, match="nothing but plain messages"):
        sender.send("a")
    assert sender.n_sent == 1


class Slow(Wire):
    """A stream whose peer takes nothing."""

    def write(self, data: bytes) -> None:
        super().write(data)
        self.backlog += len(data)


def test_one_frame_is_written_to_all_but_those_who_lag(codec: Any) -> None:
    # What each holds before: one takes all, one has room for this frame, one just not, two have none.
    streams = [Wire(), Slow(backlog=6), Slow(backlog=7), Slow(backlog=10), Slow(backlog=11), Wire(backlog=11)]
    frame = b"\x82\x02hi"
    assert codec.write_to_all(streams, frame, 10) == ([4, 5], [2, 3])
    assert [stream.take() for stream in streams] == [frame] * 4 + [b""] * 2
    assert codec.write_to_all([], frame, 10) == ([], [])


def test_one_frame_is_sent_by_all_that_are_plain_and_keep_up(codec: Any) -> None:
    def sender(stream: Wire | None, high_mark: int = 10, keys: Any = None) -> Any:
        made = codec.Sender()
        made.plain, made.keys, made.high_mark, made.n_sent = stream, keys, high_mark, 0
        return made

    frame = b"\x82\x02hi"
    streams = [Wire(), Slow(backlog=6), Slow(backlog=7), Slow(backlog=10), Slow(backlog=11)]
    senders = [sender(None), *map(sender, streams), sender(Slow(backlog=11), high_mark=20)]
    senders.append(sender(Wire(), keys=codec.Keys(os.urandom)))  # a client, whose frames are nobody else's
    others, refused, lagging = codec.send_to_all(iter(senders), frame)
    assert (others, refused, lagging) == ([senders[0], senders[7]], [senders[5]], [senders[3], senders[4]])
    assert [made.n_sent for made in senders] == [0, 1, 1, 1, 1, 0, 1, 0]
    assert senders[7].plain.take() == b""
    assert [stream.take() for stream in streams] == [frame] * 4 + [b""]
    assert codec.send_to_all((), frame) == ([], [], [])


# Straight from a compiled stream


class Direct:
    """Be the events, the listener and the sink of one stream, and keep what each was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.reader: Any = None
        self.on_any: Callable[[Any], None] = lambda message: None
        self._changed = asyncio.Event()

    def _tell(self, *what: Any) -> None:
        self.told.append(what)
        self._changed.set()

    def message_received(self, message: Data) -> None:
        assert self.reader.is_delivering
        self._tell("message", message)
        self.on_any(message)

    def on_message(self, ws: Any, message: Data) -> None:
        assert self.reader.is_delivering
        self._tell(ws, message)
        self.on_any(message)

    def program_failed(self) -> None:
        self._tell("failed", sys.exception())

    def data_received(self, data: bytes) -> None:
        assert not self.reader.is_delivering
        self._tell("data", data)

    def eof_received(self) -> None:
        self._tell("eof")

    def writing_resumed(self) -> None:
        self._tell("room")

    def connection_lost(self, error: Exception | None) -> None:
        self._tell("lost", error)

    async def until(self, n_told: int) -> list[Any]:
        """Wait until so much was told; return it, and forget it."""
        async with asyncio.timeout(20):
            while len(self.told) < n_told:
                self._changed.clear()
                await self._changed.wait()
        told, self.told = self.told, []
        assert len(told) == n_told
        return told


def straight(scene: Callable[[Direct, Any, socket.socket], Awaitable[None]], *, masked: bool = True) -> None:
    """Play a scene with a compiled reader, on a compiled stream, and with the other end of the stream."""
    if IS_PURE:
        pytest.skip("TELEX_PURE: no stream hands bytes to a reader where they lie")

    async def main() -> None:
        poll = compiled("telex.streams._epoll").poll_of(asyncio.get_running_loop())
        ours, peer = socket.socketpair()
        with peer:
            direct = Direct()
            stream = poll.adopt(ours.detach(), direct, high_mark=1000)
            direct.reader = reader(codec_of("compiled"), masked=masked)
            try:
                await scene(direct, stream, peer)
            finally:
                stream.abort()

    asyncio.run(main())


def text_frame(message: Data, key: bytes | None = KEY) -> bytes:
    return naive_frame(0x81 if isinstance(message, str) else 0x82, encoded(message), key=key)


@pytest.mark.parametrize("masked", [False, True])
def test_direct_messages_go_up_and_the_rest_to_the_sink(masked: bool) -> None:
    key = KEY if masked else None

    async def scene(direct: Direct, stream: Any, peer: socket.socket) -> None:
        assert not direct.reader.is_direct
        direct.reader.attach(stream, direct)
        assert direct.reader.is_direct
        rest = naive_frame(0x89, b"?", key=key) + text_frame("after", key)
        peer.send(text_frame("one", key) + text_frame(b"2", key) + text_frame("", key) + rest)
        assert await direct.until(4) == [("message", "one"), ("message", b"2"), ("message", ""), ("data", rest)]
        assert direct.reader.n_delivered == 0, "it counts what went to a listener"
        direct.reader.is_direct = False
        peer.send(text_frame("off", key))
        assert await direct.until(1) == [("data", text_frame("off", key))]
        direct.reader.is_direct = True
        peer.send(text_frame("on", key))
        assert await direct.until(1) == [("message", "on")]

    straight(scene, masked=masked)


def test_direct_to_a_listener() -> None:
    async def scene(direct: Direct, stream: Any, peer: socket.socket) -> None:
        direct.reader.attach(stream, "ws", direct)
        peer.send(text_frame("one") + text_frame("two"))
        assert await direct.until(2) == [("ws", "one"), ("ws", "two")]
        assert direct.reader.n_delivered == 2
        assert not direct.reader.is_delivering

    straight(scene)


def test_direct_stops_where_the_program_says_so() -> None:
    async def scene(direct: Direct, stream: Any, peer: socket.socket) -> None:
        def stop(_: Any) -> None:
            direct.reader.is_direct = False

        direct.on_any = stop
        direct.reader.attach(stream, direct)
        peer.send(text_frame("one") + text_frame("two") + text_frame("three"))
        assert await direct.until(2) == [("message", "one"), ("data", text_frame("two") + text_frame("three"))]

    straight(scene)


def test_direct_is_dropped_after_a_close_or_an_abort() -> None:
    async def scene(direct: Direct, stream: Any, peer: socket.socket) -> None:
        def stop(_: Any) -> None:
            direct.reader.is_direct = False
            stream.abort()

        direct.on_any = stop
        direct.reader.attach(stream, direct)
        peer.send(text_frame("one") + text_frame("two"))
        assert await direct.until(2) == [("message", "one"), ("lost", None)]

    straight(scene)


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), asyncio.CancelledError("mine")])
@pytest.mark.parametrize("to_listener", [False, True])
def test_direct_the_program_fails(error: BaseException, to_listener: bool) -> None:
    async def scene(direct: Direct, stream: Any, peer: socket.socket) -> None:
        def fail(message: Any) -> None:
            if message == "bad":
                raise error

        direct.on_any = fail
        direct.reader.attach(stream, direct, *([direct] if to_listener else []))
        peer.send(text_frame("bad") + text_frame("good"))
        first = direct if to_listener else "message"
        assert await direct.until(3) == [(first, "bad"), ("failed", error), (first, "good")]
        assert not direct.reader.is_delivering

    straight(scene)


@pytest.mark.parametrize(
    "wire",
    [
        naive_frame(0x81, b"\xff" + b"x" * 20, key=KEY),
        naive_frame(0x81, b"x" * 20, key=None),
        naive_frame(0x01, b"x" * 20, key=KEY),
        naive_frame(0xC1, b"x" * 20, key=KEY),
        naive_frame(0x81, b"x" * 20, key=KEY)[:-1],
        naive_frame(0x81, b"x" * 20, key=KEY)[:3],
        naive_frame(0x82, b"x" * 20, form=16, key=KEY),
        b"\x81",
    ],
)
def test_direct_what_is_not_plainly_a_message_reaches_the_sink_as_it_came(wire: bytes) -> None:
    async def scene(direct: Direct, stream: Any, peer: socket.socket) -> None:
        direct.reader.attach(stream, direct)
        peer.send(text_frame("before") + wire)
        assert await direct.until(2) == [("message", "before"), ("data", wire)]

    straight(scene)


def test_direct_waits_until_what_was_fed_is_read() -> None:
    async def scene(direct: Direct, stream: Any, peer: socket.socket) -> None:
        direct.reader.attach(stream, direct)
        wire = text_frame("long enough")
        for cut in (1, 6, 9):  # in the first bytes of the header, before its payload, and within that
            peer.send(wire[:cut])
            assert await direct.until(1) == [("data", wire[:cut])]
            found = parts(direct.reader, [wire[:cut]])
            peer.send(wire[cut:] + text_frame("next"))
            assert await direct.until(1) == [("data", wire[cut:] + text_frame("next"))]
            found += parts(direct.reader, [wire[cut:] + text_frame("next")])
            assert [frame.payload for frame in whole(found)] == [b"long enough", b"next"]
            peer.send(text_frame("direct"))
            assert await direct.until(1) == [("message", "direct")]
        fragment = naive_frame(0x01, b"a", key=KEY)
        parts(direct.reader, [fragment])
        peer.send(naive_frame(0x80, b"b", key=KEY))
        assert await direct.until(1) == [("data", naive_frame(0x80, b"b", key=KEY))]

    straight(scene)


def test_direct_is_one_turns_share() -> None:
    async def scene(direct: Direct, stream: Any, peer: socket.socket) -> None:
        direct.reader.attach(stream, direct)
        peer.send(text_frame("x") * (FRAMES_PER_TURN + 3))
        *messages, rest = await direct.until(FRAMES_PER_TURN + 1)
        assert messages == [("message", "x")] * FRAMES_PER_TURN
        assert rest == ("data", text_frame("x") * 3)

    straight(scene)


def test_direct_the_reader_may_be_replaced_while_it_delivers() -> None:
    async def scene(direct: Direct, stream: Any, peer: socket.socket) -> None:
        other = Direct()
        other.reader = reader(codec_of("compiled"), masked=True)

        class Listener:
            def on_message(self, ws: Any, message: Data) -> None:
                other.told.append((ws, message))
                direct.reader.is_direct = False
                direct.reader.attach(stream, None, None)  # nobody holds this listener any more,
                direct.reader.is_direct = False
                other.reader.attach(stream, other)  # nor this reader
                direct.reader = other.reader
                gc.collect()

        direct.reader.attach(stream, "ws", Listener())
        peer.send(text_frame("one") + text_frame("two"))
        assert await direct.until(1) == [("data", text_frame("two"))]
        peer.send(text_frame("three"))
        assert await other.until(2) == [("ws", "one"), ("message", "three")]

    straight(scene)


def test_direct_a_lost_stream_lets_go_of_its_reader() -> None:
    async def scene(direct: Direct, stream: Any, peer: socket.socket) -> None:
        owner = Direct()
        owner.reader = direct.reader
        direct.reader.attach(stream, owner)
        stream.abort()
        assert await direct.until(1) == [("lost", None)]
        gone = weakref.ref(owner)
        direct.reader = owner.reader = None
        del owner
        gc.collect()
        assert gone() is None

    straight(scene)


# On to a compiled stream


async def received(peer: socket.socket, size: int) -> bytes:
    """Return so many bytes that the other end of a stream has got, and see that there are no more."""
    loop, data = asyncio.get_running_loop(), b""
    peer.setblocking(False)
    async with asyncio.timeout(20):
        while len(data) < size:
            data += await loop.sock_recv(peer, size + 1 - len(data))
    assert len(data) == size
    return data


def keys_of(codec: Any) -> Any:
    """Make keys that are all the same."""
    return codec.Keys(lambda n: (KEY * n)[:n])


LONG = b"x" * 300_000
WRITES: dict[str, tuple[Callable[[Any, Any], int], bytes]] = {
    "a message": (lambda codec, stream: codec.write_message(stream, "text"), naive_frame(0x81, b"text")),
    "bytes": (lambda codec, stream: codec.write_message(stream, b"bytes"), naive_frame(0x82, b"bytes")),
    "two parts": (lambda codec, stream: codec.write_text(stream, b"4", b"text"), naive_frame(0x81, b"4text")),
    "nothing": (lambda codec, stream: codec.write_text(stream, b"", b""), naive_frame(0x81, b"")),
    "longer": (lambda codec, stream: codec.write_text(stream, LONG[:50], LONG[:76]), naive_frame(0x81, LONG[:126])),
    "long": (lambda codec, stream: codec.write_text(stream, b"x", LONG[:65535]), naive_frame(0x81, LONG[:65536])),
    "very long": (lambda codec, stream: codec.write_text(stream, b"", LONG), naive_frame(0x81, LONG)),
    "masked": (
        lambda codec, stream: codec.write_message(stream, "text", keys_of(codec)),
        naive_frame(0x81, b"text", key=KEY),
    ),
    "masked bytes": (
        lambda codec, stream: codec.write_message(stream, LONG[:126], keys_of(codec)),
        naive_frame(0x82, LONG[:126], key=KEY),
    ),
    "masked parts": (
        lambda codec, stream: codec.write_text(stream, b"42/a,", LONG[:64], keys_of(codec)),
        naive_frame(0x81, b"42/a," + LONG[:64], key=KEY),
    ),
    "masked and very long": (
        lambda codec, stream: codec.write_text(stream, b"4", LONG, keys_of(codec)),
        naive_frame(0x81, b"4" + LONG, key=KEY),
    ),
}
"""How something is written, and the bytes that it becomes."""


@pytest.mark.parametrize(
    "sequence", [*([name] for name in WRITES), [*WRITES], [*WRITES][::-1], ["two parts"] * 500, ["masked parts"] * 1500]
)
@pytest.mark.parametrize("where", ["in a message's turn", "outside"])
def test_what_is_written_to_a_compiled_stream_arrives_in_order(codec: Any, sequence: list[str], where: str) -> None:
    async def scene(direct: Direct, stream: Any, peer: socket.socket) -> None:
        def write_all(_: Any = None) -> None:
            buffered = [WRITES[name][0](codec, stream) for name in sequence]
            if where == "outside":
                return
            # In its turn nothing leaves before the end, so what is buffered is all that was written.
            sizes = [len(WRITES[name][1]) for name in sequence]
            if sum(sizes) < 1000:
                assert buffered == [sum(sizes[: n + 1]) for n in range(len(sizes))]

        direct.reader.attach(stream, direct)
        if where == "outside":
            write_all()
        else:
            direct.on_any = write_all
            peer.send(text_frame("go"))
        expected = b"".join(WRITES[name][1] for name in sequence)
        assert await received(peer, len(expected)) == expected
        assert [told for told in direct.told if told != ("room",)] == (
            [] if where == "outside" else [("message", "go")]
        )
        assert stream.buffered_bytes == 0

    straight(scene)


def test_nothing_is_written_to_a_compiled_stream_that_is_gone(codec: Any) -> None:
    async def scene(direct: Direct, stream: Any, peer: socket.socket) -> None:
        def abort(_: Any) -> None:
            stream.abort()
            assert codec.write_text(stream, b"4", b"never") == 0
            assert codec.write_message(stream, "never") == 0

        direct.on_any = abort
        direct.reader.attach(stream, direct)
        peer.send(text_frame("go"))
        assert await direct.until(2) == [("message", "go"), ("lost", None)]
        assert codec.write_text(stream, b"4", b"never") == 0
        peer.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(peer, 100) == b""

    straight(scene)


def test_only_a_compiled_stream_can_be_attached_to(codec: Any) -> None:
    frames = reader(codec)
    frames.attach(Wire(), Direct())
    assert not frames.is_direct
    assert not frames.is_delivering
    assert frames.n_delivered == 0
