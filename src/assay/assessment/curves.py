"""Curves: what an assessment draws, as plain arrays that a report can plot and a file can keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One line of a curve: x, y (m,), and the bounds of y's interval, (m,) or None where there is none."""

    name: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A plot in data: lines over common axes.

    goal: what it speaks to (``evasion``, ``membership``, ``extraction``, ``poisoning``, ``quality``).
    diagonal: draw y = x, as what guessing gives. caption: one sentence that says how to read it.
    """

    goal: str
    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False
    diagonal: bool = False
    caption: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the curve as plain data."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "series"}
        return {**plain, "series": [_series_json(s) for s in self.series]}

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> Curve:
        """Return the curve from its plain data. Round trip with ``to_json`` up to the last digit printed."""
        lines = record["series"]
        series = tuple(_series(s) for s in (lines if isinstance(lines, list) else []))
        return cls(**{**record, "series": series})  # type: ignore[arg-type]


_ARRAYS = ("x", "y", "low", "high")


def _series(record: Mapping[str, Any]) -> Series:
    import numpy as np

    arrays = {k: np.asarray(record[k], dtype=np.float64) for k in _ARRAYS if record.get(k) is not None}
    return Series(str(record["name"]), **arrays)


def _series_json(series: Series) -> dict[str, object]:
    arrays = {k: getattr(series, k) for k in _ARRAYS}
    return {"name": series.name, **{k: None if v is None else [float(f) for f in v] for k, v in arrays.items()}}
