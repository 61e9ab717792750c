"""Label flips: the cheapest poison, which anyone who labels, reports or appeals can give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.poisoning.base import PoisoningAttack
from assay.assessment.rising import Rising
from assay.core.settings import OneOf, Within, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class LabelFlip(PoisoningAttack, name="label_flip", techniques=("AML.T0020",), mitigations=("AML.M0007",)):
    """Give a share of the training rows, drawn at random, another label.

    Biggio, Nelson & Laskov 2011. Targeted: only rows of the rarest class are flipped, all to the most common one,
    as a fraudster does who gets his own cases marked honest; shares are then shares of that class.
    """

    shares: tuple[float, ...] = setting(
        (0.0, 0.01, 0.05, 0.1, 0.2), Rising(0.0, 0.95), "Shares of the training rows whose label is flipped."
    )
    targeted: bool = setting(False, OneOf((False, True)), "Whether only the rarest class is flipped, to the commonest.")
    repeats: int = setting(3, Within(1, 100), "Fits at each share, each with rows drawn anew.")
    threat_model: ClassVar[str] = (
        "flips labels of training rows drawn at random; changes no feature, and knows neither the model nor its answers"
    )

    @property
    def title(self) -> str:
        """The name that measures carry."""
        return f"{self.name}_targeted" if self.targeted else self.name

    def poison(
        self, y: Labels, share: float, classes: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.intp], Labels]:
        """Return all rows and their labels, a share of them flipped; what a share flips, larger shares flip too."""
        counts = np.bincount(y, minlength=classes)
        held = np.flatnonzero(counts)
        rarest = int(held[counts[held].argmin()])
        able = np.flatnonzero(y == rarest) if self.targeted else np.arange(len(y))
        order = generator.permutation(able)
        away = generator.integers(1, classes, len(y))
        flipped = order[: round(share * len(able))]
        labels = y.copy()
        commonest = int(np.delete(np.arange(classes), rarest)[np.delete(counts, rarest).argmax()])
        labels[flipped] = commonest if self.targeted else (y[flipped] + away[flipped]) % classes
        return np.arange(len(y)), labels
