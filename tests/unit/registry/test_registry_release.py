"""Releases hold as they were made, and in no other way; two verifiers that share no code agree on it."""

from __future__ import annotations

import importlib.util
import random
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from made_release import NOW, POLICY, SUBJECT, Maker, evidence

from assay.core.digest import digest_bytes
from assay.core.errors import VerificationError
from assay.core.evidence import Subject
from assay.core.keys import PrivateKey
from assay.core.statement import Envelope, Statement
from assay.flows.release import verify
from assay.registry.approval import Decision
from assay.registry.gate import evaluate
from assay.registry.release import evidence_statement, verify_release
from assay.registry.trust import Trust

TOOL = Path(__file__).parents[3] / "tools" / "verify_release.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("verify_release_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def made(tmp_path):
    maker = Maker()
    return maker, maker.make(tmp_path / "release")


def refused(folder, trust, now=NOW):
    with pytest.raises(VerificationError) as caught:
        verify(folder, trust, now=now)
    return caught.value.reason


def test_a_release_holds_as_it_was_made(made):
    maker, folder = made
    found = verify(folder, maker.trust, now=NOW)
    assert (found.name, found.version, found.author) == ("m", "1", "ada")
    assert [a.person for a in found.approvals] == ["grace"]
    assert {e.control for e in found.evidence} == {"quality", "scan"}


def test_trust_survives_its_file(made, tmp_path):
    maker, folder = made
    maker.trust.write(tmp_path / "trust.json")
    assert Trust.read(tmp_path / "trust.json") == maker.trust
    assert verify(folder, now=NOW).name == "m"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: (f / "model" / "model.onnx").write_bytes(b"another"), "model-changed"),
        (lambda f: (f / "model" / "model.onnx").unlink(), "file-missing"),
        (lambda f: (f / "model" / "contract.yaml").write_bytes(b"name: y\n"), "file-changed"),
        (lambda f: (f / "model" / "more.txt").write_bytes(b""), "file-unexpected"),
        (lambda f: (f / "statements" / "quality.json").unlink(), "file-missing"),
        (lambda f: (f / "statements" / "gate.json").unlink(), "file-missing"),
        (lambda f: (f / "release.json").unlink(), "no-release"),
        (lambda f: (f / "release.tlog-proof").unlink(), "log-proof"),
        (lambda f: shutil.copy(f / "statements" / "scan.tlog-proof", f / "release.tlog-proof"), "log-proof"),
        (lambda f: (f / "statements" / "x.json").symlink_to(f / "release.json"), "file-unexpected"),
        (lambda f: (f / "statements" / "scan.json").write_bytes((f / "statements" / "scan.json").read_bytes() + b" "), "statement-form"),
        (lambda f: (f / "release.json").write_bytes(b"[]"), "statement-form"),
        (lambda f: (f / "release.json").write_bytes(b"\xff"), "statement-form"),
    ],
)  # fmt: skip
def test_each_harm_has_its_reason(made, tool, change, reason):
    maker, folder = made
    change(folder)
    assert refused(folder, maker.trust) == reason
    with pytest.raises(tool.NotHeld):
        tool.verify(folder, maker.trust.to_json(), NOW)


def _swap_statement(maker, name, statement, key=None):
    statements = maker.statements()
    statements[name] = Envelope.of(statement, key or maker.pipeline)
    return statements


def test_statements_of_others_are_refused(tmp_path, tool):
    maker = Maker()
    stranger = PrivateKey.generate("p256")
    other = Subject("model.onnx", digest_bytes(b"other"))
    cases = {
        "evidence-signature": _swap_statement(maker, "scan", evidence_statement(evidence("scan"), SUBJECT), stranger),
        "other-model": _swap_statement(maker, "scan", evidence_statement(evidence("scan"), other)),
        "gate-statements": _swap_statement(maker, "scan", evidence_statement(evidence("scan", parameters={"a": "b"}), SUBJECT)),
    }  # fmt: skip
    for reason, statements in cases.items():
        folder = maker.make(tmp_path / reason / "release", statements) if _made(tmp_path / reason) else None
        assert refused(folder, maker.trust) == reason
        with pytest.raises(tool.NotHeld):
            tool.verify(folder, maker.trust.to_json(), NOW)


def _made(folder):
    folder.mkdir()
    return True


@pytest.mark.parametrize(
    ("maker", "reason"),
    [
        (Maker(approvers=()), "unapproved"),
        (Maker(evidence=(evidence(estimate=0.5), evidence("scan"))), "gate-failed"),
        (Maker(evidence=(evidence(),)), "gate-failed"),
        (Maker(evidence=(evidence(estimate=0.7), evidence("scan"))), "approval-uncertain"),
        (Maker(expires=NOW - timedelta(days=1)), "release-expired"),
        (Maker(policy=POLICY.from_yaml("require: [quality, scan]\napprovals: {needed: 2}\n")), "unapproved"),
    ],
)
def test_what_was_not_allowed_does_not_hold(tmp_path, tool, maker, reason):
    folder = maker.make(tmp_path / "release")
    assert refused(folder, maker.trust) == reason
    with pytest.raises(tool.NotHeld):
        tool.verify(folder, maker.trust.to_json(), NOW)


def test_uncertain_holds_when_the_approver_accepts_it(tmp_path, tool):
    maker = Maker(evidence=(evidence(estimate=0.7), evidence("scan")), accepts=True)
    folder = maker.make(tmp_path / "release")
    assert verify(folder, maker.trust, now=NOW).gate.verdict.value == "uncertain"
    assert tool.verify(folder, maker.trust.to_json(), NOW).startswith("m version 1")


def _with_approval(maker, **how):
    gate = evaluate(maker.policy, maker.evidence, SUBJECT.digest, now=NOW)
    return {**maker.statements(), "approval-1": maker.approval(gate=gate, **how)}


@pytest.mark.parametrize(
    "case", ["author by name", "author by key", "another's key", "stranger", "rejected", "no role"]
)
def test_approvals_that_do_not_count(tmp_path, tool, case):
    maker = Maker()
    trust = maker.trust
    if case == "author by name":
        # Whoever signs can write any author; the release says who it was.
        statements = _with_approval(maker, name="ada", author="someone")
    elif case == "author by key":
        maker.keys["joan"] = maker.keys["ada"]
        trust = maker.trust
        statements = _with_approval(maker, name="joan")
    elif case == "another's key":
        statements = _with_approval(maker, name="grace", key=maker.keys["joan"])
    elif case == "stranger":
        statements = _with_approval(maker, name="eve", key=maker.keys["joan"])
    elif case == "rejected":
        statements = _with_approval(maker, name="grace", decision=Decision.REJECT)
    else:
        statements = maker.statements()
        person = trust.people["grace"]
        trust = trust.with_person(type(person)("grace", person.key, frozenset()))
    folder = maker.make(tmp_path / "release", statements)
    reason = refused(folder, trust)
    assert reason == {
        "author by name": "approval-author", "author by key": "approval-author", "another's key": "approval-signature",
        "stranger": "approval-person", "rejected": "unapproved", "no role": "approval-role",
    }[case]  # fmt: skip
    with pytest.raises(tool.NotHeld):
        tool.verify(folder, trust.to_json(), NOW)


def test_one_person_with_two_names_is_one(tmp_path, tool):
    maker = Maker(policy=POLICY.from_yaml("require: [quality, scan]\napprovals: {needed: 2}\n"))
    maker.keys["joan"] = maker.keys["grace"]
    maker.approvers = ("grace", "joan")
    folder = maker.make(tmp_path / "release")
    assert refused(folder, maker.trust) == "unapproved"
    with pytest.raises(tool.NotHeld):
        tool.verify(folder, maker.trust.to_json(), NOW)


def test_another_trust_believes_nothing(made, tool):
    _, folder = made
    stranger = Maker().trust
    assert refused(folder, stranger) == "release-signature"
    with pytest.raises(tool.NotHeld):
        tool.verify(folder, stranger.to_json(), NOW)


def test_another_log_is_not_believed(made, tool):
    maker, folder = made
    other = Trust(Maker().trust.log, maker.trust.pipeline, maker.trust.people)
    assert refused(folder, other) == "log-proof"
    with pytest.raises(tool.NotHeld):
        tool.verify(folder, other.to_json(), NOW)


def test_two_verifiers_agree_on_every_flipped_byte(made, tool):
    maker, folder = made
    rng, record = random.Random(5), maker.trust.to_json()
    assert tool.verify(folder, record, NOW)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        kept = path.read_bytes()
        places = range(len(kept)) if len(kept) < 120 else rng.sample(range(len(kept)), 25)
        for place in places:
            harmed = bytearray(kept)
            harmed[place] ^= 1 << rng.randrange(8)
            path.write_bytes(bytes(harmed))
            with pytest.raises(VerificationError):
                verify_release(folder, maker.trust, now=NOW)
            with pytest.raises(tool.NotHeld):
                tool.verify(folder, record, NOW)
        path.write_bytes(kept)
    assert tool.verify(folder, record, NOW)


def test_the_program_stands_alone(made, tmp_path):
    maker, folder = made
    maker.expires = NOW + timedelta(days=36_000)
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "log")
    maker.make(folder)
    maker.trust.write(tmp_path / "trust.json")
    source = TOOL.read_text(encoding="utf-8")
    assert "import assay" not in source
    assert "from assay" not in source
    good = subprocess.run([sys.executable, "-I", str(TOOL), str(folder)], capture_output=True, text=True, check=False)
    assert (good.returncode, good.stdout[:3]) == (0, "ok:"), good
    (folder / "model" / "model.onnx").write_bytes(b"x")
    bad = subprocess.run([sys.executable, "-I", str(TOOL), str(folder)], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout[:8]) == (1, "refused:")
    none = subprocess.run(
        [sys.executable, "-I", str(TOOL), str(folder), "--trust", "missing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert none.returncode == 2


def test_a_statement_may_not_be_of_another_kind(tmp_path):
    maker = Maker()
    statements = _swap_statement(maker, "gate", Statement((SUBJECT,), "https://assay.dev/gate/v1", {"gate": {}}))
    assert refused(maker.make(tmp_path / "release", statements), maker.trust) == "statement-form"
