"""Preprocessing that learns nothing: bounds come from the contract or the user, never from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from assay.core.clock import stream
from assay.core.errors import DataError, Refused, SettingError
from assay.training.private.pictures import edges, widths_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ends(bounds: tuple[Any, Any], width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and upper bound of each feature, both (width,). Raises SettingError, which names the features."""
    low, high = (np.asarray(end, np.float64) for end in bounds)
    if low.ndim > 1 or high.ndim > 1 or not {low.size, high.size} <= {1, width}:
        raise SettingError(f"{width} features but {max(low.size, high.size)} bounds", remedy="Give one bound a feature")
    low, high = np.broadcast_to(low, width), np.broadcast_to(high, width)
    wrong = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high) & (high > low)))
    if len(wrong):
        named = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
        raise SettingError(
            f"bounds need finite numbers with low < high, unlike those of feature {named}",
            remedy="Give what the feature can be, not what the rows hold",
        )
    return low, high


@dataclass(frozen=True, slots=True)
class Scaling:
    """Features cut to ``bounds`` and mapped to [-1, 1]; rows shortened to ``row_norm``; perhaps random features of them.

    bounds: (low, high), scalars or one a feature; None leaves features as they are. unit_rows: each row is freed of its
    own mean and brought to the length ``row_norm`` instead of being cut to it. image: rows are pictures of (height,
    width) in one channel, of which ``pictures.edges`` are taken. features: replace the row, then of unit
    length, by so many random cosines of it (Rahimi & Recht 2007), an approximate Gaussian kernel of width 1 / gamma,
    drawn from a public seed. Each output row depends on its own input row and on public numbers alone.
    """

    bounds: tuple[Any, Any] | None = None
    row_norm: float | None = None
    unit_rows: bool = False
    features: int = 0
    gamma: float = 1.5
    image: tuple[int, int] | None = None

    def width(self, given: int) -> int:
        """Return the number of scaled features of rows with ``given`` ones."""
        return self.features or (given if self.image is None else widths_of(self.image))

    def apply(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scaled rows (n, d). Raises SettingError for bounds that do not fit."""
        if self.bounds is not None:
            low, high = ends(self.bounds, x.shape[1])
            x = np.clip((2 * x - low - high) / (high - low), -1.0, 1.0)
        if self.image is not None:
            if min(self.image) < 2 or self.image[0] * self.image[1] != x.shape[1]:
                raise DataError(
                    f"rows of {x.shape[1]} values are no pictures of {self.image}",
                    remedy="Give image=(height, width) of one channel, each 2 or more",
                )
            x = edges(x, self.image)
        length = 1.0 if self.row_norm is None else self.row_norm
        if not length > 0:
            raise SettingError(f"row_norm cannot be {self.row_norm}", remedy="Give a number above 0")
        if self.unit_rows:
            x = x - x.mean(axis=1, keepdims=True)
        if self.features:
            return length * self._cosines(_shortened(x, 1.0, stretch=self.unit_rows))
        return x if self.row_norm is None else _shortened(x, length, stretch=self.unit_rows)

    def _cosines(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        turns, offsets = self.turns(x.shape[1])
        return np.asarray(np.sqrt(2 / self.features) * np.cos(x @ turns + offsets))

    def turns(self, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the public frequencies (width, features) and offsets (features,) of the random cosines."""
        rng = stream(0, "random-features")
        frequencies = rng.standard_normal((width, self.features)) * self.gamma
        return frequencies, rng.uniform(0, 2 * np.pi, self.features)

    def describe(self) -> dict[str, object]:
        """Return the scaling as plain data."""
        ends = None if self.bounds is None else [np.asarray(end, np.float64).tolist() for end in self.bounds]
        return {"bounds": ends, "row_norm": self.row_norm, "unit_rows": self.unit_rows,
                "features": self.features, "gamma": self.gamma, "image": None if self.image is None else list(self.image),
                "learnt": "nothing"}  # fmt: skip


class BoundsEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features as indicators of equal parts of their public bounds: curves become linear, and nothing is learnt.

    bounds: (low, high), scalars or one a feature; bins: parts, a number or one a feature (for a category coded 0, 1, ...
    with bounds (-0.5, k - 0.5): k). Values beyond the bounds fall into the outermost parts, missing ones into none.
    """

    def __init__(self, bounds: tuple[Any, Any] = (-1.0, 1.0), bins: Any = 12) -> None:
        self.bounds = bounds
        self.bins = bins

    def __sklearn_tags__(self) -> Any:
        """Say that missing values are taken."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - the interface of scikit-learn
        """Remember how many features there are; nothing else."""
        validate_data(self, X, dtype=np.float64, ensure_all_finite=False)
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return indicators (n, sum of bins) of rows X (n, d). Raises SettingError for empty bounds."""
        check_is_fitted(self, "n_features_in_")
        x = validate_data(self, X, dtype=np.float64, reset=False, ensure_all_finite=False)
        width = x.shape[1]
        low, high = ends(self.bounds, width)
        bins = np.broadcast_to(np.asarray(self.bins, np.intp), width)
        if not np.all(bins >= 1):
            raise SettingError("bins cannot be below 1", remedy="Give a number, or one a feature")
        place = np.clip(np.floor((x - low) / (high - low) * bins), 0, bins - 1)
        return np.concatenate([place[:, [j]] == np.arange(bins[j]) for j in range(width)], axis=1).astype(np.float64)


def _shortened(x: NDArray[np.float64], length: float, *, stretch: bool) -> NDArray[np.float64]:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    factor = length / np.maximum(norms, 1e-300)
    return np.asarray(x * (np.where(norms > 0, factor, 0.0) if stretch else np.minimum(1.0, factor)))


def private_part(model: Any) -> Any | None:
    """Return the private estimator in ``model``, itself or the last step of a pipeline; None for another model.

    Raises Refused when a step before it learns from the rows.
    """
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    if not hasattr(steps[-1], "privacy_statement"):
        return None
    check_steps(steps[:-1])
    return steps[-1]


def check_steps(steps: Sequence[object]) -> None:
    """Refuse preprocessing steps that are fitted on the private rows outside of any accounting. Raises Refused."""
    for step in steps:
        if not _learns_nothing(step):
            raise Refused(
                f"{type(step).__name__} learns from the private rows: what it learns is released with the model and "
                "not accounted",
                reason="data-dependent-normaliser",
                remedy="Give bounds from the contract (`bounds=(low, high)`), which are public; BoundsEncoder takes "
                "categories and missing values",
            )


def _learns_nothing(step: object) -> bool:
    if isinstance(step, SimpleImputer):
        # Without a number of its own, or when it tells which columns have gaps, even a constant one looks at the rows.
        fixed = step.strategy == "constant" and step.fill_value is not None
        return bool(fixed and step.keep_empty_features and not step.add_indicator)
    return step is None or isinstance(step, (str, BoundsEncoder)) or not get_tags(step).requires_fit
