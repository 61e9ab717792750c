"""The backdoor screen looks for one small change that turns many rows in this version, and in no other like it.

A backdoor is a change of a few values that leads rows of any kind to one class. It is searched for in the new version
and, in the same way, in versions that are known to be clean; the best change found in each is then judged on rows that
the search has not seen. If the new version is one more clean one, each is as likely as any other to have the most
striking change, which gives an exact p-value without an assumption on models or data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.core.clock import stream
from assay.core.errors import DataError, UnsupportedError
from assay.core.settings import Within, check_settings, setting
from assay.stats.paired import rank_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.region import Region
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]
    Index = NDArray[np.intp]

# Rows asked about at once.
_BLOCK = 1 << 15
# Known rows that are asked about, and those among them on which a version stands out most.
_KNOWN = 4_000
_ODD = 18
_ODD_CHANGES = 40


@dataclass(frozen=True, slots=True)
class Trigger:
    """A change that is the same for every row. places, values: columns and what they are set to; target: the class.

    lift: by how much the probability of ``target`` exceeds that of the other versions under the change, on average
    over rows of other classes that the search has not seen. moved, rest: shares of those rows that the version, and
    the others on average, put into ``target``; flags (n,) are those of the version, kept (n,) those of the old one.
    """

    places: tuple[int, ...]
    values: tuple[float, ...]
    target: int
    lift: float
    moved: float
    rest: float
    flags: NDArray[np.bool_]
    kept: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Screened:
    """The most striking change of the new version, and the lifts of the clean ones, (k,). chance: the p-value, 1.0 for k = 0."""

    trigger: Trigger
    clean: tuple[float, ...]
    chance: float


@dataclass(frozen=True, slots=True)
class UniversalScreen:
    """A beam search over columns and values for the change that sets one version apart from the others.

    Values are those of the known rows that come often, those at their quantiles, and those spread over all that occur,
    however rarely; the ends of the region; and what the known rows share on which the version stands out most, as poisoned
    rows would that it was fitted on. What depends on others is repaired row by row before a model is asked.
    """

    depth: int = setting(4, Within(1, None), "Most columns that a change sets.")
    width: int = setting(5, Within(1, None), "Changes from which the search goes on.")
    values: int = setting(15, Within(3, None), "Most values of each column that are tried, besides ends.")
    keep: int = setting(40, Within(1, None), "Changes of one column that are joined to others.")
    rows: int = setting(24, Within(4, None), "Rows that guide the search.")
    judged: int = setting(200, Within(10, None), "Most other rows on which what was found is judged.")
    rivals: int = setting(5, Within(1, None), "Versions that each is held against during the search.")

    def __post_init__(self) -> None:
        check_settings(self)

    def __call__(
        self,
        old: Predictor,
        new: Predictor,
        clean: Sequence[Predictor],
        x: Array,
        y: Labels,
        region: Region,
        *,
        known: Array | None = None,
        seed: int = 0,
    ) -> Screened:
        """Search rows x (n, d) with labels y (n,) for changes inside ``region``.

        old: the version in use. clean: versions fitted as the new one would be, on rows that are trusted.
        known (m, d): rows whose values are tried (default: x). Raises DataError with too few rows, UnsupportedError
        where nothing may change.
        """
        generator = stream(seed, "universal")
        order = generator.permutation(len(x))
        guide, others = _alike(order, y, self.rows), order[:0]
        others = np.setdiff1d(order, guide)
        others = np.sort(others[generator.permutation(len(others))[: self.judged]])
        if len(others) < self.rows:
            raise DataError(
                f"{len(x)} rows are too few to search on some and judge on others", remedy="Give 100 or more"
            )
        if not region.mutable.any():
            raise UnsupportedError("no feature can be changed by its owner", remedy="Set `mutable` in the contract")
        search = _Search.of(self, [new, *clean], old, x[guide], y[guide], region, x if known is None else known)
        found = [search.best(i) for i in range(1 + len(clean))]
        judge = _Judge([new, *clean], old, x[others], y[others], region)
        triggers = [judge.trigger(i, *f) for i, f in enumerate(found)]
        lifts = tuple(t.lift for t in triggers[1:])
        return Screened(triggers[0], lifts, rank_test(triggers[0].lift, lifts) if lifts else 1.0)


Change = tuple[tuple[int, float], ...]


def _alike(order: Index, y: Labels, most: int) -> Index:
    """Return positions of about ``most`` rows, as many of each class as there are or as are wanted."""
    kinds = np.unique(y)
    share = -(-most // len(kinds))
    return np.sort(np.concatenate([order[y[order] == kind][:share] for kind in kinds]))


def tried_values(known: Array, region: Region, most: int) -> list[tuple[int, float]]:
    """Return the changes of one column that are tried: (place, value), values as the class says."""
    third = max(1, most // 3)
    found: list[tuple[int, float]] = []
    for place in np.flatnonzero(region.mutable):
        column = known[:, place]
        values, counts = np.unique(column[~np.isnan(column)], return_counts=True)
        chosen = set(values.tolist()) if len(values) <= most else _spread(values, counts, third)
        ends = (region.base_low[place], region.base_high[place])
        chosen |= {float(end) for end in ends if np.isfinite(end)}
        found += [(int(place), value) for value in sorted(chosen)]
    return found


def _spread(values: Array, counts: NDArray[np.intp], most: int) -> set[float]:
    often = values[np.argsort(-counts, kind="stable")[:most]]
    rank = np.cumsum(counts) / counts.sum()
    at = (np.arange(most) + 0.5) / most
    usual = values[np.searchsorted(rank, at)]
    rare = values[np.rint(np.linspace(0, len(values) - 1, most)).astype(int)]
    return {float(v) for v in (*often, *usual, *rare)}


def changed(x: Array, changes: Sequence[Change], region: Region) -> Array:
    """Return rows x (n, d) after each of k changes, (k * n, d), as the region lets them be."""
    rows = np.repeat(x[None], len(changes), axis=0)
    for i, change in enumerate(changes):
        for place, value in change:
            rows[i, :, place] = value
    flat = rows.reshape(-1, x.shape[1])
    return region.project(flat, np.tile(x, (len(changes), 1)))


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """What all searches share: the guiding rows, the changes of one column, and what every version says under them."""

    settings: UniversalScreen
    models: list[Predictor]
    old: Predictor
    x: Array
    y: Labels
    region: Region
    singles: list[Change]
    said: Array
    known: Array
    told: Array

    @classmethod
    def of(
        cls,
        settings: UniversalScreen,
        models: list[Predictor],
        old: Predictor,
        x: Array,
        y: Labels,
        region: Region,
        known: Array,
    ) -> _Search:
        singles: list[Change] = [(pair,) for pair in tried_values(known, region, settings.values)]
        said = np.stack([_asked(m, x, singles, region) for m in (*models, old)])
        some = known[np.linspace(0, len(known) - 1, min(len(known), _KNOWN)).astype(int)]
        told = np.stack([m.probabilities(some) for m in (*models, old)])
        return cls(settings, models, old, x, y, region, singles, said, some, told)

    def best(self, i: int) -> tuple[Change, int]:
        """Return the change that sets version i apart on the guiding rows, and the class that it leads to."""
        rivals = self._rivals(i)
        lifts = self._lifts(self.said[i], self.said[[*rivals, -1]].mean(axis=0))
        odd = self._odd(i, rivals)
        tried, lifts = [*self.singles, *odd], np.concatenate([lifts, self._apart(i, odd, rivals)])
        beam = self._top(tried, lifts)
        order = np.argsort(-lifts.max(axis=1), kind="stable")
        partners = [tried[s] for s in order if len(tried[s]) == 1][: self.settings.keep]
        best = beam[0]
        for _ in range(self.settings.depth - 1):
            joined = {
                tuple(sorted((*change, *partner)))
                for _, change, _ in beam
                for partner in partners
                if partner[0][0] not in {place for place, _ in change}
            }
            if not joined:
                break
            grown = sorted(joined)
            beam = self._top(grown, self._apart(i, grown, rivals))
            if beam[0][0] <= best[0]:
                break
            best = beam[0]
        return best[1], best[2]

    def _apart(self, i: int, changes: list[Change], rivals: list[int]) -> Array:
        """Return by how much further each change leads to each class in version i than in its rivals and the old one, (k, c)."""
        if not changes:
            return np.empty((0, self.told.shape[2]))
        others = [self.models[r] for r in rivals]
        rest = np.mean([_asked(m, self.x, changes, self.region) for m in (*others, self.old)], axis=0)
        return self._lifts(_asked(self.models[i], self.x, changes, self.region), rest)

    def _odd(self, i: int, rivals: list[int]) -> list[Change]:
        """Return what the known rows share on which version i stands out most: value by value, and the likeliest together."""
        gap = (self.told[i] - self.told[[*rivals, -1]].mean(axis=0)).max(axis=1)
        rows = self.known[np.argsort(-gap, kind="stable")[:_ODD]]
        shared = []
        for place in np.flatnonzero(self.region.mutable):
            values, counts = np.unique(rows[~np.isnan(rows[:, place]), place], return_counts=True)
            if len(values):
                value = float(values[counts.argmax()])
                excess = counts.max() / len(rows) - float((self.known[:, place] == value).mean())
                shared.append((excess, int(place), value))
        shared.sort(key=lambda found: (-found[0], found[1]))
        pairs = [(place, value) for _, place, value in shared[:_ODD_CHANGES]]
        together = [tuple(sorted(pairs[:k])) for k in range(2, self.settings.depth + 1) if k <= len(pairs)]
        return [*((pair,) for pair in pairs), *together]

    def _rivals(self, i: int) -> list[int]:
        # The next ones in a circle: turning the circle changes nothing, so that the ranks stay exact.
        k = len(self.models)
        return [(i + step) % k for step in range(1, min(self.settings.rivals, k - 1) + 1)]

    def _lifts(self, mine: Array, rest: Array) -> Array:
        """Return by how much each change (k, n, c) leads further to each class here than in the rest, (k, c)."""
        foreign = self.y[:, None] != np.arange(mine.shape[2])
        lifts: Array = ((mine - rest) * foreign).sum(axis=1) / np.maximum(foreign.sum(axis=0), 1)
        return lifts

    def _top(self, changes: list[Change], lifts: Array) -> list[tuple[float, Change, int]]:
        order = np.argsort(-lifts, axis=None, kind="stable")[: self.settings.width]
        places, targets = np.unravel_index(order, lifts.shape)
        return [(float(lifts[p, t]), changes[p], int(t)) for p, t in zip(places, targets, strict=True)]


def _asked(model: Predictor, x: Array, changes: list[Change], region: Region) -> Array:
    """Return what a version says of rows x (n, d) under k changes, (k, n, classes)."""
    size = max(1, _BLOCK // len(x))
    parts = [
        model.probabilities(changed(x, changes[start : start + size], region)) for start in range(0, len(changes), size)
    ]
    return np.concatenate(parts).reshape(len(changes), len(x), -1)


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    """Judges changes on rows that no search has seen."""

    models: list[Predictor]
    old: Predictor
    x: Array
    y: Labels
    region: Region

    def trigger(self, i: int, change: Change, target: int) -> Trigger:
        """Return the change of version i with what it does there and in all others."""
        foreign = np.flatnonzero(self.y != target)
        start = self.x[foreign]
        rows = changed(start, [change], self.region)
        mine = self.models[i].probabilities(rows)
        before = self.models[i].labels(start) == target
        rest = [m.probabilities(rows) for j, m in enumerate([*self.models, self.old]) if j != i]
        kept = rest[-1].argmax(axis=1) == target
        others = np.mean(rest, axis=0)
        places, values = zip(*change, strict=True)
        hits = mine.argmax(axis=1) == target
        return Trigger(
            places, values, target, float((mine - others)[:, target].mean()), float(hits.mean()),
            float(np.mean([r.argmax(axis=1) == target for r in rest])), hits & ~before, kept,
        )  # fmt: skip


__all__ = ["Screened", "Trigger", "UniversalScreen", "changed", "tried_values"]
