"""Drift: the rows that a gateway recorded against the training baseline, as effect sizes and family-wise tests."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.core.clock import Clock, stream, system_clock
from assay.core.digest import digest_record
from assay.core.errors import DataError
from assay.core.event import Event
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.monitoring.baseline import Baseline, FeatureBaseline, category_counts
from assay.stats.drift import chi_square, histogram, holm, ks_counts, psi, psi_interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_ROWS = 50
PSI_NOTABLE = 0.1
KS_NOTABLE = 0.1
ALPHA = 0.01


@dataclass(frozen=True, slots=True)
class Traffic:
    """What event files say. x: recorded rows (n, d); labels: of those rows; reasons: refusals by reason."""

    x: NDArray[np.float64]
    labels: NDArray[np.intp]
    served: int
    refused: int
    reasons: dict[str, int]
    subject: str


def traffic(events: Iterable[Event], width: int) -> Traffic:
    """Return the recorded rows and counts of requests. Raises DataError on rows of another width."""
    import numpy as np

    rows: list[list[float]] = []
    labels: list[int] = []
    served, reasons, subject = 0, dict[str, int](), ""
    for event in events:
        if event.kind == "request.refused":
            # Refusals whose events were suppressed to spare the disk are carried by a later one.
            more = event.data.get("unrecorded", 0)
            reasons[event.reason] = reasons.get(event.reason, 0) + 1 + (more if isinstance(more, int) else 0)
        if event.kind != "request.served":
            continue
        served += 1
        subject = event.subject
        values, answers = event.data.get("x", []), event.data.get("labels", [])
        if not isinstance(values, list) or not isinstance(answers, list) or any(len(row) != width for row in values):
            raise DataError(
                "recorded rows do not fit the baseline", where=event.subject, remedy="Use this release's baseline"
            )
        rows += [[math.nan if v is None else float(v) for v in row] for row in values]
        labels += [int(a) for a in answers]
    x = np.array(rows, dtype=np.float64).reshape(len(rows), width)
    return Traffic(x, np.array(labels, dtype=np.intp), served, sum(reasons.values()), reasons, subject)


def compare(events: Iterable[Event], baseline: Baseline, *, seed: int = 0, clock: Clock = system_clock) -> Evidence:
    """Return evidence ``monitoring.drift`` on the traffic of ``events`` against ``baseline``.

    Measures: ``psi@FEATURE`` and ``ks@FEATURE`` (effect sizes), ``psi_max``, ``drift_p`` (smallest p-value after
    Holm's correction over all features, nulls and answers), ``reject_rate``. A feature is a finding when it is
    both significant at 0.01 family-wise and notable (PSI or KS of 0.1 or more, or a significant rise of nulls).
    """
    seen = traffic(events, len(baseline.features))
    subjects = (Subject(seen.subject or "traffic", digest_record(baseline.to_json())),)
    measures = list(_reject_rate(seen))
    parameters: dict[str, object] = {
        "rows": len(seen.x),
        "served": seen.served,
        "reasons": seen.reasons,
        "alpha": ALPHA,
    }
    if len(seen.x) < LEAST_ROWS:
        missing = NotChecked("drift", f"{len(seen.x)} recorded rows, {LEAST_ROWS} are needed", "Wait for more traffic")
        return Evidence(
            "monitoring.drift",
            subjects,
            clock(),
            measures=tuple(measures),
            not_checked=(missing,),
            parameters=parameters,
        )
    tests: list[tuple[str, str, float, float]] = []
    for j, feature in enumerate(baseline.features):
        made, found = _feature(feature, baseline.n, seen.x[:, j], seed)
        measures += made
        tests += found
    tests += _answers(baseline, seen)
    adjusted = holm([p for _, _, _, p in tests])
    sizes = [m for m in measures if m.name.startswith("psi@")]
    if sizes:
        top = max(sizes, key=lambda m: m.estimate)
        measures.append(
            Measure("psi_max", top.estimate, top.low, top.high, top.n, unit="psi", method="bootstrap", seed=seed)
        )
    smallest = min(adjusted, default=1.0)
    measures.append(Measure("drift_p", smallest, smallest, smallest, len(seen.x), unit="p", method="holm"))
    findings = tuple(
        _finding(name, test, size, p)
        for (name, test, size, _), p in zip(tests, adjusted, strict=True)
        if p < ALPHA and size >= (PSI_NOTABLE if test == "psi" else KS_NOTABLE if test == "ks" else 0.0)
    )
    return Evidence(
        "monitoring.drift", subjects, clock(), measures=tuple(measures), findings=findings, parameters=parameters
    )


def _feature(
    feature: FeatureBaseline, n: int, values: NDArray[np.float64], seed: int
) -> tuple[list[Measure], list[tuple[str, str, float, float]]]:
    import numpy as np

    present = int((~np.isnan(values)).sum())
    nulls = np.array([feature.nulls, n - feature.nulls], dtype=np.float64)
    observed_nulls = np.array([len(values) - present, present], dtype=np.float64)
    shift = abs(observed_nulls[0] / len(values) - feature.nulls / n)
    tests = [(feature.name, "nulls", float(shift), chi_square(nulls, observed_nulls)[2])]
    counts = np.array(feature.counts, dtype=np.float64)
    if not present or not counts.sum():
        return [], tests
    observed = (
        category_counts(values, len(counts) - 1) if feature.category else histogram(values, np.array(feature.edges))
    )
    size = psi(counts, observed)
    low, high = psi_interval(counts, observed, stream(seed, "monitoring", "psi", feature.name))
    made = [Measure(f"psi@{feature.name}", size, low, high, present, unit="psi", method="bootstrap", seed=seed)]
    tests.append((feature.name, "psi", size, chi_square(counts, observed)[2]))
    if feature.fine_counts:
        fine = np.array(feature.fine_counts, dtype=np.float64)
        distance, p = ks_counts(fine, histogram(values, np.array(feature.fine_edges)))
        margin = _ks_margin(int(fine.sum()), present)
        low, high = max(0.0, distance - margin), min(1.0, distance + margin)
        made.append(Measure(f"ks@{feature.name}", distance, low, high, present, unit="distance", method="dkw"))
        tests.append((feature.name, "ks", distance, p))
    return made, tests


def _answers(baseline: Baseline, seen: Traffic) -> list[tuple[str, str, float, float]]:
    import numpy as np

    if not baseline.labels or not len(seen.labels):
        return []
    size = max(len(baseline.labels), int(seen.labels.max()) + 1)
    counts = np.zeros(size)
    counts[: len(baseline.labels)] = baseline.labels
    observed = np.bincount(seen.labels, minlength=size).astype(np.float64)
    return [("the answered class", "psi", psi(counts, observed), chi_square(counts, observed)[2])]


def _ks_margin(n: int, m: int) -> float:
    # Dvoretzky-Kiefer-Wolfowitz, Massart 1990: each empirical distribution within its band at 97.5 %.
    return math.sqrt(math.log(2 / 0.025) / (2 * n)) + math.sqrt(math.log(2 / 0.025) / (2 * m))


def _reject_rate(seen: Traffic) -> Iterable[Measure]:
    total = seen.served + seen.refused
    if not total:
        return
    rate, z2 = seen.refused / total, 1.959963985**2
    centre = (rate + z2 / (2 * total)) / (1 + z2 / total)
    half = math.sqrt(z2) * math.sqrt(rate * (1 - rate) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    yield Measure("reject_rate", rate, min(low, rate), max(high, rate), total, method="wilson")


def _finding(name: str, test: str, size: float, p: float) -> Finding:
    severity = Severity.HIGH if test == "psi" and size >= 0.25 else Severity.MEDIUM
    return Finding(
        f"drift-{test}",
        severity,
        f"{name} has moved from the training data ({test} {size:.3f}, family-wise p {p:.2g})",
        location=name,
        remedy="Find out whether the world, the source or a client changed; then retrain or roll back",
        technique="AML.T0020" if test == "nulls" else "",
    )
