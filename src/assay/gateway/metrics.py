"""The gateway's own counters, as Prometheus text (exposition format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

_EDGES = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """Counts of requests by outcome, of rows, of guard hits, and a histogram of latency in seconds."""

    __slots__ = ("_buckets", "_flags", "_outcomes", "_rows", "_seconds")

    def __init__(self) -> None:
        self._outcomes: Counter[tuple[int, str]] = Counter()
        self._flags: Counter[str] = Counter()
        self._buckets = [0] * (len(_EDGES) + 1)
        self._seconds = 0.0
        self._rows = 0

    def count(self, status: int, reason: str, rows: int, seconds: float) -> None:
        """Count one request. reason: "" when served."""
        self._outcomes[status, reason] += 1
        self._buckets[bisect_left(_EDGES, seconds)] += 1
        self._seconds += seconds
        self._rows += rows

    def flag(self, guard: str, rows: int) -> None:
        """Count rows that a guard refused, or would have refused."""
        self._flags[guard] += rows

    def text(self) -> bytes:
        """Return the counters as Prometheus text."""
        lines = ["# HELP assay_requests_total Requests by status and reason.", "# TYPE assay_requests_total counter"]
        lines += [
            f'assay_requests_total{{status="{status}",reason="{reason}"}} {n}'
            for (status, reason), n in sorted(self._outcomes.items())
        ]
        lines += [
            "# HELP assay_rows_total Rows answered.",
            "# TYPE assay_rows_total counter",
            f"assay_rows_total {self._rows}",
        ]
        lines += [
            "# HELP assay_guard_rows_total Rows that a guard refused or flagged.",
            "# TYPE assay_guard_rows_total counter",
        ]
        lines += [f'assay_guard_rows_total{{guard="{guard}"}} {n}' for guard, n in sorted(self._flags.items())]
        lines += ["# HELP assay_request_seconds Time in the gateway.", "# TYPE assay_request_seconds histogram"]
        below = 0
        for edge, n in zip((*map(str, _EDGES), "+Inf"), self._buckets, strict=True):
            below += n
            lines.append(f'assay_request_seconds_bucket{{le="{edge}"}} {below}')
        lines += [f"assay_request_seconds_sum {self._seconds:.6f}", f"assay_request_seconds_count {below}", ""]
        return "\n".join(lines).encode()
