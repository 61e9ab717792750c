"""Recourse: what an attack's rows ask of the person behind them, in words and at what cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from assay.contract.contract import Kind
from assay.contract.region import Region
from assay.core.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.base import AttackResult
    from assay.contract.contract import Contract, Feature

    Array = NDArray[np.float64]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - days in model space have no zone


@dataclass(frozen=True, slots=True)
class Change:
    """One column that changes. before, after: in model space. cost: as the contract prices it. words: ``raise ...``."""

    column: str
    before: float
    after: float
    cost: float
    words: str


@dataclass(frozen=True, slots=True)
class Recourse:
    """What turns one sample. row: its place among those attacked; changes: dearest first; cost: their sum."""

    row: int
    changes: tuple[Change, ...]
    cost: float

    @property
    def words(self) -> str:
        """What to do, as in ``raise `n_late` from 1 to 2 and lower `rate` from 5 to 4: cost 3.5``."""
        parts = [change.words for change in self.changes]
        if not parts:
            return "change nothing: cost 0"
        said = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
        return f"{said}: cost {self.cost:.3g}"


def changes(result: AttackResult, x: NDArray[np.floating], contract: Contract) -> tuple[Recourse, ...]:
    """Return what turned each sample that was turned, cheapest first.

    x (n, d): the samples that were attacked. Numbers in words are rounded to six digits; ``result.x_adv`` holds what the
    model was asked. Raises DataError for a tensor contract, or when x is not what was attacked.
    """
    if contract.tensor is not None:
        raise DataError("changes of a tensor have no words", remedy="Look at the difference of the pictures")
    before = np.asarray(x, dtype=np.float64)
    if before.shape != result.x_adv.shape or before.shape[1] != contract.width:
        raise DataError(f"samples of shape {before.shape} were not attacked (those were {result.x_adv.shape})")
    region = Region.of(contract)
    out = [
        _recourse(int(row), before[row], result.x_adv[row], contract, region) for row in np.flatnonzero(result.success)
    ]
    return tuple(sorted(out, key=lambda r: (r.cost, r.row)))


def _recourse(row: int, before: Array, after: Array, contract: Contract, region: Region) -> Recourse:
    differ = np.flatnonzero((before != after) & ~(np.isnan(before) & np.isnan(after)))
    found = []
    for place in differ:
        alone = before.copy()
        alone[place] = after[place]
        cost = float(region.price(alone[None], before[None])[0])
        feature = contract.features[place]
        words = _words(feature, float(before[place]), float(after[place]))
        found.append(Change(feature.name, float(before[place]), float(after[place]), cost, words))
    found.sort(key=lambda c: -c.cost)
    return Recourse(row, tuple(found), float(region.price(after[None], before[None])[0]))


def _words(feature: Feature, before: float, after: float) -> str:
    ordered = feature.ordered or feature.kind not in (Kind.CATEGORY, Kind.BOOLEAN)
    verb = ("raise" if after > before else "lower") if ordered else "turn"
    return f"{verb} `{feature.name}` from {_said(feature, before)} to {_said(feature, after)}"


def _said(feature: Feature, value: float) -> str:
    if np.isnan(value):
        return "nothing"
    if feature.kind is Kind.CATEGORY:
        known = 0 <= value < len(feature.categories)
        return feature.categories[int(value)] if known else "something unseen"
    if feature.kind is Kind.BOOLEAN:
        return "yes" if value else "no"
    if feature.kind is Kind.DATE and abs(value) < 700_000:
        return (_EPOCH + timedelta(days=value)).date().isoformat()
    return f"{value:.6g}"
