"""The JavaScript client's files, served beside the server.

Rule of this module: eight names and nothing else, so there is no path to be walked. The files are read, and compressed,
once, when the server is made: what is served later is memory, and a request costs no file access and no compression.

Source: the original's `serveClient`. An ETag is a digest of the content, with a word for the compressed form (RFC 9110
§8.8.3: another coding is another representation).
"""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from telex.engineio import Cors, Request, Response
from telex.engineio.compression import choose_coding

__all__ = ["NAMES", "ClientFiles"]

SCRIPTS = ("socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js")
NAMES = frozenset([*SCRIPTS, *[f"{name}.map" for name in SCRIPTS]])
"""What is served, as far as the folder has it."""

MAX_FILE_BYTES = 4 * 1024 * 1024
"""The largest is 300 KiB today; it is all kept in memory, twice."""

CACHE = ("cache-control", "public, max-age=0")


class _File(NamedTuple):
    kind: str
    digest: str
    plain: bytes
    compressed: bytes


class ClientFiles:
    """Answer requests for the client's files.

    Args: `folder` holds them, such as `node_modules/socket.io-client/dist`; `cors` says who may read the answers.
    Raises `ValueError` for a folder without any of the names, or with a file that is too large for one of them;
    `TypeError` for what is no path; `OSError` for what cannot be read.
    """

    def __init__(self, folder: str | os.PathLike[str], cors: Cors) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise TypeError(f"serve_client is the folder with the client's files, not {folder!r}")
        self._cors = cors
        self._files: dict[str, _File] = {}
        for name in sorted(NAMES):
            path = Path(folder, name)
            if path.is_file():
                self._files[name] = read(path)
        if not self._files:
            raise ValueError(f"serve_client: there is no {SCRIPTS[0]} in {os.fspath(folder)}, nor any of the others")

    def answer(self, name: str, request: Request) -> Response | None:
        """Answer a request for a file; None where there is none of that name."""
        file = self._files.get(name)
        if file is None:
            return None
        preflight = self._cors.preflight(request)
        if preflight is not None:
            return preflight
        headers = self._cors.headers(request)
        if request.method not in ("GET", "HEAD"):
            return Response(405, [*headers, ("allow", "GET, HEAD")])
        is_compressed = choose_coding(request.headers.get("accept-encoding", "")) == "gzip"
        tags = [f'"{file.digest}"', f'"{file.digest}-gzip"']
        headers += [CACHE, ("etag", tags[is_compressed]), ("vary", "Accept-Encoding")]
        if matches(request.headers.get("if-none-match", ""), tags):
            return Response(304, headers)
        headers.append(("content-type", file.kind))
        if is_compressed:
            headers.append(("content-encoding", "gzip"))
        return Response(200, headers, file.compressed if is_compressed else file.plain)


def read(path: Path) -> _File:
    """Read one file, within its bound."""
    with path.open("rb") as file:
        plain = file.read(MAX_FILE_BYTES + 1)
    if len(plain) > MAX_FILE_BYTES:
        raise ValueError(f"serve_client: {path} is larger than {MAX_FILE_BYTES} bytes, and no file of the client's")
    kind = "application/json" if path.suffix == ".map" else "application/javascript"
    digest = hashlib.sha256(plain).hexdigest()[:32]
    return _File(f"{kind}; charset=utf-8", digest, plain, gzip.compress(plain, mtime=0))


def matches(if_none_match: str, tags: list[str]) -> bool:
    """Whether the client has what would be sent, compared weakly (RFC 9110 §13.1.2).

    A tag in either coding stands for the same content.
    """
    given = [tag.strip(" \t").removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in given or not set(tags).isdisjoint(given)
