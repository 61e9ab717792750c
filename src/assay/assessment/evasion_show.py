"""What the evasion ladder shows to readers: security curves, the cheapest changes in words, pictures before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.curves import Curve, Series
from assay.assessment.evasion.recourse import changes
from assay.assessment.evasion_ladder import is_table
from assay.assessment.exhibits import Gallery, Listing
from assay.core.errors import BudgetError
from assay.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.case import Case
    from assay.assessment.certificates.base import CertificateResult
    from assay.assessment.evasion.base import AttackResult
    from assay.assessment.evasion_ladder import Climb
    from assay.assessment.exhibits import Exhibit

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_POINTS = 61
_SHOWN = 8
_PICTURES = 6
_KINDS = {
    "hopskipjump": "HopSkipJump", "beam": "Beam search", "genetic": "Genetic search", "square": "Square",
    "capgd": "CAPGD", "pgd": "PGD", "autoattack": "AutoAttack",
}  # fmt: skip


def distances(case: Case, climb: Climb, result: AttackResult) -> Array:
    """Return the L2 distance of each row that was turned, infinite for others, (k,); whatever norm the attack had."""
    x = case.x_test[climb.rows]
    far: Array = np.where(result.success, case.region.distance(result.x_adv, x, "l2"), np.inf)
    return far


def security_curve(case: Case, climb: Climb, reach: float) -> Curve:
    """Return robust accuracy against distance, a line with its interval for each rung, for all, and for what is certain."""
    far = [distances(case, climb, r) for r in climb.results]
    wrong = climb.results[0].already_wrong
    reached = far[0][np.isfinite(far[0])]
    grid = np.linspace(0.0, max(float(np.quantile(reached, 0.95)) if len(reached) else 1.0, float(reach)), _POINTS)
    series = [
        _line(_KINDS.get(rung.attack.name, rung.attack.name), d, wrong, grid)
        for rung, d in zip(climb.rungs, far, strict=True)
        if rung.attack.radius is None
    ]
    if len(far) > 1:
        series.append(_line("All rungs together", np.min(far, axis=0), wrong, grid))
    if climb.certificate is not None:
        series.append(_certain(climb.certificate, grid))
    return Curve(
        "evasion", "Robust accuracy", "distance (scaled L2)", "share of rows still right", tuple(series),
        caption=f"The share of {len(wrong)} test rows, drawn evenly over the classes, that the model gets right however "
        "they are changed within the contract up to this distance. The true line runs below every attack"
        + (" and above what is certified." if climb.certificate is not None else "."),
    )  # fmt: skip


def _line(name: str, far: Array, wrong: Flags, grid: Array) -> Series:
    n = len(wrong)
    counts = np.array([int((~wrong & ~(np.isfinite(far) & (far <= d))).sum()) for d in grid])
    bounds = np.array([clopper_pearson(int(k), n) for k in counts])
    return Series(name, grid, counts / n, bounds[:, 0], bounds[:, 1])


def _certain(certificate: CertificateResult, grid: Array) -> Series:
    n = len(certificate.right)
    counts = np.array([int(certificate.certified(float(d)).sum()) for d in grid])
    bounds = np.array([clopper_pearson(int(k), n) for k in counts])
    return Series(f"Certified ({n} rows)", grid, counts / n, bounds[:, 0], bounds[:, 1])


def exhibits(case: Case, climb: Climb) -> tuple[Exhibit, ...]:
    """Return the cheapest evasions in words for a table, pictures for images, and the ladder itself."""
    shown: list[Exhibit] = []
    if is_table(case) and case.contract is not None:
        listing = _cheapest(case, climb)
        shown += [listing] if listing is not None else []
    elif case.x_test.ndim in (3, 4):
        gallery = _pictures(case, climb)
        shown += [gallery] if gallery is not None else []
    shown.append(_ladder(climb))
    return tuple(shown)


def _cheapest(case: Case, climb: Climb) -> Listing | None:
    """Return, for the rows that are turned at the least cost, what to do; each row once."""
    assert case.contract is not None
    x = case.x_test[climb.rows]
    found = [
        (r, _KINDS.get(rung.attack.name, rung.attack.name))
        for rung, result in zip(climb.rungs, climb.results, strict=True)
        for r in changes(result, x, case.contract)
    ]
    names = case.contract.target.classes if case.contract.target else tuple(map(str, range(case.classes)))
    seen: set[int] = set()
    rows: list[tuple[str, ...]] = []
    for recourse, attack in sorted(found, key=lambda pair: (pair[0].cost, len(pair[0].changes), pair[0].row)):
        if recourse.row in seen or len(rows) == _SHOWN:
            continue
        seen.add(recourse.row)
        truth = str(names[int(case.y_test[climb.rows[recourse.row]])])
        words, _, cost = recourse.words.rpartition(": cost ")
        rows.append((f"{int(climb.rows[recourse.row])}", truth, words, cost, attack))
    if not rows:
        return None
    return Listing(
        "evasion", "The cheapest evasions", ("test row", "class", "what turns it", "cost", "found by"), tuple(rows),
        "Each was sent to the model and changed its answer. Costs are those of the contract; a value that its owner cannot "
        "really change belongs there as `mutable: no`.",
    )  # fmt: skip


def _pictures(case: Case, climb: Climb) -> Gallery | None:
    """Return pictures before and after, next to each other, those turned by the least change first."""
    far = np.array([distances(case, climb, r) for r in climb.results])
    best = far.argmin(axis=0)
    order = [int(i) for i in np.argsort(far.min(axis=0), kind="stable")[:_PICTURES] if np.isfinite(far[best[i], i])]
    if not order:
        return None
    images, names = [], []
    for i in order:
        before, after = case.x_test[climb.rows[i]], climb.results[best[i]].x_adv[i]
        try:
            taken = f"taken for {int(case.predictor.limited(None).labels(after[None])[0])}"
        except BudgetError:
            # The answer that turned it was another; a spent endpoint does not say which.
            taken = "taken for another"
        images += [before, after]
        names += [f"class {int(case.y_test[climb.rows[i]])}", f"{taken}, L2 {far[best[i], i]:.2g}"]
    low, high = float(case.region.base_low.min()), float(case.region.base_high.max())
    stack = (np.array(images) - low) / max(high - low, 1e-12)
    if stack.ndim == 4:
        stack = np.moveaxis(stack, 1, -1) if stack.shape[1] in (1, 3) else stack
        stack = stack[..., 0] if stack.shape[-1] == 1 else stack
        if stack.ndim == 4 and stack.shape[-1] != 3:
            return None
    return Gallery(
        "evasion", "Before and after", stack, tuple(names), 6,
        "Each pair: a test picture, and the nearest found that is taken for something else.",
    )  # fmt: skip


def _ladder(climb: Climb) -> Listing:
    rows = tuple(
        (_KINDS.get(r.attack.name, r.attack.name), r.knows, f"{r.attack.max_queries:,}", r.misses) for r in climb.rungs
    )
    return Listing(
        "evasion", "How hard it was attacked", ("attack", "knows", "queries a row", "what it could miss"), rows,
        f"What a deeper profile would add: {climb.left}.",
    )  # fmt: skip


__all__ = ["distances", "exhibits", "security_curve"]
