"""An assessment: is the evaluation valid, how good is the model, and what do attacks reach on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.assessment.case import Case, profile_of
from assay.assessment.goals.base import Goal
from assay.assessment.reach import is_live, reached
from assay.contract.table import as_column, as_text, first_line
from assay.core.clock import Clock, system_clock
from assay.core.digest import digest_bytes, digest_file
from assay.core.discovery import discover
from assay.core.errors import DataError, SettingError
from assay.core.evidence import Evidence, Subject
from assay.models.estimator import Estimator
from assay.models.guarded import answered
from assay.models.predictor import Predictor, predictor
from assay.models.refit import LocalRefit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.assessment.curves import Curve
    from assay.assessment.exhibits import Exhibit
    from assay.contract.contract import Contract
    from assay.contract.region import Region
    from assay.core.measure import Measure
    from assay.models.refit import Refit

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]
    Rows = tuple[object, object]

_ASKED = 50


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
    refit: Refit | object | None = None,
    profile: str = "quick",
    goals: Sequence[str] = (),
    seed: int = 0,
    void: str = "",
    subjects: tuple[Subject, ...] = (),
    clock: Clock = system_clock,
    progress: Callable[[str], None] | None = None,
) -> Assessment:
    """Attack a model and return what was measured, goal by goal.

    model, train, test, contract, region, refit, profile, seed: as in ``case_of``; the others as in ``attack``.
    Raises DataError, SettingError, UnsupportedError.
    """
    case = case_of(
        model, train=train, test=test, contract=contract, region=region, refit=refit, profile=profile, seed=seed
    )
    return attack(
        case, goals=goals, void=void, subjects=subjects or (subject_of(model, case),), clock=clock, progress=progress
    )


def case_of(
    model: object,
    *,
    train: Rows,
    test: Rows,
    contract: Contract | None = None,
    region: Region | None = None,
    refit: Refit | object | None = None,
    profile: str = "quick",
    seed: int = 0,
) -> Case:
    """Return a model with its rows, as attacks see them.

    model: an estimator, a callable, an ONNX file, a torch module, an endpoint's URL or a Predictor.
    train, test: (x, y): rows that it was and was not trained on; x a table, which ``contract`` encodes, or numbers
    (n, ...) in model space; y (n,) names of classes or class indices, or None when the table holds the target.
    region: what an attacker may send (default: of the contract, else the range of the training rows).
    refit: fits the recipe again, for shadow models and poisoning, or an estimator to be cloned; without it those are not
    checked. Raises DataError, SettingError, UnsupportedError.
    """
    x_train, y_train = rows_of(train, contract, model, "train")
    x_test, y_test = rows_of(test, contract, model, "test")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise DataError(f"train rows have shape {x_train.shape[1:]} and test rows {x_test.shape[1:]}")
    chosen = profile_of(profile)
    target = model if isinstance(model, Predictor) else _predictor(model, contract, y_train)
    highest = int(max(y_train.max(), y_test.max()))
    if highest >= target.classes:
        raise DataError(
            f"labels go up to {highest}, and the model knows {target.classes} classes",
            remedy="Give class indices from 0, in the order of the model's answers",
        )
    again = refit
    if hasattr(refit, "fit"):
        again = LocalRefit(target.takes_rows(refit) if isinstance(target, Estimator) else refit, target.classes)
    reach = region or _region(contract, x_train)
    return Case(target, x_train, y_train, x_test, y_test, reach, chosen, again, seed, contract)  # type: ignore[arg-type]


def attack(
    case: Case,
    *,
    goals: Sequence[str] = (),
    subjects: tuple[Subject, ...],
    void: str = "",
    clock: Clock = system_clock,
    progress: Callable[[str], None] | None = None,
) -> Assessment:
    """Return what was measured of a case, goal by goal; of a live endpoint first which rows it answers at all.

    goals: names of goals or of groups of them, such as ``privacy`` (all by default). subjects: what the evidence is about.
    void: why no measure may be used, as ``data.validity`` found.
    Raises SettingError for an unknown goal, DataError when an endpoint answers no row.
    """
    wanted = sorted(wanted_goals(goals), key=lambda g: (g.order, g.name))
    evidence: list[Evidence] = []
    curves: list[Curve] = []
    exhibits: list[Exhibit] = []
    if is_live(case.predictor):
        case, measures = reached(case, train=any(goal.name != "extraction" for goal in wanted))
        evidence.append(Evidence("endpoint", subjects, clock(), measures=measures))
    for goal in wanted:
        if progress:
            progress(goal.name)
        item, drawn, shown = goal()(case, subjects, made=clock(), void=void)
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
        if not group and name not in every:
            groups = sorted({goal.group for goal in every.values() if goal.group})
            raise SettingError(
                f"there is no goal {name!r}",
                remedy=f"Use one of: {', '.join(sorted(every))}; or of: {', '.join(groups)}",
            )
        found |= group or {name: every[name]}
    return list((found or every).values())


def rows_of(pair: Rows, contract: Contract | None, model: object, where: str) -> tuple[Array, Labels]:
    """Return rows in model space (n, ...) and their class indices (n,).

    pair: (x, y): x a table, which ``contract`` encodes, or numbers (n, ...), sparse ones too; y the names of classes that
    the contract's target or the fitted ``model`` knows, or class indices; None when the table holds the target.
    Raises DataError, at ``where``.
    """
    import numpy as np

    from assay.contract.encode import encode, labels

    x, y = pair
    held = contract is not None and not isinstance(x, np.ndarray)
    truth = labels(contract, x) if held and contract is not None and y is None else _indices(y, contract, model, where)
    try:
        dense = x.toarray() if hasattr(x, "toarray") else x
        rows = encode(contract, x) if held and contract is not None else np.asarray(dense, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the rows are no numbers ({first_line(error)})", where=where,
            remedy="Give a contract of the table: assay.Contract.infer(frame, target)",
        ) from error  # fmt: skip
    if rows.ndim < 2 or len(rows) == 0 or truth.shape != (len(rows),):
        raise DataError(
            f"rows of shape {rows.shape} with labels of shape {truth.shape}",
            where=where,
            remedy="Give (n, d) rows and (n,) labels, n >= 1",
        )
    return rows, truth


def _indices(y: object, contract: Contract | None, model: object, where: str) -> Labels:
    import numpy as np

    from assay.contract.encode import class_indices

    given = np.asarray(y)
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    target = contract.target if contract is not None else None
    known = target.classes if target else as_text(as_column(getattr(model, "classes_", ()))).to_pylist()
    whole = given.dtype.kind in "iub"
    words = as_text(as_column(given)).to_pylist() if given.ndim == 1 else []
    if words and (not whole or set(words) <= set(known)):
        if known:
            return class_indices(given, tuple(known), where=where)
        raise DataError(
            f"the labels are {words[0]!r} and the like, and the model does not name its classes", where=where,
            remedy="Give class indices 0, 1, ..., or a contract with a target",
        )  # fmt: skip
    if not whole or (given < 0).any():
        raise DataError(f"labels of shape {given.shape} and type {given.dtype}", where=where, remedy="Give (n,) labels")
    return given.astype(np.intp)


def _predictor(model: object, contract: Contract | None, labels: Labels) -> Predictor:
    options = {"classes": int(labels.max()) + 1} if callable(model) and not hasattr(model, "predict_proba") else {}
    return predictor(model, contract=contract, **options)


def _region(contract: Contract | None, x: Array) -> Region:
    import numpy as np

    from assay.contract.region import Region

    if contract is not None:
        return Region.of(contract)
    flat = x.reshape(len(x), -1)
    if np.isnan(flat).all(axis=0).any():
        raise DataError("a column of the training rows holds no value", remedy="Give a contract or a region")
    spread = np.nanstd(flat, axis=0)
    return Region.box(np.nanmin(flat, axis=0), np.nanmax(flat, axis=0), scale=np.where(spread > 0, spread, 1.0))


def subject_of(model: object, case: Case) -> Subject:
    """Return what evidence on a model is about: its file, else its answers on the test rows."""
    from pathlib import Path

    if isinstance(model, (str, Path)) and Path(model).is_file():
        return Subject(Path(model).name, digest_file(model))
    # What runs has no bytes of its own; its answers on the test rows are what the evidence is about.
    live = is_live(case.predictor)
    answers, _ = answered(case.predictor.limited(None), case.x_test[: _ASKED if live else None])
    name = case.predictor.address or type(model).__qualname__
    return Subject(f"answers of {name}", digest_bytes(answers.tobytes()))
