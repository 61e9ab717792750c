"""Randomized smoothing: L2 radii of any model's majority vote under Gaussian noise, with sequential sampling.

What is certified is the vote, not the model itself; it is what ``SmoothedClassifier`` serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.certificates.base import Bounds, Certificate
from assay.core.settings import OneOf, Within, setting
from assay.stats.intervals import clopper_pearson
from assay.stats.sequential import proved, within_reach

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.region import Region
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

# A radius r is claimed by showing r (1 + _ABOVE), so that the distance r itself is included.
_ABOVE = 1e-9
_FINE = 10
_GROWTH = 1.15
_LEAST = 50


@dataclass(frozen=True, slots=True)
class Vote:
    """What sampling shows of one row. label: the class voted for; radius: 0.0 for undecided; samples: rows asked."""

    label: int
    radius: float
    samples: int


@dataclass(frozen=True, slots=True)
class Smoothing(Certificate, name="smoothing", mitigations=("AML.M0003",)):
    """L2 radius of the majority vote under Gaussian noise on what may change. Cohen, Rosenfeld & Kolter 2019.

    The vote for class c holds within sigma * Phi^-1(p) when c wins a share above p of the noise. "fixed" draws
    ``samples`` and takes the Clopper-Pearson bound. "sequential" tests rising shares as samples come in, at one error
    for all looks, and stops when the radii of interest (multiples of ``step`` sigma up to ``reach`` sigma) are decided.
    """

    replays: ClassVar[bool] = False
    norm: str = setting("l2", OneOf(("l2",)), "Norm of the radii, in scaled units.")
    sigma: float = setting(0.5, Within(0.0, None, open_low=True), "Deviation of the noise, in scaled units.")
    samples: int = setting(200_000, Within(100, None), "Most noisy rows asked for each row.")
    first: int = setting(100, Within(10, None), "Noisy rows that pick the class, before the others.")
    alpha: float = setting(0.001, Within(0.0, 0.5, open_low=True, open_high=True), "Chance that a row's radius fails.")
    method: str = setting("sequential", OneOf(("sequential", "fixed")), "How samples are drawn.")
    giving_up: float = setting(
        0.05, Within(0.0, 0.5, open_low=True), "Chance to give up a radius that more samples might have shown."
    )
    step: float = setting(0.25, Within(0.0, 5.0, open_low=True), "Distance of the radii of interest, in sigma.")
    reach: float = setting(3.0, Within(0.0, 6.0, open_low=True), "Largest radius of interest, in sigma.")

    @property
    def trust(self) -> float:
        """The chance that a row's radius holds."""
        return 1.0 - self.alpha

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the radii rest on."""
        return (
            f"of the majority vote under Gaussian noise of {self.sigma:g} scaled units, not of the model alone",
            "the noise is random and independent of the input",
            "the exact vote; one that is served from finitely many samples may abstain",
        )

    def bound(
        self, predictor: Predictor, x0: Array, y: Labels, region: Region, generator: np.random.Generator,
        shape: tuple[int, ...],
    ) -> Bounds:  # fmt: skip
        """Return the radii of votes for the right class, 0.0 where the vote is for another or undecided."""
        lower = np.zeros(len(x0))
        for i, row in enumerate(x0):
            vote = self.vote(predictor, row, region, generator, shape)
            lower[i] = vote.radius if vote.label == y[i] else 0.0
        return Bounds.of(lower, x0)

    def vote(
        self, predictor: Predictor, row: Array, region: Region, generator: np.random.Generator, shape: tuple[int, ...]
    ) -> Vote:
        """Return the vote at one row (d,): the class from ``first`` samples, the radius from others.

        Raises BudgetError when the predictor's budget ends first.
        """
        ask = _Sampler(predictor, row, self.sigma * region.scale * region.mutable, generator, shape)
        label = int(ask.counts(self.first).argmax())
        radius, asked = (self._fixed if self.method == "fixed" else self._sequential)(ask, label)
        return Vote(label, radius, self.first + asked)

    def _fixed(self, ask: _Sampler, label: int) -> tuple[float, int]:
        from scipy.special import ndtri

        k = int(ask.counts(self.samples)[label])
        low, _ = clopper_pearson(k, self.samples, 1.0 - 2.0 * self.alpha)
        return max(0.0, self.sigma * float(ndtri(low))), self.samples

    def _sequential(self, ask: _Sampler, label: int) -> tuple[float, int]:
        from scipy.special import ndtr

        count = int(np.floor(self.reach / self.step + _ABOVE))
        grid = np.arange(count * _FINE + 1) * (self.step / _FINE) * (1.0 + _ABOVE)
        grid[0] = _ABOVE
        shares = ndtr(grid)
        k = n = 0
        done, due = 0, float(self.first)
        while True:
            more = min(int(due), self.samples) - n
            k, n = k + int(ask.counts(more)[label]), n + more
            done = max(done, int(proved(k, n, shares, self.alpha).sum()))
            ahead = -(-done // _FINE) * _FINE
            if done == len(grid) or not within_reach(
                k, n, self.samples, float(shares[ahead]), self.alpha, giving_up=self.giving_up
            ):
                return (self.sigma * float(grid[done - 1]) if done else 0.0), n
            due = max(n * _GROWTH, n + _LEAST)


class _Sampler:
    """Counts what the model says of one row under noise."""

    def __init__(
        self, predictor: Predictor, row: Array, deviation: Array, generator: np.random.Generator, shape: tuple[int, ...]
    ) -> None:
        self._predictor, self._shape, self._width = predictor, (-1, *shape), len(row)
        self._noisy = predictor.noisy(row, deviation, int(generator.integers(2**63)))

    def counts(self, n: int) -> Labels:
        """Return how often each class wins on n noisy copies, (classes,)."""
        total = np.zeros(self._predictor.classes, dtype=np.intp)
        size = self._predictor.batch or max(1, (1 << 24) // self._width)
        for start in range(0, n, size):
            labels = self._predictor.labels(self._noisy(min(size, n - start)).reshape(self._shape))
            total += np.bincount(labels, minlength=len(total))
        return total
