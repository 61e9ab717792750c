"""Evasion: how little must a row change, within what its owner can change, for the model to be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.curves import Curve, Series
from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.assessment.goals.base import Goal, Seen
from assay.core.errors import DataError
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    from assay.assessment.case import Case
    from assay.assessment.evasion.base import AttackResult

DISTANCES = (0.1, 0.25, 0.5, 1.0)
_POINTS = 61
_THREAT = (
    "black box: asks for answers, knows the contract and stays in its feasible region; changes are measured in "
    "the contract's scale of each feature, a changed category counting 1"
)


class Evasion(Goal, name="evasion", techniques=("AML.T0015", "AML.T0043.001")):
    """Robust accuracy by HopSkipJump within the feasible region, by distance and at any distance."""

    order: ClassVar[int] = 20

    def look(self, case: Case) -> Seen:
        """Return robust accuracy at several distances; the rows are drawn evenly over the classes."""
        profile = case.profile
        if not case.region.mutable.any():
            raise DataError("no feature can be changed by its owner", remedy="Set `mutable` in the contract")
        rows = _balanced(case, profile.evasion_rows)
        attack = HopSkipJump(max_queries=profile.evasion_queries)
        target = case.predictor.limited(None)
        result = attack(target, case.x_test[rows], case.y_test[rows], case.region, seed=case.seed)
        broken = result.success & ~result.already_wrong
        measures = [
            _share(f"robust_accuracy@l2_{far:g},hopskipjump_{profile.evasion_queries}", _robust(result, far), case, target.queries)
            for far in (*DISTANCES, np.inf)
        ]  # fmt: skip
        findings: tuple[Finding, ...] = ()
        if broken.any():
            near = float(np.median(result.distance[broken]))
            flips = f"{int(broken.sum())} of {int((~result.already_wrong).sum())} rows that the model gets right"
            findings = (
                Finding(
                    "evasion-possible", Severity.LOW, f"{flips} can be turned, at a median distance of {near:.3g}",
                    "model", "Train robustly, lock what its owner cannot change, or watch outliers at the gateway",
                ),
            )  # fmt: skip
        return Seen(
            tuple(measures), (_curve(result),), findings, parameters={
                "attack": "hopskipjump", "rows": len(rows), "queries_per_row": profile.evasion_queries,
                "changeable_features": int(case.region.mutable.sum()),
            },
        )  # fmt: skip


def _balanced(case: Case, most: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return positions of test rows, as many of each class as there are or as are wanted."""
    found = [np.flatnonzero(case.y_test == c) for c in range(case.classes)]
    share = -(-most // max(1, sum(len(f) > 0 for f in found)))
    drawn = [f[case.draw(len(f), share, "evasion", str(c))] for c, f in enumerate(found)]
    return np.sort(np.concatenate(drawn))


def _robust(result: AttackResult, distance: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    # `<=` with infinity would count rows that were never broken, whose distance is infinite.
    reached = result.success & (result.distance <= distance)
    robust: np.ndarray[tuple[int], np.dtype[np.bool_]] = ~result.already_wrong & ~reached
    return robust


def _share(name: str, flags: np.ndarray[tuple[int], np.dtype[np.bool_]], case: Case, queries: int) -> Measure:
    low, high = clopper_pearson(int(flags.sum()), len(flags))
    return Measure(
        name.replace("l2_inf", "any"), float(flags.mean()), low, high, len(flags), threat_model=_THREAT, seed=case.seed,
        queries=queries,
    )  # fmt: skip


def _curve(result: AttackResult) -> Curve:
    reached = result.distance[result.success]
    far = float(np.quantile(reached, 0.95)) if len(reached) else 1.0
    grid = np.linspace(0.0, max(far, DISTANCES[-1]), _POINTS)
    counts = np.array([int(_robust(result, d).sum()) for d in grid])
    n = len(result.distance)
    bounds = np.array([clopper_pearson(int(k), n) for k in counts])
    line = Series("HopSkipJump", grid, counts / n, bounds[:, 0], bounds[:, 1])
    return Curve(
        "evasion", "Robust accuracy", "distance (scaled L2)", "share of rows still right", (line,),
        caption=f"The share of {n} test rows, drawn evenly over the classes, that the model gets right however they "
        "are changed within the contract up to this distance.",
    )  # fmt: skip
