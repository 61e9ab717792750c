"""Membership inference: can an attacker tell which rows the model was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.curves import Curve, Series
from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.assessment.goals.base import Goal, Seen
from assay.assessment.membership.base import Exposure, MembershipAttack, accused, share_found
from assay.assessment.membership.boundary import BoundaryDistance
from assay.assessment.membership.neighbours import ASKED, Neighbours, rows_around
from assay.assessment.membership.rmia import shadow_rows
from assay.assessment.slices import slices_of
from assay.core.clock import derive_seed, stream
from assay.core.discovery import discover
from assay.core.errors import AssayError, BudgetError, Refused, UnsupportedError
from assay.core.evidence import NotChecked
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.models.guarded import answered
from assay.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.case import Case
    from assay.assessment.membership.base import MembershipResult

_LOWEST = 1e-4
# Sets of rows for each shadow model that is paid for: forests share their trees out among them.
_SETS = 4
_BOUNDARY_QUERIES = 300
_BOUNDARY_ROWS = 400
# Rows around which the target and all shadows are asked too, and how much memory the shadows' answers may take.
_AROUND_ROWS = 4_000
_AROUND_BYTES = 1_000_000_000
_LEAST_AROUND = 100
_SLICE_ROWS = 50
_RATE = 0.01
_NAMED = 20
_HEADLINE = ("rmia", "quantile", "confidence")


class Membership(Goal, name="membership", techniques=("AML.T0024.000",)):
    """True positives at few false ones, by every attack that the audit can afford, for all rows and slice by slice."""

    order: ClassVar[int] = 30
    group: ClassVar[str] = "privacy"

    def look(self, case: Case) -> Seen:
        """Return the measures of each attack, the slices that leak most, and ROC curves on logarithmic axes."""
        inside = case.draw(len(case.x_train), case.profile.audit_rows, "membership", "members")
        outside = case.draw(len(case.x_test), case.profile.audit_rows, "membership", "others")
        x = np.concatenate([case.x_train[inside], case.x_test[outside]])
        labels = np.concatenate([case.y_train[inside], case.y_test[outside]])
        exposure, near, missing = _exposure(case, x, labels, inside)
        results = _attack(exposure, case.seed)
        if near is not None:
            results["neighbours"] = Neighbours()(near, seed=case.seed)
        try:
            results["boundary"] = BoundaryDistance()(_at_distance(case, x, exposure), seed=case.seed)
        except (Refused, UnsupportedError) as error:
            missing = (*missing, NotChecked("membership.boundary", error.message, error.remedy))
        best = next(name for name in _HEADLINE if name in results)
        score = results[best].scores
        slices, finding = _by_slice(case, x, exposure, score, best)
        order = np.argsort(-score[: len(inside)], kind="stable")[:_NAMED]
        return Seen(
            (*(m for r in results.values() for m in r.measures), *slices),
            (_curve(results, len(outside)),),
            (*_leak(results), *finding),
            missing,
            parameters={
                "members": len(inside), "others": len(outside), "shadows": len(exposure.shadows),
                "attacks": sorted(results), "headline": best,
                "most_exposed_rows": [int(inside[i]) for i in order],
            },
        )  # fmt: skip


def _exposure(
    case: Case, x: NDArray[np.float64], labels: NDArray[np.intp], inside: NDArray[np.intp]
) -> tuple[Exposure, Exposure | None, tuple[NotChecked, ...]]:
    """Return what the attackers work with, on all rows and with answers around a part of them, and what is missing.

    Public rows are half of the rows that were not trained on.
    """
    n, members = len(x), len(inside)
    member = np.arange(n) < members
    answers = case.predictor.limited(None).probabilities(x)
    public = np.zeros(n, dtype=bool)
    public[members + stream(case.seed, "membership", "public").permutation(n - members)[: (n - members) // 2]] = True
    exposure = Exposure(answers, labels, member, rows=x.reshape(n, -1), public=public)
    if case.refit is None:
        why = NotChecked("membership.rmia", "the model cannot be fitted again", "Give the recipe that it was made by")
        return exposure, None, (why,)
    around, queries = None, x
    missing: tuple[NotChecked, ...] = ()
    try:
        around = _around(case, x, exposure)
        queries = np.concatenate([x, around.rows.reshape(-1, *x.shape[1:])])
    except (BudgetError, UnsupportedError) as error:
        missing = (NotChecked("membership.neighbours", error.message, error.remedy),)
    rest = np.setdiff1d(np.arange(len(case.x_train)), inside)
    shadows, seen = _shadows(case, x, labels, rest, queries)
    exposure = replace(exposure, shadows=shadows[:, :n], seen=seen)
    if around is None:
        return exposure, None, missing
    taught = _sure(shadows[:, n:], labels[around.near])
    return exposure, exposure.part(around.near, around=around.sure, shadow_around=taught), ()


@dataclass(frozen=True, slots=True, eq=False)
class _Around:
    """Rows around the audited ones at ``near`` (m,), (2, ASKED, m, ...), and what the target answers there, (2, ASKED, m)."""

    near: NDArray[np.intp]
    rows: NDArray[np.float64]
    sure: NDArray[np.float64]


def _around(case: Case, x: NDArray[np.float64], exposure: Exposure) -> _Around:
    """Ask the target around a part of the audited rows.

    Raises BudgetError when it answers no more, UnsupportedError when what shadows answer there would not fit into memory.
    """
    cost = 2 * ASKED * _SETS * case.profile.shadows * case.classes * exposure.answers.itemsize
    most = min(_AROUND_ROWS, _AROUND_BYTES // cost)
    if most < _LEAST_AROUND:
        raise UnsupportedError(f"answers of {case.classes} classes around rows would take too much memory")
    near = _part(case, exposure.member, most, "neighbours")
    labels = exposure.labels[near]
    rows = rows_around(x[near], labels, case.region, seed=case.seed)
    sure = _sure(answered(case.predictor.limited(None), rows.reshape(-1, *x.shape[1:]))[0], labels)
    # Where a guard refuses a row, the attacker is left with the answer at the row that it surrounds.
    return _Around(near, rows, np.where(np.isnan(sure), exposure.confidence()[near], sure))


def _sure(answers: NDArray[np.float64], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the probability of the true class around each row, (..., 2, ASKED, m), of answers (..., q, classes)."""
    own = np.tile(labels, 2 * ASKED)
    return answers[..., np.arange(len(own)), own].reshape(*answers.shape[:-2], 2, ASKED, len(labels))


def _part(case: Case, member: NDArray[np.bool_], most: int, purpose: str) -> NDArray[np.intp]:
    """Return positions of a part of the audited rows, as many members as others, sorted."""
    chance = stream(case.seed, "membership", purpose)
    sides = [chance.permutation(np.flatnonzero(side))[: most // 2] for side in (member, ~member)]
    return np.sort(np.concatenate(sides))


def _at_distance(case: Case, x: NDArray[np.float64], exposure: Exposure) -> Exposure:
    """Return how far a part of the audited rows lies from another label."""
    if not case.region.mutable.any():
        raise UnsupportedError("no feature can be changed, so there is no distance")
    rows = _part(case, exposure.member, _BOUNDARY_ROWS, "boundary")
    attack = HopSkipJump(max_queries=_BOUNDARY_QUERIES)
    found = attack(case.predictor.limited(None), x[rows], exposure.labels[rows], case.region, seed=case.seed)
    return exposure.part(rows, distance=np.where(found.already_wrong, 0.0, found.distance))


def _attack(exposure: Exposure, seed: int) -> dict[str, MembershipResult]:
    """Return the result of each attack that this exposure is enough for; others ask for what is not there."""
    results: dict[str, MembershipResult] = {}
    for name, kind in discover(MembershipAttack).items():
        try:
            results[name] = kind()(exposure, seed=seed)
        except AssayError:
            continue
    return results


def _shadows(
    case: Case,
    x: NDArray[np.float64],
    labels: NDArray[np.intp],
    rest: NDArray[np.intp],
    queries: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return what shadows answer to queries, and which of the audited rows each saw.

    Each shadow sees half of the audited rows, filled up with training rows that are not audited to the size that
    the target had, as far as the profile's bound on fits allows.
    """
    seen = shadow_rows(len(x), _SETS * case.profile.shadows, seed=case.seed)
    wanted = min(len(case.x_train), case.profile.fit_rows) - len(x) // 2
    fill = rest[case.draw(len(rest), max(0, wanted), "membership", "fill")]
    pool = np.concatenate([x, case.x_train[fill]])
    every = np.concatenate([labels, case.y_train[fill]])
    extra = np.arange(len(x), len(pool))
    sets = [(rows := np.concatenate([np.flatnonzero(half), extra]), every[rows]) for half in seen]
    assert case.refit is not None
    answers = case.refit.probabilities(
        sets, pool, queries, seed=derive_seed(case.seed, "membership"), fewest=case.profile.shadows
    )
    return answers, seen[: len(answers)]


def _by_slice(
    case: Case, x: NDArray[np.float64], exposure: Exposure, score: NDArray[np.float64], attack: str
) -> tuple[tuple[Measure, ...], tuple[Finding, ...]]:
    """Return the share of members found in each slice at the threshold of all rows, and the slice that leaks most."""
    member = exposure.member
    chance = accused(score, score[~member], _RATE)
    measures = []
    for name, held in slices_of(case.contract, x.reshape(len(x), -1), least=_SLICE_ROWS).items():
        inside = held & member
        if inside.sum() >= _SLICE_ROWS:
            hits, n = float(chance[inside].sum()), int(inside.sum())
            low, high = share_found(hits, n, int((~member).sum()), _RATE)
            threat = f"as membership.tpr@fpr{_RATE:g},{attack}, counted among the members of one slice"
            slice_name = f"membership.tpr@fpr{_RATE:g},{attack},{name}"
            measures.append(Measure(slice_name, hits / n, low, high, n, threat_model=threat, seed=case.seed))
    every = float(chance[member].mean())
    # Slices share the threshold with all rows, so what it owes to chance tells none from them.
    worst = max(measures, key=lambda m: (m.low, m.estimate), default=None)
    if worst is None or clopper_pearson(round(worst.estimate * worst.n), worst.n)[0] <= every:
        return tuple(measures), ()
    place = worst.name.rpartition(",")[2]
    return tuple(measures), (
        Finding(
            "membership-slice", Severity.MEDIUM,
            f"rows of {place} are found {worst.estimate:.1%} of the time, all rows {every:.1%}", "model",
            "Weigh, merge or regularise the slice, and measure again: `assay assess --goal privacy --fix`",
        ),
    )  # fmt: skip


def _leak(results: dict[str, MembershipResult]) -> tuple[Finding, ...]:
    """Return the finding that members are found ten times as often as others are accused, by the attack that finds most."""
    rare = [m for r in results.values() for m in r.measures if f"@fpr{_RATE:g}," in m.name]
    worst = max(rare, key=lambda m: m.low)
    if worst.low <= 10 * _RATE:
        return ()
    return (
        Finding(
            "membership-leak", Severity.MEDIUM,
            f"{worst.estimate:.1%} of the training rows are found at {_RATE:.0%} false accusations "
            f"({worst.name.rpartition(',')[2]})", "model",
            "Use larger leaves, a stronger penalty or private training: `assay assess --goal privacy --fix` tries them",
            technique="AML.T0024.000",
        ),
    )  # fmt: skip


def _curve(results: dict[str, MembershipResult], n: int) -> Curve:
    names = {
        "bavaria": "BaVarIA", "boundary": "labels only", "confidence": "confidence", "lira": "LiRA",
        "neighbours": "neighbours", "quantile": "quantile, no shadows", "rmia": "RMIA",
    }  # fmt: skip
    series = tuple(
        Series(title, results[name].fpr, results[name].tpr) for name, title in names.items() if name in results
    )
    return Curve(
        "membership", "Membership inference", "false positive rate", "true positive rate", series,
        log_x=True, log_y=True, diagonal=True,
        caption="How many training rows an attacker names for how many false accusations. On the dashed line it "
        f"guesses. Below {max(1 / n, _LOWEST):.2g} false positives there are no rows to tell.",
    )  # fmt: skip
