"""Namespaces: what may be registered, classes with handlers, and catch-alls."""

from __future__ import annotations

from typing import Any

import pytest

import telex
from tests.socketio.harness import join, open_client, run, settle


def test_a_name_gets_its_slash() -> None:
    io = telex.Server()
    assert io.of("admin") is io.of("/admin")
    assert io.of("").name == "/"
    assert io.of("/") is io.sockets
    assert io.of("/admin").name == "/admin"
    assert repr(io.of("/admin")) == "<Namespace /admin with 0 sockets>"


def test_a_name_holds_no_comma() -> None:
    with pytest.raises(ValueError, match="comma"):
        telex.Server().of("/a,b")


def test_a_namespace_knows_its_server_once_it_has_one() -> None:
    namespace = telex.Namespace("/x")
    with pytest.raises(RuntimeError, match="not registered"):
        _ = namespace.server
    io = telex.Server(limits=telex.Limits(max_pending_acks=7))
    assert io.register(namespace) is namespace
    assert namespace.server is io
    assert namespace.limits.max_pending_acks == 7


def test_a_namespace_belongs_to_one_server() -> None:
    namespace = telex.Namespace("/x")
    telex.Server().register(namespace)
    with pytest.raises(ValueError, match="belongs to a server already"):
        telex.Server().register(namespace)


def test_two_namespaces_cannot_have_one_name() -> None:
    io = telex.Server()
    io.of("/x")
    with pytest.raises(ValueError, match="'/x' already"):
        io.register(telex.Namespace("/x"))


def test_the_main_namespace_may_be_a_class_while_it_is_empty() -> None:
    class Main(telex.Namespace):
        def on_hello(self, socket: telex.Socket) -> str:
            return "hi"

    async def main() -> None:
        io = telex.Server()
        root = io.register(Main())
        assert io.sockets is io.of("/") is root
        io.on("more", lambda socket: "more")
        client, _ = await join(io)
        client.emit("hello", ack_id=1)
        client.emit("more", ack_id=2)
        assert await client.heard() == ['31["hi"]', '32["more"]']
        io.emit("news")
        assert await client.heard() == ['2["news"]']
        for register in (
            lambda server: server.on("e", print),
            lambda server: server.on_any(print),
            lambda server: server.use(print),
            lambda server: server.on_server_side("e", print),
            lambda server: server.sockets.adapter.on("join-room", print),
            lambda server: server.use_event(print),
            lambda server: server.once("e", print),
            lambda server: server.on_any_outgoing(print),
            lambda server: server.on_middleware_error(print),
            lambda server: server.of("/", rate_limit=telex.RateLimit(1)),
        ):
            server = telex.Server()
            register(server)
            with pytest.raises(ValueError, match="'/' already"):
                server.register(Main())
        with pytest.raises(ValueError, match="'/' already"):
            io.register(Main())

    run(main)


# Registering handlers.


def test_on_is_a_decorator_and_a_method_and_gives_the_function_back() -> None:
    io = telex.Server()

    @io.on("a")
    def plain(socket: telex.Socket) -> None: ...

    @io.of("/x").on("b", concurrent=True)
    async def coroutine(socket: telex.Socket) -> None: ...

    @io.on("c", thread=True)
    def blocking(socket: telex.Socket) -> None: ...

    @io.on_any
    def any_event(socket: telex.Socket, event: str, *args: Any) -> None: ...

    @io.use
    def middleware(socket: telex.Socket) -> None: ...

    assert io.on("d", plain) is plain
    assert io.on("*", any_event) is any_event
    assert all(callable(function) for function in (plain, coroutine, blocking, any_event, middleware))
    assert {name: handler.function for name, handler in io.sockets.handlers.items() if name != "c"} == {
        "a": plain,
        "d": plain,
    }
    assert io.of("/x").handlers["b"].is_concurrent
    assert io.sockets.handlers["c"].is_async
    assert len(io.sockets.catch_alls) == 2
    assert io.sockets.middlewares == [middleware]


def test_a_later_handler_takes_the_place() -> None:
    async def main() -> None:
        io = telex.Server()
        io.on("e", lambda socket: "first")
        io.on("e", lambda socket: "second")
        client, _ = await join(io)
        client.emit("e", ack_id=1)
        assert await client.heard() == ['31["second"]']

    run(main)


@pytest.mark.parametrize("event", ["connect_error", "newListener", "removeListener"])
def test_nobody_can_send_these(event: str) -> None:
    with pytest.raises(ValueError, match="reserved"):
        telex.Server().on(event, print)


async def coroutine_handler(socket: telex.Socket) -> None: ...


@pytest.mark.parametrize(
    ("event", "function", "why"),
    [
        ("e", None, "must be callable"),
        ("e", "text", "must be callable"),
        ("e", lambda: None, "must take the socket"),
        ("connect", lambda socket, environ, auth: None, "gets 1"),
        ("connection", lambda socket, environ, auth: None, "gets 1"),
        ("disconnect", lambda socket, reason, details: None, "gets 1"),
        ("disconnecting", lambda socket, reason, details: None, "gets 1"),
        ("disconnecting", coroutine_handler, "must be a plain function"),
        ("*", lambda socket, event: None, r"the event's name and \*args"),
        ("*", lambda socket, event, data: None, "gets 1"),
        ("*", lambda socket: None, r"the event's name and \*args"),
    ],
)
def test_a_wrong_handler_is_refused_when_it_is_registered(event: str, function: Any, why: str) -> None:
    io = telex.Server()
    with pytest.raises(TypeError, match=why):
        io.on(event)(function)
    assert io.sockets.handlers == {}
    assert io.sockets.catch_alls == []


def test_a_blocking_disconnecting_handler_is_refused() -> None:
    with pytest.raises(TypeError, match="must be a plain function"):
        telex.Server().on("disconnecting", lambda socket: None, thread=True)


@pytest.mark.parametrize("middleware", [None, "text", 7])
def test_a_middleware_is_callable(middleware: Any) -> None:
    with pytest.raises(TypeError, match="must be callable"):
        telex.Server().use(middleware)


def test_the_librarys_own_events_give_what_a_handler_takes() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []
        for name in ("/none", "/one", "/any"):
            namespace = io.of(name)
            for event in ("connect", "disconnecting", "disconnect"):
                if name == "/none":
                    namespace.on(event, lambda socket: calls.append(()))
                elif name == "/one":
                    namespace.on(event, lambda socket, one: calls.append((one,)))
                else:
                    namespace.on(event, lambda socket, *args: calls.append(args))
            client = await open_client(io)
            await client.connect(name, {"a": 1})
            client.send(f"1{name},")
        with_arguments = [({"a": 1},), ("client namespace disconnect",), ("client namespace disconnect",)]
        assert calls == [(), (), (), *with_arguments, *with_arguments]

    run(main)


# Catch-alls.


def test_a_catch_all_hears_everything_before_its_handler() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []

        @io.on_any
        async def first(socket: telex.Socket, event: str, *args: Any) -> str:
            calls.append(("first", event, *args))
            return "no acknowledgement"

        @io.on("*", concurrent=True)
        def second(*args: Any) -> None:
            calls.append(("second", *args[1:]))

        io.on("known", lambda socket, n: calls.append(("known", n)))
        client, _ = await join(io)
        client.emit("known", 1, ack_id=5)
        client.emit("unknown", 2, ack_id=6)
        assert await client.heard() == ["35[]"]
        assert [call for call in calls if call[0] != "second"] == [
            ("first", "known", 1),
            ("known", 1),
            ("first", "unknown", 2),
        ]
        assert [call for call in calls if call[0] == "second"] == [("second", "known", 1), ("second", "unknown", 2)]

    run(main)


def test_a_catch_all_hears_what_its_handler_cannot_take() -> None:
    async def main() -> None:
        io = telex.Server()
        caught: list[Any] = []
        io.on("e", lambda socket, a, b, c: caught.append("handler"))
        io.on_any(lambda socket, event, *args: caught.append((event, *args)))
        client, _ = await join(io)
        client.emit("e", 1, 2)
        assert caught == [("e", 1, 2)]

    run(main)


def test_a_catch_all_hears_nothing_of_the_librarys_own() -> None:
    async def main() -> None:
        io = telex.Server()
        caught: list[Any] = []
        io.on_any(lambda socket, event, *args: caught.append(event))
        client, _ = await join(io)
        client.send("1")
        assert caught == []

    run(main)


# Classes.


class Orders(telex.Namespace):
    """A namespace as a program writes it."""

    limit = 3

    def __init__(self, name: str, prefix: str) -> None:
        super().__init__(name)
        self.prefix = prefix
        self.calls: list[Any] = []

    async def on_connect(self, socket: telex.Socket, auth: Any) -> None:
        self.calls.append(("connect", auth))

    def on_disconnecting(self, socket: telex.Socket) -> None:
        self.calls.append("disconnecting")

    def on_disconnect(self, socket: telex.Socket, reason: telex.DisconnectReason) -> None:
        self.calls.append(("disconnect", reason))

    async def on_order(self, socket: telex.Socket, what: str) -> str:
        return self.prefix + what

    @staticmethod
    def on_static(socket: telex.Socket) -> str:
        return "static"

    @classmethod
    def on_class(cls, socket: telex.Socket) -> int:
        return cls.limit

    def helper(self) -> None: ...

    on_data = "not callable"


class Rush(Orders):
    """A subclass adds and overrides."""

    async def on_order(self, socket: telex.Socket, what: str) -> str:
        return "rushed " + await super().on_order(socket, what)

    def on_hurry(self, socket: telex.Socket) -> str:
        return "hurried"


def test_methods_are_handlers() -> None:
    async def main() -> None:
        io = telex.Server()
        orders = io.register(Orders("/orders", "one "))
        assert set(orders.handlers) == {"connect", "disconnecting", "disconnect", "order", "static", "class"}
        client, _ = await join(io, "/orders", {"a": 1})
        for event in ("order", "static", "class"):
            args = ["tea"] if event == "order" else []
            client.emit(event, *args, nsp="/orders", ack_id=1)
        await settle()
        assert sorted(map(str, await client.heard())) == [
            '3/orders,1["one tea"]', '3/orders,1["static"]', "3/orders,1[3]",
        ]  # fmt: skip
        client.leave()
        await settle()
        assert orders.calls == [("connect", {"a": 1}), "disconnecting", ("disconnect", "transport close")]

    run(main)


def test_a_subclass_adds_and_overrides() -> None:
    async def main() -> None:
        io = telex.Server()
        io.register(Orders("/orders", "one "))
        rush = io.register(Rush("/rush", "two "))
        rush.on("later", lambda socket: "later")
        client, _ = await join(io, "/rush")
        client.emit("order", "tea", nsp="/rush", ack_id=1)
        await settle()
        client.emit("hurry", nsp="/rush", ack_id=2)
        client.emit("later", nsp="/rush", ack_id=3)
        assert await client.heard() == ['3/rush,1["rushed two tea"]', '3/rush,2["hurried"]', '3/rush,3["later"]']
        assert "hurry" not in io.of("/orders").handlers

    run(main)


def test_the_namespaces_own_methods_are_no_handlers() -> None:
    assert telex.Namespace("/x").handlers == {}
    assert "any" not in Orders("/x", "").handlers


def test_on_connection_is_on_connect() -> None:
    class Main(telex.Namespace):
        def on_connection(self, socket: telex.Socket) -> None: ...

    assert set(Main().handlers) == {"connect"}


def test_a_class_with_a_wrong_handler_is_refused_when_an_object_is_made() -> None:
    class Wrong(telex.Namespace):
        def on_connect(self, sid: str, environ: dict[str, Any], auth: Any) -> None: ...

    with pytest.raises(TypeError, match="'connect' takes 2 arguments after the socket, but gets 1"):
        Wrong("/x")

    class Reserved(telex.Namespace):
        def on_connect_error(self, socket: telex.Socket) -> None: ...

    with pytest.raises(ValueError, match="reserved"):
        Reserved("/x")
