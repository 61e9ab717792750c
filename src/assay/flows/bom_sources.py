"""What is known of a model: from a file and what lies beside it, from a project's registry, from a release."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from assay.artifacts.bom.document import Reference, Tier
from assay.artifacts.derivation import DERIVATION_TYPE, Derivation
from assay.artifacts.oms import signature_path, verify_model
from assay.artifacts.scan import scan
from assay.contract.contract import Contract
from assay.core.canonical import parse
from assay.core.clock import Clock
from assay.core.digest import Digest, digest_bytes, digest_file
from assay.core.errors import DataError, FormatError, VerificationError
from assay.core.evidence import Evidence
from assay.core.files import read_record
from assay.core.keys import PublicKey
from assay.core.statement import Envelope, Statement
from assay.flows.bom_assembly import BOM_TYPE, Known
from assay.flows.project import Project
from assay.flows.release import open_registry
from assay.registry.release import EVIDENCE_TYPE, SIGNATURE, VerifiedRelease, entry_of
from assay.registry.trust import Trust

_PROVENANCE = "https://slsa.dev/provenance/v1"
_RECORDS = {"conversion.json", "derivation.json", "training.json", "provenance.json", "card.yaml"}
_LIMIT = 16 << 20
_RANK = (Tier.DECLARED, Tier.INFERRED, Tier.VERIFIED)


def of_release(found: VerifiedRelease) -> tuple[Known, Mapping[str, object]]:
    """Return what a release proves, all of it verified a moment ago, and the bill that was signed with it ({}: none)."""
    statements = {p: _claimed(d) for p, d in found.files.items() if p.startswith("statements/") and p.endswith(".json")}
    references = [_attested(p, found.files[p], s.predicate_type) for p, s in sorted(statements.items())]
    references += [
        _attested("release.json", found.files["release.json"], found.statement.predicate_type),
        Reference("digital-signature", SIGNATURE, _digests(found.files[SIGNATURE]), "OpenSSF model signature"),
    ]
    references += [
        Reference("log", path, _digests(data), "inclusion in the transparency log")
        for path, data in sorted(found.files.items())
        if path.endswith(".tlog-proof")
    ]
    files = {p.removeprefix("model/"): digest_bytes(d) for p, d in found.files.items() if p.startswith("model/")}
    contract = found.files.get("model/contract.yaml")
    known = Known(
        found.name, Tier.VERIFIED, files.pop("model.onnx"), found.version, found.author, files, found.evidence,
        Tier.VERIFIED, _predicate(statements, _PROVENANCE), Tier.VERIFIED,
        Contract.from_yaml(contract.decode("utf-8")) if contract else None,
        references=tuple(references),
        properties={
            "assay:format": "onnx", "assay:release": str(found.digest), "assay:gate": found.gate.verdict.value,
            "assay:policy": str(found.policy.digest()),
            "assay:approved-by": ", ".join(sorted(a.person for a in found.approvals)),
        },
    )  # fmt: skip
    return known, _predicate(statements, BOM_TYPE)


def of_project(project: Project, clock: Clock) -> Known:
    """Return what a project's registry holds of its newest version; only what the pipeline signed counts.

    Raises DataError when nothing is registered, VerificationError when a statement is not signed or about another model.
    """
    nothing = DataError(
        "no version is registered", where=str(project.root), remedy="Run `assay run`, or give the model file"
    )
    if not project.trust.is_file():
        raise nothing
    with open_registry(project, clock) as registry:
        versions = registry.versions(project.name)
        if not versions:
            raise nothing
        version = max(versions, key=lambda v: v.number)
        envelopes, approvals = registry.statements(version), registry.approvals(version)
    believed = Trust.read(project.trust).pipeline
    opened = {name: envelope.verify(believed) for name, envelope in envelopes.items()}
    for name, statement in opened.items():
        if not statement.about(version.digest):
            raise VerificationError("speaks about another model", where=name, reason="other-model")
    references = [
        _attested(f"statements/{n}.json", entry_of(e), opened[n].predicate_type) for n, e in sorted(envelopes.items())
    ]
    references += [
        _attested(f"statements/approval-{i}.json", entry_of(e), "approval") for i, e in enumerate(approvals, start=1)
    ]
    names = {"train": project.train.name, "test": project.test.name, "contract": project.contract.name}
    contract = Contract.read(project.contract)
    same = version.lineage.get("contract") == str(contract.digest())
    return Known(
        project.name, Tier.VERIFIED, version.digest, str(version.number), version.author,
        evidence=tuple(Evidence.from_json(s.predicate) for s in opened.values() if s.predicate_type == EVIDENCE_TYPE),
        evidence_tier=Tier.VERIFIED, provenance=_predicate(opened, _PROVENANCE), provenance_tier=Tier.VERIFIED,
        contract=contract if same else None,
        datasets={u: (n, Digest.parse(version.lineage[u])) for u, n in names.items() if version.lineage.get(u)},
        references=tuple(references), properties={"assay:format": "onnx", "assay:state": version.state},
    )  # fmt: skip


def of_model(path: Path, evidence: Sequence[Path], keys: Sequence[PublicKey], clock: Clock) -> Known:
    """Return what a model's bytes say, and what lies beside it; what one of ``keys`` signed is verified.

    Raises DataError, FormatError, and VerificationError when keys are given and a signature beside it does not hold,
    or evidence is about another model.
    """
    folder = path if path.is_dir() else path.parent
    files = _files(path) if path.is_dir() else {}
    single = path if path.is_file() else _single(path, files)
    if single is None and not files:
        raise DataError("holds no file", where=str(path), remedy="Give a model file, or a folder with one")
    digest = digest_file(single) if single else None
    tier, references, signed = _signature(path, keys, digest, files)
    scanned = scan(path, clock=clock)
    told = _told(evidence, folder / "conversion.json", digest, files, signed, keys)
    derivation, derived = _derived(folder / "derivation.json", digest, keys)
    if derivation:
        data = (folder / "derivation.json").read_bytes()
        references = (*references, _attested("derivation.json", data, DERIVATION_TYPE))
    parents = {digest, derivation.parent.digest if derivation else None}
    provenance, trained = _training(folder / "provenance.json", parents, keys)
    parameters = scanned.parameters or {}
    formats = parameters.get("formats")
    return Known(
        single.name if single else path.resolve().name, tier, digest,
        files={n: d for n, d in files.items() if n not in _RECORDS and (single is None or folder / n != single)},
        evidence=(scanned, *(e for e, _ in told)),
        evidence_tier=min((t for _, t in told), key=_RANK.index, default=Tier.INFERRED),
        provenance=provenance, provenance_tier=trained, derivation=derivation, derivation_tier=derived,
        references=references, properties={
            "assay:scan": str(parameters.get("verdict", "")),
            "assay:format": ", ".join(map(str, formats)) if isinstance(formats, list) and single else "folder",
        },
    )  # fmt: skip


def _told(
    evidence: Sequence[Path],
    beside: Path,
    digest: Digest | None,
    files: Mapping[str, Digest],
    signed: set[Digest],
    keys: Sequence[PublicKey],
) -> list[tuple[Evidence, Tier]]:
    """Return the evidence that was given, and that of a conversion beside the model when it is about this model."""
    told = [_evidence(item, {digest, *files.values()}, keys) for item in evidence]
    if beside.is_file() and beside.name not in {e.name for e in evidence}:
        own, how = _evidence(beside, None, keys)
        if digest in {s.digest for s in own.subjects}:
            told.append((own, Tier.VERIFIED if digest_file(beside) in signed else how))
    return told


def _files(folder: Path) -> dict[str, Digest]:
    own = signature_path(folder)
    return {
        p.relative_to(folder).as_posix(): digest_file(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.is_symlink() and p != own
    }


def _single(folder: Path, files: Iterable[str]) -> Path | None:
    """Return the file that is the model, when a folder holds one beside Assay's own records."""
    others = [name for name in files if name not in _RECORDS]
    return folder / others[0] if len(others) == 1 else None


def _signature(
    path: Path, keys: Sequence[PublicKey], digest: Digest | None, files: Mapping[str, Digest]
) -> tuple[Tier, tuple[Reference, ...], set[Digest]]:
    """Return the tier that the signature beside a model gives it, a reference to it, and the digests it vouches for."""
    bundle, root = signature_path(path), path
    if not bundle.is_file() and path.is_file():
        bundle, root = signature_path(path.parent), path.parent
    if not bundle.is_file():
        return Tier.INFERRED, (), set()
    reference = Reference("digital-signature", bundle.name, (str(digest_file(bundle)),), "OpenSSF model signature")
    if not keys:
        return Tier.INFERRED, (reference,), set()
    signed = set(verify_model(root, bundle, keys).values())
    # What was signed must be the bytes that were hashed here, not what lay there a moment later.
    if not ({digest} if digest else set(files.values())) <= signed:
        raise VerificationError("is not what was signed", where=str(path), reason="model-signature")
    return Tier.VERIFIED, (reference,), signed


def _evidence(path: Path, about: set[Digest | None] | None, keys: Sequence[PublicKey]) -> tuple[Evidence, Tier]:
    """Return evidence in a file, plain or signed, and its tier. about: digests of which it must name one."""
    record = read_record(path, limit=_LIMIT)
    if not isinstance(record, Mapping):
        raise FormatError("is no evidence", where=str(path), remedy="Give a file of evidence")
    tier = Tier.DECLARED
    if "payload" in record:
        statement, tier = _believed(Envelope.from_json(record), keys)
        record = statement.predicate  # type: ignore[assignment]
    found = Evidence.from_json(record)
    if about is not None and not {s.digest for s in found.subjects} & about:
        raise VerificationError(
            "is about another model", where=str(path), reason="other-model", remedy="Give evidence of this model"
        )
    return found, tier


def _derived(path: Path, digest: Digest | None, keys: Sequence[PublicKey]) -> tuple[Derivation | None, Tier]:
    if digest is None or not path.is_file():
        return None, Tier.DECLARED
    statement, tier = _believed(Envelope.from_json(read_record(path, limit=_LIMIT)), keys)
    found = Derivation.of(statement)
    return (found, tier) if found.child.digest == digest else (None, Tier.DECLARED)


def _training(path: Path, about: set[Digest | None], keys: Sequence[PublicKey]) -> tuple[Mapping[str, object], Tier]:
    """Return the provenance beside a model, when it is about the model or about what the model was derived from."""
    if not path.is_file():
        return {}, Tier.DECLARED
    statement, tier = _believed(Envelope.from_json(read_record(path, limit=_LIMIT)), keys)
    if statement.predicate_type != _PROVENANCE or not {s.digest for s in statement.subjects} & about:
        return {}, Tier.DECLARED
    return statement.predicate, tier


def _believed(envelope: Envelope, keys: Sequence[PublicKey]) -> tuple[Statement, Tier]:
    """Return a statement: verified when one of the keys signed it, declared when nobody signed it or no key is given.

    Raises VerificationError when it is signed, but by none of the keys.
    """
    if keys and envelope.signatures:
        return envelope.verify(keys), Tier.VERIFIED
    return Statement.from_json(parse(envelope.payload)), Tier.DECLARED


def _claimed(data: bytes) -> Statement:
    """Return the statement in a file of a release, which was verified before."""
    return Statement.from_json(parse(Envelope.from_json(parse(data)).payload))


def _predicate(statements: Mapping[str, Statement], kind: str) -> Mapping[str, object]:
    return next((s.predicate for s in statements.values() if s.predicate_type == kind), {})


def _attested(path: str, data: bytes, kind: str) -> Reference:
    return Reference("attestation", path, _digests(data), kind)


def _digests(data: bytes) -> tuple[str, ...]:
    return (str(digest_bytes(data)),)
