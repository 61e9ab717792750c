"""An assessment: is the evaluation valid, how good is the model, and what do attacks reach on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.assessment.case import Case, profile_of
from assay.assessment.goals.base import Goal
from assay.core.clock import Clock, system_clock
from assay.core.digest import digest_bytes, digest_file
from assay.core.discovery import discover, named
from assay.core.errors import DataError
from assay.core.evidence import Evidence, Subject
from assay.models.predictor import Predictor, predictor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.assessment.curves import Curve
    from assay.assessment.exhibits import Exhibit
    from assay.contract.contract import Contract
    from assay.contract.region import Region
    from assay.core.measure import Measure
    from assay.models.refit import Refit

    Rows = tuple[object, object]


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """What an assessment saw: evidence by goal, the curves to draw, and the pictures and rows to show."""

    evidence: tuple[Evidence, ...]
    curves: tuple[Curve, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Every measure, in the order it was made."""
        return tuple(m for item in self.evidence for m in item.measures)

    def measure(self, name: str) -> Measure | None:
        """Return the measure of that name, None when it was not made."""
        return next((m for m in self.measures if m.name == name), None)

    def to_json(self) -> dict[str, object]:
        """Return the assessment as plain data."""
        return {
            "evidence": [e.to_json() for e in self.evidence],
            "curves": [c.to_json() for c in self.curves],
            "exhibits": [e.to_json() for e in self.exhibits],
        }


def assess(
    model: object,
    *,
    train: Rows,
    test: Rows,
    contract: Contract | None = None,
    region: Region | None = None,
    refit: Refit | None = None,
    profile: str = "quick",
    goals: Sequence[str] = (),
    seed: int = 0,
    void: str = "",
    subjects: tuple[Subject, ...] = (),
    clock: Clock = system_clock,
    progress: Callable[[str], None] | None = None,
) -> Assessment:
    """Attack a model and return what was measured, goal by goal.

    model: an estimator, a callable, an ONNX file, a torch module, an endpoint's URL or a Predictor.
    train, test: (x, y): rows that it was and was not trained on; x a table, which ``contract`` encodes, or an array
    (n, ...) in model space; y class indices (n,), or None when the table holds the target.
    region: what an attacker may send (default: of the contract, else the range of the training rows).
    refit: fits the recipe again, for shadow models and poisoning; without it those are not checked.
    goals: names of goals or of groups of them, such as ``privacy`` (all by default). void: why no measure may be used, as
    ``data.validity`` found.
    subjects: what the evidence is about (default: the model's file, else the model's answers on the test rows).
    Raises DataError, SettingError, UnsupportedError.
    """
    x_train, y_train = _rows(train, contract, "train")
    x_test, y_test = _rows(test, contract, "test")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise DataError(f"train rows have shape {x_train.shape[1:]} and test rows {x_test.shape[1:]}")
    chosen = profile_of(profile)
    target = model if isinstance(model, Predictor) else _predictor(model, contract, y_train)
    reach = region or _region(contract, x_train)
    case = Case(target, x_train, y_train, x_test, y_test, reach, chosen, refit, seed, contract)
    about = subjects or (_subject(model, target, x_test),)
    wanted = wanted_goals(goals)
    evidence: list[Evidence] = []
    curves: list[Curve] = []
    exhibits: list[Exhibit] = []
    for goal in sorted(wanted, key=lambda g: (g.order, g.name)):
        if progress:
            progress(goal.name)
        item, drawn, shown = goal()(case, about, made=clock(), void=void)
        evidence.append(item)
        curves += drawn
        exhibits += shown
    return Assessment(tuple(evidence), tuple(curves), tuple(exhibits))


def wanted_goals(names: Sequence[str]) -> list[type[Goal]]:
    """Return the goals of these names and of the groups of these names, each once; all for none. Raises SettingError."""
    every = discover(Goal)
    found: dict[str, type[Goal]] = {}
    for name in names:
        group = {k: goal for k, goal in every.items() if goal.group == name}
        found |= group or {name: named(Goal, name)}
    return list((found or every).values())


def _rows(pair: Rows, contract: Contract | None, where: str) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    import numpy as np

    x, y = pair
    if contract is not None and not isinstance(x, np.ndarray):
        from assay.contract.encode import encode, labels

        y = labels(contract, x) if y is None else y
        x = encode(contract, x)
    rows, truth = np.asarray(x, dtype=np.float64), np.asarray(y)
    if rows.ndim < 2 or len(rows) == 0 or truth.shape != (len(rows),) or truth.dtype.kind not in "iub":
        raise DataError(
            f"rows of shape {rows.shape} with labels of shape {truth.shape} and type {truth.dtype}",
            where=where,
            remedy="Give (n, d) rows, n >= 1, and (n,) class indices",
        )
    return rows, truth.astype(np.intp)


def _predictor(model: object, contract: Contract | None, labels: NDArray[np.intp]) -> Predictor:
    options = {"classes": int(labels.max()) + 1} if callable(model) and not hasattr(model, "predict_proba") else {}
    return predictor(model, contract=contract, **options)


def _region(contract: Contract | None, x: NDArray[np.float64]) -> Region:
    import numpy as np

    from assay.contract.region import Region

    if contract is not None:
        return Region.of(contract)
    flat = x.reshape(len(x), -1)
    if np.isnan(flat).all(axis=0).any():
        raise DataError("a column of the training rows holds no value", remedy="Give a contract or a region")
    spread = np.nanstd(flat, axis=0)
    return Region.box(np.nanmin(flat, axis=0), np.nanmax(flat, axis=0), scale=np.where(spread > 0, spread, 1.0))


def _subject(model: object, target: Predictor, x_test: NDArray[np.float64]) -> Subject:
    from pathlib import Path

    if isinstance(model, (str, Path)) and Path(model).is_file():
        return Subject(Path(model).name, digest_file(model))
    # What runs has no bytes of its own; its answers on the test rows are what the evidence is about.
    answers = target.limited(None).probabilities(x_test)
    return Subject(f"answers of {type(model).__qualname__}", digest_bytes(answers.tobytes()))
