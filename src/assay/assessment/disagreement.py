"""Where two versions part: robustness of both under one attack, and the nearest inputs on which their answers differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.beam import Beam
from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.assessment.evasion.recourse import changes
from assay.assessment.exhibits import Listing
from assay.core.measure import Measure
from assay.models.function import Function
from assay.stats.intervals import clopper_pearson
from assay.stats.paired import paired_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.base import AttackResult
    from assay.assessment.version_diff import Versions
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

DISTANCES = (0.25, 0.5, 1.0)
_SHOWN = 8


def parted(old: Predictor, new: Predictor) -> Function:
    """Return a predictor of two classes, agree and differ, of two models; it is the surer the clearer the two answers are."""

    def differ(x: Array) -> Array:
        one, two = (_margins(m.probabilities(x)) for m in (old, new))
        both = np.minimum(one[:, :, None], two[:, None, :])
        same = np.arange(one.shape[1])
        both[:, same, same] = -np.inf
        gap = both.max(axis=(1, 2))
        share = 0.5 + 0.5 * gap
        # Equal margins do not differ: the first class of equals is the answer of both.
        apart = one.argmax(axis=1) != two.argmax(axis=1)
        share = np.where(apart, np.maximum(share, np.nextafter(0.5, 1.0)), np.minimum(share, 0.5))
        return np.stack([1.0 - share, share], axis=1)

    return Function(differ, 2)


def _margins(p: Array) -> Array:
    """Return by how much each class exceeds the highest other, (n, c)."""
    ranked = np.sort(p, axis=1)
    top, second = ranked[:, -1:], ranked[:, -2:-1]
    first = np.arange(p.shape[1]) == p.argmax(axis=1)[:, None]
    return np.where(first, p - second, p - top)


def disagreement(versions: Versions, rows: Index, *, queries: int, seed: int) -> tuple[list[Measure], Listing | None]:
    """Return differences of robust accuracy under HopSkipJump, and how far rows are from an input that parts the versions.

    rows: positions of the rows attacked. The listing has the cheapest changes in words, None without a contract of
    columns. Raises DataError, or UnsupportedError where no feature may change.
    """
    x, y = versions.x[rows], versions.y[rows]
    attack = HopSkipJump(max_queries=queries)
    old, new = (attack(m.limited(None), x, y, versions.region, seed=seed) for m in (versions.old, versions.new))
    measures = [_robust(old, new, far, queries, seed) for far in DISTANCES]
    agree = np.zeros(len(x), dtype=np.intp)
    beam = Beam(max_queries=max(40, queries // 2), norm="cost")
    found = beam(parted(versions.old.limited(None), versions.new.limited(None)), x, agree, versions.region, seed=seed)
    threat = "looks for inputs within the feasible region that the two versions answer differently"
    for far in (*DISTANCES, np.inf):
        reached = found.already_wrong | (found.success & (found.distance <= far))
        name = "any" if np.isinf(far) else f"cost_{far:g}"
        low, high = clopper_pearson(int(reached.sum()), len(reached))
        measures.append(
            Measure(f"version_diff.parted@{name},beam_{beam.max_queries}", float(reached.mean()), low, high, len(reached),
                    threat_model=threat, seed=seed, queries=int(found.queries.sum()))
        )  # fmt: skip
    return measures, _listing(versions, found, x)


def _robust(old: AttackResult, new: AttackResult, far: float, queries: int, seed: int) -> Measure:
    one, two = (~r.already_wrong & ~(r.success & (r.distance <= far)) for r in (old, new))
    gained, lost, n = int((two & ~one).sum()), int((one & ~two).sum()), len(one)
    return Measure(
        f"version_diff.robust_accuracy@l2_{far:g},hopskipjump_{queries}", (gained - lost) / n,
        *paired_difference(gained, lost, n), n, "difference", method="tango",
        threat_model="black box, in the feasible region; the same attack, budget and seed on both versions", seed=seed,
    )  # fmt: skip


def _listing(versions: Versions, found: AttackResult, x: Array) -> Listing | None:
    contract = versions.contract
    if contract is None or contract.tensor is not None or not found.success.any():
        return None
    names = contract.target.classes if contract.target else tuple(map(str, range(versions.old.classes)))
    shown = []
    for recourse in changes(found, x, contract)[:_SHOWN]:
        row = found.x_adv[recourse.row : recourse.row + 1]
        answers = [str(names[int(m.limited(None).labels(row)[0])]) for m in (versions.old, versions.new)]
        shown.append((recourse.words, *answers))
    return Listing(
        "evasion", "The nearest inputs on which the versions differ", ("change", "old version", "new version"), tuple(shown),
        "Each line starts from a real row on which both agree and changes only what its owner could.",
    )  # fmt: skip


__all__ = ["disagreement", "parted"]
