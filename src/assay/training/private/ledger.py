"""The ledger of spent privacy: a file that says what every answer cost, written before the answer is given."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assay.core.errors import BudgetError, FormatError, SettingError
from assay.core.files import read_record, write_record
from assay.stats.privacy.accountant import Bracket, epsilon, upper_epsilon
from assay.stats.privacy.events import Event, SampledGaussian

_TYPE = "https://assay.dev/privacy-ledger/v1"


@dataclass(frozen=True, slots=True)
class Ledger:
    """A budget of (epsilon, delta) for one data set, and the Gaussian releases that were charged to it.

    path: where it is kept; two processes may share it. Law: what was answered is charged, also after a crash between
    the two; the charged epsilon never exceeds the budget. The most answers of a release are the same for all: equal
    releases are one entry and a count.
    """

    path: Path
    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not self.epsilon > 0 or not 0 < self.delta < 1:
            raise SettingError("a ledger needs epsilon above 0 and delta in (0, 1)")

    def charge(self, sigma: float, count: int) -> Bracket:
        """Charge ``count`` Gaussian releases of noise multiplier ``sigma``; return what is spent then.

        Raises BudgetError, having charged nothing, when that would pass the budget; FormatError for a file that is no
        ledger of this budget.
        """
        if count < 1:
            raise SettingError(f"cannot charge {count} answers")
        with self._locked():
            counts = self._read()
            counts[sigma] = counts.get(sigma, 0) + count
            after = epsilon(self._events(counts), self.delta)
            if after.high > self.epsilon:
                raise BudgetError(
                    f"{count} more answers would spend epsilon {after.high:.4g} of {self.epsilon:g}", where=str(self.path),
                    remedy=f"{self._left(counts, sigma, count)} more are left; then train on new data, or end the service",
                )  # fmt: skip
            entries = [{"sigma": s, "count": c} for s, c in sorted(counts.items())]
            write_record(
                self.path,
                {"type": _TYPE, "epsilon": self.epsilon, "delta": self.delta, "spent": after.high, "entries": entries},
            )
        return after

    def spent(self) -> Bracket:
        """Return the bracket of the epsilon charged so far."""
        counts = self._read()
        return epsilon(self._events(counts), self.delta) if counts else Bracket(0.0, 0.0, {})

    def answers(self) -> int:
        """Return how many releases were charged."""
        return sum(self._read().values())

    def _left(self, counts: dict[float, int], sigma: float, count: int) -> int:
        """Return how many of the ``count`` refused releases would still fit."""
        low, high = 0, count
        while high - low > 1:
            middle = (low + high) // 2
            trial = {**counts, sigma: counts[sigma] - count + middle}
            fits = upper_epsilon(self._events(trial), self.delta) <= self.epsilon
            low, high = (middle, high) if fits else (low, middle)
        return low

    @staticmethod
    def _events(counts: dict[float, int]) -> list[tuple[Event, int]]:
        return [(SampledGaussian(s), c) for s, c in counts.items() if c]

    def _read(self) -> dict[float, int]:
        if not self.path.exists():
            return {}
        record = read_record(self.path)
        if not isinstance(record, dict) or record.get("type") != _TYPE:
            raise FormatError("is no ledger of spent privacy", where=str(self.path))
        if (record.get("epsilon"), record.get("delta")) != (self.epsilon, self.delta):
            raise FormatError(
                "is the ledger of another budget",
                where=str(self.path),
                remedy="A budget is fixed when its ledger is begun",
            )
        entries = record.get("entries")
        if not isinstance(entries, list):
            raise FormatError("has no entries", where=str(self.path))
        return dict(_entry(item, self.path) for item in entries)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _entry(item: object, path: Path) -> tuple[float, int]:
    if isinstance(item, dict):
        sigma, count = item.get("sigma"), item.get("count")
        if (
            isinstance(sigma, (int, float))
            and isinstance(count, int)
            and not isinstance(count, bool)
            and sigma > 0 < count
        ):
            return float(sigma), count
    raise FormatError("has an entry that is no pair of sigma and count", where=str(path))
