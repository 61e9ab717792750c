"""The model card in a bill of materials: what the model is, how it was measured, what is known of its limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from assay.core.canonical import canonical_bytes
from assay.core.evidence import Evidence
from assay.core.finding import Severity
from assay.core.measure import Measure

_MOST_LIMITS = 100


@dataclass(frozen=True, slots=True)
class Metric:
    """One measure of a model, whole or on a slice of the rows (``column=value``)."""

    measure: Measure
    control: str = ""
    slice: str = ""

    def to_json(self) -> dict[str, object]:
        """Return it as a performanceMetric; estimate and interval as the shortest text that reads back equal."""
        interval = {"lowerBound": _number(self.measure.low), "upperBound": _number(self.measure.high)}
        record: dict[str, object] = {
            "type": self.measure.name, "value": _number(self.measure.estimate), "confidenceInterval": interval,
        }  # fmt: skip
        return {**record, "slice": self.slice} if self.slice else record

    def details(self) -> tuple[str, str]:
        """Return what a performanceMetric has no field for, as a property: n, confidence, method, unit, seed, ..."""
        left = {"name", "estimate", "low", "high"}
        record = {k: v for k, v in self.measure.to_json().items() if k not in left and v not in (None, "")}
        name = f"assay:measure:{self.measure.name}" + (f":{self.slice}" if self.slice else "")
        return name, canonical_bytes({**record, "control": self.control}).decode()


@dataclass(frozen=True, slots=True)
class Fairness:
    """A group that a model may treat worse: what it gains, what it risks, what is done about it."""

    group: str
    benefits: str = ""
    harms: str = ""
    mitigation: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A model card. approach: of CycloneDX, as in ``supervised``; inputs, outputs: formats in words.

    ethics: (risk, what is done about it). properties: further facts.
    """

    approach: str = ""
    task: str = ""
    family: str = ""
    architecture: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    users: tuple[str, ...] = ()
    use_cases: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    tradeoffs: tuple[str, ...] = ()
    ethics: tuple[tuple[str, str], ...] = ()
    fairness: tuple[Fairness, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)

    def to_json(self, datasets: Sequence[str] = ()) -> dict[str, object]:
        """Return it as a modelCard. datasets: refs of components. A measure that is void is told, not counted."""
        usable = sorted((m for m in self.metrics if not m.measure.void), key=lambda m: (m.measure.name, m.slice))
        void = {f"assay:void:{m.measure.name}": m.measure.void for m in self.metrics if m.measure.void}
        more = {**self.properties, **dict(m.details() for m in usable), **void}
        parameters = _given({
            "approach": {"type": self.approach} if self.approach else {}, "task": self.task,
            "architectureFamily": self.family, "modelArchitecture": self.architecture,
            "datasets": [{"ref": ref} for ref in datasets], "inputs": [{"format": f} for f in self.inputs],
            "outputs": [{"format": f} for f in self.outputs],
        })  # fmt: skip
        considerations = _given({
            "users": list(self.users), "useCases": list(self.use_cases), "technicalLimitations": list(self.limitations),
            "performanceTradeoffs": list(self.tradeoffs),
            "ethicalConsiderations": [_given({"name": n, "mitigationStrategy": m}) for n, m in self.ethics],
            "fairnessAssessments": [
                _given({"groupAtRisk": f.group, "benefits": f.benefits, "harms": f.harms,
                        "mitigationStrategy": f.mitigation})
                for f in self.fairness
            ],
        })  # fmt: skip
        return _given({
            "modelParameters": parameters,
            "quantitativeAnalysis": _given({"performanceMetrics": [m.to_json() for m in usable]}),
            "considerations": considerations,
            "properties": [{"name": k, "value": v} for k, v in sorted(more.items())],
        })  # fmt: skip


def metrics_of(evidence: Iterable[Evidence], slices: Iterable[str] = ()) -> tuple[Metric, ...]:
    """Return every measure in the evidence, the newest of each name and slice.

    slices: columns by which rows are grouped. A measure is of a slice when its parameters, behind the ``@`` of its
    name, give such a column a value, or when the evidence's parameters name one under ``slice``.
    """
    columns = set(slices)
    found: dict[tuple[str, str], Metric] = {}
    for item in sorted(evidence, key=lambda e: e.made):
        told = (item.parameters or {}).get("slice")
        for measure in item.measures:
            where = str(told) if isinstance(told, str) else _slice(measure.name, columns)
            found[measure.name, where] = Metric(measure, item.control, where)
    return tuple(found.values())


def limits_of(evidence: Iterable[Evidence], floor: Severity = Severity.MEDIUM) -> tuple[str, ...]:
    """Return what evidence says against a model: what could not be checked, and findings from ``floor`` upwards."""
    told: dict[str, None] = {}
    for item in evidence:
        for missing in item.not_checked:
            told[f"not checked by {item.control}: {missing.what} ({missing.why})"] = None
        for found in item.findings:
            if found.severity.rank >= floor.rank:
                told[f"{found.severity.value} finding {found.rule} of {item.control}: {found.message}"] = None
    shown = list(told)[:_MOST_LIMITS]
    left = len(told) - len(shown)
    return (*shown, *([f"and {left} more, see the evidence"] if left else []))


def _slice(name: str, columns: set[str]) -> str:
    parameters = name.partition("@")[2].split(",")
    return ",".join(p for p in parameters if "=" in p and p.partition("=")[0] in columns)


def _number(value: float) -> str:
    return canonical_bytes(float(value)).decode()


def _given(record: Mapping[str, object]) -> dict[str, object]:
    return {k: v for k, v in record.items() if v not in ("", [], {})}
