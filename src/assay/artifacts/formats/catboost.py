"""CatBoost models: the flatbuffer of a CBM file walked within bounds, the tables behind it, and the JSON export."""

from __future__ import annotations

from assay.artifacts.formats.flatbuffer import MOST_ITEMS, FlatDamage, Table, number
from assay.artifacts.formats.text import JsonCheck
from assay.artifacts.formats.trailing import check_tail
from assay.artifacts.reader import Data, FormatReader, Inspection

MAGIC = b"CBM1"
_VERSION = "FlabuffersModel_v1"
_CTR_TABLES = "static_provider_v1"
_TREES, _INFO, _PARTS = 1, 2, 3
# Bytes of one item of each vector among the fields of the trees; other fields are single numbers.
_VECTORS = {1: 4, 2: 4, 3: 4, 4: 4, 5: 4, 6: 4, 7: 4, 8: 8, 9: 8, 10: 4, 11: 4, 12: 4, 13: 4}


class CatBoostReader(FormatReader, name="catboost"):
    """Follow a CBM file from its core to its end: it holds numbers, names and training parameters, no code."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as a CBM file."""
        return data[:4] == MAGIC

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Check that every reference stays inside and that nothing lies behind the last part."""
        stop, parts = len(data), None
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
        except FlatDamage as damage:
            inspection.error(where, str(damage))
            if parts is None:
                check_tail(data, stop, where, inspection)
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
    size, start = number(data, at, 4, len(data)), at + 4
    if size == 0xFFFFFFFF:
        size, start = number(data, start, 8, len(data)), start + 8
    if start + size > len(data):
        raise FlatDamage("the model ends early")
    return start, start + size


def _behind_tables(data: Data, at: int) -> int:
    count = number(data, at, 4, len(data))
    at += 4
    if count > MOST_ITEMS:
        raise FlatDamage("the model has more tables than the budget allows")
    for _ in range(count):
        _, at = _sized(data, at)
    return at


def _core(data: Data, start: int, stop: int) -> list[str]:
    """Check the core between two places; return the names of the parts that lie behind it."""
    root = Table(data, start, stop, start)
    if root.text(0) != _VERSION:
        raise FlatDamage("the core is of an unknown version")
    if trees := root.table(_TREES):
        for index, size in _VECTORS.items():
            trees.vector(index, size)
    for item in root.tables(_INFO):
        item.text(0)
        item.text(1)
    return [root.text_at(place) for place in root.places(_PARTS)]
