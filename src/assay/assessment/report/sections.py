"""The sections of a report, each from its part of the content to markup."""

from __future__ import annotations

from collections.abc import Sequence

from assay.assessment.report.content import GateLine, Report
from assay.assessment.report.markup import Html, safe, table, tag
from assay.assessment.report.numbers import confidence, interval, label, number, terms, topic
from assay.core.canonical import canonical_bytes
from assay.core.clock import format_time
from assay.core.evidence import Evidence, merge_findings
from assay.core.measure import Measure, Verdict

_WORST_FIRST = (Verdict.FAIL, Verdict.VOID, Verdict.NOT_CHECKED, Verdict.UNCERTAIN, Verdict.PASS)
_WORDS = {
    Verdict.PASS: "Pass",
    Verdict.FAIL: "Fail",
    Verdict.UNCERTAIN: "Uncertain",
    Verdict.NOT_CHECKED: "Not checked",
    Verdict.VOID: "Void",
}
# A shape for each verdict, so that it reads without its colour.
_MARKS = {
    Verdict.PASS: "M3.5 8.5l3 3 6-7",
    Verdict.FAIL: "M4 4l8 8M12 4l-8 8",
    Verdict.UNCERTAIN: "M2.5 9.5c2-5 4-5 5.5-2s3.5 3 5.5-2",
    Verdict.NOT_CHECKED: "M3.5 8h9",
    Verdict.VOID: "M12.5 8a4.5 4.5 0 1 1-9 0a4.5 4.5 0 1 1 9 0M4.5 12.5l7-9",
}
_SUMMARY = {
    Verdict.PASS: "Every rule of the policy holds.",
    Verdict.FAIL: "At least one rule of the policy does not hold.",
    Verdict.UNCERTAIN: "An interval straddles its threshold: more rows are needed to decide.",
    Verdict.NOT_CHECKED: "Something that the policy asks for was not checked.",
    Verdict.VOID: "The evaluation does not hold, so its numbers must not be used.",
}


def chip(verdict: Verdict, *, large: bool = False) -> Html:
    """Return a verdict as a word with a mark."""
    mark = Html(f'<svg viewBox="0 0 16 16" aria-hidden="true"><path d="{_MARKS[verdict]}"/></svg>')
    return tag("span", [mark, _WORDS[verdict]], class_=f"chip {verdict.value}{' large' if large else ''}")


def header(report: Report) -> Html:
    """Return the title, the verdict and what it means."""
    if report.verdict is None:
        badge = tag("p", "No policy was applied. What follows was measured and not judged.", class_="summary")
    else:
        held = sum(line.verdict is Verdict.PASS for line in report.gate)
        count = f" {held} of {len(report.gate)} rules hold." if report.gate else ""
        words = tag("p", _SUMMARY[report.verdict] + count, class_="summary")
        badge = tag("div", [chip(report.verdict, large=True), words], class_="verdict")
    moment = format_time(report.made)
    shown = tag("time", moment.replace("T", " ").replace("Z", " UTC"), datetime=moment)
    top = tag("p", [tag("span", "Assay", class_="brand"), tag("span", "Security assessment"), shown], class_="eyebrow")
    lines = [
        top,
        tag("h1", report.title),
        tag("p", report.subtitle, class_="subtitle") if report.subtitle else "",
        badge,
    ]
    return tag("header", lines)


def facts(report: Report) -> Html:
    """Return what was judged, as a list of names and values."""
    pairs = [tag("div", [tag("dt", name), tag("dd", _value(value))]) for name, value in report.facts if value]
    return tag("dl", pairs, class_="facts") if pairs else _none("Nothing was said about what was judged.")


def lead(report: Report) -> Html:
    """Return the numbers that matter most, large, each with its interval."""
    return tag("div", [_large(m) for m in report.lead], class_="lead")


def gate(report: Report) -> Html:
    """Return the policy's rules with their verdicts, worst first."""
    if not report.gate:
        return _none("No policy was applied.")
    lines = sorted(report.gate, key=lambda line: (_WORST_FIRST.index(line.verdict), line.subject))
    heads = ("Verdict", "Rule", "Estimate", "Interval", "Threshold")
    rows = [(chip(x.verdict), _ruled(x), x.estimate or "–", x.interval or "–", x.threshold or "–") for x in lines]
    return table(heads, rows, kind="gate", numeric="Estimate,Interval,Threshold")


def measures(found: Sequence[Measure]) -> Html:
    """Return measures as a table, with all that is needed to judge or repeat each."""
    heads = ("Measure", "Estimate", "Interval", "n", "Seed", "Queries", "Threat model and method")
    rows = [
        (
            [tag("span", label(m), class_="name"), _void(m), tag("code", m.name)],
            tag("span", number(m.estimate), class_="void-number" if m.void else "estimate"),
            interval(m) or "–",
            f"{m.n:,}",
            "–" if m.seed is None else str(m.seed),
            "–" if m.queries is None else f"{m.queries:,}",
            # The same words row after row hide the row where they differ.
            [
                "as above" if before and before.threat_model == m.threat_model else m.threat_model or "–",
                tag("span", _method(m), class_="method"),
            ],
        )
        for before, m in zip((None, *found), found, strict=False)
    ]
    return table(heads, rows, kind="measures", numeric="Estimate,Interval,n,Seed,Queries")


def findings(report: Report) -> Html:
    """Return what controls found, worst first, with what to do about it."""
    found = merge_findings(report.evidence)
    if not found:
        return _none("No control found anything wrong.")
    rows = [
        (
            tag("span", f.severity.value.capitalize(), class_=f"severity {f.severity.value}"),
            tag("code", f.rule),
            [f.message, tag("span", f.remedy, class_="remedy") if f.remedy else ""],
            tag("code", f.location) if f.location else "–",
        )
        for f in found
    ]
    return table(("Severity", "Rule", "What is wrong and what to do", "Where"), rows, kind="findings")


def not_checked(report: Report) -> Html:
    """Return what should have been examined and was not, why, and what would help."""
    rows = [(tag("code", e.control), n.what, n.why, n.remedy or "–") for e in report.evidence for n in e.not_checked]
    if not rows:
        return _none("Everything that should have been examined was.")
    return table(("Control", "What", "Why", "What would help"), rows, kind="unchecked")


def atlas(report: Report) -> Html:
    """Return the techniques of MITRE ATLAS that the evidence speaks to, with links for those that ATLAS knows."""
    from assay.atlas.data import ATLAS

    controls: dict[str, list[str]] = {}
    for item in report.evidence:
        for key in (*item.techniques, *(f.technique for f in item.findings if f.technique)):
            held = controls.setdefault(key, [])
            if item.control not in held:
                held.append(item.control)
    known = {technique.id: technique.name for technique in ATLAS.techniques}
    rows = [
        (
            tag("a", key, href=f"https://atlas.mitre.org/techniques/{key}", rel="noreferrer")
            if key in known
            else tag("code", key),
            known.get(key, f"not in ATLAS {ATLAS.version} as Assay holds it"),
            ", ".join(by),
        )
        for key, by in sorted(controls.items())
    ]
    if not rows:
        return _none("No control names a technique.")
    return table(("Id", "Technique", "Looked at by"), rows, kind="atlas")


def repeat(report: Report) -> Html:
    """Return digests, seeds and settings: the same ones give the same numbers."""
    subjects = {(s.name, str(s.digest)) for item in report.evidence for s in item.subjects}
    about = table(("Subject", "Digest"), [(n, tag("code", d)) for n, d in sorted(subjects)], kind="digests")
    rows = [(tag("code", e.control), format_time(e.made), _seeds(e), _settings(e)) for e in report.evidence]
    controls = table(("Control", "Made", "Seed", "Settings"), rows, kind="controls")
    if not report.evidence:
        return _none("There is no evidence to repeat.")
    words = tag("p", "The same digests, seeds and settings give the same numbers.", class_="intro")
    return safe([words, about if subjects else "", controls])


def stages(report: Report) -> Html:
    """Return the stages of the run with what each did."""
    rows = [(name, tag("span", status, class_="status"), detail or "–") for name, status, detail in report.stages]
    return table(("Stage", "Status", "Detail"), rows, kind="stages")


def _large(m: Measure) -> Html:
    between = interval(m)
    words = f"{confidence(m)} interval {between}" if between else "exact count"
    return tag(
        "div",
        [
            tag("p", topic(m), class_="label"),
            tag("p", terms(m), class_="terms"),
            tag("p", number(m.estimate), class_="big void-number" if m.void else "big"),
            _bar(m),
            tag("p", words, class_="range"),
            tag("p", f"n = {m.n:,}", class_="size"),
            _void(m),
        ],
        class_="figure",
    )


def _bar(m: Measure) -> Html:
    """Return the interval on a line from 0 to 1; empty for units that do not end at 1."""
    if m.unit not in {"share", "auc"} or not 0 <= m.low <= m.high <= 1:
        return tag("div", "", class_="bar none")
    left, width, at = (f"{100 * v:.2f}" for v in (m.low, max(0.01, m.high - m.low), m.estimate))
    return Html(
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="track" d="M0 3H100"/>'
        f'<rect class="reach" x="{left}" y="1" width="{width}" height="4"/>'
        f'<path class="point" d="M{at} 0V6"/></svg>'
    )


def _ruled(line: GateLine) -> list[Html]:
    parts = [tag("code", line.subject, class_="rule")]
    parts += [tag("span", line.why, class_="why")] if line.why else []
    return parts + ([tag("span", line.remedy, class_="remedy")] if line.remedy else [])


def _void(m: Measure) -> Html:
    return tag("span", [chip(Verdict.VOID), tag("span", m.void, class_="why")], class_="voided") if m.void else Html("")


def _method(m: Measure) -> str:
    return f"{confidence(m)}, {m.method}" if interval(m) else m.method


def _seeds(item: Evidence) -> str:
    given = (item.parameters or {}).get("seed")
    seeds = sorted({m.seed for m in item.measures if m.seed is not None})
    return ", ".join(map(str, seeds)) or ("–" if given is None else str(given))


def _settings(item: Evidence) -> list[Html]:
    pairs = [(str(k), v) for k, v in (item.parameters or {}).items() if k != "seed"]
    return [tag("span", [tag("b", k), " ", _plain(v)], class_="setting") for k, v in sorted(pairs)] or [safe("–")]


def _plain(value: object) -> str:
    if isinstance(value, (dict, list, tuple)):
        return canonical_bytes(value).decode("utf-8")
    return str(value)


def _value(value: str) -> Html:
    return tag("code", value) if value.startswith(("sha256:", "sha384:", "sha512:", "blake2b:")) else safe(value)


def _none(words: str) -> Html:
    return tag("p", words, class_="none")
