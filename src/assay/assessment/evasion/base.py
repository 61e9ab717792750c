"""What every evasion attack shares: counting, hard budgets, success tests, keeping the best row found.

An author writes ``search`` and asks through the ``Oracle``; whatever the oracle has seen to be adversarial
and closest is the result, so a result is always a row that the model was really asked about. Attacks that know
the weights draw gradients through the same oracle, which counts them, and have what they find confirmed by ``wrong``.
"""

from __future__ import annotations

import contextlib
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from assay.core.clock import stream
from assay.core.discovery import Control
from assay.core.errors import BudgetError, DataError
from assay.core.settings import check_settings
from assay.models.guarded import answered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.region import Region
    from assay.models.predictor import Predictor
    from assay.models.white_box import WhiteBox

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]
    Flags = NDArray[np.bool_]

# Of a radius: what rounding may add to a distance.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class AttackResult:
    """What an attack found for each of n samples.

    x_adv (n, ...): the closest adversarial row, or the sample itself where none was found. success (n,).
    already_wrong (n,): the model was wrong (targeted: said the target) before any change; such rows are left alone
    and count as no success. queries (n,): rows asked for each sample, gradients included.
    distance (n,): in scaled units, infinite without success. refused: rows asked that a guard refused; they are no
    success. stopped: why the endpoint answered no more before the search was through ("": it was through).
    """

    x_adv: Array
    success: NDArray[np.bool_]
    already_wrong: NDArray[np.bool_]
    queries: NDArray[np.intp]
    distance: Array
    refused: int = 0
    stopped: str = ""


class Oracle:
    """Asks the model about rows on behalf of samples, within each sample's budget, and keeps the best.

    x0 (n, d): where the samples start; y (n,): their labels; targets (n,): the classes wanted, None for any but y.
    norm: in which rows are compared; radius: beyond which a wrong row is no success (scaled units).
    shape: of one sample as the model takes it. starts (m, d): rows that the attacker owns and believes to be of
    another class (none: only the samples themselves are known).
    """

    def __init__(
        self,
        predictor: Predictor,
        x0: Array,
        y: NDArray[np.intp],
        region: Region,
        *,
        limit: int,
        norm: str,
        shape: tuple[int, ...],
        starts: Array | None = None,
        targets: NDArray[np.intp] | None = None,
        radius: float = math.inf,
    ) -> None:
        self.x0, self.y, self.region, self.norm = x0, y, region, norm
        self.targets, self.radius, self.shape = targets, radius, shape
        self.classes = predictor.classes
        self.spent = np.zeros(len(x0), dtype=np.intp)
        self.best = x0.copy()
        self.distance = np.full(len(x0), np.inf)
        self._predictor, self._limit = predictor, limit
        self._cap = np.full(len(x0), limit, dtype=np.intp)
        self.reserve = 0
        self.refused, self.stopped = 0, ""
        self.starts = np.empty((0, x0.shape[1])) if starts is None else starts
        self._shape = (-1, *shape)

    @property
    def left(self) -> NDArray[np.intp]:
        """Queries that each sample may still make, (n,), without those that are kept in ``reserve`` for later."""
        left: Index = np.minimum(self._cap, self._limit - self.reserve) - self.spent
        return left

    @contextlib.contextmanager
    def share(self, queries: int) -> Iterator[None]:
        """Give one part of an ensemble at most ``queries`` more of each sample, in the ``with`` block."""
        before = self._cap
        self._cap = np.minimum(before, self.spent + queries)
        try:
            yield
        finally:
            self._cap = before

    def unbroken(self, live: Index) -> Index:
        """Return which of the samples ``live`` (k,) have no success yet and may still ask."""
        unbroken: Index = live[np.isinf(self.distance[live]) & (self.left[live] > 0)]
        return unbroken

    def reached(self, labels: Index, owner: Index) -> Flags:
        """Return whether labels (m,) given to rows of samples ``owner`` (m,) are what the attacker wants."""
        flags: Flags = labels != self.y[owner] if self.targets is None else labels == self.targets[owner]
        return flags

    def scores(self, rows: Array, owner: Index) -> Array:
        """Return the probabilities (m, classes) of rows (m, d) asked for samples ``owner`` (m,).

        The closest wrong row of each sample is kept. Raises BudgetError, having asked nothing.
        """
        answers = self._answers(rows, owner)
        self._keep(rows, owner, self.reached(answers.argmax(axis=1), owner))
        return answers

    def margins(self, rows: Array, owner: Index) -> Array:
        """Return how far each row is from success, (m,): below 0 it is one, above 0 it is none.

        The probability of the true class less the highest other; targeted, the highest other less the target.
        The closest wrong row of each sample is kept.
        """
        answers = self.scores(rows, owner)
        place = np.arange(len(rows))
        chosen = self.y[owner] if self.targets is None else self.targets[owner]
        mine = answers[place, chosen]
        answers[place, chosen] = -np.inf
        others = answers.max(axis=1)
        margin: Array = mine - others if self.targets is None else others - mine
        return margin

    def labels(self, rows: Array, owner: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the labels of rows (m, d) asked for samples ``owner`` (m,). Raises BudgetError, having asked nothing."""
        best: Index = self._answers(rows, owner).argmax(axis=1)
        return best

    def wrong_only(self, rows: Array, owner: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return whether the model is wrong on each row (m,), for probes around a row that is already kept."""
        return self.reached(self.labels(rows, owner), owner)

    def wrong(self, rows: Array, owner: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return whether the model is wrong on each row (m,); the closest wrong row of each sample is kept.

        With targets, wrong is what has the target's label. Rows beyond ``radius`` may be wrong, and are not kept.
        """
        flipped = self.wrong_only(rows, owner)
        self._keep(rows, owner, flipped)
        return flipped

    def white_box(self) -> WhiteBox:
        """Return the model from inside. Raises UnsupportedError for a model without gradients.

        What is asked through it directly is not counted for any sample: attacks use ``pull`` and ``logits``.
        """
        return self._predictor.white_box()

    def logits(self, white: WhiteBox, rows: Any, owner: Index) -> Any:
        """Return logits (m, classes) of rows (m, d), both arrays of the model's own library; counted, not kept."""
        self._count(owner)
        return white.logits(rows.reshape(self._shape))

    def pull(self, white: WhiteBox, rows: Any, owner: Index, weigh: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Return logits (m, classes) of rows (m, d), and the gradient (m, d) of a function of the logits.

        weigh: takes the logits and returns the function's derivative by them, (m, classes). A row counts as one
        query, forward and backward together. Nothing is kept: what is found is confirmed by ``wrong``.
        """
        self._count(owner)
        logits, slope = white.pull(rows.reshape(self._shape), weigh)
        return logits, slope.reshape(rows.shape)

    def _answers(self, rows: Array, owner: Index) -> Array:
        """Return probabilities (m, classes); a row that a guard refuses is answered as what is surely no success."""
        self._count(owner)
        try:
            answers, got = answered(self._predictor, rows.reshape(self._shape))
        except BudgetError as error:
            if self._predictor.address:
                self.stopped = error.message
            raise
        if not got.all():
            lost = np.flatnonzero(~got)
            self.refused += len(lost)
            answers[lost] = self._no_success(owner[lost])
        return answers

    def _no_success(self, owner: Index) -> Array:
        """Return answers (m, classes) that are certain of the right class; targeted, of every class but the target."""
        if self.targets is None:
            return np.eye(self.classes)[self.y[owner]]
        return (1.0 - np.eye(self.classes)[self.targets[owner]]) / (self.classes - 1)

    def _count(self, owner: Index) -> None:
        count = np.bincount(owner, minlength=len(self.spent))
        if (self.spent + count > self._limit).any():
            raise BudgetError("an attack asked beyond its budget", remedy="Report it: this is a defect of the attack")
        self.spent += count

    def _keep(self, rows: Array, owner: Index, flipped: Flags) -> None:
        hits = np.flatnonzero(flipped)
        if not len(hits):
            return
        far = self.region.distance(rows[hits], self.x0[owner[hits]], self.norm)
        far = np.where(far <= self.radius * (1 + _SLACK), far, np.inf)
        order = hits[np.argsort(-far, kind="stable")]
        far = np.sort(far)[::-1]
        closer = far < self.distance[owner[order]]
        # Written in order of falling distance, so that the closest of several rows of one sample stays.
        self.best[owner[order[closer]]] = rows[order[closer]]
        self.distance[owner[order[closer]]] = far[closer]


class EvasionAttack(Control, package="assay.assessment.evasion"):
    """A search for the closest feasible input that the model gets wrong. Subclasses are frozen dataclasses.

    max_queries: hard budget of rows for each sample, the first look at the sample included.
    radius: beyond which nothing counts as success, in scaled units (None: any distance counts).
    """

    __slots__ = ()
    max_queries: int
    norm: str
    radius: float | None = None

    def __post_init__(self) -> None:
        check_settings(self)

    @final
    def __call__(
        self,
        predictor: Predictor,
        x: NDArray[np.floating],
        y: NDArray[np.integer],
        region: Region,
        *,
        starts: NDArray[np.floating] | None = None,
        targets: NDArray[np.integer] | None = None,
        seed: int = 0,
    ) -> AttackResult:
        """Attack every sample of x (n, ...) with labels y (n,) inside ``region``; inputs are left as they are.

        starts (m, ...): rows that the attacker owns and believes to be of another class; a search may set out from
        them. targets (n,): the class that each sample is to be taken for (None: any but its own).
        Raises DataError when shapes do not agree or a target is the sample's own class, UnsupportedError when the
        attack needs gradients that the model has not, and BudgetError when the predictor's own budget ends first; where
        that is the budget of an endpoint, what was found by then is the result, and says so.
        """
        shape = np.shape(x)
        if len(shape) < 2 or np.shape(y) != shape[:1]:
            raise DataError(f"samples of shape {shape} and labels of shape {np.shape(y)} do not go together")
        x0 = np.array(x, dtype=np.float64).reshape(shape[0], math.prod(shape[1:]))
        truth = np.asarray(y, dtype=np.intp)
        if x0.shape[1] != region.width:
            raise DataError(f"samples have {x0.shape[1]} values each and the region describes {region.width}")
        known = None if starts is None else np.array(starts, dtype=np.float64).reshape(len(starts), region.width)
        oracle = Oracle(
            predictor, x0, truth, region, limit=self.max_queries, norm=self.norm, shape=shape[1:], starts=known,
            targets=_wanted(targets, truth, predictor.classes), radius=math.inf if self.radius is None else self.radius,
        )  # fmt: skip
        everyone = np.arange(len(x0))
        first = oracle.labels(x0, everyone) if len(x0) else truth
        there = oracle.reached(first, everyone) if len(x0) else np.zeros(0, dtype=bool)
        right = np.flatnonzero(~there)
        if len(right) and region.mutable.any():
            try:
                self.search(oracle, right, first, stream(seed, self.name))
            except BudgetError:
                if not oracle.stopped:
                    raise
        found = np.isfinite(oracle.distance)
        return AttackResult(
            oracle.best.reshape(shape), found, there, oracle.spent, oracle.distance,
            oracle.refused, oracle.stopped,
        )  # fmt: skip

    @abstractmethod
    def search(
        self, oracle: Oracle, live: NDArray[np.intp], first: NDArray[np.intp], generator: np.random.Generator
    ) -> None:
        """Ask ``oracle.wrong`` about rows for the samples ``live`` (k,), whose labels ``first`` (n,) are no success yet."""


def _wanted(targets: NDArray[np.integer] | None, truth: Index, classes: int) -> Index | None:
    """Return the targets as indices. Raises DataError unless there is one other class for each sample."""
    if targets is None:
        return None
    wanted = np.asarray(targets, dtype=np.intp)
    if wanted.shape != truth.shape or (wanted == truth).any() or ((wanted < 0) | (wanted >= classes)).any():
        raise DataError(
            f"targets of shape {wanted.shape} do not name another class for each of {len(truth)} samples",
            remedy=f"Give one class of 0 to {classes - 1} a sample, not its own",
        )
    return wanted
