"""Only a release that holds in every respect reaches the destination; on any refusal nothing is there."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from assay.core.errors import AssayError, InputError, Refused, VerificationError
from assay.core.statement import Envelope
from assay.flows.enforce import MARK, enforce, local_path
from assay.integrations import kserve
from assay.registry.approval import Decision
from assay.registry.gate import evaluate


def _load():
    path = Path(__file__).parents[1] / "registry" / "made_release.py"
    spec = importlib.util.spec_from_file_location("made_release_for_enforce", path)
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


made_release = _load()
NOW, MODEL = made_release.NOW, made_release.MODEL
FILES = {"model.onnx", "contract.yaml"}


def clock():
    return NOW


@pytest.fixture
def maker(tmp_path):
    maker = made_release.Maker()
    maker.trust.write(tmp_path / "trust.json")
    return maker


@pytest.fixture
def release(tmp_path, maker):
    return maker.make(tmp_path / "release")


def run(release, destination, **more):
    trust = Path(destination).parent / "trust.json"
    return enforce(str(release), destination, more.pop("trust", trust), clock=more.pop("clock", clock), **more)


def left(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def test_a_good_release_is_copied(tmp_path, release):
    found = run(release, tmp_path / "to")
    assert left(tmp_path / "to") == FILES | {MARK}
    assert (tmp_path / "to" / "model.onnx").read_bytes() == MODEL
    assert found.approved_by == ("grace",) and set(found.files) == FILES
    assert (tmp_path / "to" / MARK).read_text().strip() == found.release
    assert not [p for p in (tmp_path / "to").iterdir() if p.name.endswith(".part")]


def test_again_changes_nothing_and_a_damaged_copy_is_replaced(tmp_path, release):
    run(release, tmp_path / "to")
    before = (tmp_path / "to" / "model.onnx").stat().st_ino
    run(release, tmp_path / "to")
    assert (tmp_path / "to" / "model.onnx").stat().st_ino == before
    (tmp_path / "to" / "model.onnx").write_bytes(b"other")
    run(release, tmp_path / "to")
    assert (tmp_path / "to" / "model.onnx").read_bytes() == MODEL


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


HARMS = {
    "model": lambda r: _flip(r / "model" / "model.onnx"),
    "contract": lambda r: _flip(r / "model" / "contract.yaml"),
    "evidence": lambda r: _flip(r / "statements" / "quality.json"),
    "gate": lambda r: (r / "statements" / "gate.json").unlink(),
    "approval": lambda r: (r / "statements" / "approval-1.json").unlink(),
    "edited approval": lambda r: _flip(r / "statements" / "approval-1.json"),
    "signature": lambda r: _flip(r / "model.sig"),
    "no signature": lambda r: (r / "model.sig").unlink(),
    "proof": lambda r: _flip(r / "release.tlog-proof"),
    "no manifest": lambda r: (r / "release.json").unlink(),
    "more files": lambda r: (r / "model" / "hook.py").write_text("import os\n"),
    "link": lambda r: os.symlink("/etc/passwd", r / "model" / "link"),
    "linked model": lambda r: (
        shutil.move(r / "model" / "model.onnx", r.parent / "m"),
        os.symlink(r.parent / "m", r / "model" / "model.onnx"),
    ),
    "linked folder": lambda r: (shutil.move(r / "model", r.parent / "d"), os.symlink(r.parent / "d", r / "model")),
    "pipe": lambda r: os.mkfifo(r / "model" / "pipe"),
    "empty": lambda r: (shutil.rmtree(r), r.mkdir()),
    "bare model": lambda r: [shutil.rmtree(p) if p.is_dir() else p.unlink() for p in r.iterdir() if p.name != "model"],
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_tampered_release_leaves_nothing(tmp_path, release, harm):
    HARMS[harm](release)
    with pytest.raises(Refused):
        run(release, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize("harm", ["model", "approval", "link"])
def test_a_refusal_removes_what_an_earlier_release_left(tmp_path, release, harm):
    run(release, tmp_path / "to")
    HARMS[harm](release)
    with pytest.raises(Refused):
        run(release, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_an_expired_release_is_refused(tmp_path, release):
    with pytest.raises(VerificationError) as error:
        run(release, tmp_path / "to", clock=lambda: NOW + timedelta(days=31))
    assert error.value.reason == "release-expired" and not left(tmp_path / "to")


def test_strangers_keys_are_refused(tmp_path, release):
    with pytest.raises(VerificationError) as error:
        run(release, tmp_path / "to", trust=made_release.Maker().trust)
    assert error.value.reason == "release-signature" and not left(tmp_path / "to")


def test_without_approval_or_with_a_revocation_it_is_refused(tmp_path, maker):
    statements = maker.statements()
    gate = evaluate(maker.policy, maker.evidence, made_release.SUBJECT.digest, now=NOW)
    for approval in (None, maker.approval("grace", gate, decision=Decision.REVOKE)):
        changed = {k: v for k, v in statements.items() if k != "approval-1"}
        if approval is not None:
            assert isinstance(approval, Envelope)
            changed["approval-1"] = approval
        shutil.rmtree(tmp_path / "log", ignore_errors=True)
        release = maker.make(tmp_path / "release", changed)
        with pytest.raises(VerificationError) as error:
            run(release, tmp_path / "to")
        assert error.value.reason == "unapproved" and not left(tmp_path / "to")


@pytest.mark.parametrize("text", [None, "", "{}", "[1]", '{"format": "assay-trust/v1"}'])
def test_without_readable_keys_nothing_is_copied(tmp_path, release, text):
    trust = tmp_path / "other.json"
    if text is not None:
        trust.write_text(text)
    with pytest.raises(AssayError):
        run(release, tmp_path / "to", trust=trust)
    assert not left(tmp_path / "to")


def test_a_folder_of_somebody_elses_is_not_touched(tmp_path, release):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "mine.txt").write_text("keep")
    with pytest.raises(Refused) as error:
        run(release, tmp_path / "to")
    assert error.value.reason == "destination" and left(tmp_path / "to") == {"mine.txt"}


def test_a_linked_mark_makes_no_folder_ours(tmp_path, release):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "mine.txt").write_text("keep")
    os.symlink(tmp_path / "trust.json", tmp_path / "to" / MARK)
    with pytest.raises(Refused):
        run(release, tmp_path / "to")
    assert (tmp_path / "to" / "mine.txt").exists()


def test_links_and_files_are_no_destination(tmp_path, release):
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "to")
    (tmp_path / "file").write_text("")
    for name in ("to", "file"):
        with pytest.raises(Refused) as error:
            run(release, tmp_path / name)
        assert error.value.reason == "destination"
    assert not left(tmp_path / "real")


def test_a_destination_inside_the_release_is_refused(tmp_path, release):
    with pytest.raises(InputError):
        enforce(str(release), release / "to", tmp_path / "trust.json", clock=clock)


def test_a_linked_source_is_refused(tmp_path, release):
    os.symlink(release, tmp_path / "latest")
    with pytest.raises(Refused) as error:
        run(tmp_path / "latest", tmp_path / "to")
    assert error.value.reason == "source-path"


def test_a_run_cut_short_is_taken_up(tmp_path, release):
    draft = tmp_path / "to" / ".assay-0123456789ab.part"
    draft.mkdir(parents=True)
    (draft / "model.onnx").write_bytes(b"half")
    run(release, tmp_path / "to")
    assert left(tmp_path / "to") == FILES | {MARK}


def test_a_full_disk_leaves_nothing(tmp_path, release, monkeypatch):
    real, calls = os.rename, []

    def rename(old, new):
        calls.append(new)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        real(old, new)

    monkeypatch.setattr("assay.flows.enforce.os.rename", rename)
    with pytest.raises(OSError, match="No space"):
        run(release, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_the_model_appears_last(tmp_path, release, monkeypatch):
    real, seen = os.rename, []
    monkeypatch.setattr("assay.flows.enforce.os.rename", lambda a, b: (seen.append(Path(b).name), real(a, b)))
    run(release, tmp_path / "to")
    assert seen == ["contract.yaml", "model.onnx"]


def test_runs_on_one_destination_wait_for_each_other(tmp_path, release):
    errors = []

    def once():
        try:
            run(release, tmp_path / "to")
        except (AssayError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=once) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and left(tmp_path / "to") == FILES | {MARK}


def test_volumes_and_file_uris(tmp_path, release):
    to = tmp_path / "to"
    assert run(release.as_uri(), to).files
    assert run("pvc://claim/release", to, volumes=tmp_path).files
    assert local_path("s3://bucket/x") is None


@pytest.mark.parametrize(
    "source",
    ["", "pvc://claim/../etc", "pvc://claim/%2e%2e/etc", "pvc:///release", "file://host/release", "file://release",
     "file:///a?b", "pvc://claim/out", "a\0b", "file:///a%00b", "file://[bad/x"],
)  # fmt: skip
def test_sources_that_lead_elsewhere_are_refused(tmp_path, maker, source):
    (tmp_path / "volume").mkdir()
    os.symlink("/etc", tmp_path / "volume" / "out")
    with pytest.raises(Refused) as error:
        run(source, tmp_path / "to", volumes=tmp_path / "volume")
    assert error.value.reason == "source-path" and not left(tmp_path / "to")


def test_other_schemes_need_a_fetch_function(tmp_path, release):
    with pytest.raises(Refused, match="fetch function") as error:
        run("s3://bucket/release", tmp_path / "to")
    assert error.value.reason == "source-scheme" and list((tmp_path / "to").iterdir()) == []

    def fetch(uri, scratch):
        assert uri == "s3://bucket/release"
        return Path(shutil.copytree(release, scratch / "got"))

    run("s3://bucket/release", tmp_path / "to", fetch=fetch)
    assert left(tmp_path / "to") == FILES | {MARK}


def test_what_a_fetch_function_brings_is_verified(tmp_path, release):
    HARMS["model"](release)
    with pytest.raises(VerificationError):
        run("s3://b/r", tmp_path / "to", fetch=lambda _, s: Path(shutil.copytree(release, s / "got")))
    with pytest.raises(Refused):
        run("s3://b/r", tmp_path / "to", fetch=lambda _, s: release)
    assert list((tmp_path / "to").iterdir()) == []


def test_the_initialiser_of_kserve(tmp_path, release, maker, monkeypatch, capsys):
    monkeypatch.setattr("assay.flows.release.system_clock", clock)
    monkeypatch.setattr(kserve, "enforce", lambda *a, **k: enforce(*a, **k, clock=clock))
    arguments = [str(release), str(tmp_path / "to")]
    monkeypatch.delenv("ASSAY_TRUST", raising=False)
    assert kserve.main(arguments) == 1 and "ASSAY_TRUST: is not set" in capsys.readouterr().err
    monkeypatch.setenv("ASSAY_TRUST", str(tmp_path / "trust.json"))
    assert kserve.main(arguments) == 0 and "approved by grace" in capsys.readouterr().out
    HARMS["model"](release)
    assert kserve.main(arguments) == 1
    told = capsys.readouterr()
    assert told.err.startswith("assay: refused: model/model.onnx") and told.err.count("\n") == 1 and not told.out
    assert list((tmp_path / "to").iterdir()) == []
    monkeypatch.setenv("ASSAY_TRUST", str(tmp_path / "absent.json"))
    assert kserve.main(arguments) == 1
    for wrong in ([], arguments[:1], [*arguments, *arguments]):
        assert kserve.main(wrong) == 1


def test_the_command(tmp_path, release, maker):
    from assay.cli.enforce import enforce as group

    arguments = ["run", str(release), str(tmp_path / "to"), "--trust", str(tmp_path / "trust.json"), "--json"]
    # By the clock of this machine the release ended.
    done = CliRunner().invoke(group, arguments)
    assert isinstance(done.exception, VerificationError) and done.exception.exit_code == 1
    assert json.loads(done.stdout)["error"]["reason"] == "release-expired" and not left(tmp_path / "to")
