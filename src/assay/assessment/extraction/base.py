"""What every extraction attack shares: one purse of queries, nested budgets, refusals, and how good the copy is.

An author chooses the rows to ask, at once (``rows``) or as answers come in (``explore``), and fits a copy; asking,
counting, what an output policy shows, and judging are written once, here.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np

from assay.assessment.curves import Curve, Series
from assay.assessment.ranking import Figure, area, deviation
from assay.core.clock import derive_seed, stream
from assay.core.discovery import Control
from assay.core.errors import DataError, Refused
from assay.core.measure import Measure
from assay.core.settings import OneOf, check_settings
from assay.models.guarded import answered
from assay.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.region import Region
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Labels = NDArray[np.intp]
    Copy: TypeAlias = Callable[[Array], Array]

POLICIES = ("probabilities", "rounded", "top1", "labels")
ANSWERS = OneOf(POLICIES)
SHOWN = {
    "probabilities": "sees probabilities if the model gives them",
    "rounded": "sees probabilities rounded to two decimals",
    "top1": "sees the label and its probability only",
    "labels": "sees labels only",
}

_BLOCK = 50
_GIVEN_UP = 200
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True, eq=False)
class ExtractionResult:
    """How good a copy so many answers buy.

    queries (k,): rows answered, rising; fidelity (k,): share of holdout rows with the model's own answer; auc (k,):
    of the copy for the true labels, None without them. refused: rows of the largest budget that got no answer.
    """

    queries: NDArray[np.intp]
    fidelity: Array
    auc: Array | None
    refused: int
    measures: tuple[Measure, ...]
    curve: Curve


def shown(answers: Array, policy: str) -> Array:
    """Return what an output policy lets a caller see of answers (q, c), as probabilities that add up to 1.

    What ``top1`` does not show of the other classes is spread evenly over them.
    """
    if policy == "probabilities":
        return answers
    if policy == "rounded":
        near = np.round(answers, 2)
        total = near.sum(axis=1, keepdims=True)
        rounded: Array = np.where(total > 0, near / np.where(total > 0, total, 1.0), 1.0 / answers.shape[1])
        return rounded
    top = answers.argmax(axis=1)
    certain: Array = np.eye(answers.shape[1])[top]
    if policy == "labels":
        return certain
    sure = answers.max(axis=1, keepdims=True)
    rest = (1.0 - sure) / max(1, answers.shape[1] - 1)
    spread: Array = np.where(certain > 0, sure, rest)
    return spread


class Purse:
    """What an attacker may ask, has asked and was answered. limit: most rows; policy: what answers show.

    refused: the model has said no, and says nothing more. notes: what an attack learnt, as (rows answered by then, note).
    """

    def __init__(self, predictor: Predictor, limit: int, shape: tuple[int, ...], policy: str) -> None:
        left = predictor.budget.left
        self.limit = limit if left is None else min(left, limit)
        self.refused = False
        self.notes: list[tuple[int, object]] = []
        self._predictor, self._shape, self._policy = predictor, shape, policy
        self._rows: list[Array] = []
        self._answers: list[Array] = []
        self._asked = self._in_vain = 0

    @property
    def left(self) -> int:
        """Rows that may still be asked."""
        return 0 if self.refused else self.limit - self._asked

    @property
    def answered(self) -> int:
        """Rows that were answered."""
        return sum(map(len, self._answers))

    def ask(self, rows: Array) -> Array:
        """Return what is shown of the answers to rows (m, d), for as many of them as were asked, (k, c).

        NaN for rows that a guard refuses for what they hold; they are paid for. The model has said no when it has
        refused 200 rows on end.
        """
        rows = rows[: self.left]
        shares = []
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            try:
                answer, got = answered(self._predictor, block.reshape(-1, *self._shape))
            except Refused:
                self.refused = True
                break
            answer[got] = shown(_finite(answer[got]), self._policy)
            shares.append(answer)
            self._rows.append(block[got])
            self._answers.append(answer[got])
            self._asked += len(block)
            self._in_vain = 0 if got.any() else self._in_vain + len(block)
            if self._in_vain >= _GIVEN_UP:
                self.refused = True
                break
        return np.concatenate([np.empty((0, self._predictor.classes)), *shares])

    def transcript(self) -> tuple[Array, Array]:
        """Return every row that was answered (q, d), in order, and what was shown (q, c)."""
        width = math.prod(self._shape)
        empty = np.empty((0, width)), np.empty((0, self._predictor.classes))
        return np.concatenate([empty[0], *self._rows]), np.concatenate([empty[1], *self._answers])


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    """What copies are judged against. said (n,): the model's answers; model: its AUC, None without labels."""

    said: Labels
    labels: Labels | None
    model: Figure | None
    threat_model: str
    seed: int

    def share(self, name: str, hits: int, queries: int) -> Measure:
        n = len(self.said)
        low, high = clopper_pearson(hits, n)
        return Measure(name, hits / n, low, high, n, threat_model=self.threat_model, seed=self.seed, queries=queries)

    def ranked(self, name: str, copy: Figure, model: Figure, queries: int) -> list[Measure]:
        """Return the copy's AUC and its share of the model's, whose interval is that of a ratio on the same rows."""
        figures = [("auc", copy.value, *copy.interval(), "auc", "delong-logit")]
        if copy.value > 0 and model.value > 0:
            ratio = copy.value / model.value
            spread = deviation(copy.pull / copy.value - model.pull / model.value, copy.strata)
            reach = float(np.exp(_Z * spread))
            figures.append(("auc_share", ratio, ratio / reach, ratio * reach, "ratio", "delong-paired, log"))
        return [
            Measure(f"extraction.{what}@{name}", value, low, high, len(self.said), unit, method=method,
                    threat_model=self.threat_model, seed=self.seed, queries=queries)
            for what, value, low, high, unit, method in figures
        ]  # fmt: skip


class ExtractionAttack(Control, package="assay.assessment.extraction", techniques=("AML.T0024.002",)):
    """An attempt to copy the model from its answers. Subclasses are frozen dataclasses.

    budgets: rising; at most the largest is asked, once, and smaller ones are its first rows. answers: what the
    attacker gets to see of each answer, one of ``POLICIES``.
    """

    __slots__ = ()
    budgets: tuple[int, ...]
    answers: str

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def title(self) -> str:
        """The name that measures carry: the attack, and what it sees where that is not everything."""
        return self.name if self.answers == "probabilities" else f"{self.name}_{self.answers}"

    @property
    @abstractmethod
    def threat_model(self) -> str:
        """What the attacker knows and may do, in words."""

    def rows(self, pool: Array, region: Region, count: int, generator: np.random.Generator) -> Array:
        """Return ``count`` rows (count, d) to ask in this order; pool (m, d): what the auditor can lend the attacker."""
        raise NotImplementedError

    def explore(self, purse: Purse, pool: Array, region: Region, generator: np.random.Generator) -> None:
        """Ask what is worth asking; by default all ``rows`` at once. An attack that goes by the answers overrides it."""
        purse.ask(self.rows(pool, region, purse.limit, generator))

    @abstractmethod
    def copy(self, x: Array, answers: Array, notes: list[object], *, seed: int) -> Copy:
        """Return a model fitted on answers (q, c) to rows x (q, d), certain ones where only labels are seen.

        notes: what the attack had noted by then.
        """

    @final
    def __call__(
        self,
        predictor: Predictor,
        pool: Array,
        holdout: Array,
        holdout_labels: Labels | None,
        region: Region,
        *,
        seed: int,
        said: Array | None = None,
    ) -> ExtractionResult:
        """Copy the model at each budget and compare the copies with it on ``holdout`` (n, ...), which nobody asks for.

        pool (m, ...): unlabelled rows of the model's distribution. holdout_labels (n,): true classes, or None.
        said (n, c): what the model answers to ``holdout``, where that is known already; the auditor's own look is not
        counted. When the model refuses, the attack ends and the copy from what was answered is judged.
        Raises DataError, and Refused when the auditor's look is refused.
        """
        shape = np.shape(holdout)
        if len(shape) < 2 or shape[0] == 0 or np.shape(pool)[1:] != shape[1:]:
            raise DataError(f"pool of shape {np.shape(pool)} and holdout of shape {shape} do not go together")
        flat = np.asarray(holdout, dtype=np.float64).reshape(shape[0], -1)
        own = np.array(pool, dtype=np.float64).reshape(len(pool), flat.shape[1])
        if region.width != flat.shape[1]:
            raise DataError(f"rows have {flat.shape[1]} values each and the region describes {region.width}")
        truth = _finite(predictor.limited(None).probabilities(np.asarray(holdout)) if said is None else said)
        judge = self._judge(truth, holdout_labels, seed)
        purse = Purse(predictor, self.budgets[-1], shape[1:], self.answers)
        self.explore(purse, own, region, stream(seed, self.name, "rows"))
        asked, seen = purse.transcript()
        got = len(seen)
        ladder = sorted({b for b in self.budgets if b <= got} | ({got} if got else set()))
        copies = []
        for q in ladder:
            notes = [note for by, note in purse.notes if by <= q]
            copies.append(self.copy(asked[:q], seen[:q], notes, seed=derive_seed(seed, self.name, q))(flat))
        return self._result(judge, np.array(ladder, dtype=np.intp), copies, got)

    def _judge(self, truth: Array, labels: Labels | None, seed: int) -> _Judge:
        known = None if labels is None else np.asarray(labels)
        if known is not None and known.shape != (len(truth),):
            raise DataError(f"{len(truth)} holdout rows with labels of shape {known.shape}")
        if known is not None and len(np.unique(known)) < 2:
            known = None
        model = None if known is None else area(truth, known)
        return _Judge(truth.argmax(axis=1), known, model, self.threat_model, seed)

    def _result(self, judge: _Judge, queries: NDArray[np.intp], copies: list[Array], got: int) -> ExtractionResult:
        n = len(judge.said)
        hits = [int((c.argmax(axis=1) == judge.said).sum()) for c in copies]
        most = int(np.bincount(judge.said).max())
        measures = [judge.share("extraction.fidelity_floor", most, 0)]
        figures: list[Figure] = []
        for q, hit, told in zip(queries.tolist(), hits, copies, strict=True):
            measures.append(judge.share(f"extraction.fidelity@q{q},{self.title}", hit, q))
            if judge.labels is not None and judge.model is not None:
                figures.append(area(told, judge.labels))
                measures += judge.ranked(f"q{q},{self.title}", figures[-1], judge.model, q)
        fidelity = np.array(hits, dtype=np.float64) / n
        auc = np.array([f.value for f in figures]) if judge.labels is not None else None
        curve = _curve(queries, hits, n, most / n, figures, judge.model)
        return ExtractionResult(queries, fidelity, auc, self.budgets[-1] - got, tuple(measures), curve)


def _finite(answers: Array) -> Array:
    if not np.isfinite(answers).all():
        raise DataError("the model answered with values that are not finite", remedy="Repair the model's output")
    return answers


def _curve(
    queries: NDArray[np.intp], hits: list[int], n: int, floor: float, figures: list[Figure], model: Figure | None
) -> Curve:
    x = queries.astype(np.float64)
    low, high = np.array([clopper_pearson(k, n) for k in hits]).reshape(-1, 2).T
    series = [
        Series("fidelity", x, np.array(hits, dtype=np.float64) / n, low, high),
        Series("always the most common answer", x, np.full(len(x), floor)),
    ]
    if figures and model is not None:
        below, above = np.array([f.interval() for f in figures]).T
        series.append(Series("AUC of the copy", x, np.array([f.value for f in figures]), below, above))
        series.append(Series("AUC of the model", x, np.full(len(x), model.value)))
    return Curve(
        "extraction", "Extraction", "queries answered", "share of equal answers, or AUC", tuple(series), log_x=True,
        caption="How good a copy that many answers buy. Fidelity counts only above the line of the most common answer.",
    )  # fmt: skip
