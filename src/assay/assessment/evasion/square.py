"""Square: random search over squares of an image, or over blocks of a table's columns, by scores alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import EvasionAttack, Oracle
from assay.assessment.evasion.odds import log_margins
from assay.assessment.evasion.planes import Planes
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]
    Flags = NDArray[np.bool_]

# After which share of the budget the part that is changed halves (the paper's schedule).
_HALVES = np.array((0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8))
_SURE = 1e-9


@dataclass(frozen=True, slots=True)
class Square(
    EvasionAttack, name="square", techniques=("AML.T0015", "AML.T0043.001"), mitigations=("AML.M0003", "AML.M0004")
):
    """Change a random square of the image to the edge of the ball, and keep it when the model is less sure.

    Andriushchenko, Croce, Flammarion & Hein 2020 (Square Attack), Linf and L2. A table has no squares: a block of
    columns drawn at random takes their place. One row a sample and step, unless
    several ways are tried at once, of which the best is taken; samples that are broken ask no more.
    """

    max_queries: int = setting(1000, Within(10, None), "Hard budget of model queries for each sample.")
    norm: str = setting("linf", OneOf(("linf", "l2")), "Norm of the ball that is searched, in scaled units.")
    radius: float = setting(0.1, Within(0, None, open_low=True), "Radius of the ball, in scaled units.")
    ways: int = setting(1, Within(1, None), "Places tried at once for each sample: fewer calls, shorter way.")
    share: float = setting(0.8, Within(0, 1, open_low=True), "Share of the values that the first steps change.")

    def search(self, oracle: Oracle, live: Index, first: Index, generator: np.random.Generator) -> None:  # noqa: ARG002
        """Take the better of the row kept and one changed in a new place, until success or the budget's end."""
        place = _Table(oracle) if (planes := Planes.of(oracle.shape)) is None else _Image(planes)
        propose = place.in_cube if self.norm == "linf" else place.in_ball
        shift = place.first(len(live), generator)
        if self.norm == "l2":
            shift = _unit(shift * oracle.region.mutable)
        loss, before = np.full(len(oracle.x0), np.inf), oracle.spent.copy()
        kept = np.zeros_like(oracle.x0)
        rows, kept[live] = self._rows(oracle, live, shift)
        loss[live] = log_margins(oracle, rows, live)
        live = oracle.unbroken(live)
        while len(live):
            done = (oracle.spent - before)[live[0]] / self.max_queries
            part = self.share / 2.0 ** int((done > _HALVES).sum())
            ways = max(1, min(self.ways, int(oracle.left[live].min())))
            owner = np.repeat(live, ways)
            shift = propose(kept[owner] / self.radius, part, generator)
            rows, made = self._rows(oracle, owner, shift)
            new = log_margins(oracle, rows, owner)
            best = np.arange(len(live)) * ways + new.reshape(-1, ways).argmin(axis=1)
            best = best[new[best] <= loss[live]]
            loss[owner[best]], kept[owner[best]] = new[best], made[best]
            live = oracle.unbroken(live)

    def _rows(self, oracle: Oracle, live: Index, shift: Array) -> tuple[Array, Array]:
        """Return rows displaced by ``shift`` (k, d) in units of the radius, and the displacement made, in scaled units."""
        region, start = oracle.region, oracle.x0[live]
        far = shift * self.radius * region.scale
        step = region.step
        if not step.any():
            rows = region.project(start + far, start)
            return rows, np.nan_to_num(rows - start, copy=False) / region.scale
        # Towards the sample, so that rounding to the grid does not leave the ball.
        whole = np.trunc(np.divide(far, step, out=np.zeros_like(far), where=step > 0) * (1 + _SURE)) * step
        rows = region.project(start + np.where(step > 0, whole, far), start)
        made = np.nan_to_num(rows - start) / region.scale
        # What the box cut off stays wanted, so that a later change of sign is a change.
        return rows, np.where(step > 0, shift * self.radius, made) if self.norm == "linf" else made


class _Image:
    """Squares and stripes of an image."""

    def __init__(self, planes: Planes) -> None:
        self.planes = planes

    def first(self, k: int, generator: np.random.Generator) -> Array:
        """Return vertical stripes of full strength, a sign a column and channel, (k, d)."""
        p = self.planes
        signs = _signs((k, p.width, p.channels), generator)
        stripes: Array = signs[:, p.column, p.channel]
        return stripes

    def part(self, k: int, share: float, generator: np.random.Generator) -> Flags:
        """Return a square of each of k samples that holds about ``share`` of the pixels, (k, d)."""
        p = self.planes
        side = min(max(1, round(float(np.sqrt(share * p.height * p.width)))), p.height, p.width)
        top = generator.integers(0, p.height - side + 1, k)
        return p.window(top, generator.integers(0, p.width - side + 1, k), side)

    def levels(self, k: int, generator: np.random.Generator) -> Array:
        """Return a sign for each sample and channel, (k, d)."""
        signs: Array = _signs((k, self.planes.channels), generator)[:, self.planes.channel]
        return signs

    def pattern(self, inside: Flags, generator: np.random.Generator) -> Array:
        """Return a hill in one half of each square and a hollow in the other, (k, d), of length one in all."""
        p, signs = self.planes, self.levels(len(inside), generator)
        across = generator.integers(0, 2, (len(inside), 1)) == 0
        hills = [_hill(inside, place) for place in (p.row, p.column)]
        (down, below), (right, beyond) = hills
        return _unit(np.where(across, down * right * below, down * right * beyond) * signs * inside)

    def in_ball(self, kept: Array, share: float, generator: np.random.Generator) -> Array:
        """Return displacements (k, d) of length one at most: one square gets what another gives up (algorithm 3)."""
        to, from_ = (self.part(len(kept), share, generator) for _ in range(2))
        spare = np.maximum(0.0, 1.0 - (kept**2).sum(axis=1, keepdims=True))
        given = (np.where(to | from_, kept, 0.0) ** 2).sum(axis=1, keepdims=True)
        wish = self.pattern(to, generator) + _unit(np.where(to, kept, 0.0))
        return np.where(to, _unit(wish) * np.sqrt(given + spare), np.where(from_, 0.0, kept))

    def in_cube(self, kept: Array, share: float, generator: np.random.Generator) -> Array:
        """Return displacements (k, d) within -1 to 1 with a square of one colour at either end (algorithm 2)."""
        return np.where(self.part(len(kept), share, generator), self.levels(len(kept), generator), kept)


class _Table:
    """Blocks of a table's columns."""

    def __init__(self, oracle: Oracle) -> None:
        self.mutable = oracle.region.mutable

    def first(self, k: int, generator: np.random.Generator) -> Array:
        """Return a sign for each value that may change, (k, d)."""
        return _signs((k, len(self.mutable)), generator) * self.mutable

    def part(self, k: int, share: float, generator: np.random.Generator) -> Flags:
        """Return about ``share`` of the values that may change, (k, d), at least one."""
        count = max(1, round(share * int(self.mutable.sum())))
        keys = np.where(self.mutable, generator.random((k, len(self.mutable))), 2.0)
        chosen: Flags = keys.argsort(axis=1, kind="stable").argsort(axis=1) < count
        return chosen

    def in_ball(self, kept: Array, share: float, generator: np.random.Generator) -> Array:
        """Return displacements (k, d) of length one, turned in a block by an angle of any order of size."""
        angle = 10.0 ** generator.uniform(-2.0, 0.5, (len(kept), 1))
        noise = _unit(generator.standard_normal(kept.shape) * self.part(len(kept), share, generator))
        return _unit(kept + angle * noise)

    def in_cube(self, kept: Array, share: float, generator: np.random.Generator) -> Array:
        """Return displacements (k, d) within -1 to 1 with a block at new levels.

        Each at either end, or in one of four at any level: thresholds of trees lie within.
        """
        level = generator.uniform(-1.0, 1.0, kept.shape)
        level = np.where(generator.random(kept.shape) < 0.25, level, np.sign(level))
        return np.where(self.part(len(kept), share, generator), level, kept)


def _hill(inside: Flags, place: Index) -> tuple[Array, Array]:
    """Return for each value of each square how near it is to the middle along one axis, and in which half it lies."""
    low = np.where(inside, place, place.max() + 1).min(axis=1, keepdims=True)
    side = np.where(inside, place, -1).max(axis=1, keepdims=True) - low + 1
    off = place - low - (side - 1) / 2.0
    return 1.0 / (1.0 + np.abs(off)), np.where(off < 0, -1.0, 1.0)


def _signs(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    return np.where(generator.random(shape) < 0.5, -1.0, 1.0)


def _unit(rows: Array) -> Array:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Array = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit
