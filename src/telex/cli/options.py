"""The options that all clients of the command line have, and what becomes of them.

Rule of this module: arguments in, values out; the files that arguments name are read here.
"""

from __future__ import annotations

import argparse
import math
import ssl
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from telex.cli.failures import WrongUsage
from telex.cli.pipes import MAX_BYTES
from telex.cli.values import decode

__all__ = [
    "add_connection_options",
    "connection_options",
    "read_file",
    "read_json",
    "read_pair",
    "seconds",
    "whole_number",
]

TIMEOUT = 20.0
"""Seconds that a server has: the original client's `timeout`."""

T = TypeVar("T")


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Add how to get to a server."""
    group = parser.add_argument_group("connection")
    group.add_argument(
        "-H",
        "--header",
        dest="headers",
        metavar="'NAME: VALUE'",
        action="extend",
        type=argument(read_headers),
        default=[],
        help="send a header field; @FILE has one on each line; may be repeated",
    )
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=argument(seconds),
        default=TIMEOUT,
        help="how long the server may take to answer (default: %(default)g)",
    )
    group.add_argument(
        "--proxy",
        metavar="URL",
        help="go through a proxy (http, https, socks4, socks5, socks5h); "
        "'none' for none (default: what the environment says)",
    )
    group.add_argument("--insecure", action="store_true", help="take any certificate: anybody may listen in between")
    group.add_argument("--cacert", metavar="FILE", help="certificates to trust instead of the system's")


def connection_options(options: argparse.Namespace, *, is_secure: bool) -> dict[str, Any]:
    """Return the arguments of `connect` for what was chosen. Raises `WrongUsage`."""
    return {
        "headers": options.headers,
        "proxy": True if options.proxy is None else None if options.proxy == "none" else options.proxy,
        "ssl": make_context(options.cacert, is_insecure=options.insecure) if is_secure else None,
    }


def make_context(cacert: str | None, *, is_insecure: bool) -> ssl.SSLContext | None:
    """Return what TLS is to be trusted; None for the default. Raises `WrongUsage`."""
    if not is_insecure and cacert is None:
        return None
    try:
        context = ssl.create_default_context(cafile=cacert)
    except OSError as error:  # of which SSLError is one
        raise WrongUsage(f"{cacert} has no certificates: {error.strerror or error}") from None
    if is_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def argument(convert: Callable[[str], T]) -> Callable[[str], T]:
    """Return what argparse converts an argument with, so that the sentence of a `ValueError` is what it prints."""

    def converted(text: str) -> T:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted


def seconds(text: str) -> float:
    """Return a duration; `inf` is one."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise ValueError(f"{text} is no number of seconds")
    return value


def whole_number(text: str) -> int:
    """Return a number of things, 1 at least."""
    if not text.isdecimal() or not int(text):
        raise ValueError(f"{text} is no number of things")
    return int(text)


def read_file(path: str) -> bytes:
    """Return a file's bytes. Raises `ValueError` with a sentence, also for one of more than `MAX_BYTES`."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # the latter for a path with a NUL in it
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path} is larger than {MAX_BYTES:,} bytes")
    return data


def read_text(path: str) -> str:
    """Return a file's text. Raises `ValueError` as `read_file` does."""
    try:
        return read_file(path).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None


def read_headers(text: str) -> Sequence[tuple[str, str]]:
    """Return the header fields that an argument stands for: one, or those of a file. Raises `ValueError`."""
    if not text.startswith("@"):
        return [_header(text)]
    return [_header(line) for line in read_text(text[1:]).splitlines() if line.strip()]


def read_json(text: str) -> Any:
    """Return the value that an argument stands for: JSON, or a file of it. Raises `ValueError`."""
    return decode(read_text(text[1:]) if text.startswith("@") else text)


def read_pair(text: str) -> tuple[str, str]:
    """Return what `NAME=VALUE` stands for. Raises `ValueError`."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"a field of the query is name=value, not {text!r}")
    return name, value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"a header field is 'Name: value', not {text!r}")
    return name.strip(), value.strip()
