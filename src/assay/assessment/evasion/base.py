"""What every evasion attack shares: counting, hard budgets, success tests, keeping the best row found.

An author writes ``search`` and asks through the ``Oracle``; whatever the oracle has seen to be adversarial
and closest is the result, so a result is always a row that the model was really asked about.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from assay.core.clock import stream
from assay.core.discovery import Control
from assay.core.errors import BudgetError, DataError
from assay.core.settings import check_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.contract.region import Region
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class AttackResult:
    """What an attack found for each of n samples.

    x_adv (n, ...): the closest adversarial row, or the sample itself where none was found. success (n,).
    already_wrong (n,): the model was wrong before any change; such rows are left alone and count as no success.
    queries (n,): rows asked for each sample. distance (n,): in scaled units, infinite without success.
    """

    x_adv: Array
    success: NDArray[np.bool_]
    already_wrong: NDArray[np.bool_]
    queries: NDArray[np.intp]
    distance: Array


class Oracle:
    """Asks the model about rows on behalf of samples, within each sample's budget, and keeps the best.

    x0 (n, d): where the samples start; y (n,): their labels; norm: in which rows are compared.
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
    ) -> None:
        self.x0, self.y, self.region, self.norm = x0, y, region, norm
        self.spent = np.zeros(len(x0), dtype=np.intp)
        self.best = x0.copy()
        self.distance = np.full(len(x0), np.inf)
        self._predictor, self._limit = predictor, limit
        self.reserve = 0
        self.starts = np.empty((0, x0.shape[1])) if starts is None else starts
        self._shape = (-1, *shape)

    @property
    def left(self) -> NDArray[np.intp]:
        """Queries that each sample may still make, (n,), without those that are kept in ``reserve`` for later."""
        return self._limit - self.reserve - self.spent

    def labels(self, rows: Array, owner: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the labels of rows (m, d) asked for samples ``owner`` (m,). Raises BudgetError, having asked nothing."""
        count = np.bincount(owner, minlength=len(self.spent))
        if (self.spent + count > self._limit).any():
            raise BudgetError("an attack asked beyond its budget", remedy="Report it: this is a defect of the attack")
        self.spent += count
        return self._predictor.labels(rows.reshape(self._shape))

    def wrong_only(self, rows: Array, owner: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return whether the model is wrong on each row (m,), for probes around a row that is already kept."""
        flipped: NDArray[np.bool_] = self.labels(rows, owner) != self.y[owner]
        return flipped

    def wrong(self, rows: Array, owner: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return whether the model is wrong on each row (m,); the closest wrong row of each sample is kept."""
        flipped: NDArray[np.bool_] = self.labels(rows, owner) != self.y[owner]
        hits = np.flatnonzero(flipped)
        if len(hits):
            far = self.region.distance(rows[hits], self.x0[owner[hits]], self.norm)
            order = hits[np.argsort(-far, kind="stable")]
            far = np.sort(far)[::-1]
            closer = far < self.distance[owner[order]]
            # Written in order of falling distance, so that the closest of several rows of one sample stays.
            self.best[owner[order[closer]]] = rows[order[closer]]
            self.distance[owner[order[closer]]] = far[closer]
        return flipped


class EvasionAttack(Control, package="assay.assessment.evasion"):
    """A search for the closest feasible input that the model gets wrong. Subclasses are frozen dataclasses.

    max_queries: hard budget of rows for each sample, the first look at the sample included.
    """

    __slots__ = ()
    max_queries: int
    norm: str

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
        seed: int = 0,
    ) -> AttackResult:
        """Attack every sample of x (n, ...) with labels y (n,) inside ``region``; inputs are left as they are.

        starts (m, ...): rows that the attacker owns and believes to be of another class; a search may set out from
        them. Raises DataError when shapes do not agree, and BudgetError when the predictor's own budget ends first.
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
            predictor, x0, truth, region, limit=self.max_queries, norm=self.norm, shape=shape[1:], starts=known
        )
        everyone = np.arange(len(x0))
        first = oracle.labels(x0, everyone) if len(x0) else truth
        right = np.flatnonzero(first == truth)
        if len(right) and region.mutable.any():
            self.search(oracle, right, first, stream(seed, self.name))
        found = np.isfinite(oracle.distance)
        return AttackResult(oracle.best.reshape(shape), found, first != truth, oracle.spent, oracle.distance)

    @abstractmethod
    def search(
        self, oracle: Oracle, live: NDArray[np.intp], first: NDArray[np.intp], generator: np.random.Generator
    ) -> None:
        """Ask ``oracle.wrong`` about rows for the samples ``live`` (k,), whose labels ``first`` (n,) are known to be right."""
