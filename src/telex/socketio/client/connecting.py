"""Connect, in one line.

Rule of this module: the way in and out of a client that a program holds for the length of a block.
"""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Any, Unpack

from telex.socketio.client.options import ClientOptions, read_options
from telex.socketio.client.socket import Client

__all__ = ["Connecting", "connect"]


def connect(url: str, *, retry: bool = False, **options: Unpack[ClientOptions]) -> Connecting:
    """Return a connected client: `async with connect(url) as socket:`, or `socket = await connect(url)`.

    Args: as for `Client`; `retry`: go on when the first attempt fails, as the client does later anyway, until one holds
    or there shall be no more.
    Raises, when awaited, `ConnectRefused` when the server's middleware refuses the client, `ConnectError` when the
    server cannot be reached; `ValueError` and `TypeError` at once for options that cannot be.
    **Cancellation** of the wait: the attempt is ended.
    """
    read_options(url, **options)
    return Connecting(url, retry, options)


class Connecting:
    """Be a client to come: enter it with `async with`, or await it. Once."""

    __slots__ = ("_client", "_options", "_retry", "_url")

    def __init__(self, url: str, retry: bool, options: ClientOptions) -> None:
        self._url = url
        self._retry = retry
        self._options = options
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._open().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._open()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _open(self) -> Client:
        client = Client(self._url, **self._options)
        client.connect()
        try:
            return await client.joined(persistent=self._retry)
        except BaseException:
            client.disconnect()
            raise
