"""OpenSSF model signatures: exchanged with ``model_signing`` both ways, and refused for what is wrong with them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.artifacts.oms import MEDIA_TYPE, PREDICATE_TYPE, sign_model, signature_path, verify_model
from assay.core.errors import AssayError, DataError, SettingError, UnsupportedError, VerificationError
from assay.core.keys import PrivateKey
from assay.core.statement import PAYLOAD_TYPE, Envelope

PEER = Path(sys.executable).with_name("model_signing")
peer_needed = pytest.mark.skipif(not PEER.exists(), reason="the model_signing command is not installed")


def peer(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(PEER), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def key():
    return PrivateKey.generate("p256")


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "credit"
    # Sorted by their text, "a-b" comes before "a/z"; by the parts of the path, after.
    for name in ("a/z.bin", "a-b", "a/b/c.txt", "weights.onnx", "empty", "tête à tête.json", ".git/config"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else name.encode() * 50)
    return folder


@pytest.fixture
def signed(model, key):
    """A signed folder with its signature inside."""
    bundle = signature_path(model)
    sign_model(model, key, bundle)
    return model, bundle


def refusal(model: Path, bundle: Path, *keys: PrivateKey) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        verify_model(model, bundle, [k.public for k in keys])
    return caught.value


def edited(bundle: Path, change) -> None:
    record = json.loads(bundle.read_bytes())
    change(record)
    bundle.write_text(json.dumps(record))


def resigned(bundle: Path, key: PrivateKey, change) -> None:
    """Change the statement of a bundle and sign it again: what a trusted but odd signer may send."""

    def again(record):
        statement = json.loads(base64.b64decode(record["dsseEnvelope"]["payload"]))
        change(statement)
        envelope = Envelope.sign(json.dumps(statement).encode(), PAYLOAD_TYPE, [key])
        record["dsseEnvelope"] = envelope.to_json()

    edited(bundle, again)


# -- with the other implementation ------------------------------------------------------------------------------------


@peer_needed
@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_the_peer_verifies_our_folder_and_refuses_it_changed(tmp_path, model, curve):
    key = PrivateKey(ec.generate_private_key(curve()))
    key.write(tmp_path / "k")
    bundle = model / "model.sig"
    sign_model(model, key, bundle)
    arguments = ("verify", "key", model, "--signature", bundle, "--public_key", tmp_path / "k.pub")
    found = peer(*arguments, cwd=tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    if curve is ec.SECP256R1:
        (model / "a" / "z.bin").write_bytes(b"other")
        assert peer(*arguments, cwd=tmp_path).returncode != 0


@peer_needed
def test_the_peer_verifies_our_single_file(tmp_path, model, key):
    key.write(tmp_path / "k")
    bundle = signature_path(model / "weights.onnx")
    sign_model(model / "weights.onnx", key, bundle)
    arguments = (model / "weights.onnx", "--signature", bundle, "--public_key", tmp_path / "k.pub")
    found = peer("verify", "key", *arguments, cwd=tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr


@peer_needed
@pytest.mark.parametrize("name", ["credit", "credit/weights.onnx"])
def test_we_verify_what_the_peer_signs(tmp_path, model, key, name):
    key.write(tmp_path / "k")
    target, bundle = tmp_path / name, model / "model.sig"
    found = peer("sign", "key", target, "--signature", bundle, "--private_key", tmp_path / "k", cwd=tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    manifest = verify_model(target, bundle, [key.public])
    assert dict(manifest) == dict(sign_model(target, key, bundle))
    changed = target if target.is_file() else target / "a" / "z.bin"
    changed.write_bytes(b"other")
    assert refusal(target, bundle, key).reason == "file-changed"


@peer_needed
def test_we_refuse_the_peers_shards(tmp_path, model, key):
    code = (
        "import sys, model_signing as m; c = m.hashing.Config().use_shard_serialization();"
        "m.signing.Config().use_elliptic_key_signer(private_key=sys.argv[1]).set_hashing_config(c)"
        ".sign(sys.argv[2], sys.argv[3])"
    )
    key.write(tmp_path / "k")
    arguments = [sys.executable, "-W", "ignore", "-c", code, tmp_path / "k", model, tmp_path / "s.sig"]
    subprocess.run(arguments, check=True, capture_output=True, timeout=60)
    assert refusal(model, tmp_path / "s.sig", key).reason == "signature-unsupported"


# -- what is signed ---------------------------------------------------------------------------------------------------


def test_the_bundle_is_as_specified(signed, key):
    model, bundle = signed
    record = json.loads(bundle.read_bytes())
    assert record["mediaType"] == MEDIA_TYPE
    hint = hashlib.sha256(key.public.to_pem()).hexdigest()
    assert record["verificationMaterial"] == {"publicKey": {"hint": hint}, "tlogEntries": []}
    statement = json.loads(base64.b64decode(record["dsseEnvelope"]["payload"]))
    predicate = statement["predicate"]
    assert statement["predicateType"] == PREDICATE_TYPE
    assert predicate["serialization"] == {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": [".git", ".gitattributes", ".github", ".gitignore", "model.sig"],
    }
    names = [r["name"] for r in predicate["resources"]]
    assert names == ["a/b/c.txt", "a/z.bin", "a-b", "empty", "tête à tête.json", "weights.onnx"]
    joined = b"".join(hashlib.sha256((model / name).read_bytes()).digest() for name in names)
    assert statement["subject"] == [{"name": "credit", "digest": {"sha256": hashlib.sha256(joined).hexdigest()}}]


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_signing_then_verifying_returns_the_same_manifest(tmp_path, model, kind):
    key = PrivateKey.generate(kind)
    made = sign_model(model, key, tmp_path / "s.sig", ignore=["a/b"])
    assert "a/b/c.txt" not in made
    assert verify_model(model, tmp_path / "s.sig", [PrivateKey.generate().public, key.public]) == made
    alone = sign_model(model / "a-b", key, tmp_path / "f.sig")
    assert verify_model(model / "a-b", tmp_path / "f.sig", [key.public]) == alone
    assert list(alone) == ["."]


def test_a_signature_is_replaced_and_nothing_else_is(signed, key):
    model, bundle = signed
    sign_model(model, key, bundle)
    for taken in (model / "weights.onnx", model / "empty"):
        before = taken.read_bytes()
        with pytest.raises(DataError, match="not a signature"):
            sign_model(model, key, taken)
        with pytest.raises(DataError, match="not a signature"):
            sign_model(taken, key, taken)
        assert taken.read_bytes() == before
    with pytest.raises(DataError, match="not a signature"):
        sign_model(bundle, key, bundle)


def test_the_signature_inside_is_found_by_other_ways_to_write_its_path(signed, key, monkeypatch):
    model, _ = signed
    monkeypatch.chdir(model / "a")
    assert verify_model("..", "../model.sig", [key.public])
    assert verify_model("../../credit", "../../credit/a/../model.sig", [key.public])
    (model.parent / "link").symlink_to(model)
    assert verify_model(model, model.parent / "link" / "model.sig", [key.public])


@pytest.mark.parametrize("path", ["../other", "/etc", ".", "a/../../b"])
def test_only_paths_inside_are_ignored(tmp_path, model, key, path):
    with pytest.raises(SettingError, match="inside the model"):
        sign_model(model, key, tmp_path / "s.sig", ignore=[path])


def test_what_cannot_be_signed_is_refused_and_nothing_is_written(tmp_path, model, key):
    bundle = tmp_path / "s.sig"
    (model / "link").symlink_to("a-b")
    with pytest.raises(DataError, match="is a link"):
        sign_model(model, key, bundle)
    with pytest.raises(DataError, match="is a link"):
        sign_model(model / "link", key, bundle)
    (model / "link").unlink()
    os.mkfifo(model / "pipe")
    with pytest.raises(DataError, match="not a plain file"):
        sign_model(model, key, bundle)
    (model / "pipe").unlink()
    (model / "bad\udcff").touch()
    with pytest.raises(DataError, match="not UTF-8"):
        sign_model(model, key, bundle)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="no file"):
        sign_model(tmp_path / "nothing", key, bundle)
    with pytest.raises(DataError, match="does not exist"):
        sign_model(tmp_path / "absent", key, bundle)
    with pytest.raises(UnsupportedError, match="secp256k1"):
        sign_model(model, PrivateKey(ec.generate_private_key(ec.SECP256K1())), bundle)
    assert not bundle.exists()


# -- each tampering has its reason ------------------------------------------------------------------------------------


def test_a_link(model, signed, key):
    target = model / "weights.onnx"
    shutil.move(target, model.parent / "elsewhere")
    target.symlink_to(model.parent / "elsewhere")
    error = refusal(*signed, key)
    assert (error.reason, error.where) == ("file-link", "weights.onnx")


def test_a_model_that_is_a_link(signed, key):
    model, bundle = signed
    (model.parent / "other").symlink_to(model)
    assert refusal(model.parent / "other", bundle, key).reason == "file-link"


@pytest.mark.parametrize(
    ("change", "reason", "where"),
    [
        (lambda m: (m / "a/z.bin").write_bytes(b"x"), "file-changed", "a/z.bin"),
        (lambda m: (m / "empty").write_bytes(b"\0"), "file-changed", "empty"),
        (lambda m: (m / "a/b/c.txt").unlink(), "file-missing", "a/b/c.txt"),
        (lambda m: (m / "a/b/new.py").write_bytes(b""), "file-unexpected", "a/b/new.py"),
        (lambda m: (m / "a/.git").write_bytes(b""), "file-unexpected", "a/.git"),
        (lambda m: (m / "esc\x1b[31m\udcff").touch(), "file-unexpected", "esc\\x1b[31m\\udcff"),
        (lambda m: os.mkfifo(m / "pipe"), "file-unexpected", "pipe"),
        (lambda m: (m / "loop").symlink_to("."), "file-link", "loop"),
        (lambda m: ((m / "a-b").unlink(), (m / "a-b").mkdir()), "file-missing", "a-b"),
    ],
)
def test_a_changed_folder(signed, key, change, reason, where):
    change(signed[0])
    error = refusal(*signed, key)
    assert (error.reason, error.where) == (reason, where)


def test_an_unknown_key(signed):
    assert refusal(*signed, PrivateKey.generate("p256"), PrivateKey.generate()).reason == "signature-key"
    assert refusal(*signed).reason == "signature-key"


def test_a_signature_by_another_key_under_a_trusted_hint(signed, key):
    resigned(signed[1], PrivateKey.generate("p256"), lambda s: None)
    assert refusal(*signed, key).reason == "signature"


def test_a_missing_hint_is_no_way_around_the_key(signed, key):
    edited(signed[1], lambda r: r["verificationMaterial"]["publicKey"].clear())
    assert verify_model(*signed, [key.public])
    assert refusal(*signed, PrivateKey.generate("p256")).reason == "signature"


def _payload(record):
    record["dsseEnvelope"]["payload"] = base64.b64encode(b'{"_type":"https://in-toto.io/Statement/v1"}').decode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_payload, "signature"),
        (lambda r: r.update(mediaType="application/json"), "signature-form"),
        (lambda r: r.pop("dsseEnvelope"), "signature-form"),
        (lambda r: r.update(dsseEnvelope=[]), "signature-form"),
        (lambda r: r["dsseEnvelope"].update(payload=7), "signature-form"),
        (lambda r: r["dsseEnvelope"].update(payload="not base64!"), "signature-form"),
        (lambda r: r["dsseEnvelope"].update(payload="é"), "signature-form"),
        (lambda r: r["dsseEnvelope"].update(payloadType="\ud800"), "signature-form"),
        (lambda r: r["dsseEnvelope"].update(signatures=[]), "signature-form"),
        (lambda r: r["dsseEnvelope"].update(signatures=r["dsseEnvelope"]["signatures"] * 2), "signature-form"),
        (lambda r: r["dsseEnvelope"].update(signatures=[{"sig": ""}]), "signature"),
        (lambda r: r["verificationMaterial"]["publicKey"].update(hint="é"), "signature-key"),
        (lambda r: r["verificationMaterial"]["publicKey"].update(hint=[1]), "signature-key"),
        (lambda r: r["verificationMaterial"].pop("tlogEntries"), "signature-form"),
        (
            lambda r: r.update(verificationMaterial={"certificate": {"rawBytes": ""}, "tlogEntries": []}),
            "signature-unsupported",
        ),
    ],
)
def test_a_malformed_bundle(signed, key, change, reason):
    edited(signed[1], change)
    assert refusal(*signed, key).reason == reason


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'{"a":1,"a":1}', b"\xff", b"[" * 900, b"[" * 100_000, b"1" * 5000, b"[]," * 9999]
)  # fmt: skip
def test_a_file_that_is_no_bundle(signed, key, data):
    signed[1].write_bytes(data)
    assert refusal(*signed, key).reason == "signature-form"


def _serialization(**settings):
    return lambda s: s["predicate"]["serialization"].update(settings)


def _resource(**settings):
    return lambda s: s["predicate"]["resources"][0].update(settings)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_serialization(method="shards"), "signature-unsupported"),
        (_serialization(hash_type="blake3"), "signature-unsupported"),
        (_serialization(hash_type="md5"), "signature-unsupported"),
        (_serialization(hash_type=["sha256"]), "signature-unsupported"),
        (_serialization(ignore_paths=[7]), "signature-form"),
        (_serialization(ignore_paths="a"), "signature-form"),
        (_resource(name="../etc/passwd"), "signature-form"),
        (_resource(name="/etc/passwd"), "signature-form"),
        (_resource(name="a//b/c.txt"), "signature-form"),
        (_resource(name=""), "signature-form"),
        (_resource(name=7), "signature-form"),
        (_resource(name="a/z.bin"), "signature-form"),
        (_resource(algorithm="md5"), "signature-form"),
        (_resource(digest="00"), "signature-form"),
        (_resource(digest="é" * 64), "signature-form"),
        (_resource(digest="0" * 64), "signature-form"),
        (lambda s: s["predicate"].update(resources=[]), "signature-form"),
        (lambda s: s["predicate"].update(resources=[7]), "signature-form"),
        (lambda s: s["predicate"]["resources"].pop(), "signature-form"),
        (lambda s: s["predicate"]["resources"].reverse(), "signature-form"),
        (lambda s: s["subject"].append(s["subject"][0]), "signature-form"),
        (lambda s: s.update(subject=[]), "signature-form"),
        (lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"), "signature-form"),
        (lambda s: s.update(_type="x"), "signature-form"),
    ],
)
def test_a_trusted_signer_who_signs_nonsense(signed, key, change, reason):
    resigned(signed[1], key, change)
    assert refusal(*signed, key).reason == reason


def test_ignored_by_a_link_out_of_the_folder_is_not_ignored(signed, key):
    resigned(signed[1], key, _serialization(ignore_paths=["../credit/new", "/", ".", "model.sig", ".git"]))
    assert verify_model(*signed, [key.public])
    (signed[0] / "new").touch()
    assert refusal(*signed, key).reason == "file-unexpected"


def test_a_file_too_large_to_be_a_bundle(signed, key):
    with open(signed[1], "wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(DataError, match="larger"):
        verify_model(*signed, [key.public])


def test_a_folder_deeper_than_the_stack(tmp_path, key):
    model = tmp_path / "m"
    model.mkdir()
    (model / "f").write_bytes(b"1")
    sign_model(model, key, tmp_path / "s.sig")
    made = [f"{model}/" + "d/" * depth for depth in range(1, 1501)]
    for folder in made:
        os.mkdir(folder)
    try:
        assert verify_model(model, tmp_path / "s.sig", [key.public])
    finally:
        for folder in reversed(made):  # what clears up after tests recurses
            os.rmdir(folder)


@pytest.mark.parametrize(("kind", "mask"), [("ed25519", 0x20), ("p256", 0x01), ("p256", 0x80)])
def test_every_flipped_byte_is_refused_or_changes_nothing(tmp_path, kind, mask):
    key, model, bundle = PrivateKey.generate(kind), tmp_path / "m", tmp_path / "m.sig"
    model.write_bytes(b"weights")
    made, keys = sign_model(model, key, bundle), [key.public]
    data = bundle.read_bytes()
    refused = 0
    for at in range(len(data)):
        bundle.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
        try:
            assert verify_model(model, bundle, keys) == made
        except VerificationError:
            refused += 1
    assert refused > 0.95 * len(data)


def test_every_truncation_is_refused(signed, key):
    data = signed[1].read_bytes()
    for end in range(0, len(data), 7):
        signed[1].write_bytes(data[:end])
        assert refusal(*signed, key).reason == "signature-form"


# -- any names and any bytes ------------------------------------------------------------------------------------------

_part = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda t: t not in {".", ".."} and len(t.encode()) < 200
)
_names = st.lists(st.lists(_part, min_size=1, max_size=3).map("/".join), min_size=1, max_size=6, unique=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(names=_names, data=st.data())
def test_any_names_round_trip_and_any_changed_file_is_named(names, data, key):
    with tempfile.TemporaryDirectory() as scratch:
        model, bundle, written = Path(scratch) / "m", Path(scratch) / "m.sig", []
        for name in names:
            path = model / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(name.encode())
            except OSError:  # one name is a folder in another
                continue
            written.append(path.relative_to(model).as_posix())
        kept = {n for n in written if n.split("/")[0] not in {".git", ".github", ".gitignore", ".gitattributes"}}
        if not kept:
            return
        made = sign_model(model, key, bundle)
        assert set(made) == kept
        assert verify_model(model, bundle, [key.public]) == made
        victim = data.draw(st.sampled_from(sorted(kept)))
        (model / victim).write_bytes(b"\0other")
        assert refusal(model, bundle, key).reason == "file-changed"
        (model / victim).unlink()
        assert refusal(model, bundle, key).reason == "file-missing"


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300) | st.recursive(st.none() | st.text(max_size=5) | st.integers(), st.lists).map(
    lambda v: json.dumps({"mediaType": MEDIA_TYPE, "dsseEnvelope": {"payload": v}, "verificationMaterial": {"publicKey": v}}).encode()
))  # fmt: skip
def test_any_bytes_end_in_a_refusal(data, key):
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "s.sig"
        bundle.write_bytes(data)
        with pytest.raises(AssayError):
            verify_model(bundle, bundle, [key.public])
