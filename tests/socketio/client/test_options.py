"""What a client may be told, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from telex import Client, Limits, connect
from telex.socketio.client.options import Settings, read_options
from telex.socketio.parsers import JSON

URL = "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("url", "namespace", "engine"),
    [
        (URL, "/", URL),
        (URL + "/", "/", URL),
        (URL + "/admin", "/admin", URL),
        (URL + "/a/b?token=1", "/a/b", URL + "?token=1"),
        ("wss://example.org/chat", "/chat", "wss://example.org"),
        ("https://[::1]:8443", "/", "https://[::1]:8443"),
    ],
)
def test_the_path_is_the_namespace(url: str, namespace: str, engine: str) -> None:
    plan = read_options(url)
    assert plan.namespace == namespace
    assert plan.settings.engine.url == engine


@pytest.mark.parametrize("url", ["localhost:5000", "ftp://localhost", "/admin", "http://", URL + "/a,b"])
def test_what_is_no_url_of_a_server(url: str) -> None:
    with pytest.raises(ValueError, match=r"begins with http|no comma"):
        Client(url)


def test_the_defaults() -> None:
    plan = read_options(URL)
    settings = plan.settings
    assert (settings.reconnection, settings.reconnection_attempts) == (True, None)
    assert (settings.reconnection_delay, settings.reconnection_delay_max, settings.timeout) == (1.0, 30.0, 20.0)
    assert settings.parser is JSON
    assert settings.engine.path == "/socket.io"
    assert settings.engine.timeout == 20.0
    assert list(settings.engine.transports) == ["polling", "websocket"]
    assert settings.limits == Limits()
    assert plan.wishes.auth is None
    assert plan.wishes.retries == 0


def test_each_option_reaches_its_floor() -> None:
    limits = Limits(max_json_depth=3)
    settings = read_options(
        URL,
        path="/realtime",
        transports=["websocket"],
        headers={"X": "y"},
        query={"a": "b"},
        limits=limits,
        server_hostname="example.org",
        timeout=3,
    ).settings
    assert settings.engine.path == "/realtime"
    assert settings.engine.query == {"a": "b"}
    assert settings.engine.way.server_hostname == "example.org"
    assert settings.engine.timeout == settings.timeout == 3
    assert settings.limits is limits


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"reconnectionDelay": 1}, TypeError, "not an option of a client: reconnectionDelay"),
        ({"auth": "token"}, TypeError, "auth is a mapping"),
        ({"retries": -1}, ValueError, "must not be negative"),
        ({"retries": True}, TypeError, "must be an int"),
        ({"reconnection_attempts": 1.5}, TypeError, "must be an int"),
        ({"ack_timeout": 0}, ValueError, "must be positive"),
        ({"timeout": float("nan")}, ValueError, "must be positive"),
        ({"timeout": "1"}, TypeError, "must be a number of seconds"),
        ({"reconnection_delay": 5, "reconnection_delay_max": 1}, ValueError, "not be more than"),
        ({"parser": "xml"}, ValueError, "parser must be one of"),
        ({"transports": ["carrier pigeon"]}, ValueError, "transport"),
        ({"headers": {"Connection": "close"}}, ValueError, "belongs to HTTP"),
    ],
)
def test_what_cannot_be_is_an_error_at_once(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Client(URL, **options)
    with pytest.raises(error, match=text):
        connect(URL, **options)


def test_settings_that_are_alike_share_a_connection_whatever_was_learned() -> None:
    def settings(**options: Any) -> Settings:
        return read_options(URL, **options).settings

    assert settings().is_like(settings())
    assert settings(headers={"a": "b"}).is_like(settings(headers=[("a", "b")]))
    assert not settings().is_like(settings(timeout=5))
    assert not settings().is_like(settings(headers={"a": "b"}))
