"""Frames: what RFC 6455 §5 allows and forbids, in every split."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.errors import FrameError
from telex.websocket.frames import (
    CLOSE_CODES,
    MAX_CLOSE_REASON,
    Frame,
    FrameReader,
    Opcode,
    Utf8Validator,
    apply_mask,
    decode_close,
    decode_text,
    encode_close,
    encode_frame,
)
from tests.splitter import SPLITS, noise, split

KEY = b"\x37\xfa\x21\x3d"
LIMIT = 1000
LENGTHS = (0, 1, 2, 3, 4, 5, 7, 124, 125, 126, 127, 128, 255, 256, 65535, 65536)


def reader(*, masked: bool = False, rsv1: bool = False, size: int = 1 << 20, fragments: int = 1024) -> FrameReader:
    return FrameReader(expect_masked=masked, allow_rsv1=rsv1, max_message_size=size, max_fragments=fragments)


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
def test_the_examples_of_the_rfc(wire: str, frames: list[Frame], how: str) -> None:
    masked = wire[3] == "5" and wire[2] == "8"
    data = bytes.fromhex(wire)
    assert whole(parts(reader(masked=masked), split(data, how))) == frames
    encoded = b"".join(
        encode_frame(opcode, payload, fin=fin, mask=KEY if masked else None) for opcode, payload, fin, *_ in frames
    )
    assert encoded == data


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_is_written_and_read_back(length: int, masked: bool, how: str) -> None:
    payload = noise(length, length)
    key = KEY if masked else None
    data = encode_frame(Opcode.BINARY, payload, mask=key)
    assert data == naive_frame(0x82, payload, key=key)
    frames = reader(masked=masked)
    # The next frame's first byte trails, so that no reader can rely on the end of its input.
    assert whole(parts(frames, split(data + b"\x82", how))) == [Frame(Opcode.BINARY, payload)]
    assert frames.has_input
    assert whole(parts(frames, [bytes([0x80 if masked else 0]) + (KEY if masked else b"")])) == [
        Frame(Opcode.BINARY, b"")
    ]
    assert not frames.has_input
    assert not frames.has_open_message


def test_parts_are_handed_out_as_they_arrive_and_only_the_header_waits() -> None:
    frames = reader(masked=True)
    data = encode_frame(Opcode.TEXT, b"abcdefgh", mask=KEY)
    assert parts(frames, [data[:5]]) == []
    assert parts(frames, [data[5:6]]) == []
    assert frames.has_open_message
    assert not frames.has_input
    assert parts(frames, [data[6:9]]) == [Frame(Opcode.TEXT, b"abc", begins=True, ends=False)]
    assert parts(frames, [data[9:11]]) == [Frame(Opcode.TEXT, b"de", begins=False, ends=False)]
    assert parts(frames, [data[11:]]) == [Frame(Opcode.TEXT, b"fgh", begins=False, ends=True)]
    assert not frames.has_open_message


def test_control_frames_are_handed_out_whole() -> None:
    data = encode_frame(Opcode.PING, b"x" * 125)
    frames = reader()
    assert parts(frames, split(data[:-1], "bytewise")) == []
    assert frames.has_open_message
    assert parts(frames, [data[-1:]]) == [Frame(Opcode.PING, b"x" * 125)]


@pytest.mark.parametrize("how", SPLITS)
def test_control_frames_may_stand_between_fragments(how: str) -> None:
    sequence = [
        Frame(Opcode.TEXT, b"one", fin=False),
        Frame(Opcode.PING, b"?"),
        Frame(Opcode.CONTINUATION, b"", fin=False),
        Frame(Opcode.PONG, b""),
        Frame(Opcode.CONTINUATION, b"two"),
        Frame(Opcode.CLOSE, b"\x03\xe8"),
    ]
    data = b"".join(encode_frame(opcode, payload, fin=fin) for opcode, payload, fin, *_ in sequence)
    assert whole(parts(reader(), split(data, how))) == sequence


def test_a_message_is_open_from_its_first_byte_to_its_last() -> None:
    frames = reader()
    data = encode_frame(Opcode.TEXT, b"ab", fin=False) + encode_frame(Opcode.CONTINUATION, b"c")
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
    sent: list[tuple[Opcode, bytes]], key: bytes | None, cuts: list[int]
) -> None:
    data = b"".join(encode_frame(opcode, payload, mask=key) for opcode, payload in sent)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    found = whole(parts(reader(masked=key is not None), pieces))
    assert found == [Frame(opcode, payload) for opcode, payload in sent]


@given(data=st.binary(max_size=400), masked=st.booleans(), rsv1=st.booleans())
def test_arbitrary_bytes_give_the_same_frames_and_the_same_error_in_every_split(
    data: bytes, masked: bool, rsv1: bool
) -> None:
    results = []
    for how in SPLITS:
        frames = reader(masked=masked, rsv1=rsv1, size=200)
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
def test_w03_w04_w05_w07_every_first_byte(how: str, rsv1: bool, masked: bool) -> None:
    n_allowed = 0
    for first in range(256):
        data = bytes([first, 0x80 if masked else 0]) + (KEY if masked else b"")
        frames = reader(masked=masked, rsv1=rsv1)
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
def test_the_reason_says_which_rule_was_broken(first: int, reason: str) -> None:
    error, _ = error_of(reader(), [bytes([first, 0])])
    assert error.args == (1002, reason)


@pytest.mark.parametrize("first", [0x40, 0xC0, 0xC8, 0xC9, 0x49])
def test_w04_rsv1_on_a_continuation_or_a_control_frame(first: int) -> None:
    frames = reader(rsv1=True)
    assert len(parts(frames, [bytes([0x41, 0])])) == 1
    error, _ = error_of(frames, [bytes([first, 0])])
    assert error.code == 1002


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 126])
@pytest.mark.parametrize("how", SPLITS)
def test_w01_w02_masked_where_it_must_not_be_and_the_other_way_round(payload: bytes, how: str) -> None:
    for masked in (False, True):
        data = encode_frame(Opcode.TEXT, payload, mask=None if masked else KEY)
        error, found = error_of(reader(masked=masked), split(data, how))
        assert error.code == 1002
        assert ("not masked" in error.reason) is masked
        assert found == []


@pytest.mark.parametrize("form", [126, 127])
@pytest.mark.parametrize("first", [0x88, 0x89, 0x8A])
def test_w06_a_control_frame_with_a_long_length(first: int, form: int) -> None:
    error, _ = error_of(reader(), [bytes([first, form])])
    assert error.args == (1002, "a control frame is longer than 125 bytes")


@pytest.mark.parametrize("how", SPLITS)
def test_w08_a_continuation_with_nothing_open(how: str) -> None:
    for before in (b"", encode_frame(1, b"a"), encode_frame(1, b"a", fin=False) + encode_frame(0, b"b")):
        error, found = error_of(reader(), split(before + encode_frame(0, b"c"), how))
        assert error.args == (1002, "there is no message to continue")
        assert b"".join(f.payload for f in found) == bytes(b for b in before if chr(b) in "ab")


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
@pytest.mark.parametrize("how", SPLITS)
def test_w09_a_message_inside_another(opcode: Opcode, how: str) -> None:
    data = encode_frame(Opcode.TEXT, b"a", fin=False) + encode_frame(Opcode.PING, b"") + encode_frame(opcode, b"b")
    error, found = error_of(reader(), split(data, how))
    assert error.args == (1002, "a message begins inside another")
    assert [f.opcode for f in found] == [Opcode.TEXT, Opcode.PING]


@pytest.mark.parametrize(
    ("length", "code"),
    [(1 << 63, 1002), ((1 << 64) - 1, 1002), ((1 << 63) - 1, 1009), (1 << 62, 1009), (LIMIT + 65536, 1009)],
)
@pytest.mark.parametrize("how", ["whole", "bytewise"])
def test_w10_absurd_lengths_are_refused_by_the_header_alone(length: int, code: int, how: str) -> None:
    data = struct.pack("!BBQ", 0x82, 0x80 | 127, length) + KEY
    tracemalloc.start()
    error, found = error_of(reader(masked=True, size=LIMIT), split(data, how))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (error.code, found) == (code, [])
    assert peak < 20_000


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize(("form", "longest"), [(16, 125), (64, 65535)])
def test_w11_lengths_that_are_not_minimal(form: int, longest: int, how: str) -> None:
    for length in (0, 5, longest):
        error, found = error_of(reader(), split(naive_frame(0x82, b"x" * length, form=form), how))
        assert (error.code, found) == (1002, [])
        assert "shortest" in error.reason
    shortest = naive_frame(0x82, b"x" * (longest + 1), form=form)
    assert len(whole(parts(reader(), split(shortest, how)))) == 1


def test_w12_an_oversized_frame_is_refused_before_its_payload() -> None:
    ok, bad = (naive_frame(0x82, b"x" * size) for size in (LIMIT, LIMIT + 1))
    assert parts(reader(size=LIMIT), [ok[:4]]) == []
    error, _ = error_of(reader(size=LIMIT), [bad[:4]])
    assert error.args == (1009, f"a message is larger than {LIMIT} bytes")


@pytest.mark.parametrize("sizes", [(400, 400, 201), (1000, 1), (0, 999, 0, 2), (500, 501)])
def test_w13_fragments_that_add_up_are_refused_by_the_header_that_crosses(sizes: tuple[int, ...]) -> None:
    *before, last = sizes
    frames = reader(size=LIMIT)
    for i, size in enumerate(before):
        data = encode_frame(0 if i else 2, b"x" * size, fin=False)
        assert whole(parts(frames, [data]))
    assert parts(frames, [encode_frame(0, b"x" * (last - 1))[:1]]) == []  # a header's first byte says nothing yet
    header = encode_frame(0, b"x" * last)[: 2 if last < 126 else 4]
    error, _ = error_of(frames, [header[1:]])
    assert error.code == 1009


def test_w13_the_budget_is_one_messages_own() -> None:
    frames = reader(size=LIMIT)
    for _ in range(3):
        data = encode_frame(2, b"x" * 600, fin=False) + encode_frame(9, b"y" * 100) + encode_frame(0, b"x" * 400)
        assert len(whole(parts(frames, [data]))) == 3


def test_a_compressed_message_may_exceed_the_limit_by_what_compression_can_add() -> None:
    for first, allowed in ((0xC2, LIMIT + 64), (0x82, LIMIT)):
        assert parts(reader(size=LIMIT, rsv1=True), [struct.pack("!BBH", first, 126, allowed)]) == []
        error, _ = error_of(reader(size=LIMIT, rsv1=True), [struct.pack("!BBH", first, 126, allowed + 1)])
        assert error.code == 1009
    # the second fragment of a compressed message is charged to the same, larger budget
    frames = reader(size=LIMIT, rsv1=True)
    assert parts(frames, [naive_frame(0x42, b"x" * 900)])
    assert parts(frames, [naive_frame(0x80, b"x" * 164)])


@pytest.mark.parametrize("payload", [b"", b"x"])
@pytest.mark.parametrize("how", SPLITS)
def test_w14_w15_more_fragments_than_allowed(payload: bytes, how: str) -> None:
    first, more, last = (encode_frame(op, payload, fin=fin) for op, fin in ((1, False), (0, False), (0, True)))
    frames = reader(fragments=5)
    for _ in range(2):
        assert len(whole(parts(frames, split(first + more * 3 + last, how)))) == 5
    error, found = error_of(frames, split(first + more * 5, how))
    assert error.args == (1008, "a message has more than 5 fragments")
    assert len(found) == 5
    error, found = error_of(reader(fragments=5), split(first + more * 4 + last, how))
    assert (error.code, len(found)) == (1008, 5)


def test_w33_frames_before_a_bad_one_are_handed_out_first() -> None:
    data = encode_frame(1, b"good") + encode_frame(9, b"fine") + b"\x83\x00" + encode_frame(1, b"never")
    error, found = error_of(reader(), [data])
    assert error.code == 1002
    assert [f.payload for f in found] == [b"good", b"fine"]


# Memory


def test_w17_the_reader_keeps_nothing_of_an_unfinished_frame() -> None:
    size = 50_000
    data = encode_frame(Opcode.BINARY, bytes(size), mask=KEY)
    frames = reader(masked=True)
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
def test_a_chunk_is_let_go_when_it_has_been_read(trailing: int) -> None:
    frames = reader(masked=True)
    frame = encode_frame(Opcode.BINARY, bytes(1000), mask=KEY)
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
def test_w45_masking_is_right_for_every_length_and_alignment(length: int) -> None:
    payload = noise(length + 3, length)
    for start, offset in product(range(3), range(-1, 9)):
        view = payload[start : start + length]
        expected = bytes(byte ^ KEY[(offset + i) % 4] for i, byte in enumerate(view))
        assert apply_mask(view, KEY, offset) == expected
        assert apply_mask(memoryview(payload)[start : start + length], KEY, offset) == expected
        assert apply_mask(bytearray(view), KEY, offset) == expected


@pytest.mark.parametrize("key", [b"", b"abc", b"abcde"])
def test_w45_a_key_of_the_wrong_length_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        apply_mask(b"payload", key)
    with pytest.raises(ValueError, match="4 bytes"):
        encode_frame(Opcode.TEXT, b"", mask=key)


# Writing


def test_w41_what_is_written_is_what_the_payload_was() -> None:
    payload = bytearray(b"before")
    plain, masked = encode_frame(2, payload), encode_frame(2, payload, mask=KEY)
    payload[:] = b"after!"
    assert parts(reader(), [plain])[0].payload == b"before"
    assert parts(reader(masked=True), [masked])[0].payload == b"before"
    assert encode_frame(2, memoryview(b"abc")) == b"\x82\x03abc"


@pytest.mark.parametrize("opcode", [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_a_control_frame_that_nobody_may_send_is_refused(opcode: Opcode) -> None:
    assert len(encode_frame(opcode, bytes(125))) == 127
    with pytest.raises(ValueError, match="control frame"):
        encode_frame(opcode, bytes(126))
    with pytest.raises(ValueError, match="control frame"):
        encode_frame(opcode, b"", fin=False)


@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("rsv1", [False, True])
def test_the_bits_of_the_first_byte_are_written(fin: bool, rsv1: bool) -> None:
    assert encode_frame(1, b"", fin=fin, rsv1=rsv1)[0] == 1 | fin << 7 | rsv1 << 6


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


def first_refused(data: bytes) -> int | None:
    decoder = Utf8Validator()
    for i, byte in enumerate(split(data, "bytewise")):
        try:
            decoder.validate(byte)
        except FrameError as error:
            return i if error.code == 1007 else -1
    return None


def test_w22_w23_bad_utf8_is_refused_at_the_first_byte_that_decides() -> None:
    sequences = [bytes(s) for n in (1, 2) for s in product(range(256), repeat=n) if n == 1 or s[0] > 0x7F]
    sequences += [bytes(s) for s in product(EDGES[9:], EDGES, EDGES)]
    sequences += [bytes(s) for s in product((0xF0, 0xF1, 0xF4), (0x80, 0x8F, 0x90, 0xBF), (0x41, 0x80, 0xC2), EDGES)]
    refused = [first_refused(sequence) for sequence in sequences]
    assert refused == [first_impossible(sequence) for sequence in sequences]
    assert {None, 0, 1, 2, 3} <= set(refused)


@pytest.mark.parametrize("text", ["", "\0", "\ufeff", "\ufffe", "\U0010ffff", "\ud7ff\ue000", "κόσμε", "a" * 1000])
@pytest.mark.parametrize("how", SPLITS)
def test_w24_valid_text_comes_out_unchanged(text: str, how: str) -> None:
    decoder = Utf8Validator()
    for piece in split(text.encode(), how):
        decoder.validate(piece)
    decoder.validate(b"", True)
    assert decode_text(text.encode()) == text


@pytest.mark.parametrize("data", ["c3", "e282", "f09f98", "61c3"])
def test_w22_text_that_ends_inside_a_character_is_refused_at_its_end_only(data: str) -> None:
    decoder = Utf8Validator()
    decoder.validate(bytes.fromhex(data))
    with pytest.raises(FrameError) as refused:
        decoder.validate(b"", True)
    assert refused.value.code == 1007
    with pytest.raises(FrameError) as refused:
        decode_text(bytes.fromhex(data))
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
