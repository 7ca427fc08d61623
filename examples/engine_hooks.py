"""A server that knows its clients before they are clients: by a token, with a header on every answer."""

import logging

import telex

TOKENS = {"secret": "ann"}
log = logging.getLogger(__name__)

io = telex.Server(initial_packet='2["welcome"]')


@io.engine.use
async def only_known(request: telex.Request) -> telex.Response | None:
    if request.query.get("token") in TOKENS or "sid" in request.query:
        return None
    return telex.Response(401, [("content-type", "text/plain")], b"Who are you?")


@io.engine.on("headers")
def every_answer(headers: telex.Headers, request: telex.Request) -> None:
    headers.set("strict-transport-security", "max-age=31536000")


@io.engine.on("connection_error")
def refused(error: telex.RefusedRequest) -> None:
    log.info("%s refused: %s %s", error.request.remote_address, error.message, error.context)
