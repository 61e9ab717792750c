"""CatBoost models: the flatbuffer of a CBM file walked within bounds, the tables behind it, and the JSON export."""

from __future__ import annotations

from assay.artifacts.formats.text import JsonCheck
from assay.artifacts.formats.trailing import check_tail
from assay.artifacts.reader import Data, FormatReader, Inspection

MAGIC = b"CBM1"
_VERSION = "FlabuffersModel_v1"
_CTR_TABLES = "static_provider_v1"
_TREES, _INFO, _PARTS = 1, 2, 3
_MOST_ITEMS = 100_000
# Bytes of one item of each vector among the fields of the trees; other fields are single numbers.
_VECTORS = {1: 4, 2: 4, 3: 4, 4: 4, 5: 4, 6: 4, 7: 4, 8: 8, 9: 8, 10: 4, 11: 4, 12: 4, 13: 4}


class _Damage(Exception):
    """The model cannot be followed."""


class CatBoostReader(FormatReader, name="catboost"):
    """Follow a CBM file from its core to its end: it holds numbers, names and training parameters, no code."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as a CBM file."""
        return data[:4] == MAGIC

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Check that every reference stays inside and that nothing lies behind the last part."""
        try:
            start, stop = _sized(data, 4)
            parts = _core(data, start, stop)
            at: int | None = stop
            for part in parts:
                at = _behind_tables(data, at) if part == _CTR_TABLES and at is not None else None
            if at is None:
                inspection.cannot(where, f"a model with the parts {', '.join(parts)[:80]!r} is not read to its end")
            else:
                check_tail(data, at, where, inspection)
        except _Damage as damage:
            inspection.error(where, str(damage))
        return "catboost"


class CatBoostJson(JsonCheck, name="catboost-json"):
    """CatBoost's JSON export: numbers and names."""

    label = "catboost-json"

    def fits(self, document: dict[str, object]) -> bool:
        """Return whether the document has the features and the trees of such a model."""
        return "features_info" in document and ("oblivious_trees" in document or "trees" in document)

    def check(self, document: dict[str, object], where: str, inspection: Inspection) -> None:
        """Say nothing: the document cannot name code that a loader would run."""


def _sized(data: Data, at: int) -> tuple[int, int]:
    """Return where the bytes lie whose count stands at a place."""
    size, start = _number(data, at, 4, len(data)), at + 4
    if size == 0xFFFFFFFF:
        size, start = _number(data, start, 8, len(data)), start + 8
    if start + size > len(data):
        raise _Damage("the model ends early")
    return start, start + size


def _behind_tables(data: Data, at: int) -> int:
    count = _number(data, at, 4, len(data))
    at += 4
    if count > _MOST_ITEMS:
        raise _Damage("the model has more tables than the budget allows")
    for _ in range(count):
        _, at = _sized(data, at)
    return at


def _core(data: Data, start: int, stop: int) -> list[str]:
    """Check the core between two places; return the names of the parts that lie behind it."""
    root = _Table(data, start, stop, start)
    if root.text(0) != _VERSION:
        raise _Damage("the core is of an unknown version")
    if trees := root.table(_TREES):
        for index, size in _VECTORS.items():
            trees.vector(index, size)
    for item in root.tables(_INFO):
        item.text(0)
        item.text(1)
    return [root.text_at(place) for place in root.places(_PARTS)]


class _Table:
    """A table of a flatbuffer whose root reference stands at ``place``; nothing outside of [start, stop) is read."""

    def __init__(self, data: Data, start: int, stop: int, place: int) -> None:
        self._data, self._start, self._stop = data, start, stop
        self._at = self._follow(place)
        back = _number(data, self._at, 4, stop)
        layout = self._at - (back - (1 << 32) if back >> 31 else back)
        if not start <= layout <= stop - 4:
            raise _Damage("a table of the model lies outside of it")
        size, own = _number(data, layout, 2, stop), _number(data, layout + 2, 2, stop)
        if size < 4 or layout + size > stop or self._at + own > stop:
            raise _Damage("a table of the model lies outside of it")
        self._fields = [_number(data, at, 2, stop) for at in range(layout + 4, layout + size - 1, 2)]
        if any(f + 1 > own for f in self._fields):
            raise _Damage("a field of the model lies outside of its table")

    def _follow(self, place: int) -> int:
        there = place + _number(self._data, place, 4, self._stop)
        if not self._start <= there <= self._stop - 4:
            raise _Damage("a reference of the model leads out of it")
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
        count = _number(self._data, begun, 4, self._stop)
        if begun + 4 + count * size > self._stop:
            raise _Damage("a list of the model leads out of it")
        return begun + 4, count

    def places(self, index: int) -> range:
        """Return the places of the references in a vector of them."""
        begun, count = self.vector(index, 4)
        if count > _MOST_ITEMS:
            raise _Damage("the model has more items than the budget allows")
        return range(begun, begun + 4 * count, 4)

    def tables(self, index: int) -> list[_Table]:
        """Return the tables of a vector."""
        return [_Table(self._data, self._start, self._stop, place) for place in self.places(index)]

    def table(self, index: int) -> _Table | None:
        """Return the table of a field."""
        place = self._field(index)
        return None if place is None else _Table(self._data, self._start, self._stop, place)

    def text(self, index: int) -> str:
        """Return the beginning of a field's text, "" when there is none."""
        place = self._field(index)
        return "" if place is None else self.text_at(place)

    def text_at(self, place: int) -> str:
        """Return the beginning of the text that a reference leads to."""
        begun = self._follow(place)
        size = _number(self._data, begun, 4, self._stop)
        if begun + 4 + size > self._stop:
            raise _Damage("a text of the model leads out of it")
        return self._data[begun + 4 : begun + 4 + min(size, 100)].decode("utf-8", "replace")


def _number(data: Data, at: int, size: int, stop: int) -> int:
    if not 0 <= at <= stop - size:
        raise _Damage("the model ends early")
    return int.from_bytes(data[at : at + size], "little")
