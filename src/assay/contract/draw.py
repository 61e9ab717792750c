"""Rows out of nothing: what somebody makes up who knows a contract and owns no row.

In order: values uniform in their ranges; each one-hot group gets its one; what an implication asks for is drawn; a linear
relation is met by one of its values. What still breaks a rule is thrown away, and where too little is left, brought to
what the rules allow from rows that keep them (``assay.contract.repair``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.logic import Test
    from assay.contract.region import Region

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_ROUNDS = 20
_PASSES = 4
_TOLERANCE = 1e-9


def drawn(region: Region, count: int, spread: float, generator: np.random.Generator) -> Array:
    """Return random rows (count, d) in the ranges of ``region`` that keep all its rules, if any such row is found.

    Directions, steps and frozen values, which start from a row, do not bind. spread: reach, in units of scale, where a range
    is open. Rows are uniform where nothing but ranges binds.
    """
    low, high = region.base_low, region.base_high
    reach = 2.0 * spread * region.scale
    bottom = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high - reach, -reach / 2.0))
    top = np.where(np.isfinite(high), high, bottom + reach)
    whole = region.whole | region.category
    bottom, top = np.where(whole, np.ceil(bottom), bottom), np.where(whole, np.floor(top), top)
    kept: list[Array] = []
    missing = count
    for _ in range(_ROUNDS):
        rows = bottom + generator.random((count, region.width)) * (top - bottom)
        rows = np.where(whole, np.clip(np.rint(rows), bottom, top), rows)
        if region.bound:
            rows = _mended(region, rows, bottom, top, generator)
        good = rows[~_broken(region, rows)][:missing]
        kept.append(good)
        missing -= len(good)
        if not missing:
            return np.concatenate(kept)
    found: Array = np.concatenate(kept)
    if not len(found):
        return np.asarray(rows[:missing], dtype=np.float64)
    yes = np.ones(region.width, dtype=bool)
    free = replace(region, base_low=bottom, base_high=top, up=yes, down=yes, step=np.where(whole, 1.0, 0.0))
    return np.concatenate([found, free.project(rows[:missing], found[generator.integers(0, len(found), missing)])])


def _past(region: Region, rows: Array) -> Flags:
    """Return which linear relations each row (n, d) breaks, whatever it started from, (n, m)."""
    over = rows @ region.weights.T - region.bounds
    size = _TOLERANCE * np.maximum(1.0, np.abs(rows) @ np.abs(region.weights).T)
    past: Flags = np.where(region.equal, np.abs(over), over) > size
    return past & region.logic.active(rows) if region.logic.guarded else past


def _broken(region: Region, rows: Array) -> Flags:
    """Return which rows (n, d) break a rule, whatever they started from, (n,)."""
    both = np.concatenate([_past(region, rows), region.logic.broken(rows)], axis=1)
    return np.asarray(both.any(axis=1), dtype=bool)


def _mended(region: Region, rows: Array, bottom: Array, top: Array, generator: np.random.Generator) -> Array:
    """Return rows after groups, implications and linear relations have been made to hold, one after the other."""
    grouped = np.zeros(region.width, dtype=bool)
    for group in region.logic.groups:
        size = len(group.places)
        hot = generator.integers(0, size + group.optional, len(rows))
        rows[:, group.places] = hot[:, None] == np.arange(size)
        grouped[group.places] = True
    whole = region.whole | region.category
    for _ in range(_PASSES):
        for rule in region.logic.rules:
            bad = np.flatnonzero(rule.broken(rows))
            for test in rule.then:
                rows[bad, test.place] = _within(test, len(bad), bottom, top, bool(whole[test.place]), generator)
        for j, weights in enumerate(region.weights):
            able = np.flatnonzero((weights != 0) & ~region.category & ~grouped)
            bad = np.flatnonzero(_past(region, rows)[:, j])
            if not len(able) or not len(bad):
                continue
            # One value makes it hold; where it may be less, anything up to twice as far.
            place = generator.choice(able, len(bad))
            far = np.ones(len(bad)) if region.equal[j] else 1.0 + generator.random(len(bad))
            value = rows[bad, place] - far * (rows[bad] @ weights - region.bounds[j]) / weights[place]
            value = np.where(whole[place], np.rint(value), value)
            rows[bad, place] = np.clip(value, bottom[place], top[place])
        if not _broken(region, rows).any():
            break
    return rows


def _within(test: Test, count: int, bottom: Array, top: Array, whole: bool, generator: np.random.Generator) -> Array:
    """Return random values (count,) of the test's column that meet it; ones beyond its range where none in it does."""
    low, high = max(test.low, bottom[test.place]), min(test.high, top[test.place])
    if test.values is not None:
        fit = test.values[(test.values >= low) & (test.values <= high)]
        return np.asarray(generator.choice(fit if len(fit) else test.values, count), dtype=np.float64)
    if whole:
        low, high = np.ceil(low), np.floor(high)
        return np.asarray(np.rint(low + generator.random(count) * max(high - low, 0.0)), dtype=np.float64)
    return np.asarray(low + generator.random(count) * max(high - low, 0.0), dtype=np.float64)


__all__ = ["drawn"]
