"""SimBA: one coordinate after the other, kept when the model is less sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.assessment.evasion.line import shorten
from assay.assessment.evasion.odds import log_margins
from assay.assessment.evasion.planes import Planes
from assay.core.errors import DataError
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

_MOST_STEP = 64.0


@dataclass(frozen=True, slots=True)
class SimBA(
    EvasionAttack, name="simba", techniques=("AML.T0015", "AML.T0043.001"), mitigations=("AML.M0003", "AML.M0004")
):
    """Move along one direction of a basis at a time, forth or else back, while the model gets less sure.

    Guo, Gardner, You, Wilson & Weinberger 2019 (SimBA, SimBA-DCT). Every sample asks one row a step. Where the paper ends
    after each direction was tried once, we go round again, with steps twice as long if a round changed nothing.
    What is found is refined value by value.
    """

    max_queries: int = setting(2000, Within(10, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l2", OneOf(("l2", "linf", "l1", "l0")), "Distance that is reported, in scaled units.")
    step: float = setting(0.2, Within(0, None, open_low=True), "Length of a step, in scaled units.")
    basis: str = setting("values", OneOf(("values", "dct")), "Directions: single values, or waves of an image.")

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:  # noqa: ARG002
        """Try the next direction of each sample, until success or the budget's end, then refine."""
        found, n = live, len(oracle.x0)
        order = np.zeros((n, 0), dtype=np.intp)
        turn, back, moved = np.zeros(n, dtype=np.intp), np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        step, here, loss = np.full(n, self.step), oracle.x0.copy(), np.full(n, np.inf)
        basis = _Basis(oracle, self.basis)
        live = oracle.unbroken(live)
        loss[live] = log_margins(oracle, here[live], live)
        live = oracle.unbroken(live)
        while len(live):
            if not order.shape[1]:
                order = basis.order(n, generator)
            over = live[turn[live] >= order.shape[1]]
            step[over] = np.where(moved[over], step[over], np.minimum(2.0 * step[over], _MOST_STEP))
            order[over] = basis.order(len(over), generator)
            turn[over], moved[over] = 0, False
            sign = np.where(back[live], -1.0, 1.0)
            rows = basis.moved(here[live], order[live, turn[live]], sign * step[live])
            rows = oracle.region.project(rows, oracle.x0[live])
            new = log_margins(oracle, rows, live)
            better = new < loss[live]
            loss[live[better]], here[live[better]], moved[live[better]] = new[better], rows[better], True
            # On after a gain and after both ways; else back.
            on = better | back[live]
            turn[live[on]] += 1
            back[live] = ~on
            live = oracle.unbroken(live)
        shorten(oracle, found)


class _Basis:
    """The directions in which samples are moved."""

    def __init__(self, oracle: Oracle, kind: str) -> None:
        self.region = oracle.region
        self.places = np.flatnonzero(self.region.mutable)
        self.waves: Array | None = None
        if kind == "dct":
            planes = Planes.of(oracle.shape)
            if planes is None:
                raise DataError("a table has no waves", remedy="Use basis='values', or give images")
            self.waves = _waves(planes)

    def order(self, n: int, generator: np.random.Generator) -> Index:
        """Return the directions of each of n samples in the order in which they are tried, (n, b)."""
        if self.waves is not None:
            return np.tile(np.arange(len(self.waves)), (n, 1))
        return generator.permuted(np.tile(self.places, (n, 1)), axis=1)

    def moved(self, rows: Array, chosen: Index, length: Array) -> Array:
        """Return rows (k, d) moved by ``length`` (k,) along the chosen direction; on a grid by one step at least."""
        scale, step = self.region.scale, self.region.step
        if self.waves is not None:
            return rows + length[:, None] * self.waves[chosen] * scale
        out, at = rows.copy(), np.arange(len(rows))
        change = np.maximum(np.abs(length) * scale[chosen], step[chosen])
        out[at, chosen] += np.sign(length) * change
        return out


def _waves(planes: Planes) -> Array:
    """Return the cosine waves of a ninth of all frequencies, lowest first, each of length one, (b, d)."""
    pairs = [(u, v) for u in range(-(-planes.height // 3)) for v in range(-(-planes.width // 3))]
    pairs.sort(key=lambda pair: (sum(pair), pair))
    made = [
        np.cos(np.pi * (planes.row + 0.5) * u / planes.height)
        * np.cos(np.pi * (planes.column + 0.5) * v / planes.width)
        * (planes.channel == c)
        for u, v in pairs
        for c in range(planes.channels)
    ]
    waves = np.stack(made)
    unit: Array = waves / np.linalg.norm(waves, axis=1, keepdims=True)
    return unit
