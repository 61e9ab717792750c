"""Attribute inference: what the model tells of the features that the contract calls sensitive."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.goals.base import Goal, Seen
from assay.assessment.inversion.attribute import infer_attribute
from assay.assessment.reach import is_live
from assay.contract.contract import Kind
from assay.core.clock import stream
from assay.core.errors import AssayError
from assay.core.evidence import NotChecked
from assay.core.finding import Finding, Severity
from assay.models.guarded import Guarded

if TYPE_CHECKING:
    from assay.assessment.case import Case
    from assay.contract.contract import Feature
    from assay.core.measure import Measure

_PEOPLE = 2_000


class Attribute(Goal, name="attribute", techniques=("AML.T0024.001",)):
    """How much better the model lets an attacker guess each sensitive feature than imputation does."""

    order: ClassVar[int] = 33
    group: ClassVar[str] = "privacy"

    def look(self, case: Case) -> Seen:
        """Return accuracy, imputation and gain for every sensitive feature; half of the test rows are the attacker's."""
        features = () if case.contract is None or case.contract.tensor is not None else case.contract.features
        wanted = [(place, f) for place, f in enumerate(features) if f.sensitive]
        if not wanted:
            # A contract that calls nothing sensitive has been asked; without one nobody has.
            unknown = NotChecked("attribute", "no contract says which features are sensitive", "Give a contract")
            return Seen(parameters={"sensitive": []}, not_checked=() if features else (unknown,))
        order = stream(case.seed, "attribute", "split").permutation(len(case.x_test))
        own, others = order[: len(order) // 2][:_PEOPLE], order[len(order) // 2 :][:_PEOPLE]
        inside = case.draw(len(case.x_train), _PEOPLE, "attribute", "members")
        people = np.concatenate([case.x_train[inside], case.x_test[others]])
        labels = np.concatenate([case.y_train[inside], case.y_test[others]])
        member = np.arange(len(people)) < len(inside)
        measures: list[Measure] = []
        findings: list[Finding] = []
        missing: list[NotChecked] = []
        for place, feature in wanted:
            # Where a guard refuses a value, no class is likelier than another.
            target = (Guarded(case.predictor, None) if is_live(case.predictor) else case.predictor).limited(None)
            mine = case.x_test[own], case.y_test[own]
            try:
                found = infer_attribute(
                    target, people, labels, member, mine, place, values=_values(feature), seed=case.seed
                )
            except AssayError as error:
                missing.append(NotChecked(f"attribute.{feature.name}", error.message, error.remedy))
                continue
            made = found.measures(feature.name, seed=case.seed, queries=target.queries)
            measures += made
            findings += _leaks(feature.name, made)
        return Seen(
            tuple(measures), (), tuple(findings), tuple(missing),
            parameters={"sensitive": [f.name for _, f in wanted], "people": len(people), "own_rows": len(own)},
        )  # fmt: skip


def _values(feature: Feature) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    if feature.kind is Kind.CATEGORY:
        return np.arange(len(feature.categories), dtype=np.float64)
    return np.array([0.0, 1.0]) if feature.kind is Kind.BOOLEAN else None


def _leaks(name: str, measures: tuple[Measure, ...]) -> list[Finding]:
    gain = next(m for m in measures if m.name.startswith("attribute.gain@"))
    if gain.low <= 0:
        return []
    return [
        Finding(
            "attribute-leak", Severity.MEDIUM,
            f"answers tell {name} {gain.estimate:.1%} more often than imputation does [{gain.low:.1%}, {gain.high:.1%}]",
            "model", "Leave the feature out, answer more coarsely, or train privately",
        )
    ]  # fmt: skip
