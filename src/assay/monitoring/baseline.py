"""The baseline: what the training data looked like, as counts in frozen bins, small enough to ship with a release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.contract.contract import Kind
from assay.core.errors import DataError, FormatError
from assay.stats.drift import histogram, quantile_edges

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.contract.contract import Contract

PSI_BINS = 10
FINE_BINS = 200


@dataclass(frozen=True, slots=True)
class FeatureBaseline:
    """One feature. edges, counts: frozen PSI bins; fine_edges, fine_counts: those of the KS test.

    For a category the bins are its codes and, last, an unseen one, and there are no fine bins.
    nulls: rows without a value, which are in no bin.
    """

    name: str
    category: bool
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    fine_edges: tuple[float, ...]
    fine_counts: tuple[int, ...]
    nulls: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """All features of a training matrix of ``n`` rows. Round trip: ``Baseline.from_json(b.to_json()) == b``."""

    n: int
    features: tuple[FeatureBaseline, ...]
    labels: tuple[int, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the baseline as plain data."""
        rows = [
            {name: list(v) if isinstance(v := getattr(f, name), tuple) else v for name in FeatureBaseline.__slots__}
            for f in self.features
        ]
        return {"n": self.n, "features": rows, "labels": list(self.labels)}

    @classmethod
    def from_json(cls, record: object) -> Baseline:
        """Return the baseline in plain data. Raises FormatError."""
        if not isinstance(record, Mapping):
            raise FormatError("not a baseline")
        try:
            features = tuple(_feature(row) for row in record["features"])
            return cls(int(record["n"]), features, tuple(int(c) for c in record.get("labels", ())))
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"not a baseline ({error})") from error


def baseline(contract: Contract, x: NDArray[np.float64], labels: NDArray[np.intp] | None = None) -> Baseline:
    """Return the baseline of training rows (n, d) in model space. labels: the model's answers on them, (n,).

    Raises DataError on an empty matrix or another width.
    """
    import numpy as np

    if len(x) == 0 or x.ndim != 2 or x.shape[1] != contract.width:
        raise DataError(f"a baseline needs rows of {contract.width} values", remedy="Encode them with the contract")
    kinds = [(f.name, len(f.categories) if f.kind is Kind.CATEGORY else 0) for f in contract.features]
    kinds = kinds or [(f"x{j}", 0) for j in range(contract.width)]
    features = []
    for j, (name, categories) in enumerate(kinds):
        values = x[:, j]
        nulls = int(np.isnan(values).sum())
        if categories:
            counts = category_counts(values, categories)
            features.append(FeatureBaseline(name, True, (), _whole(counts), (), (), nulls))
            continue
        edges, fine = quantile_edges(values, PSI_BINS), quantile_edges(values, FINE_BINS)
        sizes, fine_sizes = _whole(histogram(values, edges)), _whole(histogram(values, fine))
        features.append(
            FeatureBaseline(name, False, tuple(edges.tolist()), sizes, tuple(fine.tolist()), fine_sizes, nulls)
        )
    answers = () if labels is None else _whole(np.bincount(labels))
    return Baseline(len(x), tuple(features), answers)


def category_counts(values: NDArray[np.float64], categories: int) -> NDArray[np.float64]:
    """Return counts (categories + 1,) of the codes and, last, of everything unseen. NaN is left out."""
    import numpy as np

    codes = values[~np.isnan(values)].astype(np.intp)
    codes[(codes < 0) | (codes > categories)] = categories
    return np.bincount(codes, minlength=categories + 1).astype(np.float64)


def _whole(counts: NDArray[np.float64] | NDArray[np.intp]) -> tuple[int, ...]:
    return tuple(int(c) for c in counts)


def _feature(row: Mapping[str, object]) -> FeatureBaseline:
    fields: dict[str, object] = {n: tuple(v) if isinstance(v := row[n], list) else v for n in FeatureBaseline.__slots__}
    return FeatureBaseline(**fields)  # type: ignore[arg-type]
