"""A bounded walk over protobuf wire format: fields with their places, nothing decoded that is not asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.artifacts.reader import Data

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST_FIELDS = 400_000
# Trees are long runs of numbers with a one-byte key (attributes' floats and ints), passed over in one step.
_RUNS = {0x40: re.compile(rb"(?:\x40[\x80-\xff]{0,9}[\x00-\x7f])++"), 0x3D: re.compile(rb"(?:\x3d.{4})++", re.DOTALL)}


class Damaged(Exception):
    """The bytes cannot be followed."""


def fields(data: Data, start: int, stop: int, left: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, wire type, start, stop) of each field. left: how many more may be read, in a list of one.

    Raises Damaged for what is no protobuf, ends early, or has more fields than are left.
    """
    position = start
    while position < stop:
        left[0] -= 1
        if left[0] < 0:
            raise Damaged("the model has more fields than the budget allows")
        key, position = varint(data, position, stop)
        number, wire = key >> 3, key & 7
        begin = position
        if run := _RUNS.get(key):
            found = run.match(data, begin - 1, stop)
            position = found.end() if found else stop + 1
        elif wire == VARINT:
            _, position = varint(data, position, stop)
        elif wire == BYTES:
            size, begin = varint(data, position, stop)
            position = begin + size
        elif wire in {FIXED64, FIXED32}:
            position += 8 if wire == FIXED64 else 4
        else:
            raise Damaged("the model is no protobuf")
        if position > stop or number == 0:
            raise Damaged("the model is damaged")
        yield number, wire, begin, position


def varint(data: Data, position: int, stop: int) -> tuple[int, int]:
    """Return (value, place after it) of a number. Raises Damaged."""
    value = shift = 0
    while position < stop and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise Damaged("the model ends within a number")
