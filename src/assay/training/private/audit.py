"""The audit of a private training from within one run: canaries, and checks of clipping, noise and sampler step by step.

The auditor sees what the proof lets an attacker see, every released sum, and more: the sampler's log and the weights.
From these it computes each step's clipped sum again, by another way than the trainer did. What is left is the noise,
and must be as claimed. Canaries, rows that are in or out by a fair coin, give the lower bound of epsilon that stands
beside the claimed upper one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from assay.core.clock import stream
from assay.core.errors import DataError, FormatError, SettingError
from assay.core.evidence import Evidence, Subject
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.stats.privacy.audit import binomial_p, lower_of_scores
from assay.training.private.audit_gradients import Gradients, Outer, Whole
from assay.training.private.audit_noise import Remainders
from assay.training.private.dpsgd import Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.floating[Any]]
    # Weights (p,) and positions of rows in the audit's table -> gradients (rows, p) of each row by itself.
    Reference: TypeAlias = Callable[[Array, NDArray[np.intp]], Array | Gradients]

# A check fails below this; with eight checks a sound training fails once in some 12,000 audits.
_ALARM = 1e-5
_MEMBERSHIP = "AML.T0024.000"
# Numbers of per-row gradients that are held at once: they should stay in the processor's cache.
_HELD = 1 << 18
# Rows whose gradients are looked at together when they are not written out.
_TOGETHER = 4096


def _checks() -> dict[str, Finding]:
    """Return what it means when a check fails, by the check's name."""
    return {
        "clip": Finding("dp-clip", Severity.HIGH, "rows count for more than the clipping bound",
                    remedy="Clip each row's gradient before it is summed"),
        "sum": Finding("dp-sum", Severity.HIGH, "the sums hold more, or less, than each row once",
                    remedy="Add up each row's own part, once"),
        "released": Finding("dp-released", Severity.HIGH, "the model is made of more than the released sums",
                    remedy="Use the noisy sums and nothing else"),
        "splits": Finding("dp-splits", Severity.HIGH, "the splits are not those of the public settings",
                    remedy="Draw splits without looking at the rows"),
        "noise-size": Finding("dp-noise-size", Severity.HIGH, "the noise is not of the claimed size",
                    remedy="Give it the standard deviation sigma x bound"),
        "noise-repeated": Finding("dp-noise-repeated", Severity.HIGH, "noise of one step comes again in the next",
                    remedy="Draw fresh noise in every step"),
        "noise-constant": Finding("dp-noise-constant", Severity.HIGH, "a part of the noise is the same in all steps",
                    remedy="Draw fresh noise in every step"),
        "sample-rate": Finding("dp-sample-rate", Severity.HIGH, "rows are drawn at another rate than claimed",
                    remedy="Account for the rate that is used"),
        "sample-steps": Finding("dp-sampler", Severity.HIGH, "batch sizes do not spread as those of Poisson samples",
                    remedy="Draw Poisson samples"),
        "sample-rows": Finding("dp-sampler-rows", Severity.HIGH, "rows are not drawn equally often and independently",
                    remedy="Draw Poisson samples"),
        "partition": Finding("dp-partition", Severity.HIGH, "a row, or a person, lies in more than one part",
                    remedy="Put each row, or person, in one part"),
        "charged": Finding("dp-charged", Severity.HIGH, "answers are given that the ledger was not charged for",
                    remedy="Charge the ledger before answering"),
        "refused": Finding("dp-refused", Severity.HIGH, "answers are given beyond the budget",
                    remedy="Refuse, and give nothing, when the budget is spent"),
        "answers": Finding("dp-answers", Severity.HIGH, "answers do not go by the noisy votes",
                    remedy="Answer with the class of most noisy votes"),
    }  # fmt: skip


_CHECKS = _checks()


@dataclass(frozen=True, slots=True)
class Canaries:
    """Rows whose presence was decided by fair coins. positions: (m,) in the audit's table; included: (m,)."""

    positions: NDArray[np.intp]
    included: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Trial:
    """The table of an audit: real rows, then canaries. rows: (n + m, d); codes: (n + m,) positions in ``names``.

    table: positions of the rows that the trainer is given, all real ones and the canaries that the coins let in.
    """

    rows: NDArray[np.float64]
    codes: NDArray[np.intp]
    names: NDArray[Any]
    table: NDArray[np.intp]
    canaries: Canaries

    @property
    def real(self) -> NDArray[np.intp]:
        """Positions of the rows that are no canaries."""
        return np.arange(len(self.rows) - len(self.canaries.positions))


@dataclass(frozen=True, slots=True)
class Audited:
    """What the audit found. lower: epsilon from below at ``confidence``; p_values: of each check under the claim."""

    claimed: float
    delta: float
    lower: float
    guesses: int
    correct: int
    canaries: int
    confidence: float
    p_values: dict[str, float]
    seed: int

    @property
    def failed(self) -> tuple[str, ...]:
        """The checks that an honest training would not fail, and ``epsilon`` when the lower bound passes the claim."""
        found = tuple(name for name, p in self.p_values.items() if p < _ALARM)
        return (*found, "epsilon") if self.lower > self.claimed else found

    def measures(self) -> tuple[Measure, ...]:
        """Return the lower bound as a measure whose interval ends at the claim."""
        return (
            Measure(
                f"epsilon_audited@delta{self.delta:g},canaries_{self.canaries}", self.lower, self.lower,
                max(self.claimed, self.lower), self.guesses, unit="epsilon", confidence=self.confidence,
                method="one-run audit", seed=self.seed,
                threat_model="sees every released sum and all rows but the canaries' coins",
            ),
        )  # fmt: skip

    def findings(self) -> tuple[Finding, ...]:
        """Return a finding for each failed check."""
        found = []
        for name in self.failed:
            if name == "epsilon":
                said = f"the run proves epsilon {self.lower:.3g}, more than the claimed {self.claimed:.3g}"
                found.append(Finding("dp-epsilon", Severity.CRITICAL, said, remedy="Do not release the model"))
                continue
            meant = _CHECKS[name]
            found.append(
                replace(meant, message=f"{meant.message} (p = {self.p_values[name]:.2g})", technique=_MEMBERSHIP)
            )
        return tuple(found)

    def to_json(self) -> dict[str, object]:
        """Return the audit as plain data, as it is published: p-values to two digits, which say enough."""
        return {
            "epsilon_lower": self.lower, "epsilon_claimed": self.claimed, "delta": self.delta, "canaries": self.canaries,
            "guesses": self.guesses, "correct": self.correct, "confidence": self.confidence,
            "p_values": {name: float(f"{p:.2g}") for name, p in self.p_values.items()},
            "failed": list(self.failed), "seed": self.seed,
        }  # fmt: skip

    @classmethod
    def from_json(cls, record: object) -> Audited:
        """Return the audit from plain data, which a sandbox may have written as it liked. Raises FormatError."""
        if not isinstance(record, Mapping) or not isinstance(record.get("p_values"), Mapping):
            raise FormatError("the audit of the training is no record of an audit")
        values = {str(name): _share(p) for name, p in record["p_values"].items()}
        if not values or not set(values) <= set(_CHECKS):
            raise FormatError("the audit of the training names no check, or one that is not known")
        whole = [record.get(k) for k in ("guesses", "correct", "canaries", "seed")]
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in whole):
            raise FormatError("the audit of the training has counts that are none")
        claimed, lower = (_size(record.get(k)) for k in ("epsilon_claimed", "epsilon_lower"))
        delta, confidence = (_share(record.get(k)) for k in ("delta", "confidence"))
        if not 0 < delta < 1 or not 0 < confidence < 1:
            raise FormatError("the audit of the training has a delta or a confidence outside (0, 1)")
        guesses, correct, canaries, seed = (int(n) for n in whole if isinstance(n, int))
        return cls(claimed, delta, lower, guesses, correct, canaries, confidence, values, seed)

    def evidence(self, subjects: tuple[Subject, ...], made: datetime) -> Evidence:
        """Return the audit as evidence about the model and its data."""
        return Evidence(
            "privacy.audit", subjects, made, techniques=(_MEMBERSHIP,), measures=self.measures(),
            findings=self.findings(), parameters={"audit": self.to_json()},
        )  # fmt: skip


class Auditor:
    """Watches a training as its observer, one step after the other, then judges.

    reference: per-row gradients, not clipped, by a way of its own; those of a row must not hang on which others are asked
    for. table: positions in the audit's table of the rows that the trainer was given, in its order. sigma, rate: noise over
    the clipping bound and chance of a row, as claimed. layers: lengths of the parts that are clipped each by itself.
    """

    def __init__(
        self,
        reference: Reference,
        table: NDArray[np.intp],
        canaries: Canaries,
        *,
        sigma: float,
        rate: float,
        layers: Sequence[int] = (),
    ) -> None:
        self._reference, self._table, self._canaries = reference, table, canaries
        self._sigma, self._rate, self._layers = sigma, rate, tuple(layers)
        self._of_canary = np.isin(table, canaries.positions)
        m = len(canaries.positions)
        self._pull, self._overlap = np.zeros(m), np.zeros((m, m))
        self._row_counts = np.zeros(len(table), np.int64)
        self._counts: list[int] = []
        self._remainders: Remainders | None = None

    def __call__(self, step: Step) -> None:
        """Take in one step."""
        self._counts.append(len(step.rows))
        np.add.at(self._row_counts, step.rows, 1)
        scale = self._sigma * step.bound
        own = self._gradients(step.weights, self._canaries.positions)
        at_once = _TOGETHER if isinstance(own, Outer) else max(1, _HELD // len(step.released))
        real, whole, surplus = self._sums(step, at_once)
        if self._remainders is None:
            self._remainders = Remainders(len(whole))
        self._remainders.add((step.released - whole) / scale, clip=surplus / scale, sum=whole / scale)
        self._score(own, (step.released - real) / scale, step.bound, scale)

    def result(
        self, claimed: float, delta: float, *, confidence: float = 0.95, seed: int = 0, **checked: bool
    ) -> Audited:
        """Return what the run shows; checked: further checks by name, with whether they hold.

        Raises DataError before the first step.
        """
        if self._remainders is None:
            raise DataError("the audit has seen no step", remedy="Give the auditor to the trainer as its observer")
        lower, guesses, correct = lower_of_scores(self._presence(), self._canaries.included, delta, confidence)
        p_values = self._remainders.p_values() | self._sampler() | {name: float(ok) for name, ok in checked.items()}
        return Audited(claimed, delta, lower, guesses, correct, len(self._pull), confidence, p_values, seed)

    def _sums(self, step: Step, at_once: int) -> tuple[Array, Array, Array]:
        """Return sums of gradients: clipped ones of real rows, clipped ones of all rows, and what clipping cut off."""
        rows, canary = self._table[step.rows], self._of_canary[step.rows]
        sums = np.zeros((3, len(step.released)))
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            gradients = self._gradients(step.weights, rows[part])
            factors = self._factors(gradients, step.bound)
            sums += gradients.sums(np.stack([factors * ~canary[part], factors, 1 - factors], axis=1))
        return sums[0], sums[1], sums[2]

    def _gradients(self, weights: Array, rows: NDArray[np.intp]) -> Gradients:
        found = self._reference(weights, rows)
        return found if isinstance(found, Gradients) else Whole(found, self._layers or (found.shape[1],))

    def _factors(self, gradients: Gradients, bound: float) -> Array:
        """Return factors (parts, rows) that clip each layer by itself, or (1, rows) that clip whole gradients."""
        squares = gradients.squares()
        if not self._layers:
            squares = squares.sum(axis=0, keepdims=True)
        return np.asarray(np.minimum(1.0, bound / len(squares) ** 0.5 / np.maximum(squares**0.5, 1e-12)))

    def _score(self, own: Gradients, rest: Array, bound: float, scale: float) -> None:
        """Add the step to the equations for who is in: each canary pulls the sum its way when it is drawn."""
        factors = self._factors(own, bound) / scale
        expected = own.sums(factors[:, None])[0] * (self._rate / 2)
        self._pull += own.dots(rest - expected, factors)
        self._overlap += own.overlaps(factors)

    def _presence(self) -> Array:
        """Return each canary's presence less a half, by least squares with the coins' own variance as prior."""
        m = len(self._pull)
        return np.asarray(np.linalg.solve(self._rate**2 * self._overlap + 4 * np.eye(m), self._rate * self._pull))

    def _sampler(self) -> dict[str, float]:
        steps, rows, q = len(self._counts), len(self._table), self._rate
        found = {"sample-rate": binomial_p(sum(self._counts), rows * steps, q)}
        if q < 1:
            found["sample-steps"] = _dispersion_p(np.array(self._counts), rows)
            found["sample-rows"] = _dispersion_p(self._row_counts, steps)
        return found


def planted(X: Any, y: Any, bounds: tuple[Any, Any] | None, canaries: int, *, seed: int, classes: Any = None) -> Trial:
    """Return rows X (n, d) and labels y (n,) with canaries at the corners of the bounds, or of [-1, 1] without any.

    classes: those that the estimator declares (None: the labels'). Raises SettingError for fewer than two canaries,
    DataError without rows or a second class, and for a label outside the classes.
    """
    if canaries < 2:
        raise SettingError("an audit needs 2 canaries or more")
    x, labels = np.asarray(X, np.float64), np.asarray(y)
    names = np.unique(labels if classes is None else np.asarray(classes))
    if not len(x) or len(names) < 2:
        raise DataError("an audit needs rows, and two classes or more", remedy="Declare every class in `classes`")
    codes = np.clip(np.searchsorted(names, labels), 0, len(names) - 1)
    if not np.array_equal(names[codes], labels):
        raise DataError("a label is none of the declared classes", remedy="Declare every class in `classes`")
    low, high = (np.broadcast_to(np.asarray(end, float), x.shape[1]) for end in bounds or (-1.0, 1.0))
    extra, extra_codes = canary_rows(canaries, low, high, len(names), seed=seed)
    included = coins(canaries, seed=seed)
    table = np.concatenate([np.arange(len(x)), len(x) + np.flatnonzero(included)])
    return Trial(
        np.concatenate([x, extra]), np.concatenate([codes, extra_codes]), names, table,
        Canaries(len(x) + np.arange(canaries), included),
    )  # fmt: skip


def canary_rows(
    count: int, low: NDArray[np.float64], high: NDArray[np.float64], classes: int, *, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return ``count`` rows at random corners of the features' bounds, and labels of chance.

    Their gradients are long, so that clipping is put to the test, and nearly orthogonal, so that they can be told apart.
    """
    rng = stream(seed, "canaries")
    corner = rng.random((count, len(low))) < 0.5
    return np.where(corner, low, high), rng.integers(0, classes, count).astype(np.intp)


def coins(count: int, *, seed: int) -> NDArray[np.bool_]:
    """Return fair coins (count,)."""
    return np.asarray(stream(seed, "coins").random(count) < 0.5)


def _size(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise FormatError("the audit of the training holds something that is no number of 0 or more")
    return float(value)


def _share(value: object) -> float:
    found = _size(value)
    if found > 1:
        raise FormatError("the audit of the training holds a chance above 1")
    return found


def _dispersion_p(counts: NDArray[np.integer[Any]], trials: int) -> float:
    """Return the p-value of the spread of binomial counts about their own mean; the mean has a check of its own.

    The sum of squares is compared by its first two moments, which holds for small expected counts as well.
    """
    n = len(counts)
    mean = float(counts.mean())
    share = min(max(mean / trials, 1e-12), 1 - 1e-12)
    variance = trials * share * (1 - share)
    statistic = float(np.square(counts - mean).sum()) / variance
    kurtosis = (1 - 6 * share * (1 - share)) / variance
    deviation = max((2 + kurtosis) * n, 1e-12) ** 0.5
    # Matched to a scaled chi-square: skewed as the statistic is.
    degrees = max(2.0 * (n - 1) ** 2 / deviation**2, 0.5)
    from scipy.stats import chi2

    scaled = statistic * degrees / max(n - 1, 1)
    return float(min(1.0, 2 * min(chi2.cdf(scaled, degrees), chi2.sf(scaled, degrees))))
