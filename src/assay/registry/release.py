"""The release: one folder that carries its own proof, readable offline by anyone who holds the trusted keys.

::

    release/
      release.json            signed statement: model digest, digest of every other file, author, end of validity
      release.tlog-proof      its inclusion in the transparency log
      model/                  what is served: model.onnx, contract.yaml, guards.json, baseline.json
      model.sig               OpenSSF model signature over model/
      statements/NAME.json    signed statements: training, evidence by control, gate, approval-N
      statements/NAME.tlog-proof

Every signed file is canonical JSON, byte for byte, so that no flipped byte goes unseen. The format is
described for other implementers in ``docs/reference/release-format.md``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from pathlib import Path, PurePosixPath

from assay.core.canonical import canonical_bytes, parse
from assay.core.clock import format_time, parse_time
from assay.core.digest import Digest, digest_bytes
from assay.core.errors import AssayError, FormatError, VerificationError
from assay.core.evidence import Evidence, Subject
from assay.core.files import write_bytes
from assay.core.keys import PrivateKey, PublicKey
from assay.core.measure import Verdict
from assay.core.statement import Envelope, Statement
from assay.registry.approval import Approval, Decision, check_approval
from assay.registry.gate import GateReport
from assay.registry.log.log import Log
from assay.registry.log.note import VerifierKey
from assay.registry.log.proof import Proof
from assay.registry.policy import Policy
from assay.registry.trust import Trust

RELEASE_TYPE = "https://assay.dev/release/v1"
EVIDENCE_TYPE = "https://assay.dev/evidence/v1"
GATE_TYPE = "https://assay.dev/gate/v1"
MODEL = "model/model.onnx"
MANIFEST, MANIFEST_PROOF, SIGNATURE = "release.json", "release.tlog-proof", "model.sig"
_MOST_FILES, _MOST_BYTES = 1_000, 8 << 30


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedRelease:
    """A release that held in every respect. files: path -> the bytes that were verified, to be used instead of the disk.

    statement: what the pipeline signed; digest: of its envelope, the name of the release.
    """

    statement: Statement
    digest: Digest
    files: Mapping[str, bytes]
    evidence: tuple[Evidence, ...]
    gate: GateReport
    policy: Policy
    approvals: tuple[Approval, ...]

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self.statement.predicate["name"])

    @property
    def version(self) -> str:
        """Number of the version."""
        return str(self.statement.predicate["version"])

    @property
    def author(self) -> str:
        """Who made the model."""
        return str(self.statement.predicate["author"])

    @property
    def model(self) -> bytes:
        """The verified bytes of the model."""
        return self.files[MODEL]


def evidence_statement(evidence: Evidence, subject: Subject) -> Statement:
    """Return evidence as an in-toto statement about ``subject``, the model that is released."""
    return Statement((subject,), EVIDENCE_TYPE, evidence.to_json())


def gate_statement(gate: GateReport, policy: Policy, statements: Mapping[str, Envelope], subject: Subject) -> Statement:
    """Return a gate's report as a statement that pins the policy and, by digest, the statements it was made of."""
    read = {name: str(digest_bytes(entry_of(envelope))) for name, envelope in statements.items()}
    return Statement((subject,), GATE_TYPE, {"gate": gate.to_json(), "policy": policy.to_json(), "statements": read})


def entry_of(envelope: Envelope) -> bytes:
    """Return the canonical bytes of an envelope: what is logged, and what lies in the release."""
    return canonical_bytes(envelope.to_json())


def write_release(
    folder: Path,
    model_files: Mapping[str, bytes],
    signature: bytes,
    statements: Mapping[str, Envelope],
    log: Log,
    key: PrivateKey,
    *,
    name: str,
    version: int,
    author: str,
    made: datetime,
    expires: datetime,
) -> Digest:
    """Write a release folder whole, replacing an older one, and return the digest that names it.

    model_files: file name -> bytes, ``model.onnx`` among them. signature: OpenSSF bundle over them.
    statements: ``gate`` and ``approval-N`` among them. key: of the pipeline. Every statement is logged first.
    """
    entries = {f"statements/{key_}.json": entry_of(envelope) for key_, envelope in statements.items()}
    places = log.append(list(entries.values()))
    files = {f"model/{file}": data for file, data in model_files.items()} | entries | {SIGNATURE: signature}
    for path, place in zip(entries, places, strict=True):
        files[path.removesuffix(".json") + ".tlog-proof"] = log.proof(place).text().encode()
    subject = Subject("model.onnx", digest_bytes(model_files["model.onnx"]))
    manifest = {
        "name": name,
        "version": version,
        "author": author,
        "made": format_time(made),
        "expires": format_time(expires),
        "files": {path: str(digest_bytes(data)) for path, data in sorted(files.items())},
    }
    release = entry_of(Envelope.of(Statement((subject,), RELEASE_TYPE, manifest), key))
    (place,) = log.append([release])
    files |= {MANIFEST: release, MANIFEST_PROOF: log.proof(place).text().encode()}
    _write(folder, files)
    return digest_bytes(release)


def verify_release(folder: str | os.PathLike[str], trust: Trust, *, now: datetime) -> VerifiedRelease:
    """Return the release in ``folder`` when everything about it holds; its files are read once, into memory.

    Raises VerificationError whose ``reason`` says what does not hold: no-release, file-unexpected, file-missing,
    file-changed, model-changed, release-signature, evidence-signature, gate-signature, approval-signature,
    statement-form, other-model, log-proof, gate-missing, gate-failed, gate-statements, unapproved (too few people
    approved, or one rejected or revoked), approval-author, approval-person, ..., release-expired.
    """
    root = Path(folder)
    files = _read(root)
    if MANIFEST not in files:
        raise VerificationError(
            "is not a release", where=str(root), remedy="Give the release folder", reason="no-release"
        )
    release = _opened(MANIFEST, files[MANIFEST], trust.pipeline, "release-signature")
    predicate = _predicate(release)
    subject = _subject(release, files, predicate)
    names = sorted(p.removeprefix("statements/").removesuffix(".json") for p in files if _is_statement(p))
    statements = {
        name: _opened(f"statements/{name}.json", files[f"statements/{name}.json"], _keys(name, trust), _reason(name))
        for name in names
        if not name.startswith("approval-")
    }
    for name, statement in statements.items():
        if not statement.about(subject.digest):
            raise _no(f"statements/{name}.json", "speaks about another model", "other-model")
    _same_files(files, predicate)
    gate, policy = _gate(statements, files, subject.digest)
    approvals = _approvals(names, files, trust, subject.digest, gate, str(predicate["author"]), policy.approvals)
    _logged(files, VerifierKey.parse(trust.log))
    if now > _expires(predicate):
        raise _no(MANIFEST, f"expired on {predicate['expires']}", "release-expired", "Assess the model again")
    evidence = tuple(_evidence(name, s) for name, s in statements.items() if s.predicate_type == EVIDENCE_TYPE)
    return VerifiedRelease(release, digest_bytes(files[MANIFEST]), files, evidence, gate, policy, approvals)


def replace_folder(new: Path, folder: Path) -> None:
    """Put the folder ``new`` in the place of ``folder``; on any error ``folder`` is as it was."""
    old = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.old")
    try:
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
    finally:
        if old.exists() and not folder.exists():
            os.rename(old, folder)
        shutil.rmtree(old, ignore_errors=True)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files beside the folder, then put them in its place."""
    folder = folder.absolute()
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.part")
    try:
        for path, data in files.items():
            write_bytes(draft / path, data)
        replace_folder(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _read(root: Path) -> dict[str, bytes]:
    """Return every file of the folder. Links, devices and unreasonable amounts are refused."""
    found: dict[str, bytes] = {}
    total = 0
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise _no(name, "is a link or a device", "file-unexpected", "A release holds plain files only")
        total += path.lstat().st_size
        if len(found) >= _MOST_FILES or total > _MOST_BYTES:
            raise _no(name, "makes the release larger than any release is", "file-unexpected")
        found[name] = path.read_bytes()
    return found


def _opened(path: str, data: bytes, keys: Sequence[PublicKey], reason: str) -> Statement:
    """Return the authenticated statement in a file whose bytes are exactly what was signed and named."""
    try:
        envelope = Envelope.from_json(parse(data))
        if not compare_digest(entry_of(envelope), data):
            raise _no(path, "is not written in canonical form: it was changed", "statement-form")
        statement = envelope.verify(keys)
    except VerificationError as error:
        if error.reason == "statement-form":
            raise
        raise _no(path, "was changed, or is signed by nobody who is trusted", reason) from error
    except AssayError as error:
        raise _no(path, f"cannot be read: it was changed ({error.message})", "statement-form") from error
    except ValueError as error:
        # Texts that JSON can hold and base64 or UTF-8 cannot.
        raise _no(path, "cannot be read: it was changed", "statement-form") from error
    if {name for name, _ in envelope.signatures} - {key.id for key in keys}:
        raise _no(path, "names a key that is not trusted", reason)
    return statement


def _predicate(release: Statement) -> Mapping[str, object]:
    predicate = release.predicate
    wanted = {"name": str, "version": int, "author": str, "made": str, "expires": str, "files": Mapping}
    if release.predicate_type != RELEASE_TYPE or not all(isinstance(predicate.get(k), t) for k, t in wanted.items()):
        raise _no(MANIFEST, "is no statement about a release", "statement-form")
    return predicate


def _expires(predicate: Mapping[str, object]) -> datetime:
    try:
        return parse_time(str(predicate["expires"]))
    except AssayError as error:
        raise _no(MANIFEST, f"cannot be read ({error.message})", "statement-form") from error


def _evidence(name: str, statement: Statement) -> Evidence:
    try:
        return Evidence.from_json(statement.predicate)
    except AssayError as error:
        raise _no(f"statements/{name}.json", f"cannot be read ({error.message})", "statement-form") from error


def _subject(release: Statement, files: Mapping[str, bytes], predicate: Mapping[str, object]) -> Subject:
    """Return the model that the release is about, when its bytes are those that were released."""
    if MODEL not in files:
        raise _no(MODEL, "is missing", "file-missing")
    actual = digest_bytes(files[MODEL])
    if not release.about(actual):
        named = f"{predicate['name']} version {predicate['version']}"
        raise _no(MODEL, f"is not the model that was released as {named}", "model-changed")
    return Subject("model.onnx", actual)


def _is_statement(path: str) -> bool:
    return str(PurePosixPath(path).parent) == "statements" and path.endswith(".json")


def _keys(name: str, trust: Trust) -> tuple[PublicKey, ...]:
    return tuple(p.key for p in trust.people.values()) if name.startswith("approval-") else trust.pipeline


def _reason(name: str) -> str:
    return "gate-signature" if name == "gate" else "evidence-signature"


def _same_files(files: Mapping[str, bytes], predicate: Mapping[str, object]) -> None:
    listed = predicate["files"]
    assert isinstance(listed, Mapping)
    for path in sorted(set(files) - set(listed) - {MANIFEST, MANIFEST_PROOF}):
        raise _no(path, "does not belong to the release", "file-unexpected", "Remove it")
    for path, digest in sorted(listed.items()):
        if path not in files:
            raise _no(path, "is missing", "file-missing")
        if not compare_digest(str(digest_bytes(files[path])), str(digest)):
            # The approvals are left to their own check, which tells who signed what.
            if _is_statement(path) and "/approval-" in path:
                raise _no(path, "was changed after it was signed", "approval-signature")
            raise _no(path, "was changed", "log-proof" if path.endswith(".tlog-proof") else "file-changed")


def _gate(statements: Mapping[str, Statement], files: Mapping[str, bytes], digest: Digest) -> tuple[GateReport, Policy]:
    """Return the gate's report, when it was made of just these statements and let this model through."""
    if "gate" not in statements:
        raise _no("statements/gate.json", "is missing: the model met no gate", "gate-missing")
    predicate = statements["gate"].predicate
    gate, policy = _parsed("statements/gate.json", predicate)
    read = predicate.get("statements")
    others = {n: str(digest_bytes(files[f"statements/{n}.json"])) for n in statements if n != "gate"}
    if read != others:
        raise _no("statements/gate.json", "was made of other statements than those here", "gate-statements")
    if gate.digest != digest:
        raise _no("statements/gate.json", "judged another model", "other-model")
    if gate.policy_digest != policy.digest():
        raise _no("statements/gate.json", "was evaluated against another policy", "gate-statements")
    if gate.verdict not in {Verdict.PASS, Verdict.UNCERTAIN}:
        raise _no("statements/gate.json", f"the gate's verdict is {gate.verdict.value}", "gate-failed")
    return gate, policy


def _parsed(path: str, predicate: Mapping[str, object]) -> tuple[GateReport, Policy]:
    try:
        gate, policy = predicate.get("gate"), predicate.get("policy")
        if not isinstance(gate, Mapping) or not isinstance(policy, Mapping):
            raise FormatError("lacks the report or the policy")
        return GateReport.from_json(gate), Policy.from_json(policy)
    except AssayError as error:
        raise _no(path, f"cannot be read ({error.message})", "statement-form") from error


def _approvals(
    names: Sequence[str],
    files: Mapping[str, bytes],
    trust: Trust,
    digest: Digest,
    gate: GateReport,
    author: str,
    needed: int,
) -> tuple[Approval, ...]:
    approvals = []
    for name in (n for n in names if n.startswith("approval-")):
        path = f"statements/{name}.json"
        _opened(path, files[path], _keys(name, trust), "approval-signature")
        envelope = Envelope.from_json(parse(files[path]))
        approvals.append(check_approval(envelope, subject_digest=digest, gate=gate, author=author, people=trust.people))
        if approvals[-1].decision is not Decision.APPROVE:
            raise _no(path, f"{approvals[-1].person!r} decided to {approvals[-1].decision.value} it", "unapproved")
    # Whoever has two names and one key is one person.
    people = {trust.people[a.person].key.id for a in approvals}
    if len(people) < needed:
        raise _no("statements", f"{len(people)} of {needed} approvals are here", "unapproved", "Run `assay approve`")
    return tuple(approvals)


def _logged(files: Mapping[str, bytes], key: VerifierKey) -> None:
    for path in (MANIFEST, *filter(_is_statement, sorted(files))):
        proof = path.removesuffix(".json") + ".tlog-proof"
        try:
            if proof not in files:
                raise _no(proof, "is missing", "log-proof")
            read = Proof.parse(files[proof].decode("utf-8"))
            if read.text().encode() != files[proof]:
                raise _no(proof, "is not in canonical form", "log-proof")
            if read.extra:
                raise _no(proof, "carries data that nobody signed", "log-proof")
            read.verify(files[path], key)
        except UnicodeDecodeError as error:
            raise _no(proof, "is no text", "log-proof") from error
        except AssayError as error:
            raise _no(proof, f"does not prove that it was logged ({error.message})", "log-proof") from error


def _no(path: str, what: str, reason: str, remedy: str = "") -> VerificationError:
    return VerificationError(what, where=path, remedy=remedy or "Do not serve it; make the release anew", reason=reason)
