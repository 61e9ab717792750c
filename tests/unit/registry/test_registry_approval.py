"""Approvals: whose decision counts, and each reason for which one does not. Then the file of trusted keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from assay.core.canonical import canonical_bytes
from assay.core.digest import digest_bytes
from assay.core.errors import FormatError, InputError, Refused, VerificationError
from assay.core.evidence import Subject
from assay.core.keys import PrivateKey
from assay.core.measure import Verdict
from assay.core.statement import Envelope, Statement
from assay.registry.approval import APPROVAL_TYPE, Decision, Person, check_approval, decide
from assay.registry.gate import GateReport, GateRow
from assay.registry.trust import Trust

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
MODEL, OTHER = digest_bytes(b"model"), digest_bytes(b"other")
SUBJECT = Subject("model.onnx", MODEL)
ANN, BEN, EVE = PrivateKey.generate(), PrivateKey.generate("p256"), PrivateKey.generate()
BOTH = frozenset({"approver"})
PEOPLE = {
    "ann": Person("ann", ANN.public, BOTH),
    "ben": Person("ben", BEN.public, BOTH),
    "ann's other name": Person("ann's other name", ANN.public, BOTH),
    "guest": Person("guest", EVE.public, frozenset({"reader"})),
}


def gate(verdict=Verdict.PASS, subject="quality.auc"):
    return GateReport(MODEL, OTHER, NOW, (GateRow(subject, verdict),))


PASSED = gate()
CLAIM = {
    "decision": "approve", "person": "ben", "author": "ann", "reason": "looks right", "gate": str(PASSED.digest_of()),
    "made": "2026-01-31T12:00:00Z", "accepts_uncertain": False,
}  # fmt: skip


def signed(key=BEN, *, subject=SUBJECT, kind=APPROVAL_TYPE, **changes):
    claim = {k: v for k, v in {**CLAIM, **changes}.items() if v is not ...}
    return Envelope.of(Statement((subject,), kind, claim), key)


def checked(envelope, report=PASSED, *, author="ann", people=PEOPLE, digest=MODEL):
    return check_approval(envelope, subject_digest=digest, gate=report, author=author, people=people)


def test_an_approval_of_somebody_else_counts():
    envelope = decide(
        SUBJECT,
        PASSED.digest_of(),
        Decision.APPROVE,
        person="ben",
        author="ann",
        reason="looks right",
        key=BEN,
        made=NOW,
    )
    approval = checked(envelope)
    assert (approval.person, approval.decision, approval.reason) == ("ben", Decision.APPROVE, "looks right")
    assert (approval.gate, approval.made, approval.accepts_uncertain) == (PASSED.digest_of(), NOW, False)
    assert checked(Envelope.from_json(envelope.to_json())) == approval


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        (signed(PrivateKey.generate()), "approval-signature"),
        (signed(EVE), "approval-signature"),
        (signed(ANN), "approval-signature"),
        (Envelope(signed().payload, signed().payload_type, ()), "approval-signature"),
        (replace(signed(), payload=signed(reason="other").payload), "approval-signature"),
        (replace(signed(), payload_type="text/plain"), "approval-signature"),
        (Envelope.sign(b"approve", "text/plain", [BEN]), "approval-form"),
        (Envelope.sign(b"approve", "application/vnd.in-toto+json", [BEN]), "approval-form"),
        (Envelope.sign(b"{}", "application/vnd.in-toto+json", [BEN]), "approval-form"),
        (signed(kind="https://assay.dev/evidence/v1"), "approval-form"),
        (signed(decision="maybe"), "approval-form"),
        (signed(decision=True), "approval-form"),
        (signed(person=...), "approval-form"),
        (signed(reason=...), "approval-form"),
        (signed(gate=None), "approval-form"),
        (signed(author=3), "approval-form"),
        (signed(made="today"), "approval-form"),
        (signed(made="2026-01-31T12:00:00"), "approval-form"),
        (signed(person="zoe"), "approval-person"),
        (signed(person="Ben"), "approval-person"),
        (signed(EVE, person="guest"), "approval-role"),
        (signed(ANN, person="ann"), "approval-author"),
        (signed(ANN, person="ann", author="ben"), "approval-author"),
        (signed(ANN, person="ann's other name"), "approval-author"),
        (signed(subject=Subject("model.onnx", OTHER)), "approval-model"),
        (signed(gate=str(OTHER)), "approval-gate"),
        (signed(gate=str(gate(subject="another").digest_of())), "approval-gate"),
    ],
)
def test_what_does_not_count_is_refused_with_its_reason(envelope, reason):
    with pytest.raises(VerificationError) as refused:
        checked(envelope)
    assert refused.value.reason == reason
    assert refused.value.where == "approval"
    assert "\n" not in refused.value.line()


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.VOID, Verdict.NOT_CHECKED])
@pytest.mark.parametrize("accepts", [False, True])
def test_nobody_can_approve_what_the_gate_refused(verdict, accepts):
    report = gate(verdict)
    with pytest.raises(VerificationError) as refused:
        checked(signed(gate=str(report.digest_of()), accepts_uncertain=accepts), report)
    assert refused.value.reason == "approval-gate"


@pytest.mark.parametrize("accepts", [False, None, 1, "true", ...])
def test_an_uncertain_report_needs_an_approver_who_says_so(accepts):
    report = gate(Verdict.UNCERTAIN)
    with pytest.raises(VerificationError) as refused:
        checked(signed(gate=str(report.digest_of()), accepts_uncertain=accepts), report)
    assert refused.value.reason == "approval-uncertain"


def test_an_approver_may_accept_what_is_uncertain():
    report = gate(Verdict.UNCERTAIN)
    assert checked(signed(gate=str(report.digest_of()), accepts_uncertain=True), report).accepts_uncertain


@pytest.mark.parametrize("decision", [Decision.REJECT, Decision.REVOKE])
@pytest.mark.parametrize(("person", "key"), [("ann", ANN), ("ben", BEN)])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_anyone_with_the_role_may_say_no_the_author_too(decision, person, key, verdict):
    report = gate(verdict)
    envelope = decide(
        SUBJECT, report.digest_of(), decision, person=person, author="ann", reason="drift", key=key, made=NOW
    )
    assert checked(envelope, report).decision is decision


def test_a_person_without_the_role_cannot_even_say_no():
    with pytest.raises(VerificationError) as refused:
        checked(signed(EVE, person="guest", decision="reject"))
    assert refused.value.reason == "approval-role"


def test_nobody_is_known_where_nobody_is_trusted():
    with pytest.raises(VerificationError) as refused:
        checked(signed(), people={})
    assert refused.value.reason == "approval-signature"


def test_an_author_nobody_knows_is_still_told_by_name():
    people = {"ben": PEOPLE["ben"]}
    assert checked(signed(), people=people).person == "ben"
    with pytest.raises(VerificationError) as refused:
        checked(signed(), author="ben", people=people)
    assert refused.value.reason == "approval-author"


def test_a_decision_is_refused_before_it_is_signed():
    given = {"author": "ann", "key": ANN, "made": NOW}
    with pytest.raises(VerificationError) as own:
        decide(SUBJECT, OTHER, Decision.APPROVE, person="ann", reason="mine", **given)
    assert own.value.reason == "approval-author"
    for words in ("", " \n"):
        with pytest.raises(Refused) as refused:
            decide(SUBJECT, OTHER, Decision.REJECT, person="ann", reason=words, **given)
        assert refused.value.reason == "approval-reason"


TRUST = Trust("example.com/log+0+x", (EVE.public,), PEOPLE)


def test_trust_survives_the_round_trip(tmp_path):
    TRUST.write(tmp_path / "trust.json")
    again = Trust.read(tmp_path / "trust.json")
    assert canonical_bytes(again.to_json()) == canonical_bytes(TRUST.to_json())
    assert {n: (p.name, p.key.id, p.roles) for n, p in again.people.items()} == {
        n: (p.name, p.key.id, p.roles) for n, p in PEOPLE.items()
    }
    assert b"PRIVATE" not in (tmp_path / "trust.json").read_bytes()


def test_a_person_who_is_added_again_gets_the_new_key():
    more = TRUST.with_person(Person("ben", EVE.public, frozenset()))
    assert more.people["ben"].key.id == EVE.public.id
    assert TRUST.people["ben"].key.id == BEN.public.id


@pytest.mark.parametrize(
    "change",
    [
        {"format": "assay-trust/v2"}, {"log": None}, {"pipeline": []}, {"pipeline": ["no key"]}, {"pipeline": None},
        {"people": []}, {"people": {"ben": None}}, {"people": {"ben": {"key": "x", "roles": []}}},
        {"people": {"ben": {"roles": []}}}, {"people": {"ben": {"key": BEN.public.to_pem().decode()}}},
        {"people": {"ben": {"key": BEN.public.to_pem().decode(), "roles": "approver"}}},
    ],
)  # fmt: skip
def test_a_damaged_trust_is_refused(change):
    with pytest.raises(FormatError, match=r"trust\.json"):
        Trust.from_json({**TRUST.to_json(), **change}, where="trust.json")


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"format":1,"format":2}', b"[" * 100_000])
def test_a_file_that_is_no_trust_is_refused(tmp_path, data):
    (tmp_path / "trust.json").write_bytes(data)
    with pytest.raises(InputError, match=r"trust\.json"):
        Trust.read(tmp_path / "trust.json")
