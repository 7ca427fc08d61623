"""The public surface: what a user may name, that it is documented and annotated, and what importing it costs."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import telex

PACKAGES = ["telex", "telex.websocket", "telex.engineio", "telex.socketio", "telex.sync", "telex.sync.websocket"]

# What the six lines and the pages of the documentation use; a name leaves this list with a major version only.
PROMISED = {
    "telex.Server": (
        "call close disconnect_sockets drain emit except_ fetch_sockets in_ local of off off_any on on_any "
        "on_any_outgoing on_server_side once register room_policy send server_side_call server_side_emit sockets_join "
        "sockets_leave statistics to use use_event volatile wrap"
    ),
    "telex.Socket": (
        "broadcast call conn connected data disconnect emit except_ handshake id in_ join latest leave listeners_any "
        "listeners_any_outgoing nsp off off_any off_any_outgoing on on_any on_any_outgoing on_middleware_error once "
        "prepend_any prepend_any_outgoing recovered rooms statistics to use volatile"
    ),
    "telex.Namespace": (
        "adapter emit except_ fetch_sockets off on on_any on_any_outgoing once name rate_limit room_policy sockets "
        "statistics to use use_event volatile"
    ),
    "telex.ParentNamespace": "children emit match on on_any use",
    "telex.RemoteSocket": "call data disconnect emit handshake id join leave nsp rooms timeout",
    "telex.Adapter": "off on",
    "telex.BroadcastOperator": (
        "call compress disconnect_sockets emit except_ fetch_sockets in_ local sockets_join sockets_leave timeout to "
        "volatile"
    ),
    "telex.websocket.Connection": (
        "abort buffered_bytes close close_code close_reason has_failed latency local_address pause_reading ping recv "
        "remote_address request response resume_reading send state statistics subprotocol wait_closed was_clean"
    ),
    "telex.sync.Client": (
        "active call close compress connect connected disconnect emit has_room id listeners_any listeners_any_outgoing "
        "manager nsp off off_any off_any_outgoing on on_any on_any_outgoing once prepend_any prepend_any_outgoing "
        "reason receive recovered send timeout volatile wait wait_room"
    ),
    "telex.sync.Manager": "is_open off on transport",
    "telex.sync.Operator": "call compress emit send timeout volatile",
    "telex.sync.websocket.Connecting": "open",
    "telex.sync.websocket.Connection": (
        "abort buffered_bytes close close_code close_reason latency local_address ping recv remote_address request "
        "response send state statistics subprotocol wait_closed"
    ),
    "telex.websocket.Server": "close connections port sockets wait_closed",
    "telex.websocket.WebSocket": (
        "CLOSED CLOSING CONNECTING OPEN add_event_listener binary_type buffered_amount close extensions on_close "
        "on_error on_message on_open protocol ready_state remove_event_listener send url wait_closed wait_opened"
    ),
    "telex.websocket.WebSocketStream": "close closed opened url",
    "telex.websocket.Readable": "cancel",
    "telex.websocket.Writable": "abort close write",
}


def find(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def public_things() -> Iterator[tuple[str, Any]]:
    """Yield every public class and function, and every public method of these classes, with its full name."""
    seen = set()
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            thing = getattr(module, name)
            if isinstance(thing, ModuleType) or id(thing) in seen or not callable(thing):
                continue
            seen.add(id(thing))
            yield f"{package}.{name}", thing
            if inspect.isclass(thing) and not issubclass(thing, BaseException):
                for attribute, value in vars(thing).items():
                    if not attribute.startswith("_"):
                        yield f"{package}.{name}.{attribute}", value


THINGS = dict(public_things())


@pytest.mark.parametrize("package", PACKAGES)
def test_names_are_listed_in_order_and_lead_somewhere(package: str) -> None:
    module = importlib.import_module(package)
    assert list(module.__all__) == sorted(set(module.__all__), key=lambda name: (not name.isupper(), name))
    for name in module.__all__:
        assert hasattr(module, name), f"{package}.{name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_not_listed_is_a_module(package: str) -> None:
    module = importlib.import_module(package)
    stray = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in module.__all__ and not isinstance(value, ModuleType)
    }
    assert not stray


@pytest.mark.parametrize("name", PROMISED)
def test_promised_names_are_there(name: str) -> None:
    thing = find(name)
    annotated = {field for each in inspect.getmro(thing) for field in vars(each).get("__annotations__", {})}
    slots = {slot for each in inspect.getmro(thing) for slot in vars(each).get("__slots__", ())}
    there = set(dir(thing)) | annotated | slots
    if "__init__" in vars(thing) and not dataclasses.is_dataclass(thing):
        there |= {word for word in PROMISED[name].split() if f"self.{word}" in inspect.getsource(thing.__init__)}
    assert [word for word in PROMISED[name].split() if word not in there] == []


@pytest.mark.parametrize("name", THINGS)
def test_everything_public_has_its_sentence(name: str) -> None:
    thing = THINGS[name]
    if inspect.isclass(thing) or inspect.isfunction(thing) or isinstance(thing, property | classmethod | staticmethod):
        first_line = (inspect.getdoc(thing) or "").partition("\n")[0]
        assert first_line.endswith((".", ";", ",", ":")) or len(first_line) > 80, f"{name} says {first_line!r}"


@pytest.mark.parametrize("name", [name for name, thing in THINGS.items() if inspect.isfunction(thing)])
def test_everything_public_is_annotated(name: str) -> None:
    signature = inspect.signature(THINGS[name])
    bare = [
        parameter.name
        for parameter in list(signature.parameters.values())
        if parameter.annotation is inspect.Parameter.empty and parameter.name not in {"self", "cls"}
    ]
    assert not bare
    assert signature.return_annotation is not inspect.Signature.empty


def test_options_are_keywords_and_unknown_ones_are_errors() -> None:
    positional = [
        parameter.name
        for parameter in inspect.signature(telex.Server).parameters.values()
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    assert not positional
    with pytest.raises(TypeError, match="pingInterval"):
        telex.Server(pingInterval=25)  # type: ignore[call-arg]


def test_a_handler_s_annotations_can_be_read() -> None:
    assert typing.get_type_hints(telex.Socket.emit)["event"] is str


def test_importing_telex_loads_nothing_but_msgspec() -> None:
    """Uvicorn and the like are extras: loaded when they are used."""
    program = (
        "import sys; before = set(sys.modules); import telex;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    foreign = {name for name in done.stdout.split() if name not in sys.stdlib_module_names}
    # Compiled modules carry these two with them.
    foreign = {name for name in foreign if name != "cython_runtime" and not name.startswith("_cython_")}
    assert foreign <= {"telex", "msgspec", "typing_extensions"}  # which msgspec takes where it is installed


def test_the_package_is_typed() -> None:
    assert (Path(telex.__file__).parent / "py.typed").exists()
