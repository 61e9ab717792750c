"""A small release, made with fresh keys and any bytes for a model: nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from assay.artifacts.oms import sign_model
from assay.core.digest import digest_bytes
from assay.core.evidence import Evidence, Subject
from assay.core.keys import PrivateKey
from assay.core.measure import Measure
from assay.core.statement import Envelope
from assay.registry.approval import Decision, Person, decide
from assay.registry.gate import evaluate
from assay.registry.log.log import Log
from assay.registry.log.note import VerifierKey
from assay.registry.policy import Policy
from assay.registry.release import evidence_statement, gate_statement, write_release
from assay.registry.trust import Trust

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
MODEL = b"a model"
SUBJECT = Subject("model.onnx", digest_bytes(MODEL))
POLICY = Policy.from_yaml("measures: [{measure: quality.auc, at_least: 0.7}]\nrequire: [quality, scan]\n")


def evidence(control="quality", estimate=0.8, spread=0.02, made=NOW, subject=SUBJECT, **more):
    low, high = estimate - spread, estimate + spread
    measures = (Measure("quality.auc", estimate, low, high, 100),) if control == "quality" else ()
    return Evidence(control, (subject,), made, measures=measures, **more)


@dataclass
class Maker:
    """All that a release is made of; change a part, then make it."""

    pipeline: PrivateKey = field(default_factory=lambda: PrivateKey.generate("p256"))
    log: PrivateKey = field(default_factory=PrivateKey.generate)
    keys: dict = field(default_factory=lambda: {name: PrivateKey.generate() for name in ("ada", "grace", "joan")})
    policy: Policy = POLICY
    evidence: tuple = field(default_factory=lambda: (evidence(), evidence("scan")))
    author: str = "ada"
    approvers: tuple = ("grace",)
    accepts: bool = False
    expires: datetime = NOW + timedelta(days=30)

    @property
    def trust(self):
        people = {n: Person(n, k.public, frozenset({"approver"})) for n, k in self.keys.items()}
        return Trust(str(VerifierKey.of("t/log", self.log.public)), (self.pipeline.public,), people)

    def statements(self):
        signed = {e.control: Envelope.of(evidence_statement(e, SUBJECT), self.pipeline) for e in self.evidence}
        gate = evaluate(self.policy, self.evidence, SUBJECT.digest, now=NOW)
        signed["gate"] = Envelope.of(gate_statement(gate, self.policy, signed, SUBJECT), self.pipeline)
        for i, name in enumerate(self.approvers, start=1):
            signed[f"approval-{i}"] = self.approval(name, gate)
        return signed

    def approval(self, name, gate, *, key=None, decision=Decision.APPROVE, author=None):
        return decide(
            SUBJECT, gate.digest_of(), decision, person=name, author=author or self.author, reason="read",
            key=key or self.keys[name], made=NOW, accepts_uncertain=self.accepts,
        )  # fmt: skip

    def make(self, folder, statements=None, files=None):
        files = files or {"model.onnx": MODEL, "contract.yaml": b"name: x\n"}
        model = folder.parent / "files"
        model.mkdir(exist_ok=True)
        for name, data in files.items():
            (model / name).write_bytes(data)
        sign_model(model, self.pipeline, folder.parent / "model.sig")
        signature = (folder.parent / "model.sig").read_bytes()
        log = Log.create(folder.parent / "log", self.log, "t/log")
        write_release(
            folder, files, signature, statements or self.statements(), log, self.pipeline, name="m", version=1,
            author=self.author, made=NOW, expires=self.expires,
        )  # fmt: skip
        return folder


__all__ = ["MODEL", "NOW", "POLICY", "SUBJECT", "Maker", "evidence", "replace"]
