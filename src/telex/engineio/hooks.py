"""What a program may hang into the engine: events, and middlewares that see every request.

Rule of this module: it keeps the program's functions and calls them, and decides nothing about sessions. What one of
them raises is logged and bounded in number, and nothing of it reaches a client.

Events are for watching, and for headers: their functions are plain and called at once. Middlewares decide, and may
wait. An engine in which nothing hangs pays a look at an empty list.

Source: the original's `engine.on(...)` and `engine.use(...)`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

from telex.engineio.handshake import RefusedRequest, Request, Response
from telex.engineio.hints import Hint
from telex.logs import SparingLog
from telex.types import Headers
from telex.websocket.heads import TOKEN

if TYPE_CHECKING:
    from telex.engineio.session import Session

__all__ = [
    "ConnectionErrorHook",
    "ConnectionHook",
    "HeadersHook",
    "HookFailed",
    "Hooks",
    "Middleware",
    "is_header_text",
]

HeadersHook = Callable[[Headers, Request], None]
"""Change the headers of an answer in place."""

ConnectionHook = Callable[["Session", Request], None]
"""Hear of a new session."""

ConnectionErrorHook = Callable[[RefusedRequest], None]
"""Hear of a refused request."""

Middleware = Callable[[Request], Awaitable[Response | None] | Response | None]
"""See a request: `None` lets it go on, a `Response` answers it."""

AnyHeadersHook = TypeVar("AnyHeadersHook", bound=HeadersHook)
AnyConnectionHook = TypeVar("AnyConnectionHook", bound=ConnectionHook)
AnyConnectionErrorHook = TypeVar("AnyConnectionErrorHook", bound=ConnectionErrorHook)
AnyMiddleware = TypeVar("AnyMiddleware", bound=Middleware)
HeadersEvent = Literal["initial_headers", "headers"]

HEADER_TEXT = re.compile(r"[\t -~\x80-\xff]*")

STATUSES = range(200, 600)
"""Of final answers (RFC 9110 §15)."""

logger = logging.getLogger("telex.engineio")


class HookFailed(Exception):  # carried to the one place that refuses the request
    """Say that a function of the program failed; it is logged already."""


class Hooks:
    """Hold what hangs in an engine."""

    def __init__(self) -> None:
        self.sparing = SparingLog(logger)
        self._hooks: dict[str, list[Callable[..., Any]]] = {
            "initial_headers": [],
            "headers": [],
            "connection": [],
            "connection_error": [],
        }
        self._middlewares: list[Middleware] = []

    # What a program does.

    @overload
    def on(self, event: HeadersEvent, /) -> Callable[[AnyHeadersHook], AnyHeadersHook]: ...
    @overload
    def on(self, event: Literal["connection"], /) -> Callable[[AnyConnectionHook], AnyConnectionHook]: ...
    @overload
    def on(
        self, event: Literal["connection_error"], /
    ) -> Callable[[AnyConnectionErrorHook], AnyConnectionErrorHook]: ...
    @overload
    def on(self, event: HeadersEvent, function: AnyHeadersHook, /) -> AnyHeadersHook: ...
    @overload
    def on(self, event: Literal["connection"], function: AnyConnectionHook, /) -> AnyConnectionHook: ...
    @overload
    def on(self, event: Literal["connection_error"], function: AnyConnectionErrorHook, /) -> AnyConnectionErrorHook: ...
    def on(self, event: str, function: Callable[..., Any] | None = None, /) -> Any:
        """Register a plain function for an event. Use it as a decorator, or with the function.

        | event | called with | when |
        |---|---|---|
        | "initial_headers" | headers, request | the answer that opens a session is about to leave |
        | "headers" | headers, request | any answer is, that one and refusals too; after "initial_headers" |
        | "connection" | session, request | a session was opened |
        | "connection_error" | a `RefusedRequest` | a request was refused |

        `headers` is a `telex.Headers` to be changed in place; names and values that HTTP cannot carry are left out,
        with a line in the log. Several functions of one event are called in the order in which they were registered;
        what they raise is logged.
        Raises `ValueError` for another event, `TypeError` for what is no plain function: nothing waits for it.
        """
        if event not in self._hooks:
            raise ValueError(f"the engine has the events {', '.join(self._hooks)}, and not {event!r}")

        def register(found: Callable[..., Any]) -> Callable[..., Any]:
            if not callable(found) or inspect.iscoroutinefunction(found):
                raise TypeError(f"the function for {event!r} must be a plain function: nothing waits for it")
            self._hooks[event].append(found)
            return found

        return register if function is None else register(function)

    def use(self, middleware: AnyMiddleware, /) -> AnyMiddleware:
        """Register a function that sees every request of every transport before anything is looked at.

        Polls, posts and WebSocket upgrade requests alike; only the browser's own question, a CORS preflight, is
        answered before. It is called with the `telex.Request`, whose `scope` is the ASGI scope, and may be a coroutine
        function. `None` lets the request go on, to the next middleware and then to the engine; a `telex.Response`
        answers it. A request whose middleware raises is refused with code 3, "Bad request".
        Raises `TypeError` for what cannot be called.
        """
        if not callable(middleware):
            raise TypeError(f"a middleware must be callable, not {type(middleware).__name__}")
        self._middlewares.append(middleware)
        return middleware

    # What the engine does.

    @property
    def has_hooks(self) -> bool:
        """Whether anything is registered here."""
        return bool(self._middlewares) or any(self._hooks.values())

    async def run_middlewares(self, request: Request) -> Response | None:
        """Return the answer of the first middleware that gives one. Raises `HookFailed`."""
        for middleware in self._middlewares:
            response = await self.ask(middleware, request, Hint.MIDDLEWARE_FAILED)
            if response is not None:
                return self._copy(response)
        return None

    def _copy(self, response: object) -> Response:
        """Return an answer of the program's that is ours to complete: it may be one that is given again and again."""
        if not isinstance(response, Response):
            self.fail(Hint.MIDDLEWARE_FAILED, TypeError(f"it returned no Response but {type(response).__name__}"))
        is_sound = response.status in STATUSES and all(is_header(*item) for item in response.headers)
        if not is_sound or not isinstance(response.body, bytes):
            self.fail(Hint.MIDDLEWARE_FAILED, ValueError("it returned a Response that HTTP cannot carry"))
        return Response(response.status, list(response.headers), response.body)

    async def ask(self, function: Callable[[Request], Any], request: Request, hint: Hint) -> Any:
        """Call a function of the program, plain or not, and return what it says. Raises `HookFailed`."""
        try:
            result = function(request)
            if inspect.isawaitable(result):
                result = await result
        except Exception as error:
            self.fail(hint, error)
        return result

    def fail(self, hint: Hint, error: Exception) -> NoReturn:
        """Log what a function of the program raised. Raises `HookFailed`."""
        self.log(logging.ERROR, hint.text, hint.text, error=error)
        raise HookFailed from error

    def log(self, level: int, kind: str, text: str, *args: Any, error: BaseException | None = None) -> None:
        """Write a line of a kind, unless there were too many of late."""
        self.sparing.log(level, kind, asyncio.get_running_loop().time(), text, *args, error=error)

    def change_headers(self, headers: list[tuple[str, str]], request: Request, *, is_initial: bool) -> None:
        """Let the program change an answer's headers, in place."""
        names = ("initial_headers", "headers") if is_initial else ("headers",)
        hooks = [hook for name in names for hook in self._hooks[name]]
        if not hooks:
            return
        changed = Headers(headers)
        for hook in hooks:
            self._call(hook, changed, request)
        headers[:] = [item for item in changed if is_header(*item)]
        if len(headers) != len(changed):
            self.log(logging.ERROR, "headers", "a function for 'headers' set what no HTTP header can hold; left out")

    def tell_connection(self, session: Session, unpack: Callable[[], Request]) -> None:
        """Tell of a new session."""
        hooks = self._hooks["connection"]
        if hooks:
            request = unpack()
            for hook in hooks:
                self._call(hook, session, request)

    def tell_connection_error(self, make: Callable[[], RefusedRequest]) -> None:
        """Tell of a refused request."""
        hooks = self._hooks["connection_error"]
        if hooks:
            refused = make()
            for hook in hooks:
                self._call(hook, refused)

    def _call(self, hook: Callable[..., Any], *args: Any) -> None:
        try:
            hook(*args)
        except Exception as error:
            self.log(logging.ERROR, "hook", "a function that was registered with engine.on failed", error=error)


def is_header(name: object, value: object) -> bool:
    """Whether HTTP can carry a header (RFC 9110 §5)."""
    return (
        isinstance(name, str) and isinstance(value, str) and TOKEN.fullmatch(name) is not None and is_header_text(value)
    )


def is_header_text(text: str) -> bool:
    """Whether a header's value holds only what RFC 9110 §5.5 allows."""
    return HEADER_TEXT.fullmatch(text) is not None
