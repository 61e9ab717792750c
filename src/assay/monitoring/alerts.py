"""Alert rules: thresholds over measures and findings, each with the playbook that answers it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from assay.core.alert import Alert
from assay.core.event import Event
from assay.core.evidence import Evidence
from assay.core.finding import Severity
from assay.core.measure import Verdict


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, over measures, findings or events.

    measure: pattern of measure names; at_most: its threshold, which the whole interval must pass for the rule to
    fire; finding: pattern of finding rules; event, reason: patterns of event kinds and of their reasons.
    """

    name: str
    playbook: str
    severity: Severity = Severity.MEDIUM
    measure: str = ""
    at_most: float = 0.0
    finding: str = ""
    event: str = ""
    reason: str = "*"
    technique: str = ""


DEFAULT_RULES = (
    Rule("drift", "drift", Severity.MEDIUM, finding="drift-*"),
    Rule("reject_rate", "evasion", Severity.MEDIUM, measure="reject_rate", at_most=0.2, technique="AML.T0015"),
    Rule(
        "rate_limit", "extraction", Severity.MEDIUM, event="request.refused", reason="rate", technique="AML.T0024.002"
    ),
    Rule("outlier", "evasion", Severity.LOW, event="request.refused", reason="outlier", technique="AML.T0015"),
    Rule("release", "tampered-artifact", Severity.CRITICAL, event="release.refused", technique="AML.T0010.003"),
)


def alerts(evidence: Evidence, rules: Iterable[Rule] = DEFAULT_RULES) -> tuple[Alert, ...]:
    """Return the alerts of one piece of evidence, at most one for each rule; a void measure never fires."""
    subject = evidence.subjects[0].name if evidence.subjects else ""
    made = []
    for rule in rules:
        seen = [
            f"{m.name} is {m.estimate:.3g}, above {rule.at_most:g}"
            for m in evidence.measures
            if rule.measure and fnmatchcase(m.name, rule.measure) and m.against(at_most=rule.at_most) is Verdict.FAIL
        ]
        seen += [f.message for f in evidence.findings if rule.finding and fnmatchcase(f.rule, rule.finding)]
        if seen:
            made.append(_alert(rule, subject, seen, evidence.made))
    return tuple(made)


def event_alerts(events: Iterable[Event], rules: Iterable[Rule] = DEFAULT_RULES) -> tuple[Alert, ...]:
    """Return the alerts that events themselves give, at most one for each rule and subject, by first occurrence."""
    watched = [rule for rule in rules if rule.event]
    found: dict[tuple[str, str], tuple[Rule, Event, int]] = {}
    for event in events:
        for rule in watched:
            if fnmatchcase(event.kind, rule.event) and fnmatchcase(event.reason, rule.reason):
                key = (rule.name, event.subject)
                first = found.get(key)
                found[key] = (rule, event, 1) if first is None else (rule, first[1], first[2] + 1)
    return tuple(
        _alert(rule, subject, [f"{first.kind} {first.reason}".strip() + f", {count} times"], first.time)
        for (_, subject), (rule, first, count) in found.items()
    )


def _alert(rule: Rule, subject: str, seen: list[str], time: datetime) -> Alert:
    more = f" and {len(seen) - 3} more" if len(seen) > 3 else ""
    return Alert(rule.name, subject, rule.severity, "; ".join(seen[:3]) + more, rule.playbook, time, rule.technique)
