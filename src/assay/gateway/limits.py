"""Limits: what one request may hold, and how much one principal may ask in a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from assay.core.settings import Within, check_settings, setting


@dataclass(frozen=True, slots=True)
class Caps:
    """Hard bounds of one request, so that a hostile body costs little time and memory."""

    body_bytes: int = setting(1 << 20, Within(1, 1 << 30), "Most bytes of a body, after decompression too.")
    rows: int = setting(4096, Within(1, 1 << 20), "Most rows in one request.")
    seconds: float = setting(10.0, Within(0, 600, open_low=True), "Longest wait for a body to arrive.")
    pending: int = setting(512, Within(1, 1 << 16), "Most requests held at one time.")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket's settings. A request costs ``base + rows`` tokens."""

    per_second: float = setting(1000.0, Within(0, None, open_low=True), "Tokens that a principal regains each second.")
    burst: float = setting(10_000.0, Within(1, None), "Most tokens that a principal can hold.")
    base: float = setting(1.0, Within(0, None), "Tokens of a request, whatever its rows.")

    def __post_init__(self) -> None:
        check_settings(self)


class Buckets:
    """Token buckets by principal, all of one rate. Law: within t seconds nobody gets more than burst + rate * t."""

    __slots__ = ("_held", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._held: dict[str, tuple[float, float]] = {}

    def take(self, principal: str, rows: int, now: float) -> float:
        """Take the cost of a request. Return 0.0, or the seconds until it can be paid (inf: never), nothing taken.

        now: seconds of a clock that never goes back.
        """
        rate = self.rate
        cost = rate.base + rows
        tokens, since = self._held.get(principal, (rate.burst, now))
        tokens = min(rate.burst, tokens + max(0.0, now - since) * rate.per_second)
        if cost <= tokens:
            self._held[principal] = (tokens - cost, now)
            return 0.0
        self._held[principal] = (tokens, now)
        return math.inf if cost > rate.burst else (cost - tokens) / rate.per_second
