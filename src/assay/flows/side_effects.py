"""The side-effect matrix: every defence measured against every risk, accuracy and fairness, on the same rows.

A defence against one risk can open another: training against evasion makes a model remember its rows better, rounding
hides confidence from thieves and leaves the label that evasion needs. Each defence is attacked itself, as whoever
faces it would, and held against the model without it, pair by pair of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.assessment.curves import Curve, Series
from assay.assessment.evasion.beam import Beam
from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.assessment.exhibits import Listing
from assay.assessment.extraction.knockoff import Knockoff
from assay.assessment.paired_quality import paired_area
from assay.assessment.ranking import area
from assay.assessment.slices import slices_of
from assay.contract.contract import Contract
from assay.contract.encode import encode, labels
from assay.contract.region import Region
from assay.core.clock import Clock, stream, system_clock
from assay.core.digest import digest_file
from assay.core.errors import AssayError, DataError
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.data.sources import read_table
from assay.flows.candidates import Candidate, candidates
from assay.models.function import Function
from assay.models.predictor import Predictor, predictor
from assay.models.screened import Refusing
from assay.stats.intervals import auc_interval, bootstrap, clopper_pearson
from assay.stats.paired import paired_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.base import EvasionAttack

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Labels = NDArray[np.intp]
    Rows = tuple[Array, Labels]

_FLIPPED = 0.1
_SLICE_ROWS = 20
_THIEF = 300
# Of each column: whether more of it is better.
COLUMNS = {
    "accuracy": True, "auc": True, "evasion": True, "membership": False, "extraction": False, "poisoning": False,
    "fairness": False,
}  # fmt: skip
_HEADS = {
    "accuracy": "accuracy", "auc": "AUC", "evasion": "right within the radius", "membership": "members told apart (AUC)",
    "extraction": "agreement of a stolen copy", "poisoning": f"lost to {_FLIPPED:.0%} flips", "fairness": "gap of slices",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One defence. measures, differences: by column; differences are those from ``versus``, paired row by row.

    why: it could not be tried ("": it was). missing: columns that could not be measured, with the reason.
    """

    name: str
    what: str
    versus: str
    measures: dict[str, Measure] = field(default_factory=dict)
    differences: dict[str, Measure] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    why: str = ""

    def worse(self) -> list[str]:
        """Return the columns that the defence worsens beyond chance."""
        return [c for c, d in self.differences.items() if (d.high < 0 if COLUMNS[c] else d.low > 0)]

    def better(self) -> list[str]:
        """Return the columns that the defence improves beyond chance."""
        return [c for c, d in self.differences.items() if (d.low > 0 if COLUMNS[c] else d.high < 0)]


@dataclass(frozen=True, slots=True, eq=False)
class SideEffects:
    """The matrix: a row for each defence, the undefended models first of their kind. radius: of evasion, in scaled L2."""

    rows: tuple[Row, ...]
    radius: float
    seed: int

    def table(self) -> list[tuple[str, ...]]:
        """Return the matrix as text; an arrow up or down marks what is better or worse beyond chance."""
        return [_texts(row) for row in self.rows]

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the columns of ``table``."""
        return ("defence", *(f"right within {self.radius:g}" if c == "evasion" else _HEADS[c] for c in COLUMNS))

    def listing(self) -> Listing:
        """Return the matrix for a report."""
        return Listing(
            "evasion", "What each defence does to every risk", self.heads, tuple(self.table()),
            "Each cell: estimate, and its 95 % interval. (+) better and (-) worse beyond chance at 95 %, cell by cell, than the "
            "model that it is held against: the same one without the defence, or the model in use, whose place a private "
            "one would take. Each defence was attacked itself.",
        )  # fmt: skip

    def curve(self) -> Curve:
        """Return evasion against membership as a picture, a point for each defence."""
        points = tuple(
            Series(r.name, np.array([r.measures["membership"].estimate]), *(np.array([v]) for v in (m.estimate, m.low, m.high)))
            for r in self.rows
            if (m := r.measures.get("evasion")) is not None and "membership" in r.measures
        )  # fmt: skip
        return Curve(
            "evasion", "Robustness against privacy", "members told apart (AUC)", _HEADS["evasion"], points,
            caption="Each point is one defence, attacked anew. Higher is more robust, further left is more private.",
        )  # fmt: skip

    def evidence(self, subjects: tuple[Subject, ...] = (), *, clock: Clock = system_clock) -> Evidence:
        """Return the matrix as evidence: measures and differences by defence, and what gets worse as findings."""
        measures = [m for r in self.rows for m in (*r.measures.values(), *r.differences.values())]
        findings = [_finding(r) for r in self.rows if r.worse()]
        missing = [NotChecked(f"side_effects.{r.name}", r.why) for r in self.rows if r.why]
        reasons = {(c, why): r.name for r in reversed(self.rows) for c, why in r.missing.items()}
        missing += [NotChecked(f"side_effects.{c}@{name}", why) for (c, why), name in reasons.items()]
        return Evidence(
            "side_effects", subjects, clock(), ("AML.T0015", "AML.T0020", "AML.T0024.000", "AML.T0024.002"), tuple(measures),
            tuple(findings), tuple(missing),
            {"seed": str(self.seed), "radius": self.radius, "defences": [r.name for r in self.rows]},
        )  # fmt: skip


def side_effects(
    model: object,
    *,
    train: Rows,
    test: Rows,
    region: Region,
    contract: Contract | None = None,
    estimator: Any = None,
    only: Sequence[str] = (),
    radius: float = 0.25,
    rows: int = 100,
    queries: int = 500,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> SideEffects:
    """Return what every defence that suits the model does to every risk.

    model: fitted, or a file, endpoint or Predictor. train, test: (x (n, ...), y (n,)). estimator: an unfitted
    scikit-learn classifier like the model, for defences that fit it again, and for poisoning. only: names of
    defences (default: all). radius: in scaled L2, within which a row counts as evaded, and for which robust models are
    trained; rows, queries: of the evasion of each. Raises DataError when the rows do not fit.
    """
    if len(train[0]) != len(train[1]) or len(test[0]) != len(test[1]) or not len(test[1]):
        raise DataError("rows and labels are not of one length, or there are none")
    base = model if isinstance(model, Predictor) else predictor(model, contract=contract)
    bench = _Bench.of(train, test, region, contract, base.classes, radius=radius, rows=rows, queries=queries, seed=seed)
    plain = candidates(base, train, region, contract, estimator=estimator, radius=radius, seed=seed)
    kept = {c.versus for c in plain if c.name in only} | {"as it is", *only}
    done: dict[str, tuple[Row, _Answers | None]] = {}
    for candidate in plain:
        if only and candidate.name not in kept:
            continue
        if progress:
            progress(candidate.name)
        done[candidate.name] = bench.row(candidate, done.get(candidate.versus, (None, None))[1])
    return SideEffects(tuple(row for row, _ in done.values()), radius, seed)


def matrix_files(
    model: str,
    train: Path,
    test: Path,
    contract: Path,
    *,
    only: Sequence[str] = (),
    radius: float = 0.25,
    rows: int = 100,
    queries: int = 500,
    report: Path | None = None,
    seed: int = 0,
    clock: Clock = system_clock,
    progress: Callable[[str], None] | None = None,
) -> tuple[SideEffects, Evidence]:
    """Measure the matrix of a model file or endpoint on two tables, and write ``report`` when it is named."""
    described = Contract.read(contract)
    read = [read_table(path) for path in (train, test)]
    fitted, held = ((encode(described, t), labels(described, t)) for t in read)
    found = side_effects(
        predictor(model, contract=described), train=fitted, test=held, region=Region.of(described), contract=described,
        only=only, radius=radius, rows=rows, queries=queries, seed=seed, progress=progress,
    )  # fmt: skip
    about = (Subject(Path(model).name, digest_file(model)),) if Path(model).is_file() else ()
    evidence = found.evidence(about, clock=clock)
    if report is not None:
        from assay.assessment.assessment import Assessment
        from assay.flows.report import assessment_report

        shown = Assessment((evidence,), (found.curve(),), (found.listing(),))
        assessment_report(report, shown, title=f"Side effects of defences of {Path(model).name}", made=clock())
    return found, evidence


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """What is compared row by row. test, train: probabilities; robust: rows that stay right."""

    test: Array
    train: Array
    robust: Flags


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """The rows that all defences are measured on."""

    train: Rows
    test: Rows
    members: Labels
    attacked: Labels
    region: Region
    contract: Contract | None
    classes: int
    radius: float
    queries: int
    seed: int

    @classmethod
    def of(
        cls, train: Rows, test: Rows, region: Region, contract: Contract | None, classes: int, *, radius: float, rows: int,
        queries: int, seed: int,
    ) -> _Bench:  # fmt: skip
        rng = stream(seed, "side_effects")
        members = np.sort(rng.permutation(len(train[1]))[: 4 * len(test[1])])
        attacked = np.sort(rng.permutation(len(test[1]))[:rows])
        return cls(train, test, members, attacked, region, contract, classes, radius, queries, seed)

    def row(self, candidate: Candidate, versus: _Answers | None) -> tuple[Row, _Answers | None]:
        """Return the measures of one defence, and its answers for those that are held against it."""
        try:
            model = candidate.fit(*self.train)
        except AssayError as error:
            return Row(candidate.name, candidate.what, candidate.versus, why=error.message), None
        answers = self._asked(model)
        found: dict[str, Measure] = {}
        missing: dict[str, str] = {}
        ways: dict[str, Callable[[], Measure]] = {
            "accuracy": lambda: self._accuracy(answers), "auc": lambda: self._auc(answers),
            "evasion": lambda: self._share("evasion", answers.robust, "knows labels and probabilities, stays in the region"),
            "membership": lambda: self._membership(answers), "extraction": lambda: self._extraction(model),
            "poisoning": lambda: self._poisoning(candidate, answers), "fairness": lambda: self._fairness(answers),
        }  # fmt: skip
        for column, way in ways.items():
            try:
                found[column] = _named(way(), column, candidate.name)
            except AssayError as error:
                missing[column] = error.message
        differences = {} if versus is None else self._differences(answers, versus, candidate)
        return Row(candidate.name, candidate.what, candidate.versus, found, differences, missing), answers

    def _asked(self, model: Predictor) -> _Answers:
        x, y = self.test
        at = self.attacked
        robust = np.ones(len(at), dtype=bool)
        attacks: list[EvasionAttack] = [HopSkipJump(max_queries=self.queries)]
        if x.ndim == 2:
            attacks.append(Beam(max_queries=self.queries, norm="l2"))
        if self.region.mutable.any():
            for attack in attacks:
                robust &= self._withstands(attack, model, x[at], y[at])
        held = self.train[0][self.members]
        return _Answers(model.limited(None).probabilities(x), model.limited(None).probabilities(held), robust)

    def _withstands(self, attack: EvasionAttack, model: Predictor, x: Array, y: Labels) -> Flags:
        """Return which rows stay right, (n,). To whoever is refused, that is no success."""
        if not isinstance(model, Refusing):
            result = attack(model.limited(None), x, y, self.region, seed=self.seed)
            return ~result.already_wrong & ~(result.success & (result.distance <= self.radius))
        out = np.ones(len(y), dtype=bool)
        for label in np.unique(y):
            own = np.flatnonzero(y == label)
            result = attack(model.facing(int(label)), x[own], y[own], self.region, seed=self.seed)
            out[own] = ~(result.success & (result.distance <= self.radius))
        # A row that is refused as it comes is not answered rightly.
        right: Flags = model.limited(None).labels(x) == y
        return out & right

    def _right(self, answers: _Answers) -> Flags:
        right: Flags = answers.test.argmax(axis=1) == self.test[1]
        return right

    def _share(self, name: str, flags: Flags, threat: str) -> Measure:
        low, high = clopper_pearson(int(flags.sum()), len(flags))
        return Measure(name, float(flags.mean()), low, high, len(flags), threat_model=threat, seed=self.seed)

    def _accuracy(self, answers: _Answers) -> Measure:
        return self._share("accuracy", self._right(answers), "none: rows as they come")

    def _auc(self, answers: _Answers) -> Measure:
        if answers.test.shape[1] > self.classes:
            raise DataError("a refusal has no place in a ranking")
        figure = area(answers.test, self.test[1])
        return Measure(
            "auc", figure.value, *figure.interval(), len(answers.test), "auc", method="delong", seed=self.seed,
            threat_model="none: rows as they come",
        )  # fmt: skip

    def _confidence(self, answers: _Answers) -> tuple[Array, Array]:
        inside, outside = self.train[1][self.members], self.test[1]
        return (
            answers.train[np.arange(len(inside)), inside],
            answers.test[np.arange(len(outside)), outside],
        )

    def _membership(self, answers: _Answers) -> Measure:
        value, low, high = auc_interval(*self._confidence(answers))
        return Measure(
            "membership", value, low, high, len(self.members) + len(self.test[1]), "auc", method="delong", seed=self.seed,
            threat_model="sees probabilities and knows the true label",
        )  # fmt: skip

    def _extraction(self, model: Predictor) -> Measure:
        half = len(self.test[1]) // 2
        rows = self.test[0].reshape(len(self.test[0]), -1)
        thief = Knockoff(budgets=(min(_THIEF, max(20, half // 2)),))
        shape = self.test[0].shape[1:]
        asked = Function(lambda flat: model.limited(None).probabilities(flat.reshape(-1, *shape)), model.classes)
        result = thief(asked, rows[:half], rows[half:], self.test[1][half:], self.region, seed=self.seed)
        return next(m for m in reversed(result.measures) if "fidelity" in m.name)

    def _poisoning(self, candidate: Candidate, answers: _Answers) -> Measure:
        x, y = self.train
        rng = stream(self.seed, "side_effects", "poison")
        flipped = y.copy()
        at = rng.permutation(len(y))[: round(_FLIPPED * len(y))]
        flipped[at] = (y[at] + rng.integers(1, self.classes, len(at))) % self.classes
        spoiled = candidate.refit(x, flipped).probabilities(self.test[0]).argmax(axis=1) == self.test[1]
        right = self._right(answers)
        lost, gained, n = int((right & ~spoiled).sum()), int((spoiled & ~right).sum()), len(right)
        return Measure(
            "poisoning", (lost - gained) / n, *paired_difference(lost, gained, n), n, "difference", method="tango",
            threat_model=f"flips {_FLIPPED:.0%} of the training labels at random", seed=self.seed,
        )  # fmt: skip

    def _fairness(self, answers: _Answers) -> Measure:
        parts = list(slices_of(self.contract, self.test[0], least=_SLICE_ROWS).values())
        if len(parts) < 2:
            raise DataError("the contract names no slices of enough rows")
        right = self._right(answers).astype(np.float64)

        def gap(flags: NDArray[np.generic], *held: NDArray[np.generic]) -> float:
            shares = [float(flags[h.astype(bool)].astype(np.float64).mean()) for h in held if h.any()]
            return max(shares) - min(shares)

        value = gap(right, *parts)
        low, high = bootstrap(gap, right, *parts, draws=200, seed=self.seed)
        return Measure(
            "fairness", value, min(low, value), max(high, value), len(right), "difference", method="bootstrap",
            threat_model=f"none: the largest less the smallest accuracy of {len(parts)} slices", seed=self.seed,
        )  # fmt: skip

    def _differences(self, answers: _Answers, versus: _Answers, candidate: Candidate) -> dict[str, Measure]:
        """Return the paired differences from the model without the defence."""
        flags = {"accuracy": (self._right(answers), self._right(versus)), "evasion": (answers.robust, versus.robust)}
        found = {}
        for column, (now, then) in flags.items():
            gained, lost, n = int((now & ~then).sum()), int((then & ~now).sum()), len(now)
            found[column] = Measure(
                f"side_effects.{column}_change@{candidate.name}", (gained - lost) / n, *paired_difference(gained, lost, n), n,
                "difference", method="tango", threat_model=f"against: {candidate.versus}", seed=self.seed,
            )  # fmt: skip
        one, two = (np.concatenate(self._confidence(a)) for a in (versus, answers))
        member = np.repeat([1, 0], [len(self.members), len(self.test[1])])
        area_change = paired_area("", one, two, member, seed=self.seed, threat=f"against: {candidate.versus}")
        found["membership"] = _renamed(area_change, f"side_effects.membership_change@{candidate.name}")
        return found


def _named(measure: Measure, column: str, defence: str) -> Measure:
    return _renamed(measure, f"side_effects.{column}@{defence}")


def _renamed(measure: Measure, name: str) -> Measure:
    return Measure.from_json({**measure.to_json(), "name": name})


def _texts(row: Row) -> tuple[str, ...]:
    if row.why:
        return (row.name, f"not tried: {row.why}", *[""] * (len(COLUMNS) - 1))
    better, worse = row.better(), row.worse()
    cells = []
    for column in COLUMNS:
        m = row.measures.get(column)
        mark = " (+)" if column in better else " (-)" if column in worse else ""
        cells.append("not measured" if m is None else f"{m.estimate:.3f} [{m.low:.3f}, {m.high:.3f}]{mark}")
    return (row.name, *cells)


def _finding(row: Row) -> Finding:
    worse = "; ".join(_change(row, c) for c in row.worse())
    better = "; ".join(_change(row, c) for c in row.better()) or "nothing"
    text = f"against {row.versus!r} it worsens {worse}, and improves {better}"
    remedy = "Weigh the one risk against the other before it is taken"
    return Finding("defence-side-effect", Severity.LOW, text, row.name, remedy)


def _change(row: Row, column: str) -> str:
    change = row.differences[column]
    return f"{_HEADS[column]} {change.estimate:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"


__all__ = ["COLUMNS", "Row", "SideEffects", "matrix_files", "side_effects"]
