"""Poisoning: how much does the model lose when a share of its training labels is turned."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from assay.assessment.goals.base import Goal, Seen
from assay.assessment.poisoning.label_flip import LabelFlip
from assay.core.evidence import NotChecked

if TYPE_CHECKING:
    from assay.assessment.case import Case


class Poisoning(Goal, name="poisoning", techniques=("AML.T0020",)):
    """The drop of AUC against the share of flipped labels, by fitting the recipe again on each."""

    order: ClassVar[int] = 50

    def look(self, case: Case) -> Seen:
        """Return the drops; without a recipe nothing can be fitted again, and that is said."""
        if case.refit is None:
            why = "the model cannot be fitted again"
            return Seen(not_checked=(NotChecked("poisoning.label_flip", why, "Give the recipe that it was made by"),))
        train = case.draw(len(case.x_train), case.profile.fit_rows, "poisoning", "train")
        test = case.draw(len(case.x_test), case.profile.audit_rows, "poisoning", "test")
        result = LabelFlip(shares=case.profile.flip_shares)(
            case.refit, case.x_train[train], case.y_train[train], case.x_test[test], case.y_test[test], seed=case.seed
        )
        return Seen(result.measures, (result.curve,), parameters={"fitted_rows": len(train), "test_rows": len(test)})
