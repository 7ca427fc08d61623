"""What the tests of the engine's hooks talk to: it hands out the client, says the first word and refuses some."""

from __future__ import annotations

from pathlib import Path

import telex

DIST = Path(__file__).parents[3] / "node_modules/socket.io-client/dist"


def own_id(request: telex.Request) -> str:
    """Name a session as its client asks, for the test to recognise it."""
    return request.query["name"]


io = telex.Server(
    serve_client=DIST,
    generate_id=own_id,
    initial_packet='2["welcome",1]',
    cors_allowed_origins="https://friend.example",
)


@io.engine.use
async def only_guests(request: telex.Request) -> telex.Response | None:
    """Let in who is a guest; the files and sessions of others are their own affair."""
    if request.query.get("guest") == "no":
        return telex.Response(401, [("content-type", "text/plain")], b"who are you?")
    return None


@io.engine.on("initial_headers")
def greet(headers: telex.Headers, request: telex.Request) -> None:
    """Tell who is served, in a header."""
    headers.set("x-served", request.query["name"])
