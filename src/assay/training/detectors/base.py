"""What every detector shares: a part of the clean data to learn from, another to set the threshold by.

The threshold is split-conformal: of m calibration scores the one of rank ceil((m + 1)(1 - rate)). A new clean input
then scores above it with chance ``rate`` at most, whatever the scores mean, as long as it is drawn as they were
(Vovk, Gammerman & Shafer 2005). Nothing of the kind holds for adversarial inputs: an attacker who knows the detector
has to be tried on it, which is what ``assay.assessment.detection`` does.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np

from assay.core.clock import stream
from assay.core.discovery import Control
from assay.core.errors import DataError
from assay.core.measure import Measure
from assay.core.settings import Within, check_settings, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]

_PROBES = 32


class Embedding(Protocol):
    """Turns samples (n, ...) into features (n, k), and pulls slopes of features back to the samples."""

    def __call__(self, x: NDArray[Any]) -> Array:
        """Return the features of samples."""

    def pull(self, x: NDArray[Any], slope: Array) -> Array:
        """Return the slope by the samples, shape of x, of a function whose slope by the features is (n, k)."""


class Scorer:
    """A learnt score. Subclasses write ``score``, and ``slope`` where they know it better than by probing."""

    def score(self, x: NDArray[Any]) -> Array:
        """Return how suspicious each sample (n, ...) is, (n,); each sample by itself."""
        raise NotImplementedError

    def slope(self, x: NDArray[Any]) -> Array:
        """Return an estimate of the gradient of the score, shape of x, from opposite probes (Salimans et al. 2017)."""
        rng, step = stream(0, "detectors", "probes"), 1e-2 * (float(np.std(x)) or 1.0)
        total = np.zeros(np.shape(x))
        for _ in range(_PROBES):
            way = rng.standard_normal(np.shape(x)[1:])
            rise = (self.score(x + step * way) - self.score(x - step * way)) / (2 * step * _PROBES)
            total += rise.reshape(-1, *[1] * (total.ndim - 1)) * way
        return total


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A calibrated detector; a ``Screen`` for models. threshold: scores above it are refused.

    rate: the false-alarm rate asked for; calibration: clean samples that set the threshold; rank: of theirs it is.
    """

    name: str
    scorer: Scorer
    threshold: float
    spread: float
    rate: float
    calibration: int
    rank: int
    seed: int

    def score(self, x: NDArray[Any]) -> Array:
        """Return how suspicious each sample (n, ...) is, (n,)."""
        return self.scorer.score(np.asarray(x, dtype=np.float64))

    def slope(self, x: NDArray[Any]) -> Array:
        """Return the gradient of the score, or an estimate of it, shape of x."""
        return self.scorer.slope(np.asarray(x, dtype=np.float64))

    def flags(self, x: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which samples are refused, (n,)."""
        found: NDArray[np.bool_] = self.score(x) > self.threshold
        return found

    def predict(self, x: NDArray[Any]) -> NDArray[np.intp]:
        """Return 1 for samples let through and -1 for those refused, (n,), as scikit-learn's outlier detectors do."""
        return np.where(self.flags(x), -1, 1)

    def false_alarms(self, confidence: float = 0.95) -> Measure:
        """Return the rate at which new clean samples are refused, with its interval over draws of the calibration set.

        Given m scores without ties the rate of one calibration follows Beta(m + 1 - rank, rank) (Vovk 2012).
        """
        from scipy.special import betaincinv

        a, b = self.calibration + 1 - self.rank, self.rank
        low, high = (float(betaincinv(a, b, q)) for q in ((1 - confidence) / 2, (1 + confidence) / 2))
        return Measure(
            f"false_alarm_rate@{self.name}", a / (a + b), low, high, self.calibration, confidence=confidence,
            method="split-conformal", threat_model="nobody: clean inputs drawn as the calibration set", seed=self.seed,
        )  # fmt: skip


class Detector(Control, package="assay.training.detectors", mitigations=("AML.M0015",)):
    """A score of how unlike clean data an input is. Subclasses are frozen dataclasses that write ``learn``.

    rate: the false-alarm rate that is calibrated for. held: share of the clean data that calibrates.
    """

    __slots__ = ()
    rate: float
    held: float

    def __post_init__(self) -> None:
        check_settings(self)

    @final
    def fit(
        self,
        model: Predictor,
        x: NDArray[Any],
        y: NDArray[np.integer],
        *,
        embedding: Embedding | None = None,
        seed: int = 0,
    ) -> Fitted:
        """Return the detector fitted on clean samples x (n, ...) and labels y (n,), calibrated on a part of them.

        model: the one that is guarded; samples that it was trained on may look cleaner to it than new ones do, so
        give others. embedding: features to look at, such as ``Penultimate`` (None: the standardised inputs).
        Raises DataError when there are too few samples for the rate.
        """
        rows, labels = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.intp)
        if rows.ndim < 2 or labels.shape != rows.shape[:1]:
            raise DataError(f"samples of shape {rows.shape} and labels of shape {labels.shape} do not go together")
        order = stream(seed, self.name, "split").permutation(len(rows))
        m = int(self.held * len(rows))
        rank = math.ceil((m + 1) * (1.0 - self.rate) - 1e-9)
        if rank > m or len(rows) - m < 2:
            need = math.ceil((1.0 / self.rate) / self.held) + 2
            raise DataError(
                f"{len(rows)} clean samples cannot calibrate a false-alarm rate of {self.rate:g}",
                remedy=f"Give {need} or more, or allow a higher rate",
            )
        learn, calibrate = np.sort(order[m:]), np.sort(order[:m])
        scorer = self.learn(model, rows[learn], labels[learn], embedding, stream(seed, self.name, "learn"))
        scores = np.sort(scorer.score(rows[calibrate]))
        threshold = float(scores[rank - 1])
        spread = float(threshold - np.median(scores)) or float(np.std(scores)) or 1.0
        return Fitted(self.name, scorer, threshold, spread, self.rate, m, rank, seed)

    @abstractmethod
    def learn(
        self, model: Predictor, x: Array, y: Labels, embedding: Embedding | None, generator: np.random.Generator
    ) -> Scorer:
        """Return the score learnt from clean samples x (n, ...) with labels y (n,)."""


def rate_setting() -> float:
    """Return the field of the false-alarm rate."""
    return setting(0.05, Within(0.0, 0.5, open_low=True), "False-alarm rate on clean inputs that is calibrated for.")


def held_setting() -> float:
    """Return the field of the share that calibrates."""
    return setting(0.5, Within(0.0, 1.0, open_low=True, open_high=True), "Share of the clean data that calibrates.")
