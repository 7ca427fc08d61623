"""How a command ends when it does not succeed, and the one sentence that says why.

Rule of this module: exceptions in, text out.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator

from telex.cli.values import encode, escape
from telex.errors import ConnectError, ConnectionClosed, ConnectRefused, InvalidStatus

__all__ = ["Failure", "Interrupted", "OutputClosed", "WrongUsage", "describe"]

MAX_SENTENCE = 500
"""Characters of what a server says that fit into a sentence."""


class Failure(Exception):
    """End the command with status 1; the text is the sentence."""

    status = 1


class WrongUsage(Failure):
    """End the command with status 2: what it was told cannot be."""

    status = 2


class Interrupted(Exception):
    """End the command with status 130: Ctrl-C was typed."""


class OutputClosed(Exception):
    """End the command quietly: nobody reads what it prints, as behind `| head`."""


def describe(error: BaseException, timeout: float | None = None) -> str:
    """Return one sentence about what went wrong, safe for a terminal; `timeout` is what the program would wait."""
    if isinstance(error, ConnectError) and error.__cause__ is not None:
        return f"could not connect to {escape(error.url)}: {describe(error.__cause__, timeout)}"
    causes = list(_causes(error))
    sentence = next((text for cause in reversed(causes) if (text := _known(cause, timeout))), "")
    if not sentence:
        told = next((str(cause) for cause in reversed(causes) if str(cause)), type(error).__name__)
        sentence = told if not isinstance(error, OSError) or error.strerror is None else error.strerror
    line = " ".join(escape(sentence).split())
    return line if len(line) <= MAX_SENTENCE else line[:MAX_SENTENCE] + "..."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, and of several that were tried at once the first."""
    while error is not None:
        yield error
        error = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__


def _known(error: BaseException, timeout: float | None) -> str:  # noqa: PLR0911  # a table with conditions
    match error:
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not trusted: {error.verify_message} (--insecure takes any)"
        case ssl.SSLError():
            return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
        case socket.gaierror():
            return f"the host is not known: {error.strerror}"
        case ConnectRefused():
            data = "" if error.data is None else f" {encode(error.data)}"
            return f"the server refused: {error.message}{data}"
        case InvalidStatus():
            return f"the server answered {error.status} {_say(error.body) or error.reason}"
        case ConnectionClosed():
            return f"the server closed the connection: {error.code} {error.reason}".rstrip()
        case ConnectionRefusedError():
            return "nobody listens there: the connection was refused"
        case ConnectionResetError():
            return "the connection was reset"
        case TimeoutError():
            waited = "in time" if timeout is None else f"within {timeout:g} s"
            return str(error) or f"no answer {waited}"
    return ""


def _say(body: bytes) -> str:
    """Return what the body of an HTTP answer says, where it is text or JSON with a message."""
    text = body.decode(errors="replace").strip()
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return "" if text.startswith("<") else text
    if isinstance(said, dict):
        return ". ".join(str(said[key]) for key in ("message", "hint") if said.get(key))
    return text
