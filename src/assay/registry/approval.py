"""Approvals: a named person's signed decision about one model and one report of the gate.

Two pairs of eyes: whoever made the model cannot approve it, under whichever name or key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from assay.core.clock import format_time, parse_time
from assay.core.digest import Digest
from assay.core.errors import AssayError, FormatError, Refused, VerificationError
from assay.core.evidence import Subject
from assay.core.keys import PrivateKey, PublicKey
from assay.core.measure import Verdict
from assay.core.statement import Envelope, Statement
from assay.registry.gate import GateReport

APPROVAL_TYPE = "https://assay.dev/approval/v1"
APPROVER = "approver"
_FIELDS = ("decision", "person", "author", "reason", "gate", "made")


class Decision(str, Enum):
    """What a person decides. A rejection or a revocation is for good."""

    APPROVE = "approve"
    REJECT = "reject"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may decide: name, public key, roles (``approver``)."""

    name: str
    key: PublicKey
    roles: frozenset[str]


@dataclass(frozen=True, slots=True)
class Approval:
    """A decision that was checked: who, what, why, when, about which report of the gate."""

    person: str
    decision: Decision
    reason: str
    gate: Digest
    made: datetime
    accepts_uncertain: bool


def decide(
    subject: Subject,
    gate: Digest,
    decision: Decision,
    *,
    person: str,
    author: str,
    reason: str,
    key: PrivateKey,
    made: datetime,
    accepts_uncertain: bool = False,
) -> Envelope:
    """Return a person's signed decision about ``subject``. Raises Refused when the author approves their own model."""
    if decision is Decision.APPROVE and person == author:
        raise _own(author)
    if not reason.strip():
        raise Refused("a decision needs a reason", reason="approval-reason", remedy="Say why, in words")
    predicate: dict[str, object] = {
        "decision": decision.value,
        "person": person,
        "author": author,
        "reason": reason,
        "gate": str(gate),
        "made": format_time(made),
        "accepts_uncertain": accepts_uncertain,
    }
    return Envelope.of(Statement((subject,), APPROVAL_TYPE, predicate), key)


def check_approval(
    envelope: Envelope,
    *,
    subject_digest: Digest,
    gate: GateReport,
    author: str,
    people: Mapping[str, Person],
) -> Approval:
    """Return the decision in an envelope when it was that person's to make.

    Raises VerificationError with the reason: approval-signature, approval-form, approval-person (unknown),
    approval-role, approval-author (the author, by name or by key), approval-model, approval-gate (another report,
    or one that refused), approval-uncertain.
    """
    try:
        statement = envelope.verify([p.key for p in people.values()])
    except VerificationError as error:
        raise _no("is signed by nobody who is known here", "approval-signature") from error
    except FormatError as error:
        raise _no("is no approval", "approval-form") from error
    claim = statement.predicate
    if statement.predicate_type != APPROVAL_TYPE or not all(isinstance(claim.get(f), str) for f in _FIELDS):
        raise _no("is no approval", "approval-form")
    person, decision = str(claim["person"]), _decision(str(claim["decision"]))
    known = people.get(person)
    if known is None:
        raise _no(f"{person!r} is not known here", "approval-person", "Add them with `assay people add`")
    _signed_by(envelope, known)
    if APPROVER not in known.roles:
        raise _no(f"{person!r} is no approver", "approval-role", "Give them the role with `assay people add`")
    if decision is Decision.APPROVE:
        _not_the_author(known, author, people)
    if not statement.about(subject_digest):
        raise _no("is about another model", "approval-model")
    if claim["gate"] != str(gate.digest_of()):
        raise _no("is about another report of the gate", "approval-gate", "Approve again: the evidence has changed")
    accepts = claim.get("accepts_uncertain") is True
    if decision is Decision.APPROVE:
        _gate_allows(gate, accepts=accepts)
    return Approval(person, decision, str(claim["reason"]), gate.digest_of(), _time(claim["made"]), accepts)


def _signed_by(envelope: Envelope, person: Person) -> None:
    try:
        envelope.verify((person.key,))
    except VerificationError as error:
        raise _no(f"says {person.name!r} and is signed with another key", "approval-signature") from error


def _not_the_author(person: Person, author: str, people: Mapping[str, Person]) -> None:
    own = people.get(author)
    if person.name == author or (own is not None and own.key.id == person.key.id):
        raise _own(author)


def _gate_allows(gate: GateReport, *, accepts: bool) -> None:
    if gate.verdict is Verdict.UNCERTAIN and not accepts:
        raise _no(
            "does not accept what is uncertain",
            "approval-uncertain",
            "Measure more, or approve with --accept-uncertain",
        )
    if gate.verdict not in {Verdict.PASS, Verdict.UNCERTAIN}:
        raise _no(
            f"the gate says {gate.verdict.value}, which nobody can approve",
            "approval-gate",
            "See `assay gate` for what failed",
        )


def _decision(text: str) -> Decision:
    try:
        return Decision(text)
    except ValueError as error:
        raise _no(f"{text!r} is no decision", "approval-form") from error


def _time(text: object) -> datetime:
    try:
        return parse_time(str(text))
    except AssayError as error:
        raise _no("has no time", "approval-form") from error


def _own(author: str) -> VerificationError:
    return _no(f"{author!r} made this model and cannot approve it", "approval-author", "Ask somebody else")


def _no(what: str, reason: str, remedy: str = "Do not rely on it") -> VerificationError:
    return VerificationError(what, where="approval", remedy=remedy, reason=reason)
