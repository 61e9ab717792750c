"""What has changed from one bill of materials to another: parts, versions, bytes, data, licences, claims, measures.

Reads any CycloneDX JSON of 1.4 to 1.7. Two measures of one name differ when their intervals lie apart; while the
intervals overlap, the change is noted and not held against anybody.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from assay.artifacts.bom.document import CLAIM, Tier
from assay.artifacts.bom.schema import SPEC_VERSION, check_bom
from assay.core.digest import digest_record
from assay.core.errors import FormatError
from assay.core.files import read_record
from assay.core.finding import Severity

Record = Mapping[str, object]
_VERSIONS = {"1.4", "1.5", "1.6", "1.7"}
_LIMIT = 64 << 20
_MOST_PARTS = 200_000
_DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. kind: added, removed, version, hash, dataset, licence, claim, metric; before, after: in words."""

    kind: str
    severity: Severity
    what: str
    before: str = ""
    after: str = ""
    why: str = ""

    def to_json(self) -> dict[str, object]:
        """Return it as plain data."""
        return {name: getattr(self, name) for name in self.__slots__} | {"severity": self.severity.value}


@dataclass(frozen=True, slots=True)
class BomDiff:
    """All differences, worst first."""

    changes: tuple[Change, ...]

    def beyond(self, fail_on: Severity) -> bool:
        """Return whether a difference reaches ``fail_on``."""
        return any(c.severity.rank >= fail_on.rank for c in self.changes)

    def to_json(self) -> dict[str, object]:
        """Return it as plain data with the number of each kind."""
        counts: dict[str, int] = {}
        for change in self.changes:
            counts[change.kind] = counts.get(change.kind, 0) + 1
        return {"changes": [c.to_json() for c in self.changes], "summary": dict(sorted(counts.items()))}


def read_bom(path: str | os.PathLike[str]) -> Record:
    """Return the CycloneDX JSON document in a file; one of 1.7 is held against the schema. Raises FormatError."""
    record = read_record(path, limit=_LIMIT)
    where = os.fspath(path)
    if not isinstance(record, Mapping) or record.get("bomFormat") != "CycloneDX":
        raise FormatError("is no CycloneDX document", where=where, remedy="Give a JSON file that `assay bom` wrote")
    version = record.get("specVersion")
    if version not in _VERSIONS:
        raise FormatError(f"is CycloneDX {version!r}, which is not read", where=where, remedy="Use 1.4 to 1.7")
    if version == SPEC_VERSION:
        check_bom(record, where=where)
    return record


def diff_boms(old: Record, new: Record) -> BomDiff:
    """Return what has changed from ``old`` to ``new``. Raises FormatError for a document that holds too much."""
    before, after = _parts(old), _parts(new)
    changes: list[Change] = []
    for key in sorted(before.keys() | after.keys()):
        changes += _compared(key, before.get(key), after.get(key))
    changes += _metrics(_measured(old), _measured(new))
    return BomDiff(tuple(sorted(changes, key=lambda c: (-c.severity.rank, c.kind, c.what))))


@dataclass(frozen=True, slots=True)
class _Part:
    kind: str
    name: str
    version: str
    hashes: tuple[str, ...]
    licences: tuple[str, ...]
    claims: Mapping[str, str]


def _parts(bom: Record) -> dict[str, _Part]:
    """Return the components by what they are called, the model under its kind alone: there is one."""
    found: dict[str, _Part] = {}
    metadata = _record(bom.get("metadata"))
    waiting: list[tuple[object, int]] = [(c, 0) for c in _list(bom.get("components"))]
    subject = metadata.get("component")
    if isinstance(subject, Mapping):
        found["model"] = _part(subject)
    while waiting:
        item, depth = waiting.pop(0)
        record = _record(item)
        if len(found) > _MOST_PARTS or depth > _DEEPEST:
            raise FormatError("holds too many components, or nests them too deep")
        part = _part(record)
        key = _key(record, part)
        if key in found:
            # Two versions of one package are two parts.
            key = f"{key}@{part.version}"
        found[key] = part
        waiting += [(c, depth + 1) for c in _list(record.get("components"))]
    return found


def _key(record: Record, part: _Part) -> str:
    purl = str(record.get("purl", "")).partition("?")[0].rpartition("@")
    name = purl[0] or "/".join(filter(None, (str(record.get("group", "")), part.name)))
    return f"{part.kind}:{name}"


def _part(record: Record) -> _Part:
    hashes = [_record(h) for h in _list(record.get("hashes"))]
    for reference in map(_record, _list(record.get("externalReferences"))):
        if reference.get("type") == "distribution":
            hashes += [_record(h) for h in _list(reference.get("hashes"))]
    licences = []
    for choice in map(_record, _list(record.get("licenses"))):
        licence = _record(choice.get("license"))
        licences.append(str(choice.get("expression") or licence.get("id") or licence.get("name", "")))
    claims = {}
    for item in map(_record, _list(record.get("properties"))):
        name = str(item.get("name", ""))
        if name == CLAIM or name.startswith(f"{CLAIM}:"):
            claims[name.removeprefix(CLAIM).removeprefix(":")] = str(item.get("value", ""))
    return _Part(
        str(record.get("type", "")), str(record.get("name", "")), str(record.get("version", "")),
        tuple(sorted({f"{h.get('alg')}:{h.get('content')}".lower() for h in hashes})), tuple(sorted(licences)), claims,
    )  # fmt: skip


def _compared(key: str, old: _Part | None, new: _Part | None) -> Iterator[Change]:
    shown = key.partition(":")[2] or key
    if old is None or new is None:
        yield _alone(shown, old, new)
        return
    if old.version != new.version:
        yield Change("version", Severity.LOW, shown, _or_none(old.version), _or_none(new.version))
    if old.hashes != new.hashes:
        yield _rehashed(key, shown, old, new)
    if old.licences != new.licences:
        before, after = (_or_none(", ".join(part.licences)) for part in (old, new))
        yield Change("licence", Severity.LOW, shown, before, after)
    yield from _claims(shown, old.claims, new.claims)


def _alone(shown: str, old: _Part | None, new: _Part | None) -> Change:
    there = new or old
    assert there is not None
    severity = Severity.MEDIUM if there.kind in {"data", "machine-learning-model"} else Severity.LOW
    told = there.version or _short(there.hashes) or there.kind
    if new:
        return Change("added", severity, shown, "", told, there.kind)
    return Change("removed", severity, shown, told, "", there.kind)


def _claims(shown: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    ranks = {tier.value: rank for rank, tier in enumerate(Tier)}
    for name in sorted(old.keys() | new.keys()):
        one, other = old.get(name, ""), new.get(name, "")
        if one != other:
            fell = ranks.get(other, -1) < ranks.get(one, -1)
            what = f"{shown}: {name}" if name else shown
            yield Change("claim", Severity.MEDIUM if fell else Severity.NOTE, what, _or_none(one), _or_none(other))


def _or_none(text: str) -> str:
    return text or "none"


def _rehashed(key: str, shown: str, old: _Part, new: _Part) -> Change:
    before, after = _short(old.hashes) or "none", _short(new.hashes) or "none"
    if old.kind == "data":
        return Change("dataset", Severity.MEDIUM, shown, before, after, "other data under the same name")
    if key == "model":
        return Change("hash", Severity.MEDIUM, old.name or shown, before, after, "another model")
    if old.kind == "file":
        return Change("hash", Severity.MEDIUM, shown, before, after, "another content")
    if old.version != new.version:
        return Change("hash", Severity.NOTE, shown, before, after, "comes with the version")
    if set(old.hashes) & set(new.hashes):
        return Change("hash", Severity.LOW, shown, before, after, "files were added or left out")
    if not (old.hashes and new.hashes):
        return Change("hash", Severity.MEDIUM, shown, before, after, "hashes are known on one side only")
    return Change("hash", Severity.HIGH, shown, before, after, "the same version with other bytes")


@dataclass(frozen=True, slots=True)
class _Measured:
    text: str
    value: float
    low: float
    high: float


def _measured(bom: Record) -> dict[str, _Measured]:
    model = _record(_record(bom.get("metadata")).get("component"))
    analysis = _record(_record(model.get("modelCard")).get("quantitativeAnalysis"))
    found = {}
    for item in map(_record, _list(analysis.get("performanceMetrics"))):
        name = str(item.get("type", "")) + (f" [{item['slice']}]" if item.get("slice") else "")
        interval = _record(item.get("confidenceInterval"))
        value = _float(item.get("value"))
        low, high = (_float(interval.get(side)) for side in ("lowerBound", "upperBound"))
        bounds = (value if math.isnan(low) else low, value if math.isnan(high) else high)
        text = str(item.get("value", ""))
        shown = f"{value:.4g} [{bounds[0]:.4g}, {bounds[1]:.4g}]" if not math.isnan(value) else text
        found[name] = _Measured(shown, value, *bounds)
    return found


def _metrics(old: Mapping[str, _Measured], new: Mapping[str, _Measured]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        one, other = old.get(name), new.get(name)
        if one is None or other is None:
            told = one or other
            assert told is not None
            why = "not measured any more" if one else "measured for the first time"
            yield Change(
                "metric", Severity.MEDIUM if one else Severity.NOTE, name, one.text if one else "",
                other.text if other else "", why,
            )  # fmt: skip
        elif math.isnan(one.value) or math.isnan(other.value):
            if one.text != other.text:
                yield Change("metric", Severity.MEDIUM, name, one.text, other.text, "cannot be compared as numbers")
        elif one != other:
            apart = one.high < other.low or other.high < one.low
            way = "higher" if other.value > one.value else "lower" if other.value < one.value else "the same"
            why = f"{way}, the intervals {'lie apart' if apart else 'overlap'}"
            yield Change("metric", Severity.MEDIUM if apart else Severity.NOTE, name, one.text, other.text, why)


def _short(hashes: tuple[str, ...]) -> str:
    if len(hashes) > 1:
        return f"{len(hashes)} files, {digest_record(list(hashes)).short}"
    return f"{hashes[0].partition(':')[0]}:{hashes[0].partition(':')[2][:12]}" if hashes else ""


def _float(value: object) -> float:
    try:
        found = float(str(value))
    except ValueError:
        return math.nan
    return found if math.isfinite(found) else math.nan


def _record(value: object) -> Record:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
