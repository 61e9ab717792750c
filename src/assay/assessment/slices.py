"""Slices: the groups of rows that a contract names, on which a risk is measured apart."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from assay.contract.contract import Contract, Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.contract import Feature

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_BINS = 4


def slices_of(contract: Contract | None, x: Array, *, least: int) -> dict[str, Flags]:
    """Return which rows of x (n, d) lie in each slice, by name such as ``sex=F`` or ``age=30..44``.

    Numbers are cut at their quartiles. Slices of fewer than ``least`` rows are left out: they would say nothing.
    """
    if contract is None or contract.tensor is not None:
        return {}
    found: dict[str, Flags] = {}
    for place, feature in enumerate(contract.features):
        if feature.slice:
            found |= {f"{feature.name}={name}": held for name, held in _parts(feature, x[:, place])}
    return {name: held for name, held in found.items() if held.sum() >= least}


def _parts(feature: Feature, values: Array) -> list[tuple[str, Flags]]:
    if feature.kind is Kind.CATEGORY:
        return [(category, values == code) for code, category in enumerate(feature.categories)]
    known = np.unique(values[~np.isnan(values)])
    if len(known) <= _BINS:
        return [(f"{value:g}", values == value) for value in known]
    edges = np.unique(np.quantile(values[~np.isnan(values)], np.linspace(0.0, 1.0, _BINS + 1)))
    parts = []
    for low, high in itertools.pairwise(edges):
        last = high == edges[-1]
        held = (values >= low) & ((values <= high) if last else (values < high))
        parts.append((f"{low:.4g}..{high:.4g}", held))
    return parts
