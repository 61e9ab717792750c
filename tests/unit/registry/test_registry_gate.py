"""The gate: what passes, and everything that does not."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.canonical import canonical_bytes, parse
from assay.core.digest import digest_bytes
from assay.core.errors import FormatError
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure, Verdict
from assay.registry.gate import GateReport, GateRow, evaluate
from assay.registry.policy import Policy, Rule

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
MODEL, OTHER = digest_bytes(b"model"), digest_bytes(b"other")
AUC = Rule("quality.auc", at_least=0.6)
GOOD = Measure("quality.auc", 0.8, 0.7, 0.9, 100)
MOST = Rule("quality.auc", at_most=0.6)


def said(*measures, control="quality", of=MODEL, made=NOW, **fields) -> Evidence:
    return Evidence(control, (Subject("model.onnx", of),), made, measures=measures, **fields)


def auc(low, high):
    return Measure("quality.auc", (low + high) / 2, low, high, 100)


def verdict(policy, *evidence, now=NOW):
    return evaluate(policy, evidence, MODEL, now=now).verdict


@pytest.mark.parametrize(
    ("rule", "low", "high", "expected"),
    [
        (AUC, 0.7, 0.9, Verdict.PASS),
        (AUC, 0.6, 0.9, Verdict.PASS),
        (AUC, 0.5, 0.6, Verdict.UNCERTAIN),
        (AUC, 0.5, 0.59, Verdict.FAIL),
        (MOST, 0.1, 0.6, Verdict.PASS),
        (MOST, 0.6, 0.7, Verdict.UNCERTAIN),
        (MOST, 0.61, 0.7, Verdict.FAIL),
        (Rule("quality.auc", 0.5, 0.6), 0.5, 0.6, Verdict.PASS),
        (Rule("quality.auc", 0.5, 0.6), 0.4, 0.7, Verdict.UNCERTAIN),
        (Rule("quality.auc", 0.5, 0.6), 0.7, 0.8, Verdict.FAIL),
        (Rule("quality.auc", 0.6, on_uncertain="fail"), 0.5, 0.7, Verdict.FAIL),
        (Rule("quality.auc", 0.6, on_uncertain="fail"), 0.6, 0.7, Verdict.PASS),
        (Rule("quality.auc", 0.6, optional=True), 0.1, 0.2, Verdict.FAIL),
    ],
)
def test_the_whole_interval_counts(rule, low, high, expected):
    assert verdict(Policy((rule,)), said(auc(low, high))) is expected


def test_what_was_not_measured_is_not_checked():
    assert verdict(Policy((AUC,))) is Verdict.NOT_CHECKED
    assert verdict(Policy((AUC,)), said(Measure("quality.accuracy", 0.8, 0.7, 0.9, 9))) is Verdict.NOT_CHECKED


def test_only_an_optional_rule_may_find_nothing():
    optional = Rule("agreement", at_least=0.9, optional=True)
    assert verdict(Policy((AUC, optional)), said(GOOD)) is Verdict.PASS
    # A report without a row says nothing, which is no pass.
    assert verdict(Policy((optional,)), said(GOOD)) is Verdict.NOT_CHECKED


def test_a_void_measure_does_not_pass_even_where_it_is_optional():
    for rule in (AUC, Rule("quality.auc", at_least=0.6, optional=True)):
        report = evaluate(Policy((rule,)), [said(GOOD.voided("leakage"))], MODEL, now=NOW)
        assert (report.verdict, report.rows[0].why) == (Verdict.VOID, "leakage")


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (said(GOOD, of=OTHER), "another model"),
        (Evidence("quality", (), NOW, measures=(GOOD,)), "another model"),
        (said(GOOD, expires=NOW - timedelta(seconds=1)), "expired on 2026-01-31"),
        (said(GOOD, made=NOW - timedelta(days=90, seconds=1)), "older than 90 days"),
    ],
)
def test_evidence_that_does_not_count_is_none(item, why):
    report = evaluate(Policy((AUC,), ("quality",)), [item], MODEL, now=NOW)
    assert report.verdict is Verdict.NOT_CHECKED
    assert [row.subject for row in report.rows] == ["quality.auc", "quality", "quality"]
    assert {row.verdict for row in report.rows} == {Verdict.NOT_CHECKED}
    assert why in report.rows[-1].why


def test_evidence_counts_up_to_its_last_second():
    last = said(GOOD, made=NOW - timedelta(days=90), expires=NOW)
    assert verdict(Policy((AUC,)), last) is Verdict.PASS
    assert verdict(Policy((AUC,)), last, now=NOW + timedelta(seconds=1)) is Verdict.NOT_CHECKED


def test_stale_evidence_blocks_beside_fresh():
    old = said(GOOD, made=NOW - timedelta(days=365))
    assert verdict(Policy((AUC,)), said(GOOD), old) is Verdict.NOT_CHECKED


def test_every_measure_that_matches_is_held():
    rule = Rule("robust@*", at_least=0.5)
    good, bad = Measure("robust@a", 0.9, 0.8, 1.0, 9), Measure("robust@b", 0.2, 0.1, 0.3, 9)
    assert verdict(Policy((rule,)), said(good)) is Verdict.PASS
    assert verdict(Policy((rule,)), said(good, bad)) is Verdict.FAIL
    assert verdict(Policy((rule,)), said(good), said(bad, control="again")) is Verdict.FAIL


def test_an_optional_control_must_be_complete_where_it_speaks():
    policy = Policy((AUC,), complete=("privacy.audit",))
    gap = (NotChecked("audit", "it was switched off"),)
    assert verdict(policy, said(GOOD)) is Verdict.PASS
    assert verdict(policy, said(GOOD), said(control="privacy.audit")) is Verdict.PASS
    assert verdict(policy, said(GOOD), said(control="privacy.audit", not_checked=gap)) is Verdict.NOT_CHECKED
    assert verdict(Policy((AUC,)), said(GOOD), said(control="privacy.audit", not_checked=gap)) is Verdict.PASS


def test_a_required_control_must_have_spoken_completely():
    policy = Policy((), ("scan",))
    assert verdict(policy) is Verdict.NOT_CHECKED
    assert verdict(policy, said(control="scan")) is Verdict.PASS
    assert verdict(policy, said(control="scanner")) is Verdict.NOT_CHECKED
    missing = said(control="scan", not_checked=(NotChecked("op X", "unknown", "ask"), NotChecked("op Y", "unknown")))
    report = evaluate(policy, [missing], MODEL, now=NOW)
    assert [(r.subject, r.verdict, r.why) for r in report.rows] == [
        ("scan: op X", Verdict.NOT_CHECKED, "unknown"),
        ("scan: op Y", Verdict.NOT_CHECKED, "unknown"),
    ]
    assert verdict(policy, said(control="scan"), missing) is Verdict.NOT_CHECKED


@pytest.mark.parametrize("fail_on", list(Severity))
@pytest.mark.parametrize("severity", list(Severity))
def test_a_finding_refuses_from_its_severity_on(fail_on, severity):
    found = said(GOOD, findings=(Finding("rule", severity, "bad", "column x"),))
    report = evaluate(Policy((AUC,), fail_on=fail_on), [found], MODEL, now=NOW)
    refused = severity.rank >= fail_on.rank
    assert report.verdict is (Verdict.FAIL if refused else Verdict.PASS)
    assert [r.why for r in report.rows[1:]] == (["bad at column x"] if refused else [])


def test_the_verdict_that_weighs_most():
    order = [Verdict.FAIL, Verdict.VOID, Verdict.NOT_CHECKED, Verdict.UNCERTAIN, Verdict.PASS]
    for i, weight in enumerate(order):
        rows = tuple(GateRow("x", v) for v in reversed(order[i:]))
        assert GateReport(MODEL, OTHER, NOW, rows).verdict is weight
    assert GateReport(MODEL, OTHER, NOW, ()).verdict is Verdict.NOT_CHECKED


numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
rows = st.builds(GateRow, words, st.sampled_from(list(Verdict)), numbers, numbers, numbers, words, words, words)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(
    lambda t: t.replace(microsecond=0, tzinfo=timezone.utc)
)
reports = st.builds(
    GateReport, st.just(MODEL), st.just(OTHER), moments, st.lists(rows, max_size=5).map(tuple)
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(reports)
def test_a_report_survives_the_round_trip(report):
    again = GateReport.from_json(parse(canonical_bytes(report.to_json())))
    assert again == report
    assert again.digest_of() == report.digest_of()


@settings(max_examples=60, deadline=None)
@given(reports, st.sampled_from(list(Verdict)))
def test_a_report_that_states_another_verdict_is_refused(report, stated):
    record = {**report.to_json(), "verdict": stated.value}
    if stated is report.verdict:
        assert GateReport.from_json(record) == report
        return
    with pytest.raises(FormatError, match="another verdict"):
        GateReport.from_json(record)


REPORT = evaluate(Policy((AUC,)), [said(auc(0.1, 0.2))], MODEL, now=NOW)


def test_a_row_turned_to_pass_is_refused():
    record = REPORT.to_json()
    record["rows"] = [{**record["rows"][0], "verdict": "pass"}]
    with pytest.raises(FormatError, match="another verdict"):
        GateReport.from_json(record)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": None}, {"rows": {}}, {"rows": ["pass"]}, {"rows": [{}]}, {"rows": [{"subject": "x", "verdict": "good"}]},
        {"rows": [{"subject": "x", "verdict": ["pass"]}]}, {"rows": [{"subject": "x", "verdict": "fail", "new": 1}]},
        {"rows": [{"verdict": "fail"}]}, {"rows": []}, {"digest": "md5:0"}, {"digest": None}, {"policy": "x"},
        {"made": "yesterday"}, {"made": "2026-01-31T12:00:00"}, {"verdict": None}, {"verdict": "PASS"},
    ],
)  # fmt: skip
def test_a_damaged_report_is_refused(change):
    with pytest.raises(FormatError):
        GateReport.from_json({**REPORT.to_json(), **change})
