"""From the gate to the release: sign the statements, register, judge, let named people decide, publish, verify."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING

from assay.artifacts.oms import verify_model
from assay.core.canonical import parse
from assay.core.clock import Clock, system_clock
from assay.core.digest import Digest, digest_bytes
from assay.core.errors import DataError, Refused, VerificationError
from assay.core.evidence import Evidence, Subject
from assay.core.keys import PrivateKey
from assay.core.measure import Verdict
from assay.core.statement import Envelope, Statement
from assay.flows.identity import Identity
from assay.flows.work import Work
from assay.registry.approval import Approval, Decision, check_approval, decide
from assay.registry.gate import GateReport, evaluate
from assay.registry.policy import Policy
from assay.registry.release import (
    EVIDENCE_TYPE,
    SIGNATURE,
    VerifiedRelease,
    evidence_statement,
    gate_statement,
    replace_folder,
    verify_release,
    write_release,
)
from assay.registry.store import Registry, Version
from assay.registry.trust import Trust

if TYPE_CHECKING:
    from assay.flows.project import Project

_NAMES = {"https://slsa.dev/provenance/v1": "provenance", "https://cyclonedx.org/bom": "bom"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that asks to be released: what is known about it, and the digests of what it was made of."""

    project: Project
    subject: Subject
    evidence: tuple[Evidence, ...]
    statements: tuple[Statement, ...]
    lineage: Mapping[str, Digest]


def register_candidate(candidate: Candidate, identity: Identity, clock: Clock) -> int:
    """Register a candidate with its signed statements; return the version's number, the same for the same model.

    A statement that is there already is not signed again, so that what was judged and approved stays good.
    """
    project, subject = candidate.project, candidate.subject
    with open_registry(project, clock) as registry:
        lineage = {k: str(v) for k, v in candidate.lineage.items()}
        version = registry.register(project.name, subject.digest, project.author, lineage)
        known = registry.statements(version)
        for name, statement in _statements(candidate).items():
            envelope = Envelope.of(statement, identity.pipeline)
            if name not in known or known[name].payload != envelope.payload:
                registry.add_statement(version, name, envelope)
    return version.number


def judge(project: Project, *, number: int | None = None, clock: Clock = system_clock) -> tuple[int, GateReport]:
    """Hold a registered version (default: the newest) against the project's policy; return its number and the report.

    The signed report is kept with the version, and pins the policy and every statement that it read.
    """
    identity, policy = Identity.of(project), Policy.read(project.policy)
    with open_registry(project, clock) as registry:
        version = registry.version(project.name, number)
        envelopes = {n: e for n, e in registry.statements(version).items() if n != "gate"}
        opened = {n: e.verify((identity.pipeline.public,)) for n, e in envelopes.items()}
        evidence = [Evidence.from_json(s.predicate) for s in opened.values() if s.predicate_type == EVIDENCE_TYPE]
        gate = evaluate(policy, evidence, version.digest, now=clock())
        subject = Subject("model.onnx", version.digest)
        statement = gate_statement(gate, policy, envelopes, subject)
        known = _last_report(registry, version, identity, statement)
        if known is not None:
            return version.number, known
        registry.add_statement(version, "gate", Envelope.of(statement, identity.pipeline))
    return version.number, gate


def _last_report(registry: Registry, version: Version, identity: Identity, statement: Statement) -> GateReport | None:
    """Return the report that is there when a new one would only repeat it, so that approvals of it stay good."""
    if "gate" not in registry.statements(version):
        return None
    last = registry.statements(version)["gate"].verify((identity.pipeline.public,)).predicate
    told = [{k: v for k, v in dict(p).items() if k != "gate"} for p in (last, statement.predicate)]
    report = _judged(registry, version, identity)[0]
    fresh = statement.predicate["gate"]
    same = isinstance(fresh, Mapping) and [r.to_json() for r in report.rows] == fresh["rows"]
    return report if same and told[0] == told[1] else None


def approve(
    project: Project,
    person: str,
    key: PrivateKey,
    *,
    reason: str,
    decision: str = "approve",
    number: int | None = None,
    accept_uncertain: bool = False,
    clock: Clock = system_clock,
) -> Approval:
    """Record a named person's signed decision on a version (default: the newest); return it as it was checked.

    Raises Refused with its reason when the person may not decide: unknown, not an approver, another key than
    theirs, or the author of the model; and when the gate refused the model.
    """
    identity, trust = Identity.of(project), Trust.read(project.trust)
    if identity.owns(key.public):
        raise Refused(
            "this is a key of the pipeline, not of a person", reason="approval-key", remedy="Use your own key"
        )
    with open_registry(project, clock) as registry:
        version = registry.version(project.name, number)
        if version.state in {"rejected", "revoked"}:
            raise Refused(
                f"version {version.number} was {version.state} for good", reason="state", remedy="Train another"
            )
        subject = Subject("model.onnx", version.digest)
        gate, _ = _judged(registry, version, identity)
        envelope = decide(
            subject, gate.digest_of(), Decision(decision), person=person, author=version.author, reason=reason, key=key,
            made=clock(), accepts_uncertain=accept_uncertain,
        )  # fmt: skip
        approval = check_approval(
            envelope, subject_digest=version.digest, gate=gate, author=version.author, people=trust.people
        )
        registry.add_approval(version, envelope)
        if approval.decision is not Decision.APPROVE:
            registry.set_state(version, {"reject": "rejected", "revoke": "revoked"}[approval.decision.value])
    return approval


def promote(project: Project, *, number: int | None = None, clock: Clock = system_clock) -> VerifiedRelease:
    """Publish an approved version as ``release/`` and log all of it; return the release as it was verified.

    It is verified before it takes the place of an older one. Raises Refused or VerificationError.
    """
    identity, trust = Identity.of(project), Trust.read(project.trust)
    work = Work(project, "auto", project.profile)
    with open_registry(project, clock) as registry:
        version = registry.version(project.name, number)
        gate, policy = _judged(registry, version, identity)
        if gate.verdict not in {Verdict.PASS, Verdict.UNCERTAIN}:
            raise Refused(f"the gate says {gate.verdict.value}", reason="gate-failed", remedy="Look at `assay gate`")
        approvals = registry.approvals(version)
        if not approvals:
            raise Refused(
                f"nobody has approved version {version.number}", reason="unapproved", remedy="Run `assay approve`"
            )
        files = {p.name: p.read_bytes() for p in sorted(work.model_folder.iterdir())}
        if digest_bytes(files.get("model.onnx", b"")) != version.digest:
            raise Refused(
                f"the model in {work.model_folder} is not version {version.number}", reason="model-changed",
                remedy="Run `assay run` again",
            )  # fmt: skip
        statements = registry.statements(version)
        statements |= {f"approval-{i}": envelope for i, envelope in enumerate(approvals, start=1)}
        now = clock()
        draft = work.place("release.draft")
        try:
            write_release(
                draft, files, work.signature.read_bytes(), statements, identity.open_log(project.log), identity.pipeline,
                name=version.name, version=version.number, author=version.author, made=now,
                expires=_expires(gate, policy, statements.values()),
            )  # fmt: skip
            verify(draft, trust, now=now)
            replace_folder(draft, project.release)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        registry.set_state(version, "released")
    return verify(project.release, trust, now=now)


def verify(
    folder: str | os.PathLike[str],
    trust: Trust | str | os.PathLike[str] | None = None,
    *,
    policy: Policy | str | os.PathLike[str] | None = None,
    now: datetime | None = None,
) -> VerifiedRelease:
    """Return the release in ``folder`` when its model, statements, gate, approvals and log proofs all hold.

    trust: the trusted keys, or their file (default: ``trust.json`` beside the folder). policy: one of the verifier's
    own, which the evidence must pass too. now: time of the check. Raises VerificationError with a stable ``reason``;
    see ``assay.registry.release.verify_release``.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError("is not a folder", where=str(folder), remedy="Give a release folder")
    believed = trust if isinstance(trust, Trust) else Trust.read(trust or root.absolute().parent / "trust.json")
    release = verify_release(root, believed, now=now or system_clock())
    try:
        manifest = verify_model(root / "model", root / SIGNATURE, believed.pipeline)
    except VerificationError as error:
        raise VerificationError(
            error.message, where=SIGNATURE, remedy=error.remedy, reason="model-signature"
        ) from error
    for name, digest in manifest.items():
        # What was signed must be the bytes that were read, not what lies there a moment later.
        if not compare_digest(str(digest_bytes(release.files.get(f"model/{name}", b""))), str(digest)):
            raise VerificationError("is not what was signed", where=f"model/{name}", reason="model-signature")
    if policy is not None:
        _hold(release, policy if isinstance(policy, Policy) else Policy.read(policy), now or system_clock())
    return release


def _hold(release: VerifiedRelease, policy: Policy, now: datetime) -> None:
    """Raise VerificationError unless the evidence of a verified release passes another policy too."""
    report = evaluate(policy, release.evidence, digest_bytes(release.model), now=now)
    if report.verdict is not Verdict.PASS:
        worst = next(row for row in report.rows if row.verdict is report.verdict)
        raise VerificationError(
            f"does not pass this policy: {worst.subject} is {report.verdict.value} ({worst.why or worst.threshold})",
            where=release.name, reason="policy",
        )  # fmt: skip


def _statements(candidate: Candidate) -> dict[str, Statement]:
    """Return the statements to sign, by name: evidence by its control, numbered where one control spoke twice."""
    named: dict[str, Statement] = {}
    for item in candidate.evidence:
        name = item.control
        for number in range(2, len(candidate.evidence) + 2):
            if name not in named:
                break
            name = f"{item.control}-{number}"
        named[name] = evidence_statement(item, candidate.subject)
    for statement in candidate.statements:
        # What came of the training is named along with what is released, which conversion made of it.
        subjects = (candidate.subject, *(s for s in statement.subjects if s != candidate.subject))
        kind = _NAMES.get(statement.predicate_type, f"statement-{len(named)}")
        named[kind] = Statement(subjects, statement.predicate_type, statement.predicate)
    return named


def _judged(registry: Registry, version: Version, identity: Identity) -> tuple[GateReport, Policy]:
    """Return the gate's authenticated report on a version and the policy it was held against."""
    envelope = registry.statements(version).get("gate")
    if envelope is None:
        raise Refused(f"version {version.number} has met no gate", reason="gate-missing", remedy="Run `assay run`")
    predicate = envelope.verify((identity.pipeline.public,)).predicate
    gate, policy = predicate.get("gate"), predicate.get("policy")
    if not isinstance(gate, Mapping) or not isinstance(policy, Mapping):
        raise VerificationError("the gate's statement is damaged", reason="gate-statements")
    report = GateReport.from_json(gate)
    if report.digest != version.digest:
        raise VerificationError("the gate's statement is about another model", reason="other-model")
    return report, Policy.from_json(policy)


def _expires(gate: GateReport, policy: Policy, statements: Iterable[Envelope]) -> datetime:
    """Return when the first piece of evidence becomes too old for the policy."""
    ends = [gate.made + policy.max_age]
    for envelope in statements:
        record = parse(envelope.payload)
        predicate = record.get("predicate") if isinstance(record, Mapping) else None
        if isinstance(predicate, Mapping) and "control" in predicate:
            item = Evidence.from_json(predicate)
            ends += [item.expires or item.made + policy.max_age, item.made + policy.max_age]
    return min(ends)


def open_registry(project: Project, clock: Clock = system_clock) -> closing[Registry]:
    """Return the project's registry, closed at the end of the block."""
    project.state.mkdir(parents=True, exist_ok=True)
    return closing(Registry(project.database, clock))
