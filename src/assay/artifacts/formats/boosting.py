"""XGBoost's models in UBJSON and JSON: data without a way to name code, followed to their end."""

from __future__ import annotations

import time

from assay.artifacts.formats.text import JsonCheck
from assay.artifacts.formats.trailing import check_tail
from assay.artifacts.reader import Data, FormatReader, Inspection

_HEADS = (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner", b"{L\x00\x00\x00\x00\x00\x00\x00\x06Config")
_INTEGERS = {0x69: 1, 0x55: 1, 0x49: 2, 0x6C: 4, 0x4C: 8}
_SIZES = {**_INTEGERS, 0x64: 4, 0x44: 8, 0x43: 1, 0x5A: 0, 0x54: 0, 0x46: 0, 0x4E: 0}
_TEXTS = {0x53, 0x48}
_ARRAY, _OBJECT, _END_ARRAY, _END_OBJECT, _TYPE, _COUNT = b"[{]}$#"
_DEEPEST = 100
_EVERY = 4096


class _Damage(Exception):
    """The model cannot be followed."""


class UbjReader(FormatReader, name="xgboost-ubj"):
    """Follow an XGBoost model in UBJSON from its first value to its end."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as such a model."""
        return data[:24].startswith(_HEADS)

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Check that the model is closed and nothing lies behind it; its numbers cannot run anything."""
        try:
            check_tail(data, _end(data, inspection.deadline), where, inspection)
        except _Damage as damage:
            inspection.error(where, str(damage))
        except IndexError:
            inspection.error(where, "the model ends early")
        return "xgboost-ubj"


class XgboostJson(JsonCheck, name="xgboost-json"):
    """XGBoost's JSON: numbers and names."""

    label = "xgboost-json"

    def fits(self, document: dict[str, object]) -> bool:
        """Return whether the document is a learner with the version that wrote it."""
        return isinstance(document.get("learner"), dict) and "version" in document

    def check(self, document: dict[str, object], where: str, inspection: Inspection) -> None:
        """Say nothing: the document cannot name code that a loader would run."""


def _end(data: Data, deadline: float) -> int:
    """Return where the first value ends. Raises IndexError beyond the last byte, _Damage for what is no UBJSON."""
    at, steps = 0, 0
    # Open containers: whether it is an object, the type of its items (0: each has its own), items left (-1: not known).
    stack: list[tuple[bool, int, int]] = []
    while True:
        steps += 1
        if steps % _EVERY == 0 and time.thread_time() > deadline:
            raise _Damage("takes more time than the budget allows")
        while stack and _is_over(data, at, stack[-1]):
            # A container of known size has no mark at its end.
            at += stack.pop()[2] < 0
            if not stack:
                return at
        kind = 0
        if stack:
            named, kind, left = stack[-1]
            stack[-1] = named, kind, left - (left > 0)
            at = _text(data, at) if named else at
        if not kind:
            kind, at = data[at], at + 1
        if kind in {_ARRAY, _OBJECT}:
            at = _open(data, at, kind == _OBJECT, stack)
        elif kind in _TEXTS:
            at = _text(data, at)
        elif kind in _SIZES:
            at += _SIZES[kind]
        else:
            raise _Damage("the model is damaged")
        if at > len(data):
            raise _Damage("the model ends early")


def _is_over(data: Data, at: int, container: tuple[bool, int, int]) -> bool:
    named, _, left = container
    return left == 0 or (left < 0 and data[at] == (_END_OBJECT if named else _END_ARRAY))


def _open(data: Data, at: int, named: bool, stack: list[tuple[bool, int, int]]) -> int:
    """Open a container, or pass over it when its size is known; return the place behind its head."""
    kind, left = 0, -1
    if data[at] == _TYPE:
        kind, at = data[at + 1], at + 2
        if data[at] != _COUNT:
            raise _Damage("the model is damaged")
    if data[at] == _COUNT:
        left, at = _integer(data, at + 1)
    if kind in _SIZES and not named:
        return at + left * _SIZES[kind]
    if len(stack) >= _DEEPEST:
        raise _Damage("the model is nested deeper than the budget allows")
    stack.append((named, kind, left))
    return at


def _text(data: Data, at: int) -> int:
    size, at = _integer(data, at)
    if at + size > len(data):
        raise _Damage("the model ends early")
    return at + size


def _integer(data: Data, at: int) -> tuple[int, int]:
    size = _INTEGERS.get(data[at])
    if size is None:
        raise _Damage("the model is damaged")
    value = int.from_bytes(data[at + 1 : at + 1 + size], "big", signed=data[at] != 0x55)
    if value < 0:
        raise _Damage("the model is damaged")
    return value, at + 1 + size
