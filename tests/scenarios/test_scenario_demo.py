"""The demonstration from end to end, and what is left when anything in its release is changed."""

from __future__ import annotations

import json
import random
import re
import shutil

import pytest
from click.testing import CliRunner

from assay.cli.main import app
from assay.core.errors import VerificationError
from assay.flows.monitor import monitor
from assay.flows.release import verify
from assay.monitoring.events import read_events
from assay.registry.trust import Trust

REFUSALS = {
    "self-approval",
    "model exchanged while served",
    "one flipped byte in the model",
    "a widened contract",
    "an edited measure",
    "an edited approval",
    "a removed statement",
    "an added file",
    "an exchanged log proof",
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "project"
    done = CliRunner().invoke(app, ["demo", "--dir", str(folder), "--json"])
    assert done.exit_code == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.fixture
def release(demo, tmp_path):
    return shutil.copytree(demo[0] / "release", tmp_path / "release"), Trust.read(demo[0] / "trust.json")


def test_it_leaves_report_release_and_log(demo):
    folder, record = demo
    assert (folder / "report.html").is_file()
    assert (folder / "release" / "model" / "model.onnx").is_file()
    assert (folder / "log" / "checkpoint").is_file()
    assert record["report"] == str(folder / "report.html")


def test_every_stage_is_told_with_its_status(demo):
    stages = {s["name"]: s["status"] for s in demo[1]["stages"]}
    assert {n for n, status in stages.items() if status == "refused"} == REFUSALS
    way = ["project", "data", "validity", "train", "convert", "scan", "assess", "guards", "sign", "register", "gate"]
    assert [n for n in stages if n in way] == way
    assert stages["verify"] == "pass"


def test_measures_come_with_intervals(demo):
    measures = {m["name"]: m for m in demo[1]["measures"]}
    wanted = ("quality.auc", "membership.tpr@fpr0.001,rmia", "poisoning.auc_drop@flip0.1,label_flip")
    for name in wanted:
        assert measures[name]["low"] <= measures[name]["estimate"] <= measures[name]["high"]
        assert measures[name]["n"] > 0
    assert any(n.startswith("robust_accuracy@") for n in measures)
    assert any(n.startswith("extraction.fidelity@") and n.endswith("endpoint") for n in measures)


def test_each_tampering_is_refused_for_its_own_reason(demo):
    events = [e for e in read_events(demo[0] / ".assay" / "events") if e.kind == "release.refused"]
    reasons = {e.reason for e in events}
    assert {"model-changed", "evidence-signature", "approval-signature", "file-missing", "file-unexpected"} <= reasons


def test_the_report_fetches_nothing(demo):
    text = (demo[0] / "report.html").read_text(encoding="utf-8")
    assert "<svg" in text
    assert "default-src 'none'" in text
    assert not re.findall(r"""(?:src|href)=["']https?://(?!atlas\.mitre\.org)""", text)


def test_verify_and_status_agree(demo):
    folder = demo[0]
    good = CliRunner().invoke(app, ["verify", str(folder / "release")])
    assert good.exit_code == 0, good.stderr
    status = CliRunner().invoke(app, ["status", "--dir", str(folder), "--json"])
    record = json.loads(status.stdout)
    assert record["release"]["state"] == "ok"
    assert record["versions"][0]["state"] == "released"
    assert record["incidents"]
    assert record["alerts"]


def test_the_log_holds_all_of_it(demo):
    done = CliRunner().invoke(app, ["log", "verify", str(demo[0] / "log")])
    assert done.exit_code == 0, done.stderr


def test_one_flipped_byte_in_any_file_is_refused(release):
    folder, trust = release
    rng = random.Random(0)
    now = None
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        kept = path.read_bytes()
        for place in {0, len(kept) - 1, *(rng.randrange(len(kept)) for _ in range(3))}:
            harmed = bytearray(kept)
            harmed[place] ^= 1 << rng.randrange(8)
            path.write_bytes(bytes(harmed))
            with pytest.raises(VerificationError) as caught:
                verify(folder, trust, now=now)
            assert caught.value.reason, path
        path.write_bytes(kept)
    verify(folder, trust)


def test_the_command_says_one_line_and_exits_1(demo, release):
    folder, trust = release
    trust.write(folder.parent / "trust.json")
    (folder / "statements" / "gate.json").write_bytes(b"{}")
    done = CliRunner().invoke(app, ["verify", str(folder)])
    assert isinstance(done.exception, VerificationError) or done.exit_code == 1


def test_another_trust_is_refused(demo, release, tmp_path):
    from assay.core.keys import PrivateKey

    folder, trust = release
    other = Trust(trust.log, (PrivateKey.generate("p256").public,), trust.people)
    with pytest.raises(VerificationError) as caught:
        verify(folder, other)
    assert caught.value.reason == "release-signature"


def test_a_stricter_policy_of_the_verifier_is_held_too(release, tmp_path):
    folder, trust = release
    strict = tmp_path / "strict.yaml"
    strict.write_text("measures: [{measure: quality.auc, at_least: 0.9999}]\n")
    with pytest.raises(VerificationError) as caught:
        verify(folder, trust, policy=strict)
    assert caught.value.reason == "policy"


def test_monitoring_again_opens_no_second_incident(demo):
    folder = demo[0]
    before = {p.name for p in (folder / ".assay" / "incidents").glob("INC-*")}
    monitor(folder / ".assay" / "events", folder / "release" / "model" / "baseline.json", folder / ".assay")
    assert {p.name for p in (folder / ".assay" / "incidents").glob("INC-*")} == before


def test_it_makes_room_only_where_it_was_before(demo, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = CliRunner().invoke(app, ["demo", "--dir", str(tmp_path)])
    assert done.exit_code != 0
    assert (tmp_path / "mine.txt").read_text() == "mine"
