"""The JavaScript client's files, as a browser asks for them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import telex
from telex.socketio.clientfiles import MAX_FILE_BYTES, NAMES
from tests.engineio.web import Answer, run, serve

DIST = Path(__file__).parents[2] / "node_modules/socket.io-client/dist"
FRIEND = ("Origin", "https://friend.example")


def make_server(**options: Any) -> telex.Server:
    return telex.Server(serve_client=DIST, **options)


def check(answer: Answer, name: str) -> str:
    """See that a file came whole, and return its tag."""
    kind = "json" if name.endswith(".map") else "javascript"
    assert answer.status == 200
    assert answer.header("content-type") == f"application/{kind}; charset=utf-8"
    assert answer.header("cache-control") == "public, max-age=0"
    coding = answer.header("content-encoding")
    body = gzip.decompress(answer.body) if coding == "gzip" else answer.body
    assert body == (DIST / name).read_bytes()
    assert "Accept-Encoding" in answer.all("vary")
    return answer.header("etag") or ""


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("accept", ["", "gzip, deflate, br", "identity", "gzip;q=0"])
def test_the_eight_files(name: str, accept: str) -> None:
    async def main() -> None:
        async with serve(make_server()) as site:
            answer = await site.request("GET", f"/socket.io/{name}", None, [("Accept-Encoding", accept)])
            tag = check(answer, name)
            is_compressed = accept.startswith("gzip,")
            assert (answer.header("content-encoding") == "gzip") is is_compressed
            assert tag.endswith('-gzip"') is is_compressed
            head = await site.request("HEAD", f"/socket.io/{name}?v=1", None, [("Accept-Encoding", accept)])
            assert (head.status, head.body, head.header("etag")) == (200, b"", tag)

    run(main())


@pytest.mark.parametrize("form", ["{}", "W/{}", '"old", {}', 'W/"old" , W/{} ', "*"])
def test_what_a_browser_has_is_not_sent_again(form: str) -> None:
    async def main() -> None:
        async with serve(make_server()) as site:
            for coding in ("gzip", "identity"):
                accepted = ("Accept-Encoding", coding)
                tag = check(await site.request("GET", "/socket.io/socket.io.js", None, [accepted]), "socket.io.js")
                again = await site.request(
                    "GET", "/socket.io/socket.io.js", None, [accepted, ("If-None-Match", form.format(tag))]
                )
                assert (again.status, again.body, again.header("etag")) == (304, b"", tag)
                assert again.header("cache-control") == "public, max-age=0"
                assert again.header("content-length") is again.header("content-encoding") is None
            other = await site.request("GET", "/socket.io/socket.io.js", None, [("If-None-Match", '"other"')])
            check(other, "socket.io.js")

    run(main())


@pytest.mark.parametrize(
    "path",
    [
        "/socket.io/socket.io.slim.js",
        "/socket.io/",
        "/socket.io/../package.json",
        "/socket.io/%2e%2e/package.json",
        "/socket.io/..%2fpackage.json",
        "/socket.io/socket.io.js/",
        "/socket.io/socket.io.js/socket.io.js",
        "/socket.io//socket.io.js/../socket.io.js",
        "/socket.io.js",
        "/socket.io/SOCKET.IO.JS",
        "/socket.io/socket.io.js%00",
        "/other/socket.io.js",
    ],
)
def test_nothing_but_these_names(path: str) -> None:
    async def main() -> None:
        async with serve(make_server()) as site:
            answer = await site.request("GET", path)
            assert answer.status == (400 if path == "/socket.io/" else 404)
            assert answer.header("etag") is None

    run(main())


def test_only_what_the_folder_has(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "socket.io.js").write_text("script")
        (tmp_path / "socket.io.min.js").mkdir()
        (tmp_path / "secret.js").write_text("secret")
        async with serve(telex.Server(serve_client=str(tmp_path))) as site:
            (tmp_path / "socket.io.js").write_text("changed")
            assert (await site.request("GET", "/socket.io/socket.io.js")).text == "script", "read when it was made"
            for name in ("socket.io.min.js", "socket.io.esm.min.js", "secret.js"):
                assert (await site.request("GET", f"/socket.io/{name}")).status == 404

    run(main())


def test_off_by_default() -> None:
    async def main() -> None:
        async with serve(telex.Server()) as site:
            assert (await site.request("GET", "/socket.io/socket.io.js")).status == 404

    run(main())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods(method: str) -> None:
    async def main() -> None:
        async with serve(make_server()) as site:
            answer = await site.request(method, "/socket.io/socket.io.js")
            assert (answer.status, answer.header("allow"), answer.body) == (405, "GET, HEAD", b"")

    run(main())


def test_pages_of_friends_may_read_them() -> None:
    async def main() -> None:
        async with serve(make_server(cors_allowed_origins="https://friend.example")) as site:
            answer = await site.request("GET", "/socket.io/socket.io.js", None, [FRIEND])
            check(answer, "socket.io.js")
            assert answer.header("access-control-allow-origin") == FRIEND[1]
            preflight = await site.request("OPTIONS", "/socket.io/socket.io.js", None, [FRIEND])
            assert (preflight.status, preflight.header("access-control-allow-origin")) == (204, FRIEND[1])
            stranger = await site.request("GET", "/socket.io/socket.io.js", None, [("Origin", "https://evil.example")])
            check(stranger, "socket.io.js")  # a script may be used anywhere, and read where that was allowed
            assert stranger.header("access-control-allow-origin") is None

    run(main())


@pytest.mark.parametrize(
    ("build", "root_path", "path"),
    [
        (lambda io: io.wrap(other_app()), "", "/socket.io/socket.io.js"),
        (lambda io: io.wrap(other_app()), "/api", "/socket.io/socket.io.js"),
        (lambda io: mounted(io, "/live"), "", "/live/socket.io.js"),
        (lambda io: mounted(io, "/live"), "", "/live/socket.io/socket.io.js"),
    ],
)
def test_they_lie_where_the_server_is(build: Any, root_path: str, path: str) -> None:
    async def main() -> None:
        async with serve(build(make_server()), root_path=root_path) as site:
            check(await site.request("GET", path), "socket.io.js")
            assert (await site.request("GET", "/hello")).text == "hello"
            assert (await site.request("GET", "/socket.io.js")).status == 404

    run(main())


def other_app() -> Starlette:
    return Starlette(routes=[Route("/hello", lambda request: PlainTextResponse("hello"))])


def mounted(io: telex.Server, path: str) -> Starlette:
    app = other_app()
    app.mount(path, io)
    return app


def test_folders_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no socket\.io\.js"):
        telex.Server(serve_client=tmp_path)
    with pytest.raises(ValueError, match="there is no"):
        telex.Server(serve_client=tmp_path / "missing")
    for flag in (True, False, 1):
        with pytest.raises(TypeError, match="is the folder with the client's files"):
            telex.Server(serve_client=flag)  # type: ignore[arg-type]
    with (tmp_path / "socket.io.js").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ValueError, match="larger than"):
        telex.Server(serve_client=tmp_path)
