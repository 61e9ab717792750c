"""Evasion: how little must a row change, within what its owner can change, for the model to be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.evasion.masking import masking
from assay.assessment.evasion_ladder import RADIUS, climb, differentiable
from assay.assessment.evasion_show import distances, exhibits, security_curve
from assay.assessment.goals.base import Goal, Seen
from assay.assessment.slices import slices_of
from assay.core.errors import DataError
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.stats.intervals import clopper_pearson
from assay.stats.paired import holm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.case import Case
    from assay.assessment.evasion_ladder import Climb

    Flags = NDArray[np.bool_]

DISTANCES = (0.1, 0.25, 0.5, 1.0)
_SLICE_AT = 0.5
_SLICE_ROWS = 20
_ALPHA = 0.05
_MASKED_ROWS = 100
_THREAT = (
    "asks for answers, knows the contract and stays in its feasible region; changes are measured in "
    "the contract's scale of each feature, a changed category counting 1"
)


class Evasion(
    Goal, name="evasion", techniques=("AML.T0015", "AML.T0043", "AML.T0043.000", "AML.T0043.001")
):  # fmt: skip
    """Robust accuracy by a ladder of attacks within the feasible region, by distance, and what is certain where it can be."""

    order: ClassVar[int] = 20
    group: ClassVar[str] = "robustness"

    def look(self, case: Case) -> Seen:
        """Return robust accuracy at several distances; the rows are drawn evenly over the classes."""
        profile = case.profile
        if not case.region.mutable.any():
            raise DataError("no feature can be changed by its owner", remedy="Set `mutable` in the contract")
        rows = _balanced(case, profile.evasion_rows)
        climbed = climb(case, rows)
        if not climbed.rungs:
            first = climbed.missing[0]
            raise DataError(first.why, remedy=first.remedy)
        measures = [*_by_rung(case, climbed), *_together(case, climbed), *_refused(climbed)]
        if climbed.certificate is not None:
            measures += climbed.certificate.measures((DISTANCES[0], _SLICE_AT))
        findings = _possible(climbed)
        sliced, worse = _by_slice(case, climbed)
        if profile.name != "quick" and differentiable(case) and not case.region.bound:
            some = rows[:: max(1, len(rows) // _MASKED_ROWS)]
            findings += masking(
                case.predictor.limited(None), case.x_test[some], case.y_test[some], case.region, radius=RADIUS, seed=case.seed
            ).findings  # fmt: skip
        return Seen(
            (*measures, *sliced), (security_curve(case, climbed, DISTANCES[-1]),), (*findings, *worse), climbed.missing,
            parameters={
                "attack": "hopskipjump", "rows": len(rows), "queries_per_row": profile.evasion_queries,
                "changeable_features": int(case.region.mutable.sum()),
                "ladder": [rung.to_json() for rung in climbed.rungs], "a_deeper_profile_adds": climbed.left,
            },
            exhibits=exhibits(case, climbed),
        )  # fmt: skip


def _balanced(case: Case, most: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return positions of test rows, as many of each class as there are or as are wanted."""
    found = [np.flatnonzero(case.y_test == c) for c in range(case.classes)]
    share = -(-most // max(1, sum(len(f) > 0 for f in found)))
    drawn = [f[case.draw(len(f), share, "evasion", str(c))] for c, f in enumerate(found)]
    return np.sort(np.concatenate(drawn))


def _by_rung(case: Case, climbed: Climb) -> list[Measure]:
    """Return robust accuracy under each rung alone; an attack inside a ball speaks of that ball only."""
    found = []
    for rung, result in zip(climbed.rungs, climbed.results, strict=True):
        asked, knows = int(result.queries.sum()), f"knows {rung.knows}, {_THREAT}"
        name = f"robust_accuracy@{{}},{rung.title}"
        if rung.attack.radius is not None:
            robust = ~result.already_wrong & ~result.success
            found.append(_share(name.format(f"{rung.attack.norm}_{rung.attack.radius:g}"), robust, case, asked, knows))
            continue
        far = distances(case, climbed, result)
        # The first rung at each distance, as policies name it; of the others what tells them apart.
        for d in (*DISTANCES, np.inf) if rung is climbed.rungs[0] else (_SLICE_AT, np.inf):
            robust = ~result.already_wrong & ~(result.success & (far <= d))
            found.append(_share(name.format(_at(d)), robust, case, asked, knows))
    return found


def _together(case: Case, climbed: Climb) -> list[Measure]:
    """Return robust accuracy against whichever rung is best on each row; with one rung there is nothing to add."""
    if len(climbed.rungs) < 2:
        return []
    asked = int(sum(r.queries.sum() for r in climbed.results))
    threat = f"the best of {', '.join(r.attack.name for r in climbed.rungs)} on each row; {_THREAT}"
    return [
        _share(f"robust_accuracy@{_at(d)},ladder_{case.profile.name}", _all(case, climbed, d), case, asked, threat)
        for d in (*DISTANCES, np.inf)
    ]


def _refused(climbed: Climb) -> list[Measure]:
    """Return the share of each rung's questions that guards refused, of those that met a guard; they are no success."""
    return [
        Measure(
            f"rows_refused@{rung.title}", result.refused / asked, *clopper_pearson(result.refused, asked), asked, queries=asked
        )
        for rung, result in zip(climbed.rungs, climbed.results, strict=True)
        if result.refused and (asked := int(result.queries.sum()))
    ]  # fmt: skip


def _all(case: Case, climbed: Climb, far: float) -> Flags:
    return climbed.robust(lambda result: distances(case, climbed, result), far)


def _at(distance: float) -> str:
    return "any" if np.isinf(distance) else f"l2_{distance:g}"


def _share(name: str, flags: Flags, case: Case, queries: int, threat: str) -> Measure:
    low, high = clopper_pearson(int(flags.sum()), len(flags))
    return Measure(
        name, float(flags.mean()), low, high, len(flags), threat_model=threat, seed=case.seed, queries=queries
    )  # fmt: skip


def _possible(climbed: Climb) -> list[Finding]:
    """Return a finding that says how many rows can be turned, by what, and how near, when any can."""
    right = ~climbed.results[0].already_wrong
    near = np.min([np.where(r.success, r.distance, np.inf) for r in climbed.results if len(r.distance)], axis=0)
    broken = right & np.isfinite(near)
    if not broken.any():
        return []
    hop = climbed.results[0]
    far = hop.distance[hop.success & right]
    median = f", at a median distance of {float(np.median(far)):.3g}" if len(far) else ""
    flips = f"{int(broken.sum())} of {int(right.sum())} rows that the model gets right"
    return [
        Finding(
            "evasion-possible", Severity.LOW, f"{flips} can be turned{median}", "model",
            "Train robustly, lock what its owner cannot change, or watch outliers at the gateway", "AML.T0015",
        )
    ]  # fmt: skip


def _by_slice(case: Case, climbed: Climb) -> tuple[list[Measure], list[Finding]]:
    """Return robust accuracy in each slice of the contract, and the slice that is worst off beyond chance.

    Of the rows that the model gets right, as many in the slice are turned as elsewhere, by Fisher's exact test, one-sided,
    at 5 % over all slices (Holm 1979).
    """
    from scipy.stats import fisher_exact

    x = case.x_test[climbed.rows]
    robust, right = _all(case, climbed, _SLICE_AT), ~climbed.results[0].already_wrong
    parts = slices_of(case.contract, x.reshape(len(x), -1), least=_SLICE_ROWS)
    threat = f"as robust_accuracy@{_at(_SLICE_AT)}, among the rows of one slice; {_THREAT}"
    suffix = "ladder_" + case.profile.name
    measures = [
        _share(f"robust_accuracy_slice@{_at(_SLICE_AT)},{suffix},{name}", robust[held], case, 0, threat)
        for name, held in parts.items()
    ]  # fmt: skip
    chances = []
    for held in parts.values():
        inside, outside = held & right, ~held & right
        table = [[int((inside & ~robust).sum()), int((inside & robust).sum())],
                 [int((outside & ~robust).sum()), int((outside & robust).sum())]]  # fmt: skip
        chances.append(float(fisher_exact(table, alternative="greater").pvalue))
    adjusted = holm(chances)
    if not adjusted or min(adjusted) > _ALPHA:
        return measures, []
    place = int(np.argmin(adjusted))
    text = (
        f"rows of {list(parts)[place]} stay right {measures[place].estimate:.0%} of the time under changes up to "
        f"{_SLICE_AT:g}, all rows {robust.mean():.0%} (p = {adjusted[place]:.2g}, all {len(parts)} slices counted)"
    )
    remedy = "Give the slice more rows, or train robustly, and measure again"
    return measures, [Finding("evasion-slice", Severity.MEDIUM, text, list(parts)[place], remedy, "AML.T0015")]
