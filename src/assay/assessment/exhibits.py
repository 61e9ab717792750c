"""Exhibits: pictures and rows that a report shows beside its curves, as plain values that a file can keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from assay.core.errors import FormatError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Pictures with a name each. images (k, h, w) or (k, h, w, 3), values in [0, 1]; columns: how many in a line."""

    goal: str
    title: str
    images: NDArray[np.float64]
    names: tuple[str, ...]
    columns: int = 8
    caption: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the pictures as plain data, each value a whole number from 0 to 255."""
        import numpy as np

        levels = np.clip(np.rint(self.images * 255.0), 0, 255).astype(int)
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("images", "names")}
        return {"kind": "gallery", **plain, "names": list(self.names), "images": levels.tolist()}


@dataclass(frozen=True, slots=True)
class Listing:
    """A small table in words: heads, and rows of as many texts."""

    goal: str
    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the table as plain data."""
        plain = {name: getattr(self, name) for name in ("goal", "title", "caption")}
        return {"kind": "listing", **plain, "heads": list(self.heads), "rows": [list(r) for r in self.rows]}


Exhibit: TypeAlias = Gallery | Listing


def exhibit(record: Mapping[str, object]) -> Exhibit:
    """Return the exhibit of its plain data. Raises FormatError. Round trip with ``to_json``, up to 1/255 in pictures."""
    import numpy as np

    words = {name: str(record.get(name, "")) for name in ("goal", "title", "caption")}
    if record.get("kind") == "listing":
        rows = tuple(tuple(map(str, row)) for row in _sequence(record["rows"]) if isinstance(row, Sequence))
        return Listing(heads=tuple(map(str, _sequence(record["heads"]))), rows=rows, **words)
    if record.get("kind") == "gallery":
        images = np.asarray(record["images"], dtype=np.float64) / 255.0
        columns = record.get("columns", 8)
        names = tuple(map(str, _sequence(record["names"])))
        return Gallery(images=images, names=names, columns=columns if isinstance(columns, int) else 8, **words)
    raise FormatError(f"{record.get('kind')!r} is no exhibit")


def _sequence(value: object) -> Sequence[object]:
    if not isinstance(value, (list, tuple)):
        raise FormatError(f"expected a list in an exhibit, found {type(value).__name__}")
    return value
