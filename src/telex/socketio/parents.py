"""Dynamic namespaces: one parent stands for all names that it matches, and each name becomes a child of its own.

Rule of this module: which names become namespaces, and which of these go again. A client chooses the names, so what it
can make of them is bounded, and a namespace that nobody was ever let into goes with the last who asked for it.

Source: the original's `ParentNamespace` and `Server.of`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from telex.errors import AckTimeout
from telex.socketio.broadcast import BroadcastOperator, Sent
from telex.socketio.handlers import is_being_cancelled
from telex.socketio.namespace import Namespace
from telex.socketio.rates import RateLimit

if TYPE_CHECKING:
    from telex.socketio.remote import RemoteSocket
    from telex.socketio.server import Server
    from telex.socketio.socket import Socket

__all__ = ["ChildNamespace", "Match", "ParentNamespace", "Parents", "Predicate"]

logger = logging.getLogger("telex.socketio")

Predicate = Callable[[str, Mapping[str, Any]], bool | Awaitable[bool]]
"""Say whether a name is to become a namespace, for a client that asks for it with this auth."""

Match = re.Pattern[str] | Predicate
"""What tells the names that belong to a parent."""


class ParentNamespace(Namespace):
    """Stand for every namespace whose name it matches; `io.of(re.compile(...))` or `io.of(predicate)` makes one.

    What is registered here is copied to each child when the child is made, and not later. What is sent here goes to all
    children, one broadcast for each. It has no sockets of its own.
    A subclass may bring handlers as methods, as with `Namespace`: `io.register(Documents(re.compile("/doc/[0-9]+")))`.

    Args: `match` is a pattern, which must match the whole name with its leading slash, or a function called with the
    name and the client's auth, plain or a coroutine function. How long either takes is the program's affair: a client
    chooses what they are given.
    Raises `TypeError` for anything else.
    """

    def __init__(self, match: Match, *, rate_limit: RateLimit | None = None) -> None:
        check_match(match)
        super().__init__("/_", rate_limit=rate_limit)
        self.match = match
        self.children: dict[str, Namespace] = {}
        self._n_made = 0
        self._has_warned = False

    def __repr__(self) -> str:
        return f"<ParentNamespace {self.name} with {len(self.children)} children>"

    def bind(self, server: Server) -> None:
        """Make this a parent of a server's, under a name that no client can ask for."""
        super().bind(server)
        self.name = server.parents.next_name()

    async def matches(self, name: str, auth: Mapping[str, Any]) -> bool:
        """Whether a name is to become a child. A predicate that fails has not said yes, which is logged."""
        if isinstance(self.match, re.Pattern):
            return self.has_in_pattern(name)
        try:
            answer = self.match(name, auth)
            return bool(await answer if inspect.isawaitable(answer) else answer)
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            logger.warning("the predicate of the namespace %s cancelled itself", self.name)
        except Exception:
            logger.exception("the predicate of the namespace %s failed", self.name)
        return False

    def has_in_pattern(self, name: str) -> bool:
        """Whether it has a pattern that matches a name."""
        return isinstance(self.match, re.Pattern) and self.match.fullmatch(name) is not None

    def make_child(self, name: str) -> Namespace | None:
        """Make the namespace that a client has asked for; `None` at `Limits.max_child_namespaces`."""
        if self._n_made >= self.limits.max_child_namespaces:
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "clients have made %d namespaces of %s, as many as Limits.max_child_namespaces allows: "
                    "who asks for one more is refused",
                    self._n_made,
                    self.name,
                )
            return None
        child = ChildNamespace(name, self)
        self._n_made += 1
        return self.server.take_in(child, self)

    def adopt(self, namespace: Namespace) -> None:
        """Make a namespace a child, which takes over what is registered here by now."""
        namespace.inherit(self)
        self.children[namespace.name] = namespace

    def drop(self, child: ChildNamespace) -> None:
        """Let a child go that a client had made."""
        del self.children[child.name]
        del self.server.namespaces[child.name]
        self._n_made -= 1

    def server_side_emit(self, event: str, *args: Any) -> Sent:
        """Raise `RuntimeError`: other servers know the children, and no parent."""
        raise unsupported("server_side_emit")

    async def server_side_call(self, event: str, *args: Any, timeout: float = 0) -> list[Any]:
        """Raise `RuntimeError`: other servers know the children, and no parent."""
        raise unsupported("server_side_call")

    @property
    def _operator(self) -> ParentOperator:
        return ParentOperator(self)


class ChildNamespace(Namespace):
    """Be a namespace that a client has made by asking for it."""

    def __init__(self, name: str, parent: ParentNamespace) -> None:
        super().__init__(name)
        self._parent = parent
        self._ack_ids = parent._ack_ids  # its clients may answer what one of this name has asked before
        self._n_present = 0  # at the door or inside
        self._was_entered = False

    def announce(self) -> None:
        """Hear that a socket is at the door."""
        self._n_present += 1

    def add(self, socket: Socket) -> None:
        """Take in a socket."""
        self._was_entered = True
        super().add(socket)

    def remove(self, socket: Socket) -> None:
        """Let a socket go, and itself after the last if it is not to stay."""
        super().remove(socket)
        self._n_present -= 1
        self.settle()

    def settle(self) -> None:
        """Go, unless somebody is here or may come back, or it is to stay."""
        is_kept = self._was_entered and not self.server.cleanup_empty_child_namespaces
        is_awaited = self.journal is not None and self.journal.is_absent(self.name)
        if not (self._n_present or is_kept or is_awaited):
            self._parent.drop(self)


class ParentOperator(BroadcastOperator):
    """Do for all children of a parent what is asked, one after the other."""

    __slots__ = ()

    _namespace: ParentNamespace

    def _each(self) -> list[BroadcastOperator]:
        children = list(self._namespace.children.values())
        return [BroadcastOperator(child, self._rooms, self._excluded, self._flags) for child in children]

    def _emit(self, event: str, args: Sequence[Any]) -> Sent:
        self._namespace.encode_event(event, args)  # what cannot be sent is said also while there are no children
        for operator in self._each():
            operator._emit(event, args)
        return Sent()

    async def _call(self, event: str, args: Sequence[Any], timeout: float) -> list[Any]:
        self._namespace.encode_event(event, args)
        calls = [operator._call(event, args, timeout) for operator in self._each()]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        responses: list[Any] = []
        is_complete = True
        for answer in answers:
            if isinstance(answer, AckTimeout):
                is_complete = False
                responses += answer.responses
            elif isinstance(answer, BaseException):
                raise answer
            else:
                responses += answer
        if not is_complete:
            raise AckTimeout(timeout, responses)
        return responses

    async def _fetch(self) -> list[RemoteSocket]:
        raise unsupported("fetch_sockets")

    def _join(self, rooms: Sequence[str]) -> Sent:
        for operator in self._each():
            operator._join(rooms)
        return Sent()

    def _leave(self, rooms: Sequence[str]) -> Sent:
        for operator in self._each():
            operator._leave(rooms)
        return Sent()

    def _disconnect(self, close: bool) -> Sent:
        for operator in self._each():
            operator._disconnect(close)
        return Sent()


class Parents:
    """Hold a server's parent namespaces, in the order in which they are asked."""

    def __init__(self) -> None:
        self._parents: list[ParentNamespace] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._parents)

    def next_name(self) -> str:
        """Return the name of a further parent."""
        return f"/_{next(self._numbers)}"

    def get(self, match: Match) -> ParentNamespace | None:
        """Return the parent of this very pattern or function."""
        return next((parent for parent in self._parents if parent.match == match), None)

    def add(self, parent: ParentNamespace) -> None:
        """Ask one more parent, after the others."""
        self._parents.append(parent)

    async def find(self, name: str, auth: Mapping[str, Any]) -> ParentNamespace | None:
        """Return the first parent that matches the name a client asks for."""
        for parent in tuple(self._parents):
            if await parent.matches(name, auth):
                return parent
        return None

    def find_by_pattern(self, name: str) -> ParentNamespace | None:
        """Return the first parent whose pattern matches the name of a namespace that the program makes."""
        return next((parent for parent in self._parents if parent.has_in_pattern(name)), None)


def check_match(match: object) -> None:
    """Raise `TypeError` for what is neither a pattern of texts nor a function that takes a name and auth."""
    if isinstance(match, re.Pattern):
        if not isinstance(match.pattern, str):
            raise TypeError("a pattern of namespaces must be one for str, not bytes")
        return
    if not callable(match):
        raise TypeError(f"namespaces are named by a str, a compiled pattern or a function, not {type(match).__name__}")
    try:
        inspect.signature(match).bind("/name", {})
    except ValueError:  # a builtin that tells nobody its signature
        return
    except TypeError:
        raise TypeError("a predicate of namespaces is called with the name and the client's auth") from None


def unsupported(what: str) -> RuntimeError:
    """Return what is raised for that which only a child can do."""
    return RuntimeError(f"{what}() is not supported on a parent namespace: ask each of its children, `parent.children`")
