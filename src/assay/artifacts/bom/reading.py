"""A bill of materials that Assay wrote, back as a value: ``bom_of(b.to_json()) == b`` but for the seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from assay.artifacts.bom.card import Card, Fairness, Metric
from assay.artifacts.bom.document import CLAIM, Bom, Dataset, Part, Party, Reference, Tier, algorithm_of
from assay.artifacts.bom.schema import check_bom
from assay.core.canonical import parse
from assay.core.clock import parse_time
from assay.core.errors import FormatError
from assay.core.measure import Measure

Record = Mapping[str, Any]
_MEASURE = "assay:measure:"


def bom_of(record: object) -> Bom:
    """Return the value of a document that Assay wrote. Raises FormatError for any other, and for an invalid one."""
    check_bom(record)
    assert isinstance(record, Mapping)
    try:
        return _bom(record)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(f"was not written by Assay ({error})", remedy="Make it with `assay bom`") from error


def _bom(record: Record) -> Bom:
    metadata = record["metadata"]
    model = metadata["component"]
    needs = {d["ref"]: tuple(d.get("dependsOn", ())) for d in record["dependencies"]}
    components = record.get("components", ())
    datasets = tuple(_dataset(c) for c in components if c["type"] == "data")
    refs = {d.ref for d in datasets}
    subject = _part(model, {model["bom-ref"]: tuple(r for r in needs[model["bom-ref"]] if r not in refs)})
    pedigree = model.get("pedigree", {})
    tool = metadata["tools"]["components"][0]
    return Bom(
        subject, _card(model["modelCard"]), parse_time(metadata["timestamp"]), datasets=datasets,
        parts=tuple(_part(c, needs) for c in components if c["type"] != "data"),
        ancestors=tuple(_part(a, {}) for a in pedigree.get("ancestors", ())), notes=pedigree.get("notes", ""),
        lifecycle=metadata["lifecycles"][0]["phase"], tool=(tool["name"], tool.get("version", "")),
        properties=_properties(record),
    )  # fmt: skip


def _part(item: Record, needs: Mapping[str, tuple[str, ...]]) -> Part:
    facts = _properties(item)
    return Part(
        item["bom-ref"], item["name"], item["type"], item.get("version", ""), _digests(item), _licences(item),
        item.get("purl", ""), item.get("supplier", {}).get("name", ""), item.get("description", ""),
        tuple(
            Reference(r["type"], r["url"], _digests(r), r.get("comment", "")) for r in item.get("externalReferences", ())
        ),
        needs.get(item["bom-ref"]), _claims(facts), {k: v for k, v in facts.items() if not _is_claim(k)},
    )  # fmt: skip


def _dataset(item: Record) -> Dataset:
    part, (data,) = _part(item, {}), item["data"]
    facts = dict(part.properties)
    use = facts.pop("assay:use")
    governance = data.get("governance", {})
    parties = tuple(
        Party(role, p["organization"]["name"])
        for role in ("owner", "custodian", "steward")
        for p in governance.get(f"{role}s", ())
    )
    return Dataset(
        part.ref, part.name, use, part.digests[0] if part.digests else "", data.get("classification", ""),
        part.description, part.licences, tuple(data.get("sensitiveData", ())), parties, part.claims, facts,
    )  # fmt: skip


def _card(card: Record) -> Card:
    parameters, told = card.get("modelParameters", {}), card.get("considerations", {})
    facts = _properties(card)
    measures = {k.removeprefix(_MEASURE): v for k, v in facts.items() if k.startswith(_MEASURE)}
    metrics = [_metric(m, measures) for m in card.get("quantitativeAnalysis", {}).get("performanceMetrics", ())]
    kept = {k: v for k, v in facts.items() if not k.startswith(_MEASURE)}
    return Card(
        parameters.get("approach", {}).get("type", ""), parameters.get("task", ""),
        parameters.get("architectureFamily", ""), parameters.get("modelArchitecture", ""),
        tuple(i["format"] for i in parameters.get("inputs", ())),
        tuple(o["format"] for o in parameters.get("outputs", ())), tuple(metrics), tuple(told.get("users", ())),
        tuple(told.get("useCases", ())), tuple(told.get("technicalLimitations", ())),
        tuple(told.get("performanceTradeoffs", ())),
        tuple((e.get("name", ""), e.get("mitigationStrategy", "")) for e in told.get("ethicalConsiderations", ())),
        tuple(_fairness(f) for f in told.get("fairnessAssessments", ())), kept,
    )  # fmt: skip


def _metric(item: Record, measures: Mapping[str, str]) -> Metric:
    name, where, interval = item["type"], item.get("slice", ""), item["confidenceInterval"]
    details = parse(measures[f"{name}:{where}" if where else name])
    if not isinstance(details, dict):
        raise FormatError(f"the details of {name} are no record")
    control = str(details.pop("control", ""))
    numbers = {"estimate": item["value"], "low": interval["lowerBound"], "high": interval["upperBound"]}
    record = {"name": name, **{k: float(v) for k, v in numbers.items()}, **details}
    return Metric(Measure.from_json(record), control, where)


def _fairness(item: Record) -> Fairness:
    return Fairness(
        item.get("groupAtRisk", ""), item.get("benefits", ""), item.get("harms", ""), item.get("mitigationStrategy", "")
    )


def _digests(item: Record) -> tuple[str, ...]:
    return tuple(f"{algorithm_of(h['alg'])}:{h['content']}" for h in item.get("hashes", ()))


def _licences(item: Record) -> tuple[str, ...]:
    choices: Iterable[Record] = item.get("licenses", ())
    return tuple(
        c["expression"] if "expression" in c else c["license"].get("id") or c["license"]["name"] for c in choices
    )


def _properties(item: Record) -> dict[str, str]:
    return {p["name"]: p.get("value", "") for p in item.get("properties", ())}


def _is_claim(name: str) -> bool:
    return name == CLAIM or name.startswith(f"{CLAIM}:")


def _claims(facts: Mapping[str, str]) -> dict[str, Tier]:
    return {k.removeprefix(CLAIM).removeprefix(":"): Tier(v) for k, v in facts.items() if _is_claim(k)}
