"""Keys and signatures from the command line."""

from __future__ import annotations

import json

import pytest

from assay.artifacts.oms import verify_model
from assay.cli.main import main
from assay.core.keys import PublicKey


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


@pytest.fixture
def key(tmp_path, capsys):
    assert run(capsys, "keygen", tmp_path / "my.key")[0] == 0
    return tmp_path / "my.key"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_a_key_is_private_and_is_never_overwritten(capsys, tmp_path, kind):
    path = tmp_path / "k"
    code, out, _ = run(capsys, "keygen", path, "--kind", kind, "--json")
    assert code == 0
    assert json.loads(out) == {
        "private": str(path), "public": f"{path}.pub", "kind": kind, "key": PublicKey.read(f"{path}.pub").id
    }  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    code, _, err = run(capsys, "keygen", path)
    assert (code, err.count("\n")) == (2, 1)
    assert "exists already" in err
    path.unlink()
    assert run(capsys, "keygen", path)[0] == 2, "the public key is still there"
    assert not path.exists()
    assert before.decode() not in out + err


def test_a_folder_and_a_file_are_signed_where_one_looks_for_it(capsys, key, model):
    code, out, _ = run(capsys, "sign", model, "--key", key, "--json")
    made = json.loads(out)
    assert code == 0
    assert made["bundle"] == str(model / "model.sig")
    public = PublicKey.read(f"{key}.pub")
    assert made["key"] == public.id
    manifest = verify_model(model, made["bundle"], [public])
    assert {name: str(digest) for name, digest in manifest.items()} == made["files"]
    code, out, _ = run(capsys, "sign", model / "model.onnx", "--key", key)
    assert (code, out.split(":")[0]) == (0, str(model / "model.onnx.sig"))
    assert list(verify_model(model / "model.onnx", model / "model.onnx.sig", [public])) == ["."]


def test_what_is_ignored_is_not_signed(capsys, key, model):
    (model / "README.md").touch()
    code, out, _ = run(capsys, "sign", model, "--key", key, "--ignore", "README.md", "--json")
    assert (code, list(json.loads(out)["files"])) == (0, ["model.onnx"])


def test_mistakes_are_one_line_and_leave_no_signature(capsys, tmp_path, key, model):
    inside = model / "key"
    inside.write_bytes(key.read_bytes())
    for arguments, words in (
        ((model, "--key", inside), "handed out"),
        ((tmp_path / "absent", "--key", key), "does not exist"),
        ((model, "--key", tmp_path / "absent"), "cannot be read"),
        ((model, "--key", f"{key}.pub"), "not an unencrypted private key"),
        ((model, "--key", key, "--bundle", model / "model.onnx"), "not a signature"),
        ((model, "--key", key, "--ignore", "../x"), "inside the model"),
        ((model,), "Give --key"),
    ):
        code, out, err = run(capsys, "sign", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert words in err
    assert sorted(p.name for p in model.iterdir()) == ["key", "model.onnx"]


def test_a_model_is_verified_by_key_and_a_changed_one_refused(capsys, tmp_path, key, model):
    store = tmp_path / "digests"
    code, out, _ = run(capsys, "sign", model, "--key", key, "--digests", store)
    assert code == 0
    assert "scan: " in out
    trusted = ("verify-model", model, "--key", f"{key}.pub", "--digests", store)
    for extra in ((), ("--fresh",)):
        code, out, _ = run(capsys, *trusted, *extra, "--json")
        assert code == 0
        assert list(json.loads(out)["files"]) == ["model.onnx"]
    (model / "model.onnx").write_bytes(b"weightz")
    code, out, err = run(capsys, *trusted)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "not what was signed" in err


def test_the_malicious_is_signed_only_on_demand(capsys, key, model):
    (model / "m.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    code, out, err = run(capsys, "sign", model, "--key", key)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "is malicious" in err
    assert not (model / "model.sig").exists()
    code, out, _ = run(capsys, "sign", model, "--key", key, "--no-scan")
    assert (code, "scan" in out) == (0, False)


def test_ways_to_sign_and_to_trust_are_not_mixed(capsys, tmp_path, key, model):
    run(capsys, "sign", model, "--key", key)
    for arguments in (
        ("sign", model, "--key", key, "--keyless"),
        ("sign", model, "--keyless"),
        ("sign", model, "--key", key, "--trust-config", key),
        ("sign", model, "--key", key, "--chain", key),
        ("sign", model, "--key", key, "--certificate", key),
        ("verify-model", model),
        ("verify-model", model, "--key", f"{key}.pub", "--certificate-root", key),
        ("verify-model", model, "--key", f"{key}.pub", "--identity", "ada"),
        ("verify-model", model, "--key", f"{key}.pub", "--issuer", "https://x"),
        ("verify-model", model, "--key", f"{key}.pub", "--at", "yesterday"),
    ):
        code, out, err = run(capsys, *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), arguments
