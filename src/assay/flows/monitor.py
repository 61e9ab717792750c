"""Watching: what the gateway recorded against the baseline of the release; alerts open incidents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from assay.core.alert import Alert
from assay.core.clock import Clock, system_clock
from assay.core.evidence import Evidence
from assay.core.files import read_record, write_record
from assay.monitoring.alerts import alerts, event_alerts
from assay.monitoring.baseline import Baseline
from assay.monitoring.drift import compare
from assay.monitoring.events import read_events
from assay.response.incidents import Incident, Incidents


@dataclass(frozen=True, slots=True)
class Watch:
    """What monitoring saw: evidence on drift, the alerts that fired, the incidents that they opened or touched."""

    evidence: Evidence
    alerts: tuple[Alert, ...]
    incidents: tuple[Incident, ...]

    def to_json(self) -> dict[str, object]:
        """Return all of it as plain data."""
        return {
            "evidence": self.evidence.to_json(),
            "alerts": [a.to_json() for a in self.alerts],
            "incidents": [i.to_json() for i in self.incidents],
        }


def monitor(
    events: Path,
    baseline: Path,
    state: Path,
    *,
    since: datetime | None = None,
    seed: int = 0,
    clock: Clock = system_clock,
) -> Watch:
    """Compare the recorded traffic with the training baseline, and open an incident for each alert.

    events: the gateway's event folder; baseline: ``baseline.json`` of the release; state: where ``alerts.json`` and the
    folder ``incidents`` are kept.
    Raises DataError without events, VerificationError where their chain is broken.
    """
    known = Baseline.from_json(read_record(baseline))
    seen = list(read_events(events, since=since))
    evidence = compare(seen, known, seed=seed, clock=clock)
    fired = (*alerts(evidence), *event_alerts(seen))
    write_record(state / "alerts.json", [a.to_json() for a in fired])
    book = Incidents(state / "incidents", clock=clock)
    return Watch(evidence, fired, tuple(book.raised(alert) for alert in fired))
