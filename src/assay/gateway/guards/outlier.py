"""The outlier guard: rows far from the training data, by a Mahalanobis distance with a stated false-alarm rate.

Numbers are centred and scaled; a category counts by its rarity, -log of its share; a missing value is
taken as the mean, so it adds nothing. The covariance is shrunk to the identity (Ledoit and Wolf 2004).
The threshold is the split-conformal quantile of rows held out from the fit (Vovk et al. 2005), so that on
exchangeable traffic the false-alarm rate is at most the one asked for. It says nothing about an attacker
who stays near the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from assay.core.clock import stream
from assay.core.errors import DataError, SettingError
from assay.core.settings import Within, setting
from assay.gateway.guard import Fitted, Guard, Screen, Screening

if TYPE_CHECKING:
    from assay.contract.contract import Contract
    from assay.gateway.guard import Rows


@dataclass(frozen=True, slots=True)
class Outlier(Guard, name="outlier", techniques=("AML.T0015", "AML.T0043"), mitigations=("AML.M0015",)):
    """Refuse or report rows that lie farther from the training data than its own rows do."""

    order: ClassVar[int] = 20

    false_alarm: float = setting(0.001, Within(0, 0.5, open_low=True), "Largest share of honest rows refused.")

    def fit(self, contract: Contract, x: Rows, *, seed: int = 0) -> dict[str, object]:
        """Return centre, scale, whitening and threshold. Raises DataError with too few rows to state the rate."""
        import numpy as np

        needed = 2 * math.ceil(1.0 / self.false_alarm)
        if len(x) < needed:
            raise DataError(
                f"{len(x)} rows cannot show a false-alarm rate of {self.false_alarm:g}",
                where="serve.guards.outlier",
                remedy=f"Give {needed} rows or a higher false_alarm",
            )
        order = stream(seed, "gateway", "outlier").permutation(len(x))
        half = len(x) // 2
        fit, held = x[order[:half]], x[order[half:]]
        surprise = _surprises(contract, fit)
        z = _numeric(fit, surprise)
        centre = np.array([c[~np.isnan(c)].mean() if not np.isnan(c).all() else 0.0 for c in z.T])
        z = np.where(np.isnan(z), 0.0, z - centre)
        scale = z.std(axis=0)
        scale[scale == 0] = 1.0
        whiten = _whitening(z / scale) / scale[:, None]
        record: dict[str, object] = {"centre": centre.tolist(), "whiten": whiten.tolist(), "surprise": surprise}
        scores = np.sort(_scorer(record)(held))
        rank = math.ceil((len(held) + 1) * (1.0 - self.false_alarm))
        threshold = float(scores[min(rank, len(held)) - 1])
        return {**record, "threshold": threshold, "false_alarm": self.false_alarm, "calibrated_on": len(held)}

    def screening(self, contract: Contract, fitted: Fitted) -> Screening:
        """Return the check of rows against the threshold. Raises SettingError when the guard was not fitted."""
        import numpy as np

        threshold = fitted.get("threshold")
        if not isinstance(threshold, (int, float)) or len(cast("list[Any]", fitted.get("centre"))) != contract.width:
            raise SettingError("the guard was not fitted for this contract", where="serve.guards.outlier")
        if fitted.get("false_alarm") != self.false_alarm:
            raise SettingError(
                "was fitted for another false_alarm", where="serve.guards.outlier", remedy="Fit it again"
            )
        score = _scorer(fitted)

        def screen(x: Rows) -> Screen | None:
            ok: Any = score(x) <= threshold
            if np.all(ok):
                return None
            return Screen(ok, [[] if good else ["far from the training data"] for good in ok])

        return screen


def _surprises(contract: Contract, x: Rows) -> dict[str, list[float]]:
    """For each category column, -log share of every code and, last, of an unseen one."""
    import numpy as np

    from assay.contract.contract import Kind

    tables = {}
    for column, feature in enumerate(contract.features):
        if feature.kind is Kind.CATEGORY:
            values = x[:, column]
            codes = values[(values >= 0) & ~np.isnan(values)].astype(int)
            counts = np.bincount(codes, minlength=len(feature.categories))[: len(feature.categories)]
            shares = (np.append(counts, 0) + 1.0) / (counts.sum() + len(counts) + 1.0)
            tables[str(column)] = (-np.log(shares)).tolist()
    return tables


def _numeric(x: Rows, surprise: object) -> Rows:
    import numpy as np

    tables = cast("dict[str, list[float]]", surprise)
    if not tables:
        return x
    z = x.copy()
    for text, values in tables.items():
        column, table = int(text), np.asarray(values)
        codes = np.where(np.isnan(z[:, column]), 0, z[:, column]).astype(np.intp)
        codes[(codes < 0) | (codes >= len(table))] = len(table) - 1
        z[:, column] = np.where(np.isnan(z[:, column]), np.nan, table[codes])
    return z


def _whitening(z: Rows) -> Rows:
    """Return W (d, d) with W W' the inverse of the shrunk covariance of centred rows z (n, d)."""
    import numpy as np

    n, d = z.shape
    covariance = z.T @ z / n
    mean = float(np.trace(covariance)) / d
    off = float(((covariance - mean * np.eye(d)) ** 2).sum())
    noise = float(((z**2).sum(axis=1) ** 2).sum() / n**2 - (covariance**2).sum() / n)
    shrink = 1.0 if off <= 0 else min(1.0, max(0.0, noise / off))
    shrunk = (1 - shrink) * covariance + shrink * mean * np.eye(d) + 1e-9 * np.eye(d)
    return np.linalg.cholesky(np.linalg.inv(shrunk))


def _scorer(fitted: Fitted) -> Any:
    """Return the function from rows (n, d) to squared distances (n,)."""
    import numpy as np

    centre = np.asarray(fitted["centre"], dtype=np.float64)
    whiten = np.asarray(fitted["whiten"], dtype=np.float64)
    surprise = fitted["surprise"]

    def score(x: Rows) -> Rows:
        z = (_numeric(x, surprise) - centre) @ whiten
        distances: Rows = np.einsum("ij,ij->i", z, z)
        if np.isnan(distances).any():
            z = np.nan_to_num(_numeric(x, surprise) - centre, nan=0.0) @ whiten
            distances = np.einsum("ij,ij->i", z, z)
        return distances

    return score
