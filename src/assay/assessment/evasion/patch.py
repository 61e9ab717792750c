"""Adversarial patch: a printed square that fools the model wherever it lies, at any turn and size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.gradient import GradientAttack, Ground
from assay.assessment.evasion.losses import cross_entropy
from assay.assessment.evasion.planes import Planes
from assay.core.errors import UnsupportedError
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class AdversarialPatch(GradientAttack, name="adversarial_patch", techniques=("AML.T0043.000", "AML.T0041")):
    """Train one patch a class by its expected loss over places, sizes and turns, then lay it on each sample.

    Brown et al. 2017, with expectation over transformations (Athalye et al. 2018): every step draws a place, a size
    and a turn anew for each sample. There is a patch for each class that samples have, or with
    targets for each that they are to be taken for. Values under it are free within the feasible region, all others
    stay; the distance is the number of values changed. Tables and signals are strips on which a patch slides. A sample counts
    as turned where one of ``placements`` random placements turns it; ``AttackResult.queries`` tells how many were tried.
    """

    max_queries: int = setting(150, Within(4, None), "Hard budget of model queries for each sample.")
    norm: str = setting("l0", OneOf(("l0",)), "Distance: values changed.")
    radius: float | None = setting(
        None, Within(0, None, open_low=True, optional=True), "Most values changed (none: any)."
    )
    area: float = setting(0.1, Within(0, 1, open_low=True), "Share of the image that the patch covers.")
    steps: int = setting(100, Within(1, None), "Steps of training, each one query.")
    rate: float = setting(0.1, Within(0, None, open_low=True), "Share of its range that a value moves a step.")
    resize: float = setting(0.2, Within(0, 1, open_high=True), "Most by which the size differs, as a share.")
    turn: float = setting(22.5, Within(0, 180), "Most by which the patch is turned, in degrees.")
    placements: int = setting(20, Within(1, None), "Random placements tried on each sample.")

    def walk(self, ground: Ground) -> None:
        """Train the patch on all samples, then try it on each."""
        paste = _Paste(ground, self.area, self.resize, self.turn)
        steps = min(self.steps, int(ground.oracle.left[ground.live].min()) - 1)
        for _ in range(steps):
            at = ground.everyone()
            covered, places = paste.drawn(at)
            rows = paste.rows(covered, places, at)
            _, slope, _ = ground.climb_rows(ground.white.tensor(rows), at, cross_entropy)
            paste.learn(ground.white.array(slope / ground.scale), covered, places, self.rate)
        for _ in range(self.placements):
            left = np.flatnonzero(
                ~np.isfinite(ground.oracle.distance[ground.live]) & (ground.oracle.left[ground.live] > 0)
            )
            if not len(left):
                return
            covered, places = paste.drawn(left)
            ground.confirm(ground.white.tensor(paste.rows(covered, places, left)), left)


class _Paste:
    """Squares of values in [0, 1] between the bounds of what they cover, laid on samples by nearest neighbours."""

    def __init__(self, ground: Ground, area: float, resize: float, turn: float) -> None:
        oracle, region = ground.oracle, ground.oracle.region
        self._region, self._x0 = region, oracle.x0[ground.live]
        shape = Planes.of(oracle.shape if len(oracle.shape) > 1 else (1, *oracle.shape))
        if shape is None:
            raise UnsupportedError(f"a patch cannot be laid on samples of shape {oracle.shape}", remedy="Flatten them")
        self._planes, self._resize, self._turn = shape, resize, np.deg2rad(turn)
        kinds = oracle.y if oracle.targets is None else oracle.targets
        names, self._kind = np.unique(kinds[ground.live], return_inverse=True)
        flat = min(shape.height, shape.width)
        side = float(np.sqrt(area * shape.height * shape.width))
        # A strip is covered over its whole height.
        self.tall: float = min(side, flat)
        self.wide: float = side if side <= flat else area * shape.width * shape.height / flat
        rows, columns = max(1, round(self.tall)), max(1, round(self.wide))
        self._seed = np.random.default_rng(int(ground.white.array(ground.noise.uniform(1))[0] * 2**31))
        self.values = self._seed.random((len(names), shape.channels, rows, columns))
        low, high = region.low(self._x0), region.high(self._x0)
        self._low = np.where(np.isfinite(low), low, self._x0 - region.scale)
        self._high = np.where(np.isfinite(high), high, self._x0 + region.scale)

    def drawn(self, at: Index) -> tuple[NDArray[np.bool_], Index]:
        """Return for a random placement on each of ``at`` (m,) which values are covered, and by which of the patch, (m, d)."""
        p, draw, m = self._planes, self._seed, len(at)
        size = 1.0 + self._resize * draw.uniform(-1, 1, (m, 1))
        angle = self._turn * draw.uniform(-1, 1, (m, 1)) if p.height > 1 else np.zeros((m, 1))
        tall, wide = np.minimum(self.tall * size, p.height), np.minimum(self.wide * size, p.width)
        # Whole pixels: a patch that falls between two covers one of them.
        tall, wide = np.maximum(tall, 1.0), np.maximum(wide, 1.0)
        top = draw.random((m, 1)) * (p.height - tall) + 0.5 * tall
        left = draw.random((m, 1)) * (p.width - wide) + 0.5 * wide
        down, right = p.row[None, :] + 0.5 - top, p.column[None, :] + 0.5 - left
        cos, sin = np.cos(angle), np.sin(angle)
        u, v = (cos * down + sin * right) / tall + 0.5, (cos * right - sin * down) / wide + 0.5
        covered = (u >= 0) & (u < 1) & (v >= 0) & (v < 1)
        _, channels, rows, columns = self.values.shape
        i, j = np.clip((u * rows).astype(np.intp), 0, rows - 1), np.clip((v * columns).astype(np.intp), 0, columns - 1)
        places: Index = ((self._kind[at][:, None] * channels + p.channel) * rows + i) * columns + j
        return covered, places

    def rows(self, covered: NDArray[np.bool_], places: Index, at: Index) -> Array:
        """Return the samples at positions ``at`` with the patch laid on them, (m, d)."""
        low, high, x0 = self._low[at], self._high[at], self._x0[at]
        laid = low + self.values.reshape(-1)[places] * (high - low)
        return self._region.project(np.where(covered, laid, x0), x0)

    def learn(self, slope: Array, covered: NDArray[np.bool_], places: Index, rate: float) -> None:
        """Move each value of the patch by the sign of its mean slope over all samples that it covers."""
        gain = np.where(covered, slope * (self._high - self._low), 0.0)
        size = np.abs(gain).sum(axis=1, keepdims=True)
        gain = np.divide(gain, size, out=np.zeros_like(gain), where=size > 0)
        total = np.bincount(places.reshape(-1), gain.reshape(-1), self.values.size).reshape(self.values.shape)
        self.values = np.clip(self.values + rate * np.sign(total), 0.0, 1.0)
