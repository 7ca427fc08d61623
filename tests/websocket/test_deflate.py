"""permessage-deflate: what RFC 7692 lets two ends agree on, and bytes that are not what they should be."""

from __future__ import annotations

import tracemalloc
import zlib
from itertools import product
from typing import Any

import pytest

from telex.errors import FrameError, HandshakeError
from telex.websocket.deflate import (
    EXTENSION,
    DeflateOptions,
    DeflateParameters,
    Deflator,
    Extension,
    Inflator,
    accept_offer,
    accept_response,
    make_offer,
)
from telex.websocket.handshake import parse_extensions
from tests.splitter import SPLITS, noise, split

LIMIT = 1 << 20
TAIL = b"\x00\x00\xff\xff"
PLAIN = DeflateOptions(
    server_no_context_takeover=False, server_max_window_bits=15, client_max_window_bits=15
)  # asks for nothing
# Each of the two that are the same follows so closely on the other that with context takeover it refers to it.
MESSAGES = [b"", b"x", b"Hello, hello, hello", b"Hello, hello, hello", noise(5000), b"", bytes(200_000), noise(70_000)]


def inflator(bits: int = 15, *, takeover: bool = True, limit: int = LIMIT) -> Inflator:
    return Inflator(bits, takeover=takeover, max_message_size=limit)


def make_options(**given: Any) -> DeflateOptions:
    return DeflateOptions(**given)


def deflator(bits: int = 15, *, takeover: bool = True, **given: Any) -> Deflator:
    return Deflator(bits, takeover=takeover, options=make_options(**given))


def inflate(kernel: Inflator, data: bytes, how: str = "whole") -> bytes:
    """Inflate one message, in pieces."""
    into = bytearray()
    for piece in split(data, how):
        kernel.inflate(piece, into, final=False)
    kernel.inflate(b"", into, final=True)
    return bytes(into)


def refusal(kernel: Inflator, data: bytes, how: str = "whole") -> int:
    with pytest.raises(FrameError) as refused:
        inflate(kernel, data, how)
    return refused.value.code


def deflate_stream(data: bytes, *, final: bool = True, bits: int = 15) -> bytes:
    """Compress with zlib alone, ending the stream or only flushing it."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -bits)
    return compressor.compress(data) + compressor.flush(zlib.Z_FINISH if final else zlib.Z_SYNC_FLUSH)


# The kernels


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("bits", range(8, 16))
def test_messages_come_out_as_they_went_in(bits: int, takeover: bool, how: str) -> None:
    sender, receiver = deflator(bits, takeover=takeover), inflator(bits, takeover=takeover)
    for message in MESSAGES if how != "bytewise" else MESSAGES[:-1]:
        assert inflate(receiver, sender.deflate(message), how) == message


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize(
    "wire",
    [
        "f248cdc9c90700",  # §7.2.3.1: one block
        "000500faff48656c6c6f00",  # §7.2.3.3: without compression
        "f348cdc9c9070000",  # §7.2.3.4: BFINAL
        "f248050000 00ffff cac9c90700".replace(" ", ""),  # §7.2.3.5: two blocks
    ],
)
@pytest.mark.parametrize("takeover", [False, True])
def test_the_examples_of_the_rfc(takeover: bool, wire: str, how: str) -> None:
    kernel = inflator(takeover=takeover)
    for _ in range(3):
        assert inflate(kernel, bytes.fromhex(wire), how) == b"Hello"


def test_the_example_of_context_takeover() -> None:
    # §7.2.3.2: the second message refers to the first
    first, second = (bytes.fromhex(wire) for wire in ("f248cdc9c90700", "f200110000"))
    kernel = inflator()
    assert inflate(kernel, first) == inflate(kernel, second) == b"Hello"
    sender = deflator()
    assert (sender.deflate(b"Hello"), sender.deflate(b"Hello")) == (first, second)
    kernel = inflator(takeover=False)
    assert inflate(kernel, first) == b"Hello"
    assert refusal(kernel, second) == 1007
    sender = deflator(takeover=False)
    assert sender.deflate(b"Hello") == sender.deflate(b"Hello") == first


@pytest.mark.parametrize("takeover", [False, True])
def test_d06_empty_messages(takeover: bool) -> None:
    sender, receiver = deflator(takeover=takeover), inflator(takeover=takeover)
    for _ in range(3):
        assert sender.deflate(b"") == b"\x00"
        assert inflate(receiver, b"\x00") == b""
        assert inflate(receiver, b"") == b""
        assert inflate(receiver, sender.deflate(b"something")) == b"something"


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("ending", [b"\x00", b""])
def test_d05_blocks_that_say_they_are_the_last(ending: bytes, takeover: bool, how: str) -> None:
    kernel = inflator(takeover=takeover)
    one, two = deflate_stream(b"Hello"), deflate_stream(b", world")
    for _ in range(3):
        assert inflate(kernel, one + ending, how) == b"Hello"
        assert inflate(kernel, one + two + ending, how) == b"Hello, world"
        assert inflate(kernel, one + deflate_stream(b"!", final=False)[:-4], how) == b"Hello!"
        assert inflate(kernel, deflator().deflate(b"usual"), how) == b"usual"


@pytest.mark.parametrize("takeover", [False, True])
def test_d05_d07_a_message_of_endless_streams(takeover: bool) -> None:
    empty = deflate_stream(b"")
    assert len(empty) == 2
    kernel = inflator(takeover=takeover)
    for _ in range(2):
        assert inflate(kernel, empty * 1024) == b""
    assert refusal(kernel, empty * 1025) == 1008


def test_d07_thousands_of_empty_blocks() -> None:
    block = b"\x00" + TAIL
    assert inflate(inflator(), block * 20_000 + b"\x00") == b""


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x07", b"\x05\x00", b"garbage, not deflate", noise(300)])
def test_d04_data_that_are_not_deflate(data: bytes, takeover: bool, how: str) -> None:
    kernel = inflator(takeover=takeover)
    assert inflate(kernel, deflator(takeover=takeover).deflate(b"fine")) == b"fine"
    assert refusal(kernel, data, how) == 1007


@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("size", [10, 300, 20_000])
def test_d04_a_message_that_is_cut_off(size: int, takeover: bool) -> None:
    whole = deflator().deflate(noise(size // 2).hex().encode())
    n_refused = 0
    for end in range(1, len(whole), 1 + len(whole) // 100):
        kernel = inflator(takeover=takeover)
        if end < len(whole):
            assert refusal(kernel, whole[:end]) == 1007
            n_refused += 1
    assert n_refused > 5
    assert len(inflate(inflator(takeover=takeover), whole)) == size // 2 * 2


@pytest.mark.parametrize("how", ["whole", "random-1"])
def test_d09_a_reference_beyond_the_window(how: str) -> None:
    data = noise(5000)
    far = deflate_stream(data + data, final=False)[:-4]  # the second half refers 5000 bytes back
    assert inflate(inflator(15), far) == data * 2
    receiver = inflator(9)
    sender = deflator(15)
    assert inflate(receiver, sender.deflate(data), how) == data
    assert refusal(receiver, sender.deflate(data), how) == 1007


def test_d10_a_window_of_8_bits_is_never_exceeded() -> None:
    # zlib cannot compress with 8 bits. What it makes with 9 must be readable one byte at a time through 256 bytes.
    for seed in range(20):
        message = noise(40, seed) * 3 + b"".join(noise(230 + i, seed + 100) for i in range(40))
        for level in (1, 6, 9):
            data = deflator(8, level=level, mem_level=9).deflate(message)
            assert len(data) < len(message), "nothing was referred to, so nothing was tested"
            reader = zlib.decompressobj(-8)
            found, rest = bytearray(), data + TAIL
            while piece := reader.decompress(rest, 1):
                found += piece
                rest = reader.unconsumed_tail
            assert found == message


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("size", [LIMIT + 1, 30 * LIMIT])
@pytest.mark.parametrize("takeover", [False, True])
def test_d01_d02_the_limit_holds_during_inflation(takeover: bool, size: int, how: str) -> None:
    bomb = deflator().deflate(bytes(size))
    kernel = inflator(takeover=takeover)
    tracemalloc.start()
    code = refusal(kernel, bomb, how)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == 1009
    assert peak < LIMIT + 256 * 1024 + 2 * len(bomb)


@pytest.mark.parametrize("limit", [1, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 100_000])
@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("make", [bytes, noise])
def test_a_message_of_exactly_the_limit(make: Any, limit: int, how: str) -> None:
    kernel = inflator(limit=limit)
    sender = deflator()
    assert inflate(kernel, sender.deflate(make(limit)), how) == make(limit)
    assert refusal(kernel, sender.deflate(make(limit + 1)), how) == 1009


def test_d01_the_limit_counts_what_came_before_in_the_message() -> None:
    kernel = inflator(limit=100)
    with pytest.raises(FrameError, match="100 bytes"):
        kernel.inflate(deflator().deflate(bytes(41)), bytearray(60), final=True)


def test_d14_an_idle_connection_holds_no_zlib() -> None:
    parameters = DeflateParameters(server_no_context_takeover=True, client_no_context_takeover=True)
    message = b"some text " * 100
    tracemalloc.start()
    codecs = [parameters.make_codecs(is_server=bool(i % 2), max_message_size=LIMIT) for i in range(100)]
    for receiver, sender in codecs:
        assert inflate(receiver, sender.deflate(message)) == message
    retained = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert retained < 100 * 1000


def test_two_that_share_their_compression_write_equal_bytes_and_whoever_remembers_shares_with_nobody() -> None:
    data = noise(3000) * 2
    kinds = [(bits, level, memory) for bits in (8, 9, 15) for level in (1, 9) for memory in (1, 9)]
    made = [
        deflator(bits, takeover=False, level=level, mem_level=memory) for bits, level, memory in kinds for _ in range(2)
    ]
    for one, other in product(made, repeat=2):
        if one.shared == other.shared:
            one.deflate(b"what came before does not matter")
            assert one.deflate(data) == other.deflate(data)
    # Of each kind there are two; 8 bits are 9 when compressing.
    assert len({one.shared for one in made}) == 8
    assert deflator().shared is None


def test_bytearrays_are_compressed_as_they_are() -> None:
    data = bytearray(b"Hello")
    assert deflator().deflate(data) == deflator().deflate(b"Hello")


# The options


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("server_max_window_bits", 8, 15),
        ("client_max_window_bits", 8, 15),
        ("level", 0, 9),
        ("mem_level", 1, 9),
        ("threshold", 0, 1 << 40),
    ],
)
def test_options_out_of_range(name: str, low: int, high: int) -> None:
    for value in (low, high):
        options = make_options(**{name: value})
        sender = Deflator(options.server_max_window_bits, takeover=True, options=options)
        assert inflate(inflator(), sender.deflate(b"abc" * 100)) == b"abc" * 100
    for value in (low - 1, high + 1)[: 1 if name == "threshold" else 2]:
        with pytest.raises(ValueError, match=name):
            make_options(**{name: value})


# Negotiation, the server's side


def offers(header: str) -> list[Extension]:
    return parse_extensions([header])


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("", ""),
        ("server_no_context_takeover", "server_no_context_takeover"),
        ("client_no_context_takeover", "client_no_context_takeover"),
        ("server_max_window_bits=10", "server_max_window_bits=10"),
        ("server_max_window_bits=15", "server_max_window_bits=15"),
        ("server_max_window_bits=8", "server_max_window_bits=8"),
        ("client_max_window_bits", "client_max_window_bits=15"),
        ("client_max_window_bits=9", "client_max_window_bits=9"),
        ('client_max_window_bits="8"', "client_max_window_bits=8"),
        (
            "client_max_window_bits=11; server_max_window_bits=9; client_no_context_takeover; "
            "server_no_context_takeover",
            "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; "
            "client_max_window_bits=11",
        ),
    ],
)
def test_a_server_that_wants_nothing_accepts_what_is_offered(offer: str, answer: str) -> None:
    agreed = accept_offer(offers("; ".join(filter(None, [EXTENSION, offer]))), PLAIN)
    assert agreed is not None
    header, parameters = agreed
    assert header == "; ".join(filter(None, [EXTENSION, answer]))
    assert parameters.server_no_context_takeover is ("server_no" in answer)
    assert parameters.client_no_context_takeover is ("client_no" in answer)


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        # the server may always say what it does itself, and tell the client what to do
        ("", "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10"),
        # a limit of the client's window only for one that said it understands it
        (
            "client_max_window_bits",
            "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; "
            "client_max_window_bits=11",
        ),
        (
            "client_max_window_bits=9; server_max_window_bits=12",
            "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; "
            "client_max_window_bits=9",
        ),
    ],
)
def test_a_server_that_wants_everything(offer: str, answer: str) -> None:
    options = DeflateOptions(
        client_no_context_takeover=True, server_max_window_bits=10, client_max_window_bits=11, level=1
    )
    agreed = accept_offer(offers("; ".join(filter(None, [EXTENSION, offer]))), options)
    assert agreed is not None
    header, parameters = agreed
    assert header == f"{EXTENSION}; {answer}"
    assert parameters.server_max_window_bits == 10
    assert parameters.client_max_window_bits == (9 if "bits=9" in answer else 11 if "client_max" in offer else 15)
    assert parameters.options is options


BAD_PARAMETERS = [
    "server_max_window_bits",
    "server_max_window_bits=7",
    "server_max_window_bits=16",
    "server_max_window_bits=08",
    "server_max_window_bits=a",
    "server_max_window_bits=+9",
    "client_max_window_bits=7",
    "client_max_window_bits=16",
    "client_max_window_bits=010",
    "client_max_window_bits=1_0",
    "server_no_context_takeover=1",
    "client_no_context_takeover=true",
    "server_no_context_takeover; server_no_context_takeover",
    "client_max_window_bits=10; client_max_window_bits",
    "server_max_window_bits=9; server_max_window_bits=9",
    "unknown",
    "__proto__",
    "threshold=5",
    "SERVER_NO_CONTEXT_TAKEOVER",
]


@pytest.mark.parametrize("bad", BAD_PARAMETERS)
def test_h24_an_unsound_offer_is_declined_and_the_next_one_tried(bad: str) -> None:
    assert accept_offer(offers(f"{EXTENSION}; {bad}"), PLAIN) is None
    agreed = accept_offer(offers(f"{EXTENSION}; {bad}, {EXTENSION}; server_max_window_bits=9"), PLAIN)
    assert agreed is not None
    assert agreed[0] == f"{EXTENSION}; server_max_window_bits=9"


def test_h23_other_extensions_are_ignored() -> None:
    names = ["constructor", "__proto__", "toString", "x-webkit-deflate-frame", "permessage-bzip2", "Permessage-Deflate"]
    assert accept_offer(offers(", ".join(names)), PLAIN) is None
    assert accept_offer([], PLAIN) is None
    agreed = accept_offer(offers(", ".join([*names, EXTENSION, f"{EXTENSION}; server_no_context_takeover"])), PLAIN)
    assert agreed is not None
    assert agreed[0] == EXTENSION


# Negotiation, the client's side


@pytest.mark.parametrize(
    ("options", "offer"),
    [
        (PLAIN, "client_max_window_bits"),
        (
            DeflateOptions(),
            "server_no_context_takeover; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            DeflateOptions(
                server_no_context_takeover=False,
                client_no_context_takeover=True,
                server_max_window_bits=15,
                client_max_window_bits=8,
            ),
            "client_no_context_takeover; client_max_window_bits=8",
        ),
    ],
)
def test_what_a_client_offers(options: DeflateOptions, offer: str) -> None:
    assert make_offer(options) == f"{EXTENSION}; {offer}"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", DeflateParameters(options=PLAIN)),
        (
            "server_no_context_takeover; client_no_context_takeover",
            DeflateParameters(server_no_context_takeover=True, client_no_context_takeover=True, options=PLAIN),
        ),
        (
            "server_max_window_bits=8; client_max_window_bits=9",
            DeflateParameters(server_max_window_bits=8, client_max_window_bits=9, options=PLAIN),
        ),
    ],
)
def test_a_client_takes_what_the_server_says(answer: str, expected: DeflateParameters) -> None:
    assert accept_response(offers("; ".join(filter(None, [EXTENSION, answer]))), PLAIN) == expected


def test_a_client_keeps_to_its_own_limits_too() -> None:
    options = DeflateOptions(
        server_no_context_takeover=False,
        client_no_context_takeover=True,
        server_max_window_bits=15,
        client_max_window_bits=10,
    )
    for answer, bits in (("", 10), ("; client_max_window_bits=12", 10), ("; client_max_window_bits=9", 9)):
        parameters = accept_response(offers(EXTENSION + answer), options)
        assert parameters is not None
        assert parameters.client_no_context_takeover
        assert parameters.client_max_window_bits == bits


def test_a_server_may_decline() -> None:
    assert accept_response([], DeflateOptions()) is None


@pytest.mark.parametrize(
    "answer",
    [
        *(f"{EXTENSION}; {bad}" for bad in BAD_PARAMETERS),
        f"{EXTENSION}; client_max_window_bits",  # without a value only in an offer
        f"{EXTENSION}, {EXTENSION}",
        f"{EXTENSION}, other",
        "other",
    ],
)
def test_d11_h42_an_answer_that_was_not_offered_fails_the_handshake(answer: str) -> None:
    with pytest.raises(HandshakeError) as refused:
        accept_response(offers(answer), PLAIN)
    assert refused.value.status == 502


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ("server_max_window_bits=10", "server_no_context_takeover"),
        ("server_no_context_takeover", "server_max_window_bits"),
        ("server_no_context_takeover; server_max_window_bits=11", "server_max_window_bits"),
    ],
)
def test_d11_an_answer_that_does_not_grant_what_was_asked(answer: str, missing: str) -> None:
    options = DeflateOptions(server_max_window_bits=10)
    with pytest.raises(HandshakeError, match=missing):
        accept_response(offers(f"{EXTENSION}; {answer}"), options)
    granted = offers(f"{EXTENSION}; server_no_context_takeover; server_max_window_bits=9")
    assert accept_response(granted, options) is not None


@pytest.mark.parametrize("takeovers", list(product([False, True], repeat=4)))
@pytest.mark.parametrize("bits", [(8, 15, 15, 8), (12, 12, 12, 12), (15, 9, 10, 15), (15, 15, 15, 15), (9, 8, 8, 10)])
def test_any_two_ends_that_agree_understand_each_other(takeovers: tuple[bool, ...], bits: tuple[int, ...]) -> None:
    theirs, ours = (
        DeflateOptions(
            server_no_context_takeover=takeovers[i],
            client_no_context_takeover=takeovers[i + 1],
            server_max_window_bits=bits[i],
            client_max_window_bits=bits[i + 1],
        )
        for i in (0, 2)
    )
    agreed = accept_offer(offers(make_offer(theirs)), ours)
    assert agreed is not None
    header, servers = agreed
    clients = accept_response(offers(header), theirs)
    assert clients is not None
    server_in, server_out = servers.make_codecs(is_server=True, max_message_size=LIMIT)
    client_in, client_out = clients.make_codecs(is_server=False, max_message_size=LIMIT)
    for message in MESSAGES:
        assert inflate(client_in, server_out.deflate(message)) == message
        assert inflate(server_in, client_out.deflate(message)) == message
