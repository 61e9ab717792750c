"""What every inversion attack shares: one picture a class, and how much of the training data is in it."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from assay.core.clock import derive_seed, stream
from assay.core.discovery import Control
from assay.core.errors import DataError
from assay.core.measure import Measure
from assay.core.settings import check_settings
from assay.stats.intervals import bootstrap, clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.region import Region
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

_REACH = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class InversionResult:
    """What was drawn. x (c, ...): one sample a class; confidence (c,): the model's for it; queries: rows asked.

    scale (d,): the range of each value, in shares of which samples are compared.
    """

    x: Array
    confidence: Array
    queries: int
    scale: Array

    def measures(
        self, x: Array, y: Labels, *, attack: str, threat_model: str, seed: int
    ) -> tuple[tuple[Measure, ...], Array]:
        """Return how like each picture is to the mean of its class in x (n, ...), y (n,), and the similarities (c, c).

        Similarity: Pearson's correlation over the values, in shares of their ranges and about the mean of all rows.
        ``inversion.identified``: the share of pictures that are most like the mean of their own class;
        ``inversion.similarity``: the mean similarity to it. A picture that shows no class gives 1/c and about 0.
        """
        flat, drawn = x.reshape(len(x), -1), self.x.reshape(len(self.x), -1)
        middle, spread = np.nanmean(flat, axis=0), self.scale
        held = [c for c in range(len(drawn)) if (y == c).any()]
        means = np.stack([np.nanmean(flat[y == c], axis=0) for c in held])
        alike = _correlation((drawn[held] - middle) / spread, (means - middle) / spread)
        own = np.diag(alike)
        n = len(held)
        hits = int((alike.argmax(axis=1) == np.arange(n)).sum())
        low, high = clopper_pearson(hits, n)
        common = {"threat_model": threat_model, "seed": seed, "queries": self.queries}
        found = [Measure(f"inversion.identified@{attack}", hits / n, low, high, n, **common)]  # type: ignore[arg-type]
        mean = float(own.mean())
        low, high = bootstrap(lambda v: float(v.mean()), own, draws=1000, seed=derive_seed(seed, "inversion"))
        found.append(
            Measure(
                f"inversion.similarity@{attack}", mean, min(low, mean), max(high, mean), n, unit="correlation",
                method="bootstrap over classes", **common,  # type: ignore[arg-type]
            )
        )  # fmt: skip
        return tuple(found), alike


class InversionAttack(Control, package="assay.assessment.inversion", techniques=("AML.T0024.001",)):
    """A search for an input that the model takes for a typical member of a class. Subclasses are frozen dataclasses.

    max_queries: hard budget of rows for each class.
    """

    __slots__ = ()
    threat_model: ClassVar[str] = ""
    max_queries: int

    def __post_init__(self) -> None:
        check_settings(self)

    @final
    def __call__(
        self, predictor: Predictor, region: Region, shape: tuple[int, ...], *, seed: int = 0
    ) -> InversionResult:
        """Draw one sample of ``shape`` for each class inside the region's range. Raises DataError for another width.

        The attacker starts from the middle of the range and knows no row.
        """
        if math.prod(shape) != region.width:
            raise DataError(f"samples of shape {shape} and a region of {region.width} values do not go together")
        target = predictor.limited(self.max_queries * predictor.classes)
        low = np.where(np.isfinite(region.base_low), region.base_low, -_REACH * region.scale)
        high = np.where(np.isfinite(region.base_high), region.base_high, _REACH * region.scale)
        x = self.draw(target, (low + high) / 2.0, low, high, shape, stream(seed, self.name))
        x = np.clip(np.where(region.whole | region.category, np.rint(x), x), low, high)
        shares = predictor.limited(None).probabilities(x.reshape(-1, *shape))
        span = np.where(high > low, high - low, 1.0)
        return InversionResult(x.reshape(-1, *shape), np.diag(shares).copy(), target.queries, span)

    @abstractmethod
    def draw(
        self,
        predictor: Predictor,
        start: Array,
        low: Array,
        high: Array,
        shape: tuple[int, ...],
        chance: np.random.Generator,
    ) -> Array:
        """Return one row for each class, (c, d), within low (d,) and high (d,); predictor refuses beyond the budget."""


def _correlation(a: Array, b: Array) -> Array:
    """Return the correlation of each row of a (k, d) with each of b (m, d), 0 where a row is constant."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    sizes = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    alike: Array = np.divide(a @ b.T, sizes, out=np.zeros(sizes.shape), where=sizes > 0)
    return alike
