"""A bill of materials as a value, and its one form as CycloneDX 1.7 JSON.

Every claim has a tier: ``declared`` (a person or a file of theirs says so), ``inferred`` (computed or measured from the
bytes that are here) or ``verified`` (inferred, and signed by a trusted key). A signature does not turn a declaration
into a fact. The same bill has the same bytes: its serial number comes of its content and a seed, its time is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from assay.artifacts.bom.card import Card
from assay.artifacts.bom.licences import licence_choices
from assay.artifacts.bom.schema import SPEC_VERSION, check_bom
from assay.core.clock import derive_seed, format_time
from assay.core.digest import digest_record

CLAIM = "assay:claim"
_ALGORITHMS = {
    "md5": ("MD5", 32), "sha1": ("SHA-1", 40), "sha256": ("SHA-256", 64), "sha384": ("SHA-384", 96),
    "sha512": ("SHA-512", 128), "sha3_256": ("SHA3-256", 64), "sha3_384": ("SHA3-384", 96),
    "sha3_512": ("SHA3-512", 128), "blake2b": ("BLAKE2b-512", 128), "blake3": ("BLAKE3", 64),
}  # fmt: skip


class Tier(str, Enum):
    """How far a claim can be relied on."""

    DECLARED = "declared"
    INFERRED = "inferred"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class Reference:
    """Something outside: ``kind`` of CycloneDX, where it is, the digests of its bytes."""

    kind: str
    url: str
    digests: tuple[str, ...] = ()
    comment: str = ""

    def to_json(self) -> dict[str, object]:
        """Return it as an externalReference."""
        return _given(
            {"type": self.kind, "url": self.url, "hashes": _hashes(self.digests), "comment": self.comment or None}
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One component. ref: its name within the document; digests: ``algorithm:hex`` of the very bytes.

    licences: SPDX ids, expressions or names. needs: refs of parts that it depends on, None when that is not known.
    claims: tier by field, ``""`` for the part as a whole.
    """

    ref: str
    name: str
    kind: str = "library"
    version: str = ""
    digests: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    purl: str = ""
    supplier: str = ""
    description: str = ""
    references: tuple[Reference, ...] = ()
    needs: tuple[str, ...] | None = None
    claims: Mapping[str, Tier] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return it as a component."""
        claims = {f"{CLAIM}:{k}" if k else CLAIM: tier.value for k, tier in self.claims.items()}
        return _given({
            "type": self.kind, "bom-ref": self.ref, "name": self.name, "version": self.version or None,
            "description": self.description or None, "purl": self.purl or None,
            "supplier": {"name": self.supplier} if self.supplier else None, "hashes": _hashes(self.digests),
            "licenses": licence_choices(self.licences),
            "externalReferences": [r.to_json() for r in sorted(self.references, key=lambda r: (r.kind, r.url))],
            "properties": properties({**self.properties, **claims}),
        })  # fmt: skip


@dataclass(frozen=True, slots=True)
class Party:
    """Who answers for a dataset, by role: owner, custodian or steward."""

    role: str
    name: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Data that a model was made of or measured on. use: as in ``train``; sensitive: kinds of sensitive data in it."""

    ref: str
    name: str
    use: str
    digest: str = ""
    classification: str = ""
    description: str = ""
    licences: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    parties: tuple[Party, ...] = ()
    claims: Mapping[str, Tier] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return it as a component of type ``data``."""
        roles = {"owner": "owners", "custodian": "custodians", "steward": "stewards"}
        governance: dict[str, list[object]] = {}
        for party in self.parties:
            governance.setdefault(roles[party.role], []).append({"organization": {"name": party.name}})
        part = Part(
            self.ref, self.name, "data", digests=(self.digest,) if self.digest else (), licences=self.licences,
            description=self.description, claims=self.claims, properties={**self.properties, "assay:use": self.use},
        )  # fmt: skip
        data = _given({
            "type": "dataset", "name": self.name, "classification": self.classification or None,
            "sensitiveData": list(self.sensitive), "governance": governance,
        })  # fmt: skip
        return {**part.to_json(), "data": [data]}


@dataclass(frozen=True, slots=True)
class Bom:
    """A bill of materials of one model.

    model: the component that it is about; card: its model card. ancestors: what the model was derived from, and
    notes: how. parts: files, libraries and tools. tool: name and version of the program that writes it.
    """

    model: Part
    card: Card
    made: datetime
    seed: int = 0
    datasets: tuple[Dataset, ...] = ()
    parts: tuple[Part, ...] = ()
    ancestors: tuple[Part, ...] = ()
    notes: str = ""
    lifecycle: str = "post-build"
    tool: tuple[str, str] = ("assay", "")
    properties: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return it as a valid CycloneDX document. Raises FormatError when its parts do not make one."""
        datasets = sorted(self.datasets, key=lambda d: d.ref)
        parts = sorted(self.parts, key=lambda p: p.ref)
        model = self.model.to_json()
        model["modelCard"] = self.card.to_json([d.ref for d in datasets])
        if self.ancestors:
            ancestors: list[object] = [a.to_json() for a in self.ancestors]
            model["pedigree"] = _given({"ancestors": ancestors, "notes": self.notes or None})
        name, version = self.tool
        body: dict[str, object] = _given({
            "bomFormat": "CycloneDX", "specVersion": SPEC_VERSION, "version": 1,
            "metadata": {
                "lifecycles": [{"phase": self.lifecycle}],
                "tools": {"components": [_given({"type": "application", "name": name, "version": version or None})]},
                "component": model,
            },
            "components": [*(d.to_json() for d in datasets), *(p.to_json() for p in parts)],
            "dependencies": _graph(self.model, [d.ref for d in datasets], parts),
            "compositions": _unknown(parts), "properties": properties(self.properties),
        })  # fmt: skip
        body["serialNumber"] = serial_number(body, self.seed)
        metadata = body["metadata"]
        assert isinstance(metadata, dict)
        metadata["timestamp"] = format_time(self.made)
        check_bom(body)
        return body

    def to_bytes(self) -> bytes:
        """Return the document's bytes: keys sorted, indented for people, the same for the same bill."""
        return bom_bytes(self.to_json())


def bom_bytes(record: Mapping[str, object]) -> bytes:
    """Return the bytes in which a document is kept. Round trip: ``parse(bom_bytes(r)) == r``."""
    return (json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def serial_number(body: Mapping[str, object], seed: int) -> str:
    """Return the serial number of a document: a UUID (version 8) made of its content and a seed, not of its time."""
    digest = digest_record([str(digest_record(body)), str(derive_seed(seed, "bom"))]).hex
    variant = "89ab"[int(digest[16], 16) % 4]
    return f"urn:uuid:{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def properties(values: Mapping[str, str]) -> list[object]:
    """Return name and value pairs in the order of their names."""
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def _hashes(digests: Iterable[str]) -> list[object]:
    found = []
    for text in sorted(set(digests)):
        algorithm, _, value = text.lower().partition(":")
        name, length = _ALGORITHMS.get(algorithm.replace("-", "_"), ("", 0))
        if name and len(value) == length:
            found.append({"alg": name, "content": value})
    return list(found)


def _graph(model: Part, datasets: Sequence[str], parts: Sequence[Part]) -> list[object]:
    roots = model.needs if model.needs is not None else tuple(p.ref for p in parts)
    known = [(model.ref, (*datasets, *roots)), *((p.ref, p.needs) for p in parts if p.needs is not None)]
    return [_given({"ref": ref, "dependsOn": sorted(set(needs))}) for ref, needs in sorted(known)]


def _unknown(parts: Sequence[Part]) -> list[object]:
    """Return the parts whose own dependencies nobody looked up: said, so that silence is not read as none."""
    open_ends = [p.ref for p in parts if p.needs is None and p.kind == "library"]
    return [{"aggregate": "unknown", "dependencies": open_ends}] if open_ends else []


def _given(record: Mapping[str, object]) -> dict[str, object]:
    """Return a record without what is empty or None."""
    return {k: v for k, v in record.items() if v is not None and v not in ([], {})}


def algorithm_of(name: str) -> str:
    """Return the name in ``algorithm:hex`` of an algorithm that CycloneDX calls ``name``."""
    return next((key for key, (alg, _) in _ALGORITHMS.items() if alg == name), name.lower())
