"""Flatbuffers, as CatBoost and TensorFlow Lite use them: tables, vectors and texts, followed within bounds."""

from __future__ import annotations

from assay.artifacts.reader import Data

MOST_ITEMS = 100_000


class FlatDamage(Exception):
    """The buffer cannot be followed."""


class Table:
    """A table of a flatbuffer whose root reference stands at ``place``; nothing outside of [start, stop) is read."""

    def __init__(self, data: Data, start: int, stop: int, place: int) -> None:
        self._data, self._start, self._stop = data, start, stop
        self._at = self._follow(place)
        back = number(data, self._at, 4, stop)
        layout = self._at - (back - (1 << 32) if back >> 31 else back)
        if not start <= layout <= stop - 4:
            raise FlatDamage("a table of the model lies outside of it")
        size, own = number(data, layout, 2, stop), number(data, layout + 2, 2, stop)
        if size < 4 or layout + size > stop or self._at + own > stop:
            raise FlatDamage("a table of the model lies outside of it")
        self._fields = [number(data, at, 2, stop) for at in range(layout + 4, layout + size - 1, 2)]
        if any(f + 1 > own for f in self._fields):
            raise FlatDamage("a field of the model lies outside of its table")

    def _follow(self, place: int) -> int:
        there = place + number(self._data, place, 4, self._stop)
        if not self._start <= there <= self._stop - 4:
            raise FlatDamage("a reference of the model leads out of it")
        return there

    def _field(self, index: int) -> int | None:
        offset = self._fields[index] if index < len(self._fields) else 0
        return self._at + offset if offset else None

    def vector(self, index: int, size: int) -> tuple[int, int]:
        """Return (place of the first item, count) of a vector that lies inside, (0, 0) when there is none."""
        place = self._field(index)
        if place is None:
            return 0, 0
        begun = self._follow(place)
        count = number(self._data, begun, 4, self._stop)
        if begun + 4 + count * size > self._stop:
            raise FlatDamage("a list of the model leads out of it")
        return begun + 4, count

    def places(self, index: int) -> range:
        """Return the places of the references in a vector of them."""
        begun, count = self.vector(index, 4)
        if count > MOST_ITEMS:
            raise FlatDamage("the model has more items than the budget allows")
        return range(begun, begun + 4 * count, 4)

    def tables(self, index: int) -> list[Table]:
        """Return the tables of a vector."""
        return [Table(self._data, self._start, self._stop, place) for place in self.places(index)]

    def table(self, index: int) -> Table | None:
        """Return the table of a field."""
        place = self._field(index)
        return None if place is None else Table(self._data, self._start, self._stop, place)

    def text(self, index: int) -> str:
        """Return the beginning of a field's text, "" when there is none."""
        place = self._field(index)
        return "" if place is None else self.text_at(place)

    def text_at(self, place: int) -> str:
        """Return the beginning of the text that a reference leads to."""
        begun = self._follow(place)
        size = number(self._data, begun, 4, self._stop)
        if begun + 4 + size > self._stop:
            raise FlatDamage("a text of the model leads out of it")
        return self._data[begun + 4 : begun + 4 + min(size, 100)].decode("utf-8", "replace")


def number(data: Data, at: int, size: int, stop: int) -> int:
    """Return the little-endian number at a place. Raises FlatDamage beyond ``stop``."""
    if not 0 <= at <= stop - size:
        raise FlatDamage("the model ends early")
    return int.from_bytes(data[at : at + size], "little")
