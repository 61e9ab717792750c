"""What fitting many copies together shares: which estimators, on which rows, asked what."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.core.discovery import Control

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What one copy is fitted on and asked: x (n, d), y (n,) class indices, queries (q, d)."""

    x: NDArray[Any]
    y: NDArray[np.intp]
    queries: NDArray[Any]


class Together(Control, package="assay.models.together"):
    """Fits k copies of an estimator in one computation, and returns what they answer."""

    @classmethod
    @abstractmethod
    def accepts(cls, estimator: Any) -> bool:
        """Return whether copies with these settings can be fitted here; no library is imported to find out."""

    @classmethod
    @abstractmethod
    def answers(
        cls, estimator: Any, samples: list[Sample], *, classes: int, seeds: list[int]
    ) -> list[NDArray[np.float64]]:
        """Return the probabilities (q, classes) of each of k copies, fitted on its sample and seeded on its own."""


def is_kind(estimator: Any, module: str, *names: str) -> bool:
    """Return whether the estimator's class is exactly one of ``names`` of a package, not a subclass of it."""
    kind = type(estimator)
    return kind.__module__.split(".")[0] == module and kind.__name__ in names
