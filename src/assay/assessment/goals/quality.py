"""Quality: how good the model is at its task, without which no measure of security means much."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from assay.assessment.goals.base import Goal, Seen
from assay.assessment.quality import quality

if TYPE_CHECKING:
    from assay.assessment.case import Case


class Quality(Goal, name="quality"):
    """AUC and average precision first, then calibration and accuracy, on the test rows."""

    order: ClassVar[int] = 10

    def look(self, case: Case) -> Seen:
        """Return the quality measures and curves."""
        answers = case.predictor.limited(None).probabilities(case.x_test)
        measures, curves = quality(answers, case.y_test, seed=case.seed)
        return Seen(measures, curves, parameters={"test_rows": len(case.x_test)})
