"""Symbolic values: what the machine holds instead of the objects that a real load would make.

Numbers, text, bytes, None, tuples and lists stand for themselves. Everything that a load would
import, call or fetch from outside is one of the classes here.
"""

from __future__ import annotations

from typing import TypeAlias

Value: TypeAlias = object

_SHOWN_ITEMS = 4
_SHOWN_TEXT = 60


class Global:
    """A name that a load imports: ``module``, dotted ``name``, and the offset of the opcode."""

    __slots__ = ("at", "module", "name")

    def __init__(self, module: str, name: str, at: int) -> None:
        self.module = module
        self.name = name
        self.at = at

    @property
    def path(self) -> str:
        """The full dotted path."""
        return f"{self.module}.{self.name}"


class Call:
    """A call that a load makes. kind: the opcode; args: a tuple or a symbolic value; state: what BUILD set."""

    __slots__ = ("args", "at", "func", "kind", "state")

    def __init__(self, func: Value, args: Value, at: int, kind: str) -> None:
        self.func = func
        self.args = args
        self.at = at
        self.kind = kind
        self.state: Value = None


class Build:
    """A BUILD: ``state`` is set on ``target``, through ``__setstate__`` or the attributes."""

    __slots__ = ("at", "state", "target")

    def __init__(self, target: Value, state: Value, at: int) -> None:
        self.target = target
        self.state = state
        self.at = at


class Pairs(list[Value]):
    """A dict, as keys and values in turn (keys may repeat)."""

    __slots__ = ()

    def get(self, key: str) -> Value:
        """Return the last value that was set for a text key, None without one."""
        for i in range(len(self) - 2, -1, -2):
            if self[i] == key and isinstance(self[i], str):
                return self[i + 1]
        return None


class Members(list[Value]):
    """A set or frozenset."""

    __slots__ = ()


class Outside:
    """A value from outside of the stream. kind: ``persistent``, ``extension`` or ``buffer``."""

    __slots__ = ("at", "key", "kind")

    def __init__(self, kind: str, key: Value, at: int) -> None:
        self.kind = kind
        self.key = key
        self.at = at


class Blob:
    """A long byte constant, left where it lies in the file."""

    __slots__ = ("at", "size")

    def __init__(self, at: int, size: int) -> None:
        self.at = at
        self.size = size


class LongText(Blob):
    """A long text constant, left where it lies in the file."""

    __slots__ = ()


class Unknown:
    """A value that does not matter or could not be worked out."""

    __slots__ = ()


UNKNOWN = Unknown()


def show(value: Value, depth: int = 3) -> str:
    """Return a short text for a value; its length is bounded whatever the value holds."""
    if isinstance(value, Global):
        return value.path[:200]
    if isinstance(value, Call):
        if depth <= 0:
            return "...(...)"
        inner = value.args if isinstance(value.args, tuple) else (value.args,)
        return f"{show(value.func, depth - 1)}({_items(inner, depth)})"
    if isinstance(value, Pairs):
        return "{...}" if value else "{}"
    if isinstance(value, Members):
        return "set(...)"
    if isinstance(value, (tuple, list)):
        return "(...)" if depth <= 0 else f"({_items(value, depth)})"
    if isinstance(value, Outside):
        return f"<{value.kind} {show(value.key, depth - 1)}>" if depth > 0 else f"<{value.kind}>"
    if isinstance(value, Blob):
        return f"<{value.size} bytes>"
    if isinstance(value, Unknown):
        return "?"
    if isinstance(value, (str, bytes)):
        return repr(value[:_SHOWN_TEXT]) + ("..." if len(value) > _SHOWN_TEXT else "")
    if isinstance(value, int) and value.bit_length() > 200:
        return "<long integer>"
    return repr(value)


def _items(values: tuple[Value, ...] | list[Value], depth: int) -> str:
    shown = [show(v, depth - 1) for v in values[:_SHOWN_ITEMS]]
    return ", ".join([*shown, "..."] if len(values) > _SHOWN_ITEMS else shown)


__all__ = [
    "UNKNOWN",
    "Blob",
    "Build",
    "Call",
    "Global",
    "LongText",
    "Members",
    "Outside",
    "Pairs",
    "Unknown",
    "Value",
    "show",
]
