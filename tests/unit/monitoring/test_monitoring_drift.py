import numpy as np
import pytest

from assay.core.canonical import canonical_bytes, parse
from assay.core.clock import parse_time
from assay.core.errors import DataError, FormatError, VerificationError
from assay.core.event import Event, chain
from assay.core.evidence import Evidence
from assay.monitoring.alerts import alerts, event_alerts
from assay.monitoring.baseline import Baseline, baseline
from assay.monitoring.drift import compare
from assay.monitoring.events import read_events
from assay.testing.guards import guarded_table

NOW = parse_time("2026-01-01T00:00:00Z")


def _events(x, labels=None, refused=0, subject="m@r"):
    made = [
        Event(
            "request.served",
            NOW,
            "alice",
            subject,
            data={
                "x": [[None if v != v else v for v in row] for row in x[i : i + 10].tolist()],
                "labels": [] if labels is None else labels[i : i + 10].tolist(),
            },
        )
        for i in range(0, len(x), 10)
    ]
    return made + [Event("request.refused", NOW, "alice", subject, "contract")] * refused


@pytest.fixture(scope="module")
def made():
    contract, x = guarded_table(6000)
    labels = (x[:, 0] > 0).astype(int)
    return baseline(contract, x[:4000], labels[:4000]), x[4000:].copy(), labels[4000:]


def _compare(events, base):
    return compare(events, base, clock=lambda: NOW)


def test_honest_traffic_is_quiet(made):
    base, x, labels = made
    evidence = _compare(_events(x, labels), base)
    assert evidence.findings == ()
    assert evidence.measure("psi_max").estimate < 0.1
    assert evidence.measure("reject_rate").estimate == 0
    assert alerts(evidence) == ()
    assert Evidence.from_json(parse(canonical_bytes(evidence.to_json()))) == evidence


def test_baseline_round_trip(made):
    assert Baseline.from_json(parse(canonical_bytes(made[0].to_json()))) == made[0]


@pytest.mark.parametrize("record", [None, {}, {"n": 1, "features": [{}]}, {"n": "x", "features": []}])
def test_damaged_baseline_is_refused(record):
    with pytest.raises(FormatError):
        Baseline.from_json(record)


@pytest.mark.parametrize(
    ("column", "change", "where"),
    [
        (0, lambda v: v + 1.0, "a"),
        (4, lambda v: np.where(np.arange(len(v)) % 4 == 0, -1.0, v), "colour"),
        (1, lambda v: np.where(np.arange(len(v)) % 10 == 0, np.nan, v), "b"),
    ],
)
def test_planted_drift_is_found_where_it_is(made, column, change, where):
    base, x, _ = made
    moved = x.copy()
    moved[:, column] = change(moved[:, column])
    evidence = _compare(_events(moved), base)
    assert {f.location for f in evidence.findings} == {where}
    (alert,) = alerts(evidence)
    assert (alert.rule, alert.playbook, alert.subject) == ("drift", "drift", "m@r")


def test_too_little_traffic_is_not_checked(made):
    evidence = _compare(_events(made[1][:20], refused=20), made[0])
    assert not evidence.complete
    assert evidence.measure("psi_max") is None
    assert [a.rule for a in alerts(evidence)] == ["reject_rate"]


def test_rows_of_another_model_are_refused(made):
    with pytest.raises(DataError, match="do not fit"):
        _compare(_events(made[1][:, :3]), made[0])


def test_empty_baseline_is_refused():
    contract, _ = guarded_table(10)
    with pytest.raises(DataError):
        baseline(contract, np.empty((0, 5)))


def test_events_themselves_alert_once_a_rule():
    events = [Event("release.refused", NOW, subject="m@r", reason="verification")]
    events += [Event("request.refused", NOW, "eve", "m@r", "rate")] * 5
    found = {a.rule: a for a in event_alerts(events)}
    assert set(found) == {"release", "rate_limit"}
    assert "5 times" in found["rate_limit"].message


def test_reading_verifies_the_chain_over_segments(tmp_path):
    lines = list(chain(e.to_json() for e in _events(np.ones((40, 2)))))
    (tmp_path / "events-000001.jsonl").write_bytes(b"".join(lines[:2]))
    (tmp_path / "events-000002.jsonl").write_bytes(b"".join(lines[2:]) + b'{"half')
    assert len(list(read_events(tmp_path))) == 4
    assert list(read_events(tmp_path, until=NOW)) == []
    (tmp_path / "events-000001.jsonl").write_bytes(lines[0])
    with pytest.raises(VerificationError):
        list(read_events(tmp_path))


def test_no_events_is_said(tmp_path):
    with pytest.raises(DataError, match="no event file"):
        list(read_events(tmp_path))
