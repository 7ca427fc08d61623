"""The long way of an event that comes.

Rule of this module: the order of things, and nothing of how each is done. An event is counted first; then everything
that catches all events sees it, a namespace's before the socket's own; then the middlewares, in the same order; then
the handler of the namespace, and the socket's own. The first of these acknowledges.

An event that must wait for anything, be it its turn or a middleware, goes this way as one call of the socket's inbox,
so that those behind it stay behind it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from telex.errors import EventRefused
from telex.socketio.events import CONNECTED
from telex.socketio.handlers import Handler, Inbox, Job, is_being_cancelled
from telex.socketio.listeners import Listeners
from telex.socketio.rates import Meter, RateLimit

if TYPE_CHECKING:
    from telex.socketio.socket import Socket

__all__ = ["Arrival", "all_listeners", "receive"]

logger = logging.getLogger("telex.socketio")


class Arrival(msgspec.Struct):
    """Hold an event that has come.

    `args` may be changed by middlewares, `n_bytes` is what it weighs where it must wait, and `sent_id` the id that its
    client has given it, if it gives any.
    """

    event: str
    args: list[Any]
    ack_id: int | None
    n_bytes: int
    sent_id: str | None = None


def receive(socket: Socket, arrival: Arrival) -> None:
    """Take an event of a client that is connected."""
    is_free = socket.is_direct_in and arrival.event not in socket.nsp.listeners.particular
    if not is_free and not pass_at_once(socket, arrival):
        return
    for job in catch_all_jobs(socket, arrival):
        socket.submit(job)
    for job in handler_jobs(socket, arrival):
        socket.submit(job)


def pass_at_once(socket: Socket, arrival: Arrival) -> bool:
    """Count an event that something may stand in the way of; `False` if it ends here, or goes the way by itself."""
    if not socket.connection.may_send_event():
        socket.nsp.throttled.closed += 1
        return False
    limits = find_limits(socket, arrival.event)
    if not is_within(socket, arrival.event, limits):
        return False
    delays = [limit for limit in limits if limit.policy == "delay"]
    if not delays and not any(listeners.event_middlewares for listeners in all_listeners(socket)):
        return True
    socket.submit(Job(PASSAGE, (socket, arrival, delays), None, arrival.n_bytes, is_event=True))
    return False


async def pass_through(socket: Socket, arrival: Arrival, delays: Sequence[RateLimit]) -> None:
    """Go all the way as one call of the socket's inbox."""
    inbox = socket.inbox
    arrival.n_bytes = 0  # it does not wait any more
    await hold_up(socket, inbox, delays)
    for job in catch_all_jobs(socket, arrival):
        await inbox.run(job)
    if await run_middlewares(socket, inbox, arrival):
        for job in handler_jobs(socket, arrival):
            await inbox.run(job)


PASSAGE = Handler(pass_through, "the middlewares of events", 0, None, is_async=True)


def all_listeners(socket: Socket) -> tuple[Listeners, ...]:
    """Return what is registered on the namespace, then on the socket."""
    own = socket.listeners
    return (socket.nsp.listeners,) if own is None else (socket.nsp.listeners, own)


# Rates.


def find_limits(socket: Socket, event: str) -> list[RateLimit]:
    """Return each rate limit that an event falls under: the namespace's, and those of its handlers."""
    found = [] if socket.nsp.rate_limit is None else [socket.nsp.rate_limit]
    for listeners in all_listeners(socket):
        handler = listeners.particular.get(event)
        if handler is not None and handler.rate_limit is not None and handler.rate_limit not in found:
            found.append(handler.rate_limit)
    return found


def is_within(socket: Socket, event: str, limits: Sequence[RateLimit]) -> bool:
    """Count an event where it cannot be put off; what is too much is dropped, or closes the connection."""
    if not limits:
        return True
    meter, now = socket.meter, asyncio.get_running_loop().time()
    for limit in limits:
        if limit.policy == "delay" or meter.take(limit, now):
            continue
        if limit.policy == "close":
            socket.nsp.throttled.closed += 1
            socket.connection.expel(f"more than {limit.rate:g} events per second: {event!r}")
        else:
            count_dropped(socket, meter, event)
        return False
    return True


def count_dropped(socket: Socket, meter: Meter, event: str) -> None:
    """Count an event that is dropped; the first of a socket is logged."""
    if not meter.throttled.dropped:
        logger.info("dropped an event %r of %s, which sends too many; others will be too", event, socket.id)
    meter.throttled.dropped += 1
    socket.nsp.throttled.dropped += 1


async def hold_up(socket: Socket, inbox: Inbox, limits: Sequence[RateLimit]) -> None:
    """Count an event whose turn it is, and wait until it is due; not for a client that has left meanwhile."""
    if not limits or socket.state is not CONNECTED:
        return
    meter, now = socket.meter, asyncio.get_running_loop().time()
    seconds = max(meter.reserve(limit, now) for limit in limits)
    if seconds > 0:
        meter.throttled.delayed += 1
        socket.nsp.throttled.delayed += 1
        await inbox.hold(seconds)


# Handlers.


def catch_all_jobs(socket: Socket, arrival: Arrival) -> list[Job]:
    """Return the calls of all that catches every event."""
    return [
        Job(handler, handler.arguments(socket, (arrival.event, *arrival.args)), None, arrival.n_bytes, is_event=True)
        for listeners in all_listeners(socket)
        for handler in listeners.catch_alls
    ]


def handler_jobs(socket: Socket, arrival: Arrival) -> list[Job]:
    """Return the calls of an event's handlers: the namespace's, and the socket's own. The first acknowledges."""
    event, args = arrival.event, arrival.args
    reply = None if arrival.ack_id is None else partial(socket.reply, arrival.ack_id)
    jobs = []
    for listeners in all_listeners(socket):
        handler = listeners.find(event)
        if handler is None:
            continue
        if len(args) < handler.n_min:
            socket.nsp.log_misfit(handler, len(args))
            continue
        if handler.is_stream and reply is None:
            socket.nsp.log_unasked(handler)
            continue
        listeners.take(event)
        if handler.is_once:
            socket.listeners_changed()
        if handler.is_stream:
            handler = socket.nsp.opening(handler)
        if arrival.sent_id is not None:
            handler = socket.identify(handler, arrival.sent_id)
        given = handler.arguments(socket, args[: handler.n_max])
        jobs.append(Job(handler, given, reply, arrival.n_bytes, is_event=True))
        reply = None
    return jobs


# Middlewares.


async def run_middlewares(socket: Socket, inbox: Inbox, arrival: Arrival) -> bool:
    """Run the middlewares on an event; `False` if one of them has stopped it."""
    event, args = arrival.event, arrival.args
    middlewares = [middleware for listeners in all_listeners(socket) for middleware in listeners.event_middlewares]
    try:
        for middleware in middlewares:
            if inbox.is_shut:
                return False
            result = middleware(socket, event, args)
            if inspect.isawaitable(result):
                await result
    except asyncio.CancelledError:
        if is_being_cancelled():
            raise
        logger.warning("a middleware of the event %r cancelled itself", event)
        return False
    except Exception as error:  # whatever it is, it is not the other events' trouble
        if isinstance(error, EventRefused) and arrival.ack_id is not None:
            answer(socket, arrival.ack_id, error)
        await tell(socket, inbox, error, event, args)
        return False
    return True


def answer(socket: Socket, ack_id: int, refusal: EventRefused) -> None:
    """Acknowledge an event that was refused."""
    told: dict[str, Any] = {"message": refusal.message}
    if refusal.data is not None:
        told["data"] = refusal.data
    try:
        socket.reply(ack_id, {"error": told})
    except (TypeError, ValueError):
        logger.exception("the refusal of an event cannot be sent")


async def tell(socket: Socket, inbox: Inbox, error: Exception, event: str, args: list[Any]) -> None:
    """Hand over what a middleware has raised to whom it concerns, else to the log."""
    for listeners in reversed(all_listeners(socket)):
        handler = listeners.middleware_error
        if handler is not None:
            given = handler.arguments(socket, (error, event, args)[: handler.n_max])
            await inbox.run(Job(handler, given))
            return
    if isinstance(error, EventRefused):
        logger.info("a middleware refused an event %r of %s: %s", event, socket.id, error)
    else:
        logger.error("a middleware of the event %r failed", event, exc_info=error)
