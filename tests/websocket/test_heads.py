"""Heads of HTTP: what is read and written, what is refused and when, in every split."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.errors import HandshakeError
from telex.limits import Limits
from telex.types import Headers
from telex.websocket.heads import Request, RequestReader, Response, ResponseReader, elements
from tests.splitter import SPLITS, noise, split
from tests.websocket.opening import ACCEPT, LIMITS, answer, head, read, read_response


def status_of(data: bytes, how: str = "whole", limits: Limits = LIMITS) -> int:
    """Return the status with which a server refuses a head."""
    with pytest.raises(HandshakeError) as refused:
        read(data, how, limits)
    assert refused.value.reason.isprintable()
    return refused.value.status


# Requests


@pytest.mark.parametrize("trailing", [b"", b"\x81\x80\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize("how", SPLITS)
def test_a_request_in_every_split_with_what_follows(how: str, trailing: bytes) -> None:
    data = head("GET /a%20b/c?d=%C3%A9&e HTTP/1.1", "X-Empty:", "X-Spaces: \t a  b\t ", "x-twice: 1", "X-Twice: 2")
    reader = RequestReader(LIMITS)
    found = [request for piece in split(data + trailing, how) if (request := reader.feed(piece)) is not None]
    assert len(found) == 1
    (request,) = found
    assert (request.method, request.target) == ("GET", "/a%20b/c?d=%C3%A9&e")
    assert (request.path, request.query) == ("/a b/c", "d=%C3%A9&e")
    assert request.headers["X-Empty"] == ""
    assert request.headers["X-Spaces"] == "a  b"
    assert request.headers["X-Twice"] == "1, 2"
    # h18: never another request; input of the connection, once it is open
    assert reader.leftover == trailing


def test_h18_bytes_before_the_answer_are_bounded() -> None:
    limits = Limits(max_header_bytes=1000)
    reader = RequestReader(limits)
    assert reader.feed(head() + bytes(600)) is not None
    assert reader.feed(bytes(400)) is None
    assert len(reader.leftover) == 1000
    for full, data in ((reader, b"x"), (RequestReader(limits), head() + bytes(1001))):
        with pytest.raises(HandshakeError) as refused:
            full.feed(data)
        assert refused.value.status == 400


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize(
    ("bad", "status"),
    [
        # h14: line ends, folding, control characters
        (head().replace(b"\r\n", b"\n"), 400),
        (head().replace(b"Host: ", b"X: y\nHost: "), 400),
        (head().replace(b"\r\nUpgrade", b"\n\r\nUpgrade"), 400),
        (head("GET / HTTP/1.1", "X: a\rb"), 400),
        (head("GET / HTTP/1.1", "X: a\r"), 400),
        (head("GET / HTTP/1.1", "X: a", " folded"), 400),
        (head("GET / HTTP/1.1", "X: a", "\tfolded"), 400),
        *((head("GET / HTTP/1.1", f"X: a{chr(c)}b"), 400) for c in (0, 1, 8, 11, 12, 0x1C, 0x1E, 0x1F, 0x7F, 0x85)),
        *((head("GET / HTTP/1.1", f"X{chr(c)}: a"), 400) for c in (0, 9, 11, 12, 0x20, 0x1C, 0x7F, 0x85, 0xE9)),
        (head("GET / HTTP/1.1", "X: \u00c2\u0085"), 400),  # U+0085 in UTF-8
        # h15: names
        (head("GET / HTTP/1.1", "X : a"), 400),
        (head("GET / HTTP/1.1", ": a"), 400),
        (head("GET / HTTP/1.1", "no colon"), 400),
        (head("GET / HTTP/1.1", "no-colon"), 400),
        (head("GET / HTTP/1.1", 'X"Y: a'), 400),
        (head("GET / HTTP/1.1", "X(Y: a"), 400),
        # the request line
        (head("GET /"), 400),
        (head("GET  / HTTP/1.1"), 400),
        (head("GET / HTTP/1.1 "), 400),
        (head(" GET / HTTP/1.1"), 400),
        (head("GET\t/ HTTP/1.1"), 400),
        (head("GET / http/1.1"), 400),
        (head("GET / HTTP/1"), 400),
        (head("GET / HTTP/1.1x"), 400),
        (head("GET / HTTP/11.1"), 400),
        (head("G[T / HTTP/1.1"), 400),
        (b"\r\n" + head(), 400),
        # h02
        (head("GET / HTTP/1.0"), 505),
        (head("GET / HTTP/0.9"), 505),
        (head("GET / HTTP/2.0"), 505),
        (head("GET / HTTP/3.1"), 505),
        # h34
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        # h32
        (head("GET /\0 HTTP/1.1"), 400),
        (head("GET /%00 HTTP/1.1"), 400),
        (head("GET /a%0d%0ab HTTP/1.1"), 400),
        (head("GET /%7f HTTP/1.1"), 400),
        (head("GET /%zz HTTP/1.1"), 400),
        (head("GET /% HTTP/1.1"), 400),
        (head("GET /?a=%4 HTTP/1.1"), 400),
        (head("GET /%ff HTTP/1.1"), 400),
        (head("GET /?%c3 HTTP/1.1"), 400),
        (head("GET /\u00e9 HTTP/1.1"), 400),
        (head("GET /#fragment HTTP/1.1"), 400),
        # h33
        (head("GET http://server.example.com/ HTTP/1.1"), 400),
        (head("CONNECT server.example.com:80 HTTP/1.1"), 400),
        (head("OPTIONS * HTTP/1.1"), 400),
        # h35
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise(500), 400),
        (noise(3000), 400),
        (bytes(100_000), 400),
        (b"a" * 100_000, 414),
    ],
)
def test_heads_that_are_refused(bad: bytes, status: int, how: str) -> None:
    assert status_of(bad, how) == status


def test_h35_what_is_not_http_is_refused_with_its_first_byte() -> None:
    for byte in (b"\x16", b"\0", b" ", b"\r", b"{", b"\xff"):
        with pytest.raises(HandshakeError):
            RequestReader(LIMITS).feed(byte)
    assert RequestReader(LIMITS).feed(b"G") is None


# Lines and parts of lines that are right, that are wrong, and that are one or the other with what stands beside them.
PIECES = [b"GET / HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n", b"X:\t b \r\n", b"x-y:\r\n", b"X: \xe9\r\n"]
PIECES += [
    b"X: \xc3\xa9\r\n",
    b": a\r\n",
    b"X Y: a\r\n",
    b"no-colon\r\n",
    b" folded\r\n",
    b"X: \xc2\x85\r\n",
    b"GET / HTTP/2.0\r\n",
]
PIECES += [b"\r", b"\n", b":", b" ", b"\0", b"\x7f", b"\xe9", b"a" * 10, b"X: a\x0cb\r\n", b"X:" + b"y" * 30 + b"\r\n"]
TIGHT = Limits(max_request_line=30, max_header_line=30, max_headers=3, max_header_bytes=60)


@given(st.booleans(), st.lists(st.sampled_from(PIECES), max_size=10).map(b"".join), st.sampled_from([LIMITS, TIGHT]))
def test_a_head_in_one_piece_is_what_it_is_bytewise(is_begun: bool, data: bytes, limits: Limits) -> None:
    if is_begun:
        data = PIECES[0] + data
    outcomes: list[object] = []
    for how in SPLITS:
        reader = RequestReader(limits)
        try:
            found = [request for piece in split(data, how) if (request := reader.feed(piece)) is not None]
        except HandshakeError as error:
            # What begins like no request is refused with its first byte, where that comes alone, or when it is over.
            outcomes.append(error.status if is_begun else [])
        else:
            outcomes.append([(request, list(request.headers), reader.leftover) for request in found])
    assert outcomes == outcomes[:1] * len(SPLITS)


@pytest.mark.parametrize("target", ["/socket.io/../x", "//socket.io/", "/%2e%2e/x", "/a;x=1", "/a|b?{c}^`\"'"])
def test_h32_odd_paths_are_somebody_elses_to_find_or_not(target: str) -> None:
    assert read(head(f"GET {target} HTTP/1.1")).target == target


def test_h14_letters_beyond_ascii_are_no_control_characters() -> None:
    for text in ("\u00c4rger".encode(), "\u65e5\u672c".encode(), b"caf\xe9"):
        data = head("GET / HTTP/1.1", "X: @").replace(b"@", text)
        assert read(data).headers["X"].encode("latin-1") == text


def test_http_1_2_would_be_as_good() -> None:
    assert read(head("GET / HTTP/1.2")).method == "GET"


@pytest.mark.parametrize("how", SPLITS)
def test_h08_the_request_line_has_a_limit(how: str) -> None:
    limits = Limits(max_request_line=50)
    exact = "GET /" + "x" * 36 + " HTTP/1.1"
    assert len(exact) == 50
    assert read(head(exact), how, limits)
    assert status_of(head(exact.replace("/", "/x", 1)), how, limits) == 414
    # without its end, too, and no later
    reader = RequestReader(limits)
    assert all(reader.feed(piece) is None for piece in split(b"x" * 50 + b"\r", how))
    with pytest.raises(HandshakeError):
        reader.feed(b"y")


@pytest.mark.parametrize("how", SPLITS)
def test_h09_a_header_line_has_a_limit(how: str) -> None:
    limits = Limits(max_header_line=60)
    assert read(head("GET / HTTP/1.1", "X: " + "y" * 57), how, limits)
    assert status_of(head("GET / HTTP/1.1", "X: " + "y" * 58), how, limits) == 431
    reader = RequestReader(limits)
    assert all(reader.feed(piece) is None for piece in split(b"GET / HTTP/1.1\r\n" + b"x" * 60 + b"\r", how))
    with pytest.raises(HandshakeError):
        reader.feed(b"y")


@pytest.mark.parametrize("how", SPLITS)
def test_h10_header_lines_are_counted_repeated_ones_too(how: str) -> None:
    limits = Limits(max_headers=20)
    assert read(head("GET / HTTP/1.1", *["X: 1"] * 15), how, limits)
    assert status_of(head("GET / HTTP/1.1", *["X: 1"] * 16), how, limits) == 431
    assert status_of(head("GET / HTTP/1.1", *["X:"] * 10_000), "whole") == 431


@pytest.mark.parametrize("how", SPLITS)
def test_h11_header_lines_have_a_limit_together(how: str) -> None:
    used = len(head()) - len("GET /chat HTTP/1.1\r\n") - len("\r\n")
    limits = Limits(max_header_bytes=used + 100)
    assert read(head("GET / HTTP/1.1", *["X: " + "y" * 45] * 2), how, limits)
    assert status_of(head("GET / HTTP/1.1", *["X: " + "y" * 45] * 3), how, limits) == 431
    reader = RequestReader(limits)
    assert reader.feed(head()[:-2]) is None
    assert all(reader.feed(piece) is None for piece in split(b"x" * 100, how))
    with pytest.raises(HandshakeError):
        reader.feed(b"y")


def test_h12_a_head_fed_bytewise_costs_as_much_per_byte_at_its_end() -> None:
    limits = Limits(max_header_line=200_000, max_header_bytes=10_000_000, max_headers=100_000)
    seconds = []
    for n in (40_000, 160_000):
        data = head("GET / HTTP/1.1", "X: " + "y" * n)
        best = float("inf")
        for _ in range(2):
            began = time.process_time()
            assert read(data, "bytewise", limits)
            best = min(best, time.process_time() - began)
        seconds.append(best)
    assert seconds[1] < 10 * seconds[0], "four times the bytes; quadratic would be sixteen times"


BAD_FIELDS = [("X", "a\r\nSet-Cookie: b"), ("X", "a\n"), ("X", "a\r"), ("X", "\0"), ("X", "\x7f"), ("X", "\u20ac"),
              ("X\r\nY", "a"), ("X:", "a"), ("X ", "a"), ("", "a"), ("\u00e9", "a")]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_FIELDS)
def test_h31_header_fields_that_http_cannot_carry(bad: tuple[str, str]) -> None:
    for message in (Request("GET", "/", Headers([bad])), Response(200, "OK", Headers([bad]))):
        with pytest.raises(ValueError):  # noqa: PT011  # the encoder's own for what is not Latin-1
            message.encode()


@pytest.mark.parametrize("reason", ["a\r\nX: y", "\n", "\0", "\u20ac"])
def test_h31_reasons_that_http_cannot_carry(reason: str) -> None:
    with pytest.raises(ValueError, match="status line"):
        Response(200, reason, Headers()).encode()


def test_h31_status_and_request_lines_that_are_none() -> None:
    for status in (99, 600, 1000, -1):
        with pytest.raises(ValueError, match="status line"):
            Response(status, "", Headers()).encode()
    for method, target in (("GE T", "/"), ("GET", "/a b"), ("GET", "/\r\nX: y"), ("GET", "/\u00e9"), ("", "/")):
        with pytest.raises(ValueError, match="request line"):
            Request(method, target, Headers()).encode()


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("trailing", [b"", b"\x81\x02hi", noise(100_000)])
def test_a_101_ends_with_its_head(trailing: bytes, how: str) -> None:
    reader = ResponseReader(LIMITS)
    pieces = split(answer() + trailing, how)
    response = next(found for piece in pieces if (found := reader.feed(piece)) is not None)
    assert (response.status, response.body) == (101, b"")
    assert response.headers["Sec-WebSocket-Accept"] == ACCEPT
    assert reader.leftover + b"".join(pieces) == trailing


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize(
    "bad",
    [
        answer(line="HTTP/1.0 101 Switching Protocols"),
        answer(line="HTTP/2.0 101 Switching Protocols"),
        answer(line="HTTP/1.1 1010 Switching Protocols"),
        answer(line="HTTP/1.1 99 x"),
        answer(line="HTTP/1.1 600 x"),
        answer(line="HTTP/1.1"),
        answer(line="ICY 200 OK"),
        answer("no colon"),
        answer().replace(b"\r\n", b"\n"),
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"H" * 10_000,
        answer(*["X: y"] * 101),
    ],
)
def test_h42_h44_answers_that_are_no_http(bad: bytes, how: str) -> None:
    with pytest.raises(HandshakeError) as refused:
        read_response(bad, how)
    assert refused.value.status == 502


def test_a_server_that_says_nothing() -> None:
    reader = ResponseReader(LIMITS)
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-")
    with pytest.raises(HandshakeError) as refused:
        reader.receive_eof()
    assert refused.value.status == 502


CHUNKED = "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize(
    ("wire", "body"),
    [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nno wa|y", "no wa"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n|x", ""),
        ("HTTP/1.1 204 No Content\r\n\r\n|x", ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n|x", ""),
        ("HTTP/1.1 100 Continue\r\n\r\n|x", ""),
        (CHUNKED + "5\r\nhello\r\n00a;x=y\r\n, chunks! \r\n0\r\n\r\n|", "hello, chunks! "),
        (CHUNKED + "0\r\n\r\n|", ""),
    ],
)
def test_a_refusal_is_read_to_its_end(wire: str, body: str, how: str) -> None:
    whole, after = wire.encode().split(b"|")
    reader = ResponseReader(LIMITS)
    pieces = list(split(whole, how))
    early = [reader.feed(piece) for piece in pieces[:-1] if piece]
    if how == "bytewise":
        assert early == [None] * len(early), "not complete before its last byte"
    response = next((found for found in early if found), None) or reader.feed(pieces[-1])
    assert response is not None
    assert response.body == body.encode()
    with_more = read_response(whole + after)
    assert with_more is not None
    assert with_more.body == body.encode()


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize(
    ("wire", "body"),
    [
        ("HTTP/1.0 500 \r\n\r\nuntil the end", "until the end"),
        ("HTTP/1.1 500\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut off", "cut off"),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nuntil the end", "until the end"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nuntil the end", "until the end"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\nzipped", "zipped"),
        (CHUNKED + "5\r\nhello\r\n50\r\ncut", "hellocut"),
        (CHUNKED + "5\r\nhello\r\n-5\r\nno way back\r\n", "hello"),
        (CHUNKED + "x\r\nnonsense\r\n", ""),
        (CHUNKED + "ffffffff\r\nall that is there", "all that is there"),
    ],
)
def test_a_refusal_ends_with_the_connection(wire: str, body: str, how: str) -> None:
    reader = ResponseReader(LIMITS)
    assert [reader.feed(piece) for piece in split(wire.encode(), how) if piece] == [None] * len(
        [piece for piece in split(wire.encode(), how) if piece]
    )
    assert reader.receive_eof().body == body.encode()


@pytest.mark.parametrize("how", ["whole", "bytewise"])
@pytest.mark.parametrize(
    "line",
    [
        "Content-Length: 9999",
        "Content-Length: 1000000000",
        "Content-Length: " + "9" * 5000,
        "Transfer-Encoding: chunked",
        "X: y",
    ],
)
def test_h44_a_refusal_without_end_is_cut(line: str, how: str) -> None:
    limits = Limits(max_error_body=1000)
    begin = f"HTTP/1.1 500 Oh\r\n{line}\r\n\r\n".encode() + (b"ffffff\r\n" if "chunked" in line else b"")
    reader = ResponseReader(limits)
    assert reader.feed(begin) is None
    tracemalloc.start()
    response = next(found for piece in split(bytes(5000), how) if (found := reader.feed(piece)) is not None)
    retained = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert response.body == bytes(1000 - (8 if "chunked" in line else 0))
    assert retained < 20_000
    assert response.status == 500


def test_h44_endless_headers() -> None:
    reader = ResponseReader(LIMITS)
    reader.feed(b"HTTP/1.1 200 OK\r\n")
    for _ in range(LIMITS.max_headers):
        assert reader.feed(b"X: y\r\n") is None
    with pytest.raises(HandshakeError) as refused:
        reader.feed(b"X: y\r\n")
    assert refused.value.status == 502


@pytest.mark.parametrize("how", SPLITS)
def test_what_is_written_is_read_back(how: str) -> None:
    headers = Headers([("Host", "a"), ("X-Empty", ""), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=\u00e9 \t,;")])
    request = Request("GET", "/a?b", headers)
    assert read(request.encode(), how) == request
    response = Response(403, "Not you", Headers([*headers, ("Content-Length", "3")]), b"why")
    assert read_response(response.encode(), how) == response


# What is kept of a head

VALUES = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"], include_characters="\t")).map(
    lambda text: text.strip(" \t")
)
NAMES = st.from_regex(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,12}", fullmatch=True)
USUAL = st.sampled_from(
    [
        ("Upgrade", "websocket"),
        ("upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Accept", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Cache-Control", "no-cache, no-store"),
        ("User-Agent", "Mozilla/5.0 (X11; Linux) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/1"),
        ("Origin", "https://example.org:8000"),
        ("HOST", "Host:a"),
    ]
)
FIELDS = st.lists(USUAL | st.tuples(NAMES, VALUES), max_size=12)


@given(NAMES, st.from_regex(r"[!-~]+", fullmatch=True), FIELDS)
def test_a_request_is_unpacked_as_it_was(method: str, target: str, fields: list[tuple[str, str]]) -> None:
    for sent in (target, f"{target}?EIO=4&transport=websocket"):
        request = Request(method, sent, Headers(fields))
        kept = Request.unpack(request.pack())
        assert kept == request
        assert list(kept.headers) == fields


@given(st.integers(100, 599), VALUES, FIELDS)
def test_a_response_is_unpacked_as_it_was_without_its_body(
    status: int, reason: str, fields: list[tuple[str, str]]
) -> None:
    for said in (reason, "Switching Protocols"):
        response = Response(status, said, Headers(fields), b"why")
        kept = Response.unpack(response.pack())
        assert kept == Response(status, said, Headers(fields))
        assert list(kept.headers) == fields


def test_what_every_handshake_says_takes_no_room_when_packed() -> None:
    said = head(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1",
        "Accept-Encoding: gzip, deflate, br",
        "Cache-Control: no-cache",
        "Pragma: no-cache",
        "User-Agent: Mozilla/5.0 (X11; Linux) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/1",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    )
    request = read(said)
    assert len(request.pack()) < len(said) / 3
    lower = Request(request.method, request.target, Headers((name.lower(), value) for name, value in request.headers))
    assert len(lower.pack()) == len(request.pack())
    response = read_response(answer())
    assert response is not None
    assert len(response.pack()) < len(answer()) / 3


def test_elements_of_lists() -> None:
    headers = Headers([("A", "x, Y ,,\tz"), ("a", ","), ("A", "w")])
    assert elements(headers, "a") == ["x", "y", "z", "w"]
    assert elements(headers, "b") == []
