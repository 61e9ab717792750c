"""Variants of a recipe's estimator that give less of its training rows away, as plain data that a job can be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.core.errors import UnsupportedError


def varied(estimator: Any, variant: Mapping[str, Any]) -> Any:
    """Return the estimator changed as ``variant`` says; an empty one leaves it as it is.

    settings: for each setting's name, ``{"at_least": v}`` or ``{"at_most": v}``, at whatever depth the estimator has it.
    crossfit: true wraps it in ``CrossFitted``. private: settings of a ``DPLogisticRegression`` that takes its place; values
    that are missing count as 0.
    Raises UnsupportedError when the estimator has none of the settings, or already has them as strict.
    """
    if variant.get("private"):
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline

        from assay.training.private.estimators import DPLogisticRegression

        # A constant learns nothing from the rows; the model's bounds bring it into the range.
        filled = SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True)
        return make_pipeline(filled, DPLogisticRegression(**variant["private"]))
    settings = variant.get("settings", {})
    if settings:
        _tighten(estimator, settings)
    if variant.get("crossfit"):
        from assay.training.private.crossfit import CrossFitted

        return CrossFitted(estimator)
    return estimator


def _tighten(estimator: Any, settings: Mapping[str, Mapping[str, float]]) -> None:
    held = estimator.get_params()
    changes = {}
    for name, value in held.items():
        wanted = settings.get(name.rpartition("__")[2])
        if wanted is not None:
            new = _stricter(value, wanted)
            if new is not None:
                changes[name] = new
    if not changes:
        raise UnsupportedError(f"the model has no {' or '.join(sorted(settings))} that is looser")
    estimator.set_params(**changes)


def _stricter(value: Any, wanted: Mapping[str, float]) -> float | None:
    """Return the new value of a setting, None when it is as strict already or is a share of the rows."""
    if "at_least" in wanted:
        least = wanted["at_least"]
        if isinstance(value, float) and isinstance(least, int):
            return None
        return least if value is None or value < least else None
    most = wanted["at_most"]
    # Some libraries write "no limit" as -1 or 0.
    return most if value is None or value <= 0 or value > most else None
