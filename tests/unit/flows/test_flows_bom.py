"""Bills of materials of model files, projects and releases: what they state, and what they refuse to state."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.artifacts.bom.document import Tier
from assay.artifacts.bom.schema import faults_of
from assay.artifacts.derivation import Derivation
from assay.artifacts.oms import sign_model
from assay.cli.main import app
from assay.contract.contract import Contract, Feature, Kind, Target
from assay.core.digest import digest_bytes, digest_file
from assay.core.errors import DataError, FormatError, VerificationError
from assay.core.evidence import Evidence, Subject
from assay.core.files import write_record
from assay.core.keys import PrivateKey
from assay.core.measure import Measure
from assay.core.statement import Envelope, Statement
from assay.flows.bom import bom_inputs, make_bom, work_bom
from assay.flows.identity import Identity
from assay.flows.project import Project
from assay.flows.release import Candidate, register_candidate
from assay.flows.work import Work

sys.path.insert(0, str(Path(__file__).parents[1] / "registry"))
from made_release import MODEL as RELEASED
from made_release import NOW, Maker
from made_release import SUBJECT as RELEASED_SUBJECT

CONTRACT = Contract(
    Target("paid", ("no", "yes")),
    (Feature("income", Kind.NUMBER), Feature("sex", Kind.CATEGORY, categories=("f", "m"), sensitive=True, slice=True)),
    name="loans",
)
MODEL = b"\x08\x08 an ONNX file, more or less"


def evidence(digest, name="quality.auc", made=NOW):
    return Evidence("quality", (Subject("m", digest),), made, measures=(Measure(name, 0.8, 0.7, 0.9, 50),))


@pytest.fixture
def folder(tmp_path):
    """A converted model with its evidence, its derivation and its signature, as `assay convert` and `sign` leave them."""
    model = tmp_path / "safe"
    model.mkdir()
    (model / "model.onnx").write_bytes(MODEL)
    child = Subject("model.onnx", digest_bytes(MODEL))
    parent = Subject("model.joblib", digest_bytes(b"pickle"))
    key = PrivateKey.generate("p256")
    key.write(tmp_path / "my.key")
    found = Evidence("convert", (child, parent), NOW, measures=(Measure("label_agreement", 1.0, 0.9, 1.0, 50),))
    write_record(model / "conversion.json", found.to_json())
    derived = Derivation(child, parent, "exact", {"max_difference": 0.0}, {"assay": "0"}, ("epoch: int",))
    write_record(model / "derivation.json", Envelope.of(derived.statement(), key).to_json())
    sign_model(model, key, model / "model.sig")
    return model


def claims(part):
    return {k or "all": v.value for k, v in part.claims.items()}


def document(bom):
    record = bom.to_json()
    assert list(faults_of(record)) == []
    return record


# ---- a model file or folder ----------------------------------------------------------------------------------------------


def test_a_folder_that_somebody_signed_is_verified_with_their_key(folder, tmp_path):
    bom = make_bom(folder, keys=[tmp_path / "my.key.pub"], made=NOW)
    assert claims(bom.model) == {"all": "verified", "hashes": "verified"}
    assert bom.card.properties["assay:claim:quantitativeAnalysis"] == "verified"
    record = document(bom)["metadata"]["component"]
    assert record["pedigree"]["ancestors"][0]["hashes"][0]["content"] == digest_bytes(b"pickle").hex
    assert '"dropped":["epoch: int"]' in record["pedigree"]["notes"]
    assert {r["type"] for r in record["externalReferences"]} == {"attestation", "digital-signature"}


def test_without_a_key_nothing_is_verified(folder):
    bom = make_bom(folder, made=NOW)
    assert claims(bom.model) == {"all": "inferred", "hashes": "inferred"}
    assert bom.ancestors[0].claims == {"": Tier.DECLARED}
    assert bom.card.properties["assay:claim:quantitativeAnalysis"] == "declared"


def test_a_changed_model_a_foreign_key_and_a_forged_derivation_are_refused(folder, tmp_path):
    keys = [tmp_path / "my.key.pub"]
    PrivateKey.generate("p256").write(tmp_path / "other.key")
    with pytest.raises(VerificationError):
        make_bom(folder, keys=[tmp_path / "other.key.pub"])
    held = json.loads((folder / "derivation.json").read_text())
    write_record(folder / "derivation.json", {**held, "payload": held["payload"].replace("A", "B", 1)})
    with pytest.raises(VerificationError):
        make_bom(folder, keys=keys)
    write_record(folder / "derivation.json", held)
    (folder / "model.onnx").write_bytes(MODEL + b"x")
    with pytest.raises(VerificationError):
        make_bom(folder, keys=keys)


def test_a_derivation_of_another_model_is_no_pedigree(folder):
    (folder / "model.onnx").write_bytes(MODEL + b"x")
    bom = make_bom(folder, made=NOW)
    assert not bom.ancestors
    assert not bom.card.metrics
    assert "nothing about this model was measured" in bom.card.limitations


def test_evidence_is_taken_of_this_model_only(folder, tmp_path):
    other, own, signed = (tmp_path / f"{n}.json" for n in ("other", "own", "signed"))
    write_record(other, evidence(digest_bytes(b"another")).to_json())
    with pytest.raises(VerificationError, match="another model"):
        make_bom(folder, evidence=[other])
    mine = evidence(digest_bytes(MODEL))
    write_record(own, mine.to_json())
    bom = make_bom(folder, evidence=[own], made=NOW)
    assert {m.measure.name for m in bom.card.metrics} == {"quality.auc", "label_agreement"}
    key = PrivateKey.read(tmp_path / "my.key")
    write_record(
        signed, Envelope.of(Statement(mine.subjects, "https://assay.dev/evidence/v1", mine.to_json()), key).to_json()
    )
    bom = make_bom(folder, evidence=[signed], keys=[tmp_path / "my.key.pub"], made=NOW)
    assert bom.card.properties["assay:claim:quantitativeAnalysis"] == "verified"
    write_record(other, [1])
    with pytest.raises(FormatError):
        make_bom(folder, evidence=[other])


def test_locks_give_the_libraries_with_their_hashes(folder, tmp_path):
    lock = tmp_path / "requirements.txt"
    lock.write_text(
        f"numpy==2.0.0 --hash=sha256:{'1' * 64} --hash=sha256:{'2' * 64}\nlocal @ git+https://h.example/r@main\nopen>=1\n"
    )
    bom = make_bom(folder, locks=[lock], made=NOW)
    by_name = {p.name: p for p in bom.parts}
    assert [len(r.digests) for r in by_name["numpy"].references] == [2]
    assert by_name["numpy"].purl == "pkg:pypi/numpy@2.0.0"
    assert by_name["local"].properties["assay:pinned"] == "false"
    assert by_name["open"].properties["assay:wanted"] == ">=1"
    record = document(bom)
    assert record["compositions"] == [
        {"aggregate": "unknown", "dependencies": ["pypi:local", "pypi:numpy@2.0.0", "pypi:open"]}
    ]
    with pytest.raises(DataError):
        make_bom(folder, locks=[tmp_path / "none.lock"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.text(max_size=20)] * 4), max_size=4))
def test_any_lock_makes_a_valid_bill(tmp_path, packages):
    rows = [{"name": n, "version": v, "source": {"git": g}, "wheels": [{"hash": h}]} for n, v, g, h in packages]
    body = "".join("[[package]]\n" + "".join(
        f"{k} = {toml(v)}\n" for k, v in row.items()) for row in rows)  # fmt: skip
    (tmp_path / "uv.lock").write_text(f"version = 1\n{body}", encoding="utf-8")
    (tmp_path / "m.onnx").write_bytes(MODEL)
    document(make_bom(tmp_path / "m.onnx", locks=[tmp_path / "uv.lock"], made=NOW))


def toml(value):
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(map(toml, value)) + "]"


def test_a_library_that_is_installed_brings_its_licence_and_needs(folder, tmp_path):
    from importlib.metadata import version

    lock = tmp_path / "requirements.txt"
    lock.write_text(f"rich=={version('rich')}\npygments=={version('pygments')}\n")
    bom = make_bom(folder, locks=[lock], made=NOW)
    rich = next(p for p in bom.parts if p.name == "rich")
    assert rich.licences == ("MIT",)
    assert rich.needs == (f"pypi:pygments@{version('pygments')}",)
    assert rich.claims["licences"] is Tier.INFERRED
    assert bom.model.needs == (f"pypi:rich@{version('rich')}",)


def test_declarations_are_marked_as_such(folder):
    (folder / "card.yaml").write_text(
        "name: credit\nlicence: MIT\nsupplier: Risk\nusers: [ada]\ndata: {train: {owner: Data office, sensitive: [age]}}\n"
    )
    bom = make_bom(folder, made=NOW)
    assert (bom.model.name, bom.model.supplier, bom.model.licences) == ("credit", "Risk", ("MIT",))
    assert claims(bom.model)["licences"] == "declared"
    assert claims(bom.datasets[0]) == {"all": "declared", "governance": "declared", "sensitiveData": "declared"}
    document(bom)


def test_a_single_file_and_a_missing_one(folder, tmp_path):
    bom = make_bom(folder / "model.onnx", keys=[tmp_path / "my.key.pub"], made=NOW)
    assert claims(bom.model) == {"all": "verified", "hashes": "verified"}
    with pytest.raises(DataError, match="does not exist"):
        make_bom(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        make_bom(tmp_path / "empty")


def test_a_folder_of_several_files_names_each(tmp_path):
    root = tmp_path / "m"
    root.mkdir()
    for name in ("a.onnx", "b.bin"):
        (root / name).write_bytes(MODEL + name.encode())
    bom = make_bom(root, made=NOW)
    assert {p.name: p.digests for p in bom.parts} == {
        n: (str(digest_file(root / n)),) for n in ("a.onnx", "b.bin")}  # fmt: skip
    assert bom.model.digests == ()


# ---- a project -----------------------------------------------------------------------------------------------------------


@dataclass
class Made:
    project: Project
    work: Work


@pytest.fixture
def made(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    for name, text in {
        "train.csv": "income,sex,paid\n1,f,no\n2,m,yes\n", "test.csv": "income,sex,paid\n3,f,no\n4,m,yes\n",
        "contract.yaml": CONTRACT.to_yaml(), "policy.yaml": "measures: [{measure: quality.auc, at_least: 0.5}]\n", "recipe.py": "def build(): ...\n",
        "card.yaml": "licence: MIT\ndata: {train: {owner: Data office}}\n", "requirements.txt": "rich==99.0\n",
        "assay.yaml": "project: loans\nauthor: ada\ndata: {train: train.csv, test: test.csv, contract: contract.yaml}\n"
                      "model: {recipe: recipe.py:build}\n",
    }.items():  # fmt: skip
        (root / name).write_text(text)
    project = Project.read(root)
    return Made(project, Work(project, "none", "quick"))


def candidate(made, *, environment=("rich==13.0",)):
    subject = Subject("model.onnx", digest_bytes(MODEL))
    sources = [{"name": "train", "digest": {"sha256": made.work.digests["train"].hex}}]
    predicate = {
        "buildDefinition": {"internalParameters": {"environment": list(environment)}, "resolvedDependencies": sources}
    }
    provenance = Statement((subject,), "https://slsa.dev/provenance/v1", predicate)
    found = (evidence(subject.digest),)
    bom = work_bom(made.work, subject, found, (provenance,))
    return Candidate(made.project, subject, found, (provenance, bom), made.work.digests), bom


def test_a_run_lists_its_materials_the_same_way_each_time(made):
    _, bom = candidate(made)
    assert bom == candidate(made)[1]
    assert bom.predicate["metadata"]["timestamp"] == "2026-03-01T00:00:00Z"
    assert {p.name for p in bom_inputs(made.work)} == {"requirements.txt", "card.yaml"}
    parts = {c["name"]: c for c in bom.predicate["components"]}
    assert parts["train.csv"]["data"][0]["governance"]["owners"] == [{"organization": {"name": "Data office"}}]
    assert parts["train.csv"]["data"][0]["sensitiveData"] == ["sex"]
    limits = bom.predicate["metadata"]["component"]["modelCard"]["considerations"]["technicalLimitations"]
    assert "the lock states rich 99.0, the training ran with 13.0" in limits
    assert any("was not measured by sex" in text for text in limits)


def test_a_project_states_what_its_pipeline_signed(made):
    with pytest.raises(DataError, match="no version"):
        make_bom(made.project.root)
    register_candidate(candidate(made)[0], Identity.of(made.project), lambda: NOW)
    bom = make_bom(made.project.root, made=NOW)
    assert (bom.model.version, claims(bom.model)["hashes"]) == ("1", "verified")
    assert {r.url for r in bom.model.references} == {f"statements/{n}.json" for n in ("quality", "provenance", "bom")}
    assert bom.card.task == "classification"
    rich = {p.version: p.claims[""].value for p in bom.parts if p.name == "rich"}
    assert rich == {"99.0": "declared", "13.0": "verified"}
    document(bom)


def test_a_statement_that_the_pipeline_did_not_sign_counts_for_nothing(made):
    identity = Identity.of(made.project)
    register_candidate(candidate(made)[0], identity, lambda: NOW)
    trust = json.loads(made.project.trust.read_text())
    trust["pipeline"] = [PrivateKey.generate("p256").public.to_pem().decode()]
    made.project.trust.write_text(json.dumps(trust))
    with pytest.raises(VerificationError):
        make_bom(made.project.root)


# ---- a release -----------------------------------------------------------------------------------------------------------


def released(tmp_path, made=None):
    maker = Maker()
    statements = maker.statements()
    if made is not None:
        # The bill must be there before the gate, which names every statement that it saw.
        bom = work_bom(made.work, RELEASED_SUBJECT, maker.evidence, ())
        signed = {e: statements[e] for e in ("quality", "scan")} | {"bom": Envelope.of(bom, maker.pipeline)}
        statements = with_gate(maker, signed)
    folder = tmp_path / "out" / "release"
    folder.parent.mkdir()
    maker.make(
        folder, statements=statements, files={"model.onnx": RELEASED, "contract.yaml": CONTRACT.to_yaml().encode()}
    )
    maker.trust.write(folder.parent / "trust.json")
    return folder


def with_gate(maker, signed):
    from assay.registry.gate import evaluate
    from assay.registry.release import gate_statement

    gate = evaluate(maker.policy, maker.evidence, RELEASED_SUBJECT.digest, now=NOW)
    made = gate_statement(gate, maker.policy, signed, RELEASED_SUBJECT)
    return {**signed, "gate": Envelope.of(made, maker.pipeline), "approval-1": maker.approval("grace", gate)}


@pytest.fixture
def clock():
    return lambda: datetime(2026, 3, 2, tzinfo=timezone.utc)


@pytest.mark.parametrize("signed", [False, True])
def test_a_release_states_what_was_signed(tmp_path, made, clock, signed):
    folder = released(tmp_path, made if signed else None)
    bom = make_bom(folder, made=NOW, clock=clock)
    record = document(bom)["metadata"]["component"]
    assert record["hashes"][0]["content"] == RELEASED_SUBJECT.digest.hex
    assert set(claims(bom.model).values()) <= {"verified", "declared"}
    facts = {p["name"]: p["value"] for p in record["properties"]}
    assert (facts["assay:approved-by"], facts["assay:gate"]) == ("grace", "pass")
    named = {r["url"]: r["hashes"][0]["content"] for r in record["externalReferences"]}
    for path in ("model.sig", "release.json", "statements/gate.json", "statements/approval-1.json"):
        assert named[path] == digest_file(folder / path).hex
    assert ("statements/bom.json" in named) is signed
    assert bom.card.properties["assay:claim:quantitativeAnalysis"] == "verified"
    if signed:
        train = next(d for d in bom.datasets if d.use == "train")
        assert claims(train)["hashes"] == "verified"
        assert claims(train)["governance"] == "declared"
        assert next(p for p in bom.parts if p.name == "rich").claims[""] is Tier.DECLARED


def test_a_changed_release_has_no_bill(tmp_path, made, clock):
    folder = released(tmp_path, made)
    path = folder / "statements" / "bom.json"
    path.write_bytes(path.read_bytes().replace(b"sha256", b"sha255", 1)[:-1] + b" ")
    with pytest.raises(VerificationError):
        make_bom(folder, clock=clock)


# ---- the command ---------------------------------------------------------------------------------------------------------


def run(*words):
    return CliRunner().invoke(app, ["bom", *map(str, words)])


def test_the_command_writes_checks_and_compares(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = run(folder, "--key", tmp_path / "my.key.pub", "--at", "2026-01-01T00:00:00Z")
    assert (first.exit_code, "1 measure" in first.output) == (0, True), first.output
    again = run("make", folder, "--key", "my.key.pub", "--at", "2026-01-01T00:00:00Z", "-o", "again.json")
    assert again.exit_code == 0
    assert Path("bom.cdx.json").read_bytes() == Path("again.json").read_bytes()
    assert run("check", "again.json").exit_code == 0
    assert run("diff", "bom.cdx.json", "again.json").output == "no difference\n"
    assert run(folder, "-o", "less.json").exit_code == 0
    worse = run("diff", "again.json", "less.json")
    assert (worse.exit_code, "verified" in worse.output) == (1, True)
    assert run("diff", "again.json", "less.json", "--fail-on", "high").exit_code == 0
    told = json.loads(run("diff", "again.json", "less.json", "--json").stdout)
    assert told["summary"]["claim"] == len(told["changes"])


def test_json_goes_to_standard_output_alone(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = json.loads(run(folder, "--json").stdout)
    assert record["bomFormat"] == "CycloneDX"
    assert not Path("bom.cdx.json").exists()
    Path("bad.json").write_text('{"bomFormat": "CycloneDX", "specVersion": "1.7", "colour": 1}')
    assert run("check", "bad.json").exit_code == 1
