"""Small types that every floor uses.

Rule of this module: no behaviour that belongs to one protocol, no imports of Telex.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import overload

__all__ = ["Data", "Headers", "size_of"]

Data = str | bytes
"""One message: text or binary."""


def size_of(data: Data) -> int:
    """Return how many bytes a message weighs on the wire; O(1) for bytes and ASCII, which is the common case."""
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())


class Headers:
    """Hold HTTP header fields as they came: in order, repeated names kept, names compared without case.

    Source: RFC 9110 §5.
    """

    __slots__ = ("_items", "_values")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items = list(items)
        self._values: dict[str, list[str]] | None = None  # by lower-case name, once something was looked up

    def add(self, name: str, value: str) -> None:
        """Append one field line."""
        self._items.append((name, value))
        self._values = None

    def set(self, name: str, value: str) -> None:
        """Put one field line in place of all of this name."""
        self.remove(name)
        self.add(name, value)

    def remove(self, name: str) -> None:
        """Remove the field's lines, if there are any."""
        self._items = [item for item in self._items if item[0].lower() != name.lower()]
        self._values = None

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the field's lines joined with ", ", or `default` where there is none (RFC 9110 §5.3)."""
        values = self._find(name)
        if len(values) == 1:
            return values[0]
        return ", ".join(values) if values else default

    def get_all(self, name: str) -> list[str]:
        """Return the field's lines, in order."""
        return list(self._find(name))

    def _find(self, name: str) -> list[str]:
        values = self._values
        if values is None:
            values = self._values = {}
            for key, value in self._items:
                values.setdefault(key.lower(), []).append(value)
        return values.get(name.lower(), _NONE)

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self._find(name))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._items == other._items

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Headers({self._items!r})"


_NONE: list[str] = []  # what is found where there is nothing; never changed
