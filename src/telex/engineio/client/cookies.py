"""Keep the cookies that a server sets, and send them back: what a browser does for polls and WebSockets.

Rule of this module: sans-I/O. Time comes in as seconds of the calendar's clock, for that is what cookies name. A cookie
that cannot be is dropped without a word, as the RFC has it; the jar is bounded, and gives up the oldest.

Source: RFC 6455 §4.1, that a client may send them; RFC 6265 §5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from telex.websocket.handshake import Url
from telex.websocket.heads import CONTROL

__all__ = ["CookieJar"]

MAX_COOKIES = 50
"""Cookies of one jar: what RFC 6265 §6.1 asks of a browser for one domain; a jar has one server's."""

MAX_COOKIE_BYTES = 4096
"""Name, value and attributes of one: the same section."""

MAX_AGE = re.compile(r"-?[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Cookie:
    """Be a cookie that was kept. `expires` is None for one that lasts as long as the jar."""

    name: str
    value: str
    domain: str
    path: str
    is_host_only: bool
    is_secure: bool
    expires: float | None

    def belongs(self, where: Url, path: str, now: float) -> bool:
        """Whether it goes with a request (RFC 6265 §5.4)."""
        return (
            (self.expires is None or self.expires > now)
            and (where.is_secure or not self.is_secure)
            and (where.host == self.domain if self.is_host_only else _is_within(where.host, self.domain))
            and _is_under(path, self.path)
        )


class CookieJar:
    """Keep cookies, of one server and those it redirects to.

    **Limits**: `MAX_COOKIES`, `MAX_COOKIE_BYTES`.
    """

    __slots__ = ("_cookies",)

    def __init__(self) -> None:
        self._cookies: dict[tuple[str, str, str], Cookie] = {}  # by name, domain and path; the oldest first

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._cookies)

    def take(self, where: Url, lines: Iterable[str], now: float) -> None:
        """Keep what the answer of a server sets.

        Args:
            where: What was asked for.
            lines: The values of `Set-Cookie`.
            now: Seconds since 1970.
        """
        for line in lines:
            cookie = _parse(where, line, now)
            if cookie is None:
                continue
            key = (cookie.name, cookie.domain, cookie.path)
            if cookie.expires is not None and cookie.expires <= now:
                self._cookies.pop(key, None)
                continue
            self._cookies[key] = cookie  # where it was, if it was there
            if len(self._cookies) > MAX_COOKIES:
                del self._cookies[next(iter(self._cookies))]

    def header(self, where: Url, now: float) -> str | None:
        """Return the value of `Cookie` for a request; None where there is nothing to send."""
        path = where.target.partition("?")[0]
        found = [cookie for cookie in self._cookies.values() if cookie.belongs(where, path, now)]
        found.sort(key=lambda cookie: -len(cookie.path))  # longer paths first (RFC 6265 §5.4)
        return "; ".join([f"{cookie.name}={cookie.value}" for cookie in found]) or None


def _parse(where: Url, line: str, now: float) -> Cookie | None:
    """Read one line (RFC 6265 §5.2, §5.3); None for one that is to be ignored."""
    if len(line) > MAX_COOKIE_BYTES or CONTROL.search(line.replace("\t", " ")):
        return None
    pair, *attributes = line.split(";")
    name, equals, value = pair.partition("=")
    name, value = name.strip(" \t"), value.strip(" \t")
    if not equals or not name:
        return None
    said = _attributes(attributes)
    domain, is_host_only = where.host, True
    asked = said.get("domain", "").removeprefix(".").lower()
    if asked and asked != where.host:
        if "." not in asked or not _is_within(where.host, asked):
            return None  # another's, or a whole top-level domain's
        domain, is_host_only = asked, False
    path = said.get("path", "")
    is_secure = "secure" in said
    if is_secure and not where.is_secure:
        return None  # it could not be sent back, and may stand in the way of one that can (RFC 6265bis §5.7)
    return Cookie(
        name=name,
        value=value,
        domain=domain,
        path=path if path.startswith("/") else _default_path(where),
        is_host_only=is_host_only,
        is_secure=is_secure,
        expires=_expires(said, now),
    )


def _attributes(attributes: Iterable[str]) -> dict[str, str]:
    """Return the attributes by lower-case name; of several the last."""
    said: dict[str, str] = {}
    for attribute in attributes:
        name, _, value = attribute.partition("=")
        said[name.strip(" \t").lower()] = value.strip(" \t")
    return said


def _expires(said: dict[str, str], now: float) -> float | None:
    """Return when a cookie ends; `Max-Age` comes before `Expires`."""
    if MAX_AGE.fullmatch(said.get("max-age", "")):
        return now + int(said["max-age"])
    if "expires" in said:
        try:
            return parsedate_to_datetime(said["expires"].replace("-", " ")).timestamp()
        except (ValueError, OverflowError):
            return None
    return None


def _default_path(where: Url) -> str:
    """Return the path of a cookie that names none (RFC 6265 §5.1.4)."""
    return where.target.partition("?")[0].rpartition("/")[0] or "/"


def _is_within(host: str, domain: str) -> bool:
    """Whether a host is a domain or in it; addresses have none (RFC 6265 §5.1.3)."""
    return host == domain or (host.endswith("." + domain) and not host.replace(".", "").isdigit() and ":" not in host)


def _is_under(path: str, folder: str) -> bool:
    """Whether a path matches a cookie's (RFC 6265 §5.1.4)."""
    return path == folder or (path.startswith(folder) and (folder.endswith("/") or path[len(folder)] == "/"))
