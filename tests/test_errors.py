"""The exceptions: what they hold, what they say, and which built-in they are."""

from __future__ import annotations

import copy
import pickle

import pytest

import telex
from telex import errors

EXAMPLES: list[tuple[Exception, str, type[Exception]]] = [
    (errors.TelexError("text"), "text", Exception),
    (errors.ProtocolError("text"), "text", errors.TelexError),
    (errors.FrameError(1002, "bad"), "bad (close code 1002)", errors.ProtocolError),
    (errors.HandshakeError(400, "bad", [("a", "b")]), "bad (HTTP 400)", errors.ProtocolError),
    (errors.InvalidStatus(404, "Not Found", [("a", "b")], b"body"), "Not Found (HTTP 404)", errors.HandshakeError),
    (errors.ProxyError("no way"), "no way", ConnectionError),
    (errors.ProxyError("no way", 407, [("a", "b")]), "no way (HTTP 407)", ConnectionError),
    (errors.EnginePacketError("bad"), "bad", errors.ProtocolError),
    (errors.SocketPacketError("bad"), "bad", errors.ProtocolError),
    (errors.ConnectionClosed(1000), "the connection is closed: 1000", ConnectionError),
    (errors.ConnectionClosed(1001, "bye"), "the connection is closed: 1001 bye", ConnectionError),
    (errors.Disconnected("ping timeout"), "the socket disconnected: ping timeout", ConnectionError),
    (errors.AckTimeout(5), "no acknowledgement within 5 s", TimeoutError),
    (errors.AckTimeout(0.25, [1]), "no acknowledgement within 0.25 s", TimeoutError),
    (
        errors.ConnectError("http://a", "nobody listens"),
        "could not connect to http://a: nobody listens",
        ConnectionError,
    ),
    (
        errors.OutboxFull(2, 30),
        "2 events of 30 bytes wait already: await what emit returns, or raise the limit",
        errors.TelexError,
    ),
    (errors.EventInProgress("a1"), "somebody else is at work on the event a1", errors.TelexError),
    (errors.TooManyAcks(3), "the client already owes 3 acknowledgements", errors.TelexError),
    (errors.ConnectRefused(), "Connection refused", ConnectionRefusedError),
    (errors.ConnectRefused("no", {"retry": False}), "no", ConnectionRefusedError),
    (errors.EventRefused(), "Event refused", errors.TelexError),
    (errors.EventRefused("no", {"retry": False}), "no", errors.TelexError),
    (errors.StreamError("no more"), "no more", errors.TelexError),
    (errors.DOMSyntaxError("bad"), "bad", ValueError),
    (errors.InvalidAccessError("bad"), "bad", ValueError),
    (errors.InvalidStateError("bad"), "bad", RuntimeError),
    (errors.WebSocketError("lost", 4000, "mine"), "lost", ConnectionError),
]


@pytest.mark.parametrize(("error", "text", "kind"), EXAMPLES, ids=lambda example: type(example).__name__)
def test_says_what_it_holds(error: Exception, text: str, kind: type[Exception]) -> None:
    assert str(error) == text
    assert isinstance(error, kind)
    assert isinstance(error, errors.TelexError)


@pytest.mark.parametrize("error", [example[0] for example in EXAMPLES], ids=lambda error: type(error).__name__)
def test_survives_a_copy_and_the_way_to_another_process(error: Exception) -> None:
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301  # our own bytes
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_holds_its_data() -> None:
    assert (errors.FrameError(1009, "big").code, errors.FrameError(1009, "big").reason) == (1009, "big")
    refusal = errors.HandshakeError(426, "upgrade", [("sec-websocket-version", "13")])
    assert (refusal.status, refusal.reason, refusal.headers) == (426, "upgrade", (("sec-websocket-version", "13"),))
    answer = errors.InvalidStatus(302, "Found", [("location", "/x")], b"body")
    assert (answer.status, answer.headers, answer.body) == (302, (("location", "/x"),), b"body")
    timeout = errors.AckTimeout(1.5, (1, 2))
    assert (timeout.timeout, timeout.responses) == (1.5, [1, 2])
    assert errors.AckTimeout(1).responses == []
    assert errors.TooManyAcks(7).maximum == 7
    assert errors.Disconnected("forced close").reason == "forced close"
    refused = errors.ConnectRefused("no", data=0)
    assert (refused.message, refused.data) == ("no", 0)
    stopped = errors.EventRefused("no", data=0)
    assert (stopped.message, stopped.data) == ("no", 0)
    assert errors.EventRefused().data is None
    assert errors.StreamError("no more").message == "no more"
    assert [kind.name for kind in (errors.DOMSyntaxError, errors.InvalidAccessError, errors.InvalidStateError)] == [
        "SyntaxError",
        "InvalidAccessError",
        "InvalidStateError",
    ]
    lost = errors.WebSocketError("lost", 4000, "mine")
    assert (lost.name, lost.message, lost.close_code, lost.reason) == ("WebSocketError", "lost", 4000, "mine")
    closed = errors.ConnectionClosed(4000, "mine")
    assert (closed.code, closed.reason) == (4000, "mine")


def test_no_refusal_looks_like_the_systems_own() -> None:
    assert errors.ConnectRefused("no", {"a": 1}).errno is None
    assert errors.ConnectRefused("no", 5).errno is None


def test_each_name_is_listed_and_none_shadows_a_builtin() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.TelexError)
        assert name not in dir(__builtins__)
    public = {name for name in telex.__all__ if name in errors.__all__}
    floors = {"EnginePacketError", "SocketPacketError", "FrameError"}
    whatwg = {"DOMException", "DOMSyntaxError", "InvalidAccessError", "InvalidStateError", "WebSocketError"}
    assert public == set(errors.__all__) - floors - whatwg
