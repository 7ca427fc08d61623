"""The chat's files, as a tiny ASGI application.

What can be asked for stands in one table, filled when the program starts: no path of a request ever becomes the path
of a file.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# The page may load what this server has and pictures that it made itself, and may talk to this server; nothing else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"cache-control", b"no-cache"),
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class Pages:
    """Serve a fixed table of files: the path of a URL, and the file that is there."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._pages = {path: (TYPES[file.suffix].encode(), file.read_bytes()) for path, file in files.items()}

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            raise ValueError(f"there is no {scope['type']} here")
        status, extra = 200, []
        kind, body = self._pages.get(scope["path"], (b"", b""))
        if scope["method"] not in ("GET", "HEAD"):
            status, kind, body, extra = 405, b"text/plain", b"This can only be read.\n", [(b"allow", b"GET, HEAD")]
        elif not kind:
            status, kind, body = 404, b"text/plain", b"There is nothing here. The chat is at /\n"
        headers = [*HEADERS, *extra, (b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
