"""What was measured, with everything that is needed to judge or repeat it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from assay.core.errors import FormatError


class Verdict(str, Enum):
    """What a threshold says of a measure. Only ``PASS`` lets a release through by itself."""

    PASS = "pass"
    FAIL = "fail"
    UNCERTAIN = "uncertain"
    NOT_CHECKED = "not_checked"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Measure:
    """One frozen measurement: estimate, interval, sample size, unit, threat model, seed.

    name: carries its parameters, as in ``robust_accuracy@l2_0.5,hopskipjump_2000``.
    estimate, low, high: in ``unit``; ``low <= estimate <= high``.
    confidence: coverage of the interval in (0, 1); method: how the interval was made.
    n: number of rows, pairs or runs behind the estimate. threat_model: what the attacker knows and
    may do, in words. void: why the number must not be used ("" when it may).
    """

    name: str
    estimate: float
    low: float
    high: float
    n: int
    unit: str = "share"
    confidence: float = 0.95
    method: str = "clopper-pearson"
    threat_model: str = ""
    seed: int | None = None
    queries: int | None = None
    void: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise FormatError("a measure needs a name")
        if not all(math.isfinite(v) for v in (self.estimate, self.low, self.high)):
            raise FormatError(
                f"measure {self.name}: estimate and interval must be finite", remedy="Record it as not checked"
            )
        if not self.low <= self.estimate <= self.high:
            raise FormatError(
                f"measure {self.name}: {self.estimate} lies outside its interval [{self.low}, {self.high}]"
            )
        if self.n < 0 or not 0.0 < self.confidence < 1.0:
            raise FormatError(f"measure {self.name}: n must be >= 0 and confidence within (0, 1)")

    def against(self, *, at_least: float | None = None, at_most: float | None = None) -> Verdict:
        """Return the verdict against a threshold: uncertain when the interval straddles it."""
        if self.void:
            return Verdict.VOID
        verdicts = []
        if at_least is not None:
            verdicts.append(_side(self.low >= at_least, self.high < at_least))
        if at_most is not None:
            verdicts.append(_side(self.high <= at_most, self.low > at_most))
        if not verdicts:
            raise FormatError(f"measure {self.name}: a threshold needs at_least or at_most")
        for worst in (Verdict.FAIL, Verdict.UNCERTAIN):
            if worst in verdicts:
                return worst
        return Verdict.PASS

    def voided(self, why: str) -> Measure:
        """Return the same measure, marked as not to be used and why."""
        return Measure(**{**self.to_json(), "void": why})  # type: ignore[arg-type]

    def to_json(self) -> dict[str, object]:
        """Return the measure as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> Measure:
        """Return the measure from its plain data. Raises FormatError on unknown or missing fields."""
        try:
            return cls(**record)  # type: ignore[arg-type]
        except TypeError as error:
            raise FormatError(f"not a measure ({error})") from error


def _side(passes: bool, fails: bool) -> Verdict:
    if passes:
        return Verdict.PASS
    return Verdict.FAIL if fails else Verdict.UNCERTAIN
