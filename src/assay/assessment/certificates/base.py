"""What every certificate shares: which rows are right, replaying flips on the real model, and measures with intervals.

An author writes ``bound``: a radius for each row and, where known, a concrete row that flips the answer. Nothing
that an author claims is believed further than it replays: a flip that the model does not confirm takes the radius of
its row with it, since then the author's picture of the model is wrong there.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from assay.contract.region import Region
from assay.core.clock import stream
from assay.core.discovery import Control
from assay.core.errors import DataError, SettingError
from assay.core.measure import Measure
from assay.core.settings import check_settings
from assay.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Labels = NDArray[np.intp]

# How far above its lower bound a flip may lie, relatively, for the two to count as one exact distance.
EXACT = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """What an author claims of k rows. lower (k,): radius; x_flip (k, d): rows that flip, where ``found`` (k,) says so.

    complete (k,): the search is finished, so that ``lower`` is the exact distance: of the flip that was found, or
    infinite where no input of the region flips.
    """

    lower: Array
    x_flip: Array
    found: Flags
    complete: Flags

    @classmethod
    def of(cls, lower: Array, x0: Array) -> Bounds:
        """Return bounds with radii alone, lower (k,), for rows x0 (k, d)."""
        no = np.zeros(len(lower), dtype=bool)
        return cls(np.asarray(lower, dtype=np.float64), x0, no, no)


@dataclass(frozen=True, slots=True, eq=False)
class CertificateResult:
    """What is certain about each of n rows. Distances are in scaled units of ``norm``, inside the region.

    lower (n,): no input closer than this changes the answer; 0.0: nothing certified, or already wrong; infinite: no
    input of the region does. upper (n,): distance of a flip that was replayed on the model, infinite where none is
    known. x_flip (n, ...): that flip, or the row itself. exact (n,): both ends agree to 1e-6 relatively, or nothing
    flips. right (n,): the answer is right at the row itself. confidence: chance that the radius of a row holds; 1.0 for a proof.
    assumptions: what the radii rest on, in words. seed: of the randomness in them, None for a proof.
    """

    name: str
    norm: str
    lower: Array
    upper: Array
    x_flip: Array
    exact: Flags
    right: Flags
    confidence: float = 1.0
    assumptions: tuple[str, ...] = ()
    seed: int | None = None

    def certified(self, distance: float) -> Flags:
        """Return which rows are right and stay so whatever changes up to ``distance``, that distance included; (n,)."""
        flags: Flags = self.right & ((self.lower > distance) | (distance == 0))
        return flags

    def measures(self, distances: Iterable[float]) -> tuple[Measure, ...]:
        """Return certified accuracy at each distance, and the share that no known flip reaches (an upper end).

        Intervals are Clopper-Pearson over rows. Raises DataError without rows, SettingError for a negative distance.
        """
        n = len(self.lower)
        if not n:
            raise DataError("no row was certified", remedy="Give at least one row")
        made: list[Measure] = []
        for distance in distances:
            if not (math.isfinite(distance) and distance >= 0):
                raise SettingError(f"{distance!r} is no distance", remedy="Give a finite number, 0 or more")
            unbroken = self.right & ~(self.upper <= distance)
            made += [
                self._share(f"certified_accuracy@{self.norm}_{distance:g},{self.name}", self.certified(distance)),
                self._share(f"unbroken_accuracy@{self.norm}_{distance:g},{self.name}", unbroken),
            ]
        return tuple(made)

    def _share(self, name: str, flags: Flags) -> Measure:
        low, high = clopper_pearson(int(flags.sum()), len(flags))
        sure = "proved" if self.confidence == 1.0 else f"each row at confidence {self.confidence:g}"
        known = "; ".join((f"any input of the feasible region up to the distance, {sure}", *self.assumptions))
        return Measure(name, float(flags.mean()), low, high, len(flags), threat_model=known, seed=self.seed)


class Certificate(Control, package="assay.assessment.certificates", techniques=("AML.T0015",)):
    """A bound from below on how far an input must move to change the answer. Subclasses are frozen dataclasses.

    norm: "l1", "l2" or "linf" in scaled units. confidence: 1.0 for proofs. assumptions: what the radii rest on.
    replays: the certified function is the predictor itself. Where it is another one, such as the predictor smoothed
    with noise, the author judges rows and flips: ``bound`` is given all rows, and 0.0 stands for wrong or undecided.
    """

    __slots__ = ()
    replays: ClassVar[bool] = True
    norm: str

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def trust(self) -> float:
        """The chance that a row's radius holds; 1.0 for a proof."""
        return 1.0

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the radii rest on, in words."""
        return ()

    @final
    def __call__(
        self,
        predictor: Predictor,
        x: NDArray[np.floating],
        y: NDArray[np.integer],
        region: Region | None = None,
        *,
        seed: int = 0,
    ) -> CertificateResult:
        """Certify the answers for x (n, ...) with labels y (n,) inside ``region`` (None: all numbers, scale 1).

        Raises DataError when shapes do not agree, UnsupportedError for a model that the certificate cannot read, and
        BudgetError when the predictor's budget ends first. Inputs are left as they are.
        """
        shape = np.shape(x)
        if len(shape) < 2 or np.shape(y) != shape[:1]:
            raise DataError(f"samples of shape {shape} and labels of shape {np.shape(y)} do not go together")
        n, width = shape[0], math.prod(shape[1:])
        x0, truth = np.array(x, dtype=np.float64).reshape(n, width), np.array(y, dtype=np.intp)
        inside = Region.box(np.full(width, -np.inf), np.full(width, np.inf)) if region is None else region
        if width != inside.width:
            raise DataError(f"samples have {width} values each and the region describes {inside.width}")
        lower, upper, flips = np.zeros(n), np.full(n, np.inf), x0.copy()
        exact, right = np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
        if self.replays and n:
            right = predictor.labels(x0.reshape(shape)) == truth
        live = np.flatnonzero(right)
        if len(live):
            claim = self.bound(predictor, x0[live], truth[live], inside, stream(seed, self.name), shape[1:])
            _check(claim, x0[live])
            confirmed = self._confirmed(predictor, claim, x0[live], truth[live], inside, shape[1:])
            hit = np.flatnonzero(confirmed)
            flips[live[hit]] = claim.x_flip[hit]
            upper[live[hit]] = inside.distance(claim.x_flip[hit], x0[live[hit]], self.norm)
            # A flip that does not replay, or lies inside its radius, shows that the claim is wrong: nothing is certified.
            sound = (confirmed | ~claim.found) & (claim.lower <= upper[live] * (1.0 + EXACT))
            lower[live] = np.where(sound, np.minimum(claim.lower, upper[live]), 0.0)
            tight = np.where(claim.found, upper[live] <= lower[live] * (1.0 + EXACT), np.isinf(lower[live]))
            exact[live] = sound & claim.complete & tight
        if not self.replays:
            right = lower > 0
        return CertificateResult(
            self.name, self.norm, lower, upper, flips.reshape(shape), exact, right, self.trust, self.assumptions,
            None if self.trust == 1.0 else seed,
        )  # fmt: skip

    def _confirmed(
        self, predictor: Predictor, claim: Bounds, x0: Array, y: Labels, region: Region, shape: tuple[int, ...]
    ) -> Flags:
        """Return which claimed flips lie in the region and change the model's answer, (k,)."""
        confirmed = np.array(claim.found, dtype=bool)
        hit = np.flatnonzero(confirmed)
        if len(hit):
            rows = claim.x_flip[hit]
            confirmed[hit] = region.contains(rows, x0[hit])
            if self.replays:
                confirmed[hit] &= predictor.labels(rows.reshape(-1, *shape)) != y[hit]
        return confirmed

    @abstractmethod
    def bound(
        self,
        predictor: Predictor,
        x0: Array,
        y: Labels,
        region: Region,
        generator: np.random.Generator,
        shape: tuple[int, ...],
    ) -> Bounds:
        """Return the bounds of rows x0 (k, d) with labels y (k,), which the model gets right (if it ``replays``).

        shape: of one sample as the model takes it.
        """


def _check(claim: Bounds, x0: Array) -> None:
    k = len(x0)
    shapes = (claim.lower.shape, claim.x_flip.shape, claim.found.shape, claim.complete.shape)
    if shapes != ((k,), x0.shape, (k,), (k,)):
        raise DataError(
            f"bounds of shapes {shapes} do not fit {k} rows", remedy="Report it: a defect of the certificate"
        )
    if np.isnan(claim.lower).any() or (claim.lower < 0).any():
        raise DataError("a radius is negative or not a number", remedy="Report it: a defect of the certificate")


__all__ = ["EXACT", "Bounds", "Certificate", "CertificateResult"]
