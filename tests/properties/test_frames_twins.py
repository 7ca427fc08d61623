"""The compiled codec against its specification, the pure one: on whatever comes, the same results and the same errors.

Both are asked the same, and what they answer is compared whole: values, their types, and of an exception its type and
its text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telex.errors import FrameError
from telex.websocket import frames as pure
from telex.websocket.frames import Opcode
from tests.splitter import SPLITS, noise, split
from tests.twins import IS_PURE, compiled
from tests.websocket.wire import Wire

if IS_PURE:
    pytest.skip("TELEX_PURE: there is one codec, and nothing to compare it with", allow_module_level=True)

native = compiled("telex.websocket._frames")

KEY = b"\x37\xfa\x21\x3d"
GUARD = 64
LENGTHS = [*range(301), *(max(0, (1 << n) + d) for n in range(9, 18) for d in (-9, -8, -7, -1, 0, 1, 7, 8, 9))]
ALIGNMENTS = range(16)
ODD_BYTES = list(range(256))


def outcome(ask: Callable[[], Any]) -> Any:
    """Return what a call returns, with its type, or what it raises."""
    try:
        found = ask()
    except Exception as error:
        return type(error), error.args if isinstance(error, FrameError) else str(error)
    return type(found), found


def same(ask: Callable[[Any], Any]) -> Any:
    """Ask both twins, compare, and return the answer."""
    expected = outcome(lambda: ask(pure))
    assert outcome(lambda: ask(native)) == expected
    return expected[1]


# Masking


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_masking_at_every_length_and_alignment(alignment: int) -> None:
    data = noise(GUARD + max(LENGTHS) + 2 * GUARD, alignment)
    for length in LENGTHS:
        view = memoryview(data)[alignment : alignment + length]
        for offset in (alignment & 3, alignment & 3 ^ 2):
            assert same(lambda codec, v=view, o=offset: codec.apply_mask(v, KEY, o)) is not None
        for mask in (None, KEY):
            same(lambda codec, v=view, m=mask: codec.encode_frame(Opcode.BINARY, v, mask=m))


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_masking_twice_is_not_masking(alignment: int) -> None:
    data = noise(1000, alignment)
    for length in range(200):
        view = memoryview(data)[alignment : alignment + length]
        for offset in range(-5, 9):
            assert native.apply_mask(native.apply_mask(view, KEY, offset), KEY, offset) == view


@given(
    payload=st.one_of(st.binary(max_size=400), st.binary(max_size=400).map(bytearray)),
    key=st.binary(max_size=6),
    offset=st.integers(-(1 << 40), 1 << 40),
)
def test_masking_anything_with_any_key(payload: bytes | bytearray, key: bytes, offset: int) -> None:
    before = bytes(payload)
    same(lambda codec: codec.apply_mask(payload, key, offset))
    same(lambda codec: codec.apply_mask(memoryview(payload), key, offset))
    assert payload == before


@pytest.mark.parametrize("bad", [None, "text", 5])
def test_masking_what_has_no_bytes(bad: Any) -> None:
    for codec in (pure, native):
        with pytest.raises(TypeError):
            codec.apply_mask(bad, KEY)
        with pytest.raises(TypeError):
            codec.apply_mask(b"payload", bad) if bad != "text" else codec.apply_mask(b"payload", 7)


@given(
    opcode=st.sampled_from(Opcode),
    payload=st.one_of(st.binary(max_size=200), st.integers(0, 70_000).map(bytes)),
    fin=st.booleans(),
    rsv1=st.booleans(),
    mask=st.one_of(st.none(), st.just(KEY), st.binary(max_size=6)),
)
def test_any_frame_is_written_alike(opcode: Opcode, payload: bytes, fin: bool, rsv1: bool, mask: bytes | None) -> None:
    same(lambda codec: codec.encode_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=mask))
    same(lambda codec: codec.encode_frame(opcode, bytearray(payload), fin=fin, rsv1=rsv1, mask=mask))


@pytest.mark.parametrize("length", [*range(70), 125, 126, 127, 4095, 4096, 65535, 65536])
def test_masking_changes_no_byte_but_its_own(length: int) -> None:
    """Neither what is masked, nor what lies around it."""
    buffer = bytearray(noise(length + 2 * GUARD, length))
    before = bytes(buffer)
    view = memoryview(buffer)[GUARD : GUARD + length]
    native.apply_mask(view, KEY, 1)
    native.encode_frame(Opcode.BINARY, view, mask=KEY)
    native.write_message(Wire(), view, native.Keys(Randomness()))
    assert buffer == before
    # Frames behind each other in one piece: unmasking one must leave the next as it was.
    body = before[GUARD : GUARD + length]
    frames = native.FrameReader(expect_masked=True, allow_rsv1=False, max_message_size=1 << 20, max_fragments=9)
    wire = pure.encode_frame(Opcode.BINARY, body, mask=KEY) * 3
    kept = bytes(bytearray(wire))  # an object of its own
    frames.feed(wire)
    assert [frames.read().payload, frames.read_message(), frames.read().payload] == [body] * 3
    assert wire == kept


def test_masking_never_changes_the_bytes_objects_that_everybody_shares() -> None:
    """CPython has one object per single byte, and one for none: to write into it would change it for the whole process.

    That was a bug once.
    """
    shared = [bytes([byte]) for byte in range(256)]
    assert all(shared[byte] is bytes([byte]) for byte in range(256))
    frames = native.FrameReader(expect_masked=True, allow_rsv1=False, max_message_size=1 << 20, max_fragments=9)
    keys = native.Keys(Randomness())
    for byte in range(256):
        one = bytes([byte])
        native.apply_mask(one, KEY)
        native.apply_mask(one, KEY, 3)
        native.encode_frame(Opcode.BINARY, one, mask=KEY)
        native.write_message(Wire(), one, keys)
        for opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.PING):
            wire = pure.encode_frame(opcode, one, mask=KEY)
            frames.feed(wire)
            frames.read_message()
            frames.read()
            for piece in split(wire, "bytewise"):
                frames.feed(piece)
                frames.read()
    assert [one[0] for one in shared] == list(range(256))
    assert bytes(0) == b""


# Reading


def header(first: int, form: int, length: int, key: bytes | None) -> bytes:
    """Write a header with a length in the form that is asked for, whether it is the right one or not."""
    masked = 0x80 if key is not None else 0
    if form == 64:
        head = struct.pack("!BBQ", first, masked | 127, length & (1 << 64) - 1)
    elif form == 16:
        head = struct.pack("!BBH", first, masked | 126, length & 0xFFFF)
    else:
        head = struct.pack("!BB", first, masked | length & 0x7F)
    return head + (key or b"")


_keys = st.sampled_from([KEY, bytes(4), b"\xff\x00\xaa\x55"])
_text = st.one_of(
    st.text(max_size=40).map(str.encode),
    st.binary(max_size=20),
    st.sampled_from(
        [b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"caf\xc3\xa9", b"caf\xc3", b"a" * 8 + b"\xff"]
    ),
)
_sizes = st.sampled_from([0, 1, 3, 7, 8, 9, 124, 125, 126, 127, 200, 201, 65535, 65536])


@st.composite
def wires(draw: st.DrawFn) -> tuple[bool, bytes]:
    """Draw whether frames are to be masked, and a stream of frames, most of them right."""
    masked = draw(st.booleans())

    def frame(first: int, payload: bytes) -> bytes:
        key = draw(_keys) if masked else None
        if draw(st.integers(0, 40)) == 0:
            key = KEY if key is None else None
        length = len(payload)
        form = 7 if length < 126 else 16 if length < 65536 else 64
        if draw(st.integers(0, 40)) == 0:
            form = draw(st.sampled_from([16, 64]))
        if draw(st.integers(0, 60)) == 0:
            length = draw(st.sampled_from([201, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]))
            form = 64
        return header(first, form, length, key) + (payload if key is None else pure.apply_mask(payload, key))

    pieces = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.integers(0, 9))
        payload = draw(_text) if kind < 6 else bytes(draw(_sizes))
        if kind < 5:
            pieces.append(frame(0x81 if draw(st.booleans()) else 0x82, payload))
        elif kind == 5:
            pieces.append(frame(draw(st.sampled_from([0x88, 0x89, 0x8A])), payload[:126]))
        elif kind < 8:
            cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4)))
            edges = [0, *cuts, len(payload)]
            first = draw(st.sampled_from([0x1, 0x2, 0x41, 0x42]))
            for i, (begin, end) in enumerate(pairwise(edges)):
                fin = 0x80 if i == len(edges) - 2 else 0
                pieces.append(frame((0 if i else first) | fin, payload[begin:end]))
                if draw(st.integers(0, 4)) == 0:
                    pieces.append(frame(0x89, b"between"))
        elif kind == 8:
            pieces.append(frame(draw(st.sampled_from([0xC1, 0xC2])), payload))
        else:
            pieces.append(frame(draw(st.sampled_from(ODD_BYTES)), payload))
    return masked, b"".join(pieces)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bool, bytes]:
    """Draw a stream that somebody has damaged."""
    masked, data = draw(wires())
    wire = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        if not wire:
            break
        at = draw(st.integers(0, min(len(wire) - 1, 60)))
        how = draw(st.integers(0, 2))
        if how == 0:
            wire[at] = draw(st.integers(0, 255))
        elif how == 1:
            del wire[at : at + draw(st.integers(1, 4))]
        else:
            wire[at:at] = draw(st.binary(max_size=4))
    return masked, bytes(wire)


def pieces_of(data: bytes, how: str) -> Iterable[bytes]:
    # Byte by byte, only what has long lengths is long; its middle comes in one piece.
    if how == "bytewise" and len(data) > 2000:
        return [*split(data[:1000], how), data[1000:-1000], *split(data[-1000:], how)]
    return split(data, how)


def read_all(codec: Any, data: bytes, how: str, way: Callable[[Any], Iterator[Any]], **options: Any) -> list[Any]:
    """Read a stream; return what comes and how it ends, and after each piece what the reader says of itself."""
    frames = codec.FrameReader(**options)
    told: list[Any] = []
    for piece in pieces_of(data, how):
        frames.feed(piece)
        try:
            for found in way(frames):
                told.append((type(found), found, *(map(type, found) if isinstance(found, tuple) else ())))
                told.append((frames.has_input, frames.has_open_message))
        except FrameError as error:
            told.append((type(error), error.args))
            break
        told.append((frames.has_input, frames.has_open_message))
    return told


def by_frames(frames: Any) -> Iterator[Any]:
    while (frame := frames.read()) is not None:
        yield frame


def by_messages(frames: Any) -> Iterator[Any]:
    """Read as `ConnectionCore` does."""
    while True:
        message = frames.read_message()
        if message is not None:
            yield message
            continue
        frame = frames.read()
        if frame is None:
            return
        yield frame


def alternating(frames: Any) -> Iterator[Any]:
    while True:
        frame = frames.read()
        message = frames.read_message()
        yield from (found for found in (frame, message) if found is not None)
        if frame is None and message is None:
            return


WAYS = [by_frames, by_messages, alternating]


def compare_reading(stream: tuple[bool, bytes], rsv1: bool, size: int, fragments: int) -> None:
    masked, data = stream
    options = {
        "expect_masked": masked,
        "allow_rsv1": rsv1,
        "max_message_size": size,
        "max_fragments": fragments,
    }
    for how in SPLITS:
        for way in WAYS:
            expected = read_all(pure, data, how, way, **options)
            assert read_all(native, data, how, way, **options) == expected


_bounds = {
    "rsv1": st.booleans(),
    "size": st.sampled_from([1, 10, 200, 65535, 65536, 1 << 20, 1 << 40]),
    "fragments": st.sampled_from([1, 2, 3, 1024]),
}


@settings(max_examples=400)
@given(stream=wires(), **_bounds)
@example(stream=(False, b""), rsv1=False, size=1, fragments=1)
def test_streams_of_frames_are_read_alike(stream: tuple[bool, bytes], rsv1: bool, size: int, fragments: int) -> None:
    compare_reading(stream, rsv1, size, fragments)


@settings(max_examples=400)
@given(stream=mutated(), **_bounds)
def test_damaged_streams_are_read_alike(stream: tuple[bool, bytes], rsv1: bool, size: int, fragments: int) -> None:
    compare_reading(stream, rsv1, size, fragments)


@settings(max_examples=300)
@given(stream=st.tuples(st.booleans(), st.binary(max_size=300)), **_bounds)
def test_noise_is_read_alike(stream: tuple[bool, bytes], rsv1: bool, size: int, fragments: int) -> None:
    compare_reading(stream, rsv1, size, fragments)


@pytest.mark.parametrize("rsv1", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_every_pair_of_first_bytes_is_judged_alike(masked: bool, rsv1: bool) -> None:
    options = {"expect_masked": masked, "allow_rsv1": rsv1, "max_message_size": 100, "max_fragments": 3}
    for first in range(256):
        for second in range(256):
            for before in (b"", header(0x01, 7, 0, KEY if masked else None)):
                data = before + bytes([first, second]) + b"\0\0\0\0\0\0\0\x80" + KEY
                expected = read_all(pure, data, "whole", by_messages, **options)
                assert read_all(native, data, "whole", by_messages, **options) == expected


def test_the_generated_streams_hold_what_they_should() -> None:
    """A generator that drew only errors, or none, would prove little."""
    seen: set[Any] = set()

    @settings(max_examples=400, database=None)
    @given(stream=wires(), rsv1=st.booleans())
    def look(stream: tuple[bool, bytes], rsv1: bool) -> None:
        masked, data = stream
        options = {"expect_masked": masked, "allow_rsv1": rsv1, "max_message_size": 200, "max_fragments": 3}
        for told in read_all(native, data, "whole", by_messages, **options):
            if told[0] is FrameError:
                seen.add(told[1][0])
            elif isinstance(told[0], type):
                seen.add(told[0].__name__ if told[0] in (str, bytes) else (told[1].opcode, told[1].fin, told[1].rsv1))

    look()
    assert seen >= {1002, 1008, 1009, "str", "bytes", (0, True, False), (1, False, False), (9, True, False)}
    assert (1, True, True) in seen


# UTF-8


def judge(codec: Any, pieces: list[tuple[bytes, bool]]) -> list[Any]:
    validator = codec.Utf8Validator()
    told = []
    for piece, final in pieces:
        told.append(outcome(lambda p=piece, f=final: validator.validate(p, f)))
        if told[-1][0] is FrameError:
            break
    return told


_utf8 = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(str.encode),
    st.tuples(st.text(max_size=20).map(str.encode), st.binary(max_size=6), st.text(max_size=5).map(str.encode)).map(
        b"".join
    ),
    st.lists(
        st.sampled_from([b"\xe0", b"\xed", b"\xf0", b"\xf4", b"\x80", b"\x8f", b"\x9f", b"\xa0", b"\xbf", b"a" * 9]),
        max_size=8,
    ).map(b"".join),
)


@settings(max_examples=1000)
@given(data=_utf8, cuts=st.lists(st.integers(0, 80), max_size=5), kind=st.sampled_from([bytes, bytearray]))
def test_text_in_pieces_is_judged_alike(data: bytes, cuts: list[int], kind: type) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [kind(data[begin:end]) for begin, end in pairwise(edges)]
    for ending in ([(piece, False) for piece in pieces], [*((piece, False) for piece in pieces), (b"", True)]):
        assert judge(native, ending) == judge(pure, ending)
    bytewise = [(piece, i == len(data) - 1) for i, piece in enumerate(split(data, "bytewise"))]
    assert judge(native, bytewise) == judge(pure, bytewise)
    same(lambda codec: codec.decode_text(data))


def test_ascii_before_and_after_a_character_at_every_place() -> None:
    """The compiled one takes ASCII eight at a time."""
    for bad in (b"", b"\xc3\xa9", b"\xe2\x82\xac", b"\xf0\x9f\x98\x80", b"\xff", b"\xc3", b"\xed\xa0\x80"):
        for before in range(20):
            for after in range(20):
                data = b"a" * before + bad + b"b" * after
                for cut in (0, before, before + 1, len(data)):
                    pieces = [(data[:cut], False), (data[cut:], True)]
                    assert judge(native, pieces) == judge(pure, pieces)


# Writing messages


class Text(str):
    """Be text all the same."""

    __slots__ = ()


class Blob(bytes):
    """Be bytes all the same."""


_messages = st.one_of(
    st.text(st.characters(), max_size=300),
    st.text(st.characters(max_codepoint=127), max_size=300),
    st.text(st.characters(categories=["Cs", "L"]), max_size=5),
    st.binary(max_size=300),
    st.binary(max_size=300).map(bytearray),
    st.binary(max_size=300).map(memoryview),
    st.binary(max_size=300).map(lambda data: memoryview(data)[::-1]),
    st.text(max_size=10).map(Text),
    st.binary(max_size=10).map(Blob),
    st.integers(65530, 65540).map(bytes),
    st.integers(65530, 65540).map(lambda n: "é" * (n // 2)),
    st.sampled_from([None, 0, 1.5, [], {}, object]),
    st.binary(max_size=8).map(lambda data: memoryview(data * 2).cast("H")),
)


class Randomness:
    """Bytes that look random and are always the same, in portions of any size."""

    def __init__(self) -> None:
        self.pos = 0

    def __call__(self, n: int) -> bytes:
        self.pos += n
        return bytes((i * i + i // 3) & 0xFF for i in range(self.pos - n, self.pos))


_keys_given = st.booleans().map(
    lambda is_masked: (lambda codec: codec.Keys(Randomness())) if is_masked else lambda _: None
)


@settings(max_examples=500)
@given(messages=st.lists(_messages, min_size=1, max_size=3), keys=_keys_given, backlog=st.integers(0, 1 << 40))
def test_any_messages_are_written_alike(messages: list[Any], keys: Callable[[Any], Any], backlog: int) -> None:
    ends = {codec: (Wire(backlog=backlog), keys(codec)) for codec in (pure, native)}
    for message in messages:
        same(lambda codec, message=message: codec.write_message(ends[codec][0], message, ends[codec][1]))
        assert ends[native][0].take() == ends[pure][0].take()


@given(mask=st.binary(max_size=6), payload=st.binary(max_size=20))
def test_a_frame_with_any_key(mask: bytes, payload: bytes) -> None:
    same(lambda codec: codec.encode_frame(2, payload, mask=mask))


_parts = st.one_of(
    st.binary(max_size=150),
    st.text(max_size=100).map(str.encode),
    st.integers(65530, 65540).map(bytes),
    st.sampled_from([None, "text", 0, b"", b"4"]),
)


@settings(max_examples=500)
@given(head=_parts, body=_parts, keys=_keys_given, backlog=st.integers(0, 1 << 40))
def test_any_text_in_two_parts_is_written_alike(head: Any, body: Any, keys: Callable[[Any], Any], backlog: int) -> None:
    wires = {codec: Wire(backlog=backlog) for codec in (pure, native)}
    found = [outcome(lambda codec=codec: codec.write_text(wires[codec], head, body, keys(codec))) for codec in wires]
    assert found[0][0] is found[1][0]
    if found[0][0] is not TypeError:  # whose texts are each one's own
        assert found[0] == found[1]
    assert wires[native].take() == wires[pure].take()


def test_what_a_stream_raises_comes_out() -> None:
    class Broken(Wire):
        def write(self, data: bytes) -> None:
            raise OSError("broken")

    for codec in (pure, native):
        with pytest.raises(OSError, match="broken"):
            codec.write_message(Broken(), "text")
        with pytest.raises(OSError, match="broken"):
            codec.write_text(Broken(), b"te", b"xt")


def test_the_twins_offer_the_same_names() -> None:
    assert set(native.__all__) <= set(pure.__all__)
    for name in native.__all__:
        ours, theirs = getattr(pure, name), getattr(native, name)
        if isinstance(ours, type):
            public = {attribute for attribute in dir(ours) if not attribute.startswith("_")}
            assert public == {attribute for attribute in dir(theirs) if not attribute.startswith("_")}
