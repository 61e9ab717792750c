"""Membership inference: can an attacker tell which rows the model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.curves import Curve, Series
from assay.assessment.goals.base import Goal, Seen
from assay.assessment.membership.base import Exposure, MembershipAttack
from assay.assessment.membership.confidence import Confidence
from assay.assessment.membership.rmia import RMIA, shadow_rows
from assay.core.clock import derive_seed
from assay.core.evidence import NotChecked

if TYPE_CHECKING:
    from assay.assessment.case import Case
    from assay.assessment.membership.base import MembershipResult

_LOWEST = 1e-4


class Membership(Goal, name="membership", techniques=("AML.T0024.000",)):
    """True positives at few false ones, by confidence and, where the recipe can be fitted again, by RMIA."""

    order: ClassVar[int] = 30

    def look(self, case: Case) -> Seen:
        """Return the measures of each attack and their ROC curves on logarithmic axes."""
        inside = case.draw(len(case.x_train), case.profile.audit_rows, "membership", "members")
        outside = case.draw(len(case.x_test), case.profile.audit_rows, "membership", "others")
        x = np.concatenate([case.x_train[inside], case.x_test[outside]])
        labels = np.concatenate([case.y_train[inside], case.y_test[outside]])
        member = np.arange(len(x)) < len(inside)
        answers = case.predictor.limited(None).probabilities(x)
        attacks: list[MembershipAttack] = [Confidence()]
        missing: tuple[NotChecked, ...] = ()
        exposure = Exposure(answers, labels, member)
        if case.refit is None:
            missing = (
                NotChecked(
                    "membership.rmia", "the model cannot be fitted again", "Give the recipe that it was made by"
                ),
            )
        else:
            shadows, seen = _shadows(case, x, labels, np.setdiff1d(np.arange(len(case.x_train)), inside))
            exposure = Exposure(answers, labels, member, shadows, seen)
            attacks.append(RMIA())
        results = [(attack.name, attack(exposure, seed=case.seed)) for attack in attacks]
        return Seen(
            tuple(m for _, result in results for m in result.measures),
            (_curve(results, int((~member).sum())),),
            not_checked=missing,
            parameters={
                "members": len(inside), "others": len(outside), "shadows": case.profile.shadows if case.refit else 0,
            },
        )  # fmt: skip


def _shadows(
    case: Case,
    x: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    labels: np.ndarray[tuple[int], np.dtype[np.intp]],
    rest: np.ndarray[tuple[int], np.dtype[np.intp]],
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Return what shadows answer on the audited rows, and which of them each saw.

    Each shadow sees half of the audited rows, filled up with training rows that are not audited to the size that
    the target had, as far as the profile's bound on fits allows.
    """
    seen = shadow_rows(len(x), case.profile.shadows, seed=case.seed)
    wanted = min(len(case.x_train), case.profile.fit_rows) - len(x) // 2
    fill = rest[case.draw(len(rest), max(0, wanted), "membership", "fill")]
    pool = np.concatenate([x, case.x_train[fill]])
    every = np.concatenate([labels, case.y_train[fill]])
    extra = np.arange(len(x), len(pool))
    sets = [(rows := np.concatenate([np.flatnonzero(half), extra]), every[rows]) for half in seen]
    assert case.refit is not None
    answers = case.refit.probabilities(sets, pool, x, seed=derive_seed(case.seed, "membership"))
    return answers, seen


def _curve(results: list[tuple[str, MembershipResult]], n: int) -> Curve:
    names = {"confidence": "confidence", "rmia": "RMIA"}
    series = tuple(Series(names.get(name, name), r.fpr, r.tpr) for name, r in results)
    return Curve(
        "membership", "Membership inference", "false positive rate", "true positive rate", series,
        log_x=True, log_y=True, diagonal=True,
        caption="How many training rows an attacker names for how many false accusations. On the dashed line it "
        f"guesses. Below {max(1 / n, _LOWEST):.2g} false positives there are no rows to tell.",
    )  # fmt: skip
