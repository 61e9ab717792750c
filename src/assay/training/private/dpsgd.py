"""DP-SGD (Abadi et al. 2016) on dense networks: Poisson samples, clipped sums, Gaussian noise, nothing else.

A step divides by the expected number of rows, never by how many were drawn: that number is private.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from assay.core.errors import DataError
from assay.core.settings import Within, check_settings, setting
from assay.training.private.clipping import Adaptive, Clipping, Flat
from assay.training.private.dense import DenseNet
from assay.training.private.noise import BLOCK, Noise
from assay.training.private.sampling import poisson_batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Step:
    """What an auditor sees of one step: who was in, the weights before it, what was released and under which bound."""

    number: int
    rows: NDArray[np.intp]
    weights: Array
    released: Array
    bound: float


Observer: TypeAlias = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Descent:
    """A plan of DP-SGD. All of it is public; none of it may be chosen by looking at the data.

    expected: rows that a step holds on average, by public knowledge; the learning rate's divisor.
    """

    steps: int = setting(100, Within(1, None), "Number of noisy steps.")
    rate: float = setting(0.1, Within(0, 1, open_low=True), "Chance of a row to be in a step.")
    sigma: float = setting(1.0, Within(0, 1e6, open_low=True), "Noise over the clipping bound.")
    expected: float = setting(256.0, Within(0, None, open_low=True), "Rows in a step, on average.")
    learning_rate: float = setting(0.1, Within(0, None, open_low=True), "Length of a step.")
    momentum: float = setting(0.0, Within(0, 1), "Share of the last step that goes on.")
    l2: float = setting(0.0, Within(0, None), "Pull of the weights towards zero.")
    average: float = setting(0.0, Within(0, 1), "Share of the steps, the last ones, whose weights are averaged.")
    clip: Clipping = field(default_factory=Flat)

    def __post_init__(self) -> None:
        check_settings(self)

    def run(self, net: DenseNet, x: Array, target: Array, noise: Noise, observer: Observer | None = None) -> None:
        """Train ``net`` on rows x (n, d + 1) with one-hot targets (n, k).

        observer: called after each step's release, for audits. What it sees but the released sums is private.
        Raises DataError when the weights come to be no finite numbers.
        """
        squares = np.einsum("ij,ij->i", x, x)
        total, velocity = np.empty_like(net.weights), np.zeros_like(net.weights)
        sigma = self.clip.noise_share(self.sigma)
        bound, sums = self.clip.bound, np.zeros_like(net.weights)
        start = self.steps - round(self.average * self.steps)
        whole = self.rate == 1
        normal = normals(noise, len(total))
        for number, rows in enumerate(poisson_batches(noise, len(x), self.rate, self.steps)):
            batch = (x, target, squares) if whole else (x[rows], target[rows], squares[rows])
            norms, _ = net.clipped_sum(*batch, self.clip, bound, total)
            total += np.float32(sigma * bound) * normal()
            if observer is not None:
                observer(Step(number, rows, net.weights.copy(), total.copy(), bound))
            if isinstance(self.clip, Adaptive):
                shorter = int((norms.sum(axis=1) <= bound**2).sum())
                bound = self.clip.next_bound(bound, shorter, len(rows), self.expected, float(noise.normal(1)[0]))
            self._move(net.weights, total, velocity)
            if number >= start:
                sums += net.weights
        if start < self.steps:
            net.weights[:] = sums / (self.steps - start)
        if not np.isfinite(net.weights).all():
            raise not_finite()

    def _move(self, weights: Array, total: Array, velocity: Array) -> None:
        """Take the step. All of it is a function of released sums: it costs no privacy."""
        step = np.float32(self.learning_rate / self.expected)
        if self.l2:
            total += np.float32(self.l2 * self.expected) * weights
        if self.momentum:
            velocity *= np.float32(self.momentum)
            velocity += total
            total = velocity
        weights -= step * total


def not_finite() -> DataError:
    """Return the error of a training that left the finite numbers: one row may have led there, which no noise hides."""
    return DataError(
        "the weights are no finite numbers any more: a row is too large, or the steps are too long",
        remedy="Bound the rows, or take a smaller learning rate",
    )


def normals(noise: Noise, size: int) -> Callable[[], Array]:
    """Return a function that gives (size,) normal numbers at a call, made for many calls at once to hide a call's cost."""
    many = max(1, BLOCK // size)
    held: list[Array] = []

    def take() -> Array:
        if not held:
            held.extend(noise.normal(many, size))
        return held.pop()

    return take
