"""Writing the report: one HTML file that asks for nothing from anywhere, the same bytes for the same content."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from assay.assessment.curves import Curve
from assay.assessment.exhibits import Exhibit
from assay.assessment.report import sections
from assay.assessment.report.content import GateLine, Report
from assay.assessment.report.markup import Html, safe, tag
from assay.assessment.report.pictures import show
from assay.assessment.report.plots import draw, swatch
from assay.core.evidence import Evidence
from assay.core.files import write_text
from assay.core.measure import Measure

__all__ = ["GateLine", "Report", "page", "write_report"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_GOALS = {
    "evasion": "How far must a row be changed to change the answer?",
    "membership": "Do the answers tell who was in the training data?",
    "attribute": "Do the answers tell what a person kept to themselves?",
    "inversion": "Do the answers draw a picture of the training data?",
    "extraction": "Can the model be copied through its answers?",
    "poisoning": "What do planted or altered training rows do to the model?",
    "quality": "How well does the model do its work on rows nobody has tampered with?",
}
_OTHERS = "others"


def write_report(path: Path, report: Report) -> None:
    """Write the report as one self-contained HTML page, in one step.

    The same report gives the same bytes. Raises FormatError for times without a zone.
    """
    write_text(path, page(report))


def page(report: Report) -> str:
    """Return the report as an HTML document without scripts and without anything to load."""
    style = files("assay.assessment.report").joinpath("style.css").read_text(encoding="utf-8")
    parts = list(_sections(report))
    links = [tag("a", title, href=f"#{key}") for key, title, _ in parts]
    body = [
        sections.header(report),
        tag("nav", links, aria_label="Contents"),
        tag("main", [tag("section", [tag("h2", title), inner], id=key) for key, title, inner in parts]),
        tag("footer", "Made by Assay. Every number stands with its interval; what was not checked is never a pass."),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f"{tag('title', report.title or 'Assay')}<style>\n{style}</style></head>\n<body>{safe(body)}</body></html>\n"
    )


def _sections(report: Report) -> Iterator[tuple[str, str, Html]]:
    yield "judged", "What was judged", sections.facts(report)
    if report.lead:
        yield "numbers", "Main numbers", sections.lead(report)
    yield "policy", "Against the policy", sections.gate(report)
    yield from _goals(report)
    yield "findings", "Findings", sections.findings(report)
    yield "unchecked", "Not checked", sections.not_checked(report)
    yield "atlas", "MITRE ATLAS techniques", sections.atlas(report)
    yield "repeat", "How to repeat", sections.repeat(report)
    if report.stages:
        yield "stages", "Stages", sections.stages(report)


def _goals(report: Report) -> Iterator[tuple[str, str, Html]]:
    """Yield a section for each goal that has something to show, and one for everything else."""
    for key, question in (*_GOALS.items(), (_OTHERS, "")):
        curves = [(n, curve) for n, curve in enumerate(report.curves) if _place(curve.goal) == key]
        found = [m for item in report.evidence if _place(_goal(item)) == key for m in item.measures]
        shown = [item for item in report.exhibits if _place(item.goal) == key]
        if curves or found or shown:
            title = "Data and other checks" if key == _OTHERS else key.capitalize()
            yield key, title, _goal_section(question, curves, found, shown)


def _place(goal: str) -> str:
    return goal if goal in _GOALS else _OTHERS


def _goal(item: Evidence) -> str:
    return item.control.partition(".")[0]


def _goal_section(question: str, curves: list[tuple[int, Curve]], found: list[Measure], shown: list[Exhibit]) -> Html:
    figures = [_figure(curve, f"p{n}") for n, curve in curves]
    grid = tag("div", figures, class_="plots single" if len(figures) == 1 else "plots")
    intro = tag("p", question, class_="intro") if question else ""
    exhibits = [show(item) for item in shown]
    return safe([intro, grid if figures else "", *exhibits, sections.measures(found) if found else ""])


def _figure(curve: Curve, key: str) -> Html:
    picture = draw(curve, key) or tag("p", "There are no points to draw.", class_="none")
    entries = [
        tag("li", [swatch(n, line=len(series.x) != 1), series.name])
        for n, series in enumerate(curve.series)
        if series.name
    ]
    if curve.diagonal:
        guess = Html(
            '<svg class="swatch" viewBox="0 0 30 12" aria-hidden="true"><path d="M1 6h28" fill="none" '
            'stroke="currentColor" stroke-width="1.2" stroke-dasharray="4 4"/></svg>'
        )
        entries.append(tag("li", [guess, "y = x"]))
    if any(s.low is not None for s in curve.series):
        entries.append(tag("li", [tag("i", "", class_="band"), "interval"]))
    legend = tag("ul", entries, class_="legend")
    words = [tag("h3", curve.title), tag("p", curve.caption) if curve.caption else "", legend if entries else ""]
    return tag("figure", [tag("figcaption", words), picture])
