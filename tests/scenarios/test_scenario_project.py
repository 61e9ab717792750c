"""A user's own table, from `assay quickstart` to a release that is served; and everything that can go wrong on the way."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from assay.core.errors import AssayError, InputError, JobError, Refused, VerificationError
from assay.core.keys import PrivateKey
from assay.core.measure import Verdict
from assay.flows.identity import Identity
from assay.flows.people import add_person
from assay.flows.project import Project
from assay.flows.quickstart import make_project, write_blank
from assay.flows.release import approve, judge, promote, verify
from assay.flows.run import run_project
from assay.flows.serve import Place, new_key, serve_release
from assay.flows.status import project_status
from assay.gateway.auth import Keys
from assay.gateway.events import EventFile
from assay.monitoring.events import read_events
from assay.registry.trust import Trust


def silent(*_):
    pass


def table(n=600, seed=3):
    rng = np.random.default_rng(seed)
    income, age = rng.lognormal(3, 0.5, n).round(2), rng.integers(18, 80, n)
    job = rng.choice(["clerk", "nurse", "pilot"], n)
    risk = (income < 20).astype(int) + (job == "clerk") + rng.normal(0, 0.4, n)
    frame = pd.DataFrame({"income": income, "age": age, "job": job, "paid": np.where(risk > 1, "no", "yes")})
    frame.loc[::17, "income"] = np.nan
    return frame


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    root = tmp_path_factory.mktemp("mine")
    file = root / "loans.csv"
    table().to_csv(file, index=False)
    project = make_project(file, "paid", root / "project", author="ada", report=silent)
    return project, run_project(project, report=silent)


@pytest.fixture
def project(ran, tmp_path):
    shutil.copytree(ran[0].root, tmp_path / "project")
    return Project.read(tmp_path / "project")


@pytest.fixture
def people(project, tmp_path):
    keys = {}
    for name in ("ada", "grace"):
        keys[name] = PrivateKey.generate()
        keys[name].write(tmp_path / f"{name}.key")
        add_person(project.root, name, tmp_path / f"{name}.key.pub", ["approver"])
    return keys


def released(project, people):
    approve(project, "grace", people["grace"], reason="measures read", accept_uncertain=True)
    return promote(project)


def test_everything_is_measured(ran):
    _, result = ran
    controls = {e.control for e in result.assessment.evidence}
    assert {"data.contract", "data.validity", "training", "convert", "scan", "quality", "evasion"} <= controls
    assert {"membership", "extraction", "poisoning"} <= controls
    assert result.gate.verdict in {Verdict.PASS, Verdict.UNCERTAIN}
    assert result.passed


def test_a_second_run_skips_what_has_not_changed(project):
    told = []
    result = run_project(project, report=lambda name, status, _: told.append((name, status)))
    assert {status for name, status in told if name not in {"register", "gate", "report"}} == {"skipped"}
    assert result.version == 1


def test_an_edited_model_file_is_made_again(project):
    path = project.state / "model" / "model.onnx"
    path.write_bytes(path.read_bytes() + b"x")
    told = {}
    run_project(project, report=lambda name, status, _: told.update({name: status}))
    assert told["guards"] == "done"


def test_approval_survives_a_run_that_changes_nothing(project, people):
    approve(project, "grace", people["grace"], reason="measures read", accept_uncertain=True)
    run_project(project, report=silent)
    assert promote(project).version == "1"


def test_a_changed_policy_needs_a_new_approval(project, people):
    approve(project, "grace", people["grace"], reason="measures read", accept_uncertain=True)
    project.policy.write_text(project.policy.read_text().replace("at_least: 0.6}", "at_least: 0.55}"))
    judge(project)
    with pytest.raises(VerificationError) as caught:
        promote(project)
    assert caught.value.reason == "approval-gate"
    assert not project.release.exists()


def test_a_failed_gate_cannot_be_approved(project, people):
    project.policy.write_text("measures: [{measure: quality.auc, at_least: 1.0}]\n")
    _, gate = judge(project)
    assert gate.verdict is Verdict.FAIL
    with pytest.raises(Refused, match="nobody can approve"):
        approve(project, "grace", people["grace"], reason="please", accept_uncertain=True)
    with pytest.raises(Refused):
        promote(project)


@pytest.mark.parametrize(
    ("who", "key", "reason"),
    [("ada", "ada", "approval-author"), ("grace", "ada", "approval-signature"), ("eve", "grace", "approval-person")],
)
def test_only_another_approver_with_their_own_key_decides(project, people, who, key, reason):
    with pytest.raises(Refused) as caught:
        approve(project, who, people[key], reason="mine", accept_uncertain=True)
    assert caught.value.reason == reason


def test_the_pipelines_key_approves_nothing(project, people):
    with pytest.raises(Refused) as caught:
        approve(project, "grace", Identity.of(project).pipeline, reason="ci says yes")
    assert caught.value.reason == "approval-key"
    with pytest.raises(InputError, match="key of the pipeline"):
        Identity.of(project).pipeline.write(project.root / "p.key")
        add_person(project.root, "bot", project.root / "p.key.pub", ["approver"])


def test_nothing_is_promoted_unapproved(project):
    with pytest.raises(Refused) as caught:
        promote(project)
    assert caught.value.reason == "unapproved"
    assert not project.release.exists()


def test_a_rejected_version_stays_rejected(project, people):
    approve(project, "grace", people["grace"], reason="no", decision="reject")
    with pytest.raises(Refused):
        approve(project, "grace", people["grace"], reason="yes after all", accept_uncertain=True)
        promote(project)
    assert not project.release.exists()


def test_a_model_exchanged_before_promotion_is_refused(project, people):
    approve(project, "grace", people["grace"], reason="measures read", accept_uncertain=True)
    path = project.state / "model" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Refused) as caught:
        promote(project)
    assert caught.value.reason == "model-changed"


def test_a_swapped_trust_file_is_noticed(project):
    trust = Trust.read(project.trust)
    Trust(trust.log, (PrivateKey.generate("p256").public,)).write(project.trust)
    with pytest.raises(Refused) as caught:
        judge(project)
    assert caught.value.reason == "keys-differ"


def test_a_release_is_served_and_a_changed_one_is_not(project, people, tmp_path):
    release = released(project, people)
    place = Place.of(project.root)
    secret = new_key(place, "clinic")
    assert secret not in place.keys.read_text()
    events = EventFile(tmp_path / "events")
    try:
        app = serve_release(place.release, Trust.read(place.trust), Keys.read(place.keys), events)
        assert app.release == str(release.digest)
        assert app.recheck()
        measured = project.release / "statements" / "quality.json"
        measured.write_bytes(measured.read_bytes().replace(b"sig", b"gis", 1))
        assert not app.recheck()
        with pytest.raises(VerificationError):
            serve_release(place.release, Trust.read(place.trust), Keys.read(place.keys), events)
    finally:
        events.close()
    refused = [e for e in read_events(tmp_path / "events") if e.kind == "release.refused"]
    assert len(refused) == 2
    assert all(e.reason == "statement-form" for e in refused)


def test_a_replaced_release_stops_the_gateway(project, people, tmp_path):
    released(project, people)
    events = EventFile(tmp_path / "events")
    try:
        app = serve_release(project.release, Trust.read(project.trust), Keys.empty(), events)
        promote(project)
        assert not app.recheck()
    finally:
        events.close()


def test_status_tells_what_there_is(project, people):
    released(project, people)
    state = project_status(project.root)
    assert state.release["state"] == "ok"
    assert state.versions[0]["approvals"] == "grace"
    json.dumps(state.to_json())
    (project.release / "model" / "contract.yaml").write_text("x")
    assert project_status(project.root).release["state"] == "refused"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('boom')", "boom"),
        ("import socket; socket.create_connection(('127.0.0.1', 9), 2)", "network"),
        ("open('/tmp/assay-canary', 'w').write('x')", "outside its folder"),
        ("return 3", "predict_proba"),
    ],
)
def test_a_bad_recipe_is_one_line_and_leaves_nothing(project, body, says):
    (project.root / "recipe.py").write_text(f"def build(seed=0):\n    {body}\n")
    before = sorted(p.name for p in (project.state / "train").iterdir())
    with pytest.raises(JobError, match=says) as caught:
        run_project(project, report=silent)
    assert "\n" not in caught.value.line()
    assert sorted(p.name for p in (project.state / "train").iterdir()) == before
    assert not [p for p in project.state.iterdir() if p.name.startswith(".train")]


def _spoil_text(frame):
    frame["age"] = frame["age"].astype(object)
    frame.loc[3, "age"] = "old"
    return frame


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: f.drop(columns="age"), "age"),
        (_spoil_text, "age"),
        (lambda f: f.iloc[:0], "row"),
        (lambda f: f.assign(paid="maybe"), "paid"),
    ],
)
def test_a_bad_table_is_one_line(project, spoil, says):
    csv = project.root / "data" / "bad.csv"
    spoil(table()).to_csv(csv, index=False)
    settings = project.root / "assay.yaml"
    settings.write_text(settings.read_text().replace("data/test.parquet", "data/bad.csv"))
    with pytest.raises(AssayError, match=says) as caught:
        run_project(Project.read(project.root), report=silent)
    assert "\n" not in caught.value.line()
    assert caught.value.exit_code == 2


def test_a_truncated_parquet_is_one_line(project):
    data = project.train.read_bytes()
    project.train.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError) as caught:
        run_project(project, report=silent)
    assert "parquet" in caught.value.line().lower()


def test_a_leaking_split_voids_the_measures(project):
    shutil.copyfile(project.train, project.test)
    result = run_project(project, report=silent)
    assert result.gate.verdict in {Verdict.FAIL, Verdict.VOID}
    assert all(m.void for e in result.assessment.evidence if e.control == "quality" for m in e.measures)
    assert not result.passed


def test_a_finished_onnx_model_is_taken_as_it_is(project):
    shutil.copyfile(project.state / "model" / "model.onnx", project.root / "mine.onnx")
    settings = project.root / "assay.yaml"
    settings.write_text(settings.read_text().replace("recipe: recipe.py:build", "artifact: mine.onnx"))
    result = run_project(Project.read(project.root), report=silent)
    missing = {row.subject for row in result.gate.rows if row.verdict is Verdict.NOT_CHECKED}
    assert "membership: membership.rmia" in missing
    assert not result.passed


def test_a_malicious_artifact_is_not_opened(project):
    import pickle

    class Evil:
        def __reduce__(self):
            import os

            return os.system, ("touch /tmp/assay-canary",)

    (project.root / "mine.joblib").write_bytes(pickle.dumps(Evil()))
    settings = project.root / "assay.yaml"
    settings.write_text(settings.read_text().replace("recipe: recipe.py:build", "artifact: mine.joblib"))
    with pytest.raises(Refused, match="malicious"):
        run_project(Project.read(project.root), report=silent)


def test_a_project_is_not_overwritten(ran, tmp_path):
    table().to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(InputError, match="project is here already"):
        make_project(tmp_path / "x.csv", "paid", ran[0].root, report=silent)


def test_a_blank_project_keeps_what_is_there(tmp_path):
    (tmp_path / "recipe.py").write_text("# mine\n")
    write_blank(tmp_path, "new")
    assert (tmp_path / "recipe.py").read_text() == "# mine\n"
    with pytest.raises(InputError):
        write_blank(tmp_path, "new")


def test_a_copy_verifies_anywhere(project, people, tmp_path):
    released(project, people)
    away = tmp_path / "usb"
    shutil.copytree(project.release, away / "release")
    shutil.copyfile(project.trust, away / "trust.json")
    assert verify(away / "release").author == "ada"
