"""Sigstore identities: verified offline against a trust root of one's own, and refused for whatever is wrong."""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

sigstore = pytest.importorskip("sigstore")
pytest.importorskip("asn1crypto")
sys.path.insert(0, str(Path(__file__).parent))

from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: E402
from sigstore_world import IDENTITY, ISSUER, START, World  # noqa: E402

from assay.artifacts.manifest import list_model, read_content  # noqa: E402
from assay.artifacts.sigstore_bundle import sign_keyless, verify_keyless  # noqa: E402
from assay.core.errors import (  # noqa: E402
    DependencyError,
    FormatError,
    JobError,
    SettingError,
    VerificationError,
)


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture
def root(tmp_path, world):
    path = tmp_path / "trusted_root.json"
    path.write_text(json.dumps(world.trusted_root()))
    return path


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "weights.onnx").write_bytes(b"weights")
    (folder / "README.md").write_bytes(b"read me")
    return folder


def statement_of(model, bundle):
    return read_content(list_model(model, bundle)).statement()


@pytest.fixture
def signed(tmp_path, model, world):
    bundle = tmp_path / "m.sigstore.json"
    bundle.write_text(json.dumps(world.bundle(statement_of(model, bundle))))
    return bundle


def refusal(model, bundle, root, identity=IDENTITY, issuer=ISSUER):
    with pytest.raises(VerificationError) as caught:
        verify_keyless(model, bundle, identity, issuer, root)
    return caught.value.reason


def test_a_logged_signature_holds_offline(model, signed, root, monkeypatch):
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("went to the network"))
    found = verify_keyless(model, signed, IDENTITY, ISSUER, root)
    assert found.names == (IDENTITY,)
    assert set(found.files) == {"weights.onnx", "README.md"}


@pytest.mark.filterwarnings("ignore")
def test_the_peer_verifies_the_same_bundle(tmp_path, model, signed, world):
    model_signing = pytest.importorskip("model_signing")
    config = tmp_path / "config.json"
    config.write_text(json.dumps(world.trust_config()))
    verifier = model_signing.verifying.Config().use_sigstore_verifier(
        identity=IDENTITY, oidc_issuer=ISSUER, trust_config=config
    )
    verifier.verify(model, signed)
    assert verify_keyless(model, signed, IDENTITY, ISSUER, config)


@pytest.mark.parametrize(
    ("identity", "issuer"),
    [("eve@example.com", ISSUER), (IDENTITY, "https://evil.example.com"), (IDENTITY.upper(), ISSUER)],
)
def test_another_identity_or_issuer(model, signed, root, identity, issuer):
    assert refusal(model, signed, root, identity, issuer) == "signature-identity"


@pytest.mark.parametrize(("identity", "issuer"), [("", ISSUER), (IDENTITY, "")])
def test_without_an_identity_and_issuer_nothing_is_verified(model, signed, root, identity, issuer):
    with pytest.raises(SettingError, match="both needed"):
        verify_keyless(model, signed, identity, issuer, root)


@pytest.mark.parametrize("part", ["authority", "certificate_log", "rekor", "all"])
def test_another_trust_root(model, signed, world, tmp_path, part):
    other = World()
    mixed = World(
        *(getattr(other if part in {p, "all"} else world, p) for p in ("authority", "certificate_log", "rekor"))
    )
    if part not in {"authority", "all"}:
        mixed.root = world.root
    path = tmp_path / "other.json"
    path.write_text(json.dumps(mixed.trusted_root()))
    assert refusal(model, signed, path) == "signature"


def test_a_changed_model(model, signed, root):
    (model / "weights.onnx").write_bytes(b"weightz")
    assert refusal(model, signed, root) == "file-changed"
    (model / "weights.onnx").unlink()
    assert refusal(model, signed, root) == "file-missing"


def _payload(record):
    record["dsseEnvelope"]["payload"] = base64.b64encode(
        base64.b64decode(record["dsseEnvelope"]["payload"]).replace(b"weights", b"weighty")
    ).decode()


def _proof(**changes):
    def change(record):
        record["verificationMaterial"]["tlogEntries"][0]["inclusionProof"].update(changes)

    return change


def _entry(**changes):
    return lambda r: r["verificationMaterial"]["tlogEntries"][0].update(changes)


def _checkpoint(record):
    proof = record["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    text = proof["checkpoint"]["envelope"]
    proof["checkpoint"]["envelope"] = text.replace("small rekor - 1\n", "small rekor - 2\n")


def _forged_checkpoint(record):
    proof = record["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    other = World().entry(b"", b"", World().root, START)["inclusionProof"]
    proof["checkpoint"] = other["checkpoint"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_payload, "signature"),
        (_checkpoint, "signature"),
        (_forged_checkpoint, "signature"),
        (_proof(hashes=[]), "signature"),
        (_proof(treeSize="1000000"), "signature"),
        (_proof(treeSize="-1"), "signature-form"),
        (_proof(rootHash=base64.b64encode(b"\0" * 32).decode()), "signature"),
        (_proof(checkpoint={"envelope": "é"}), "signature"),
        (_entry(integratedTime=str(int((START + timedelta(minutes=5)).timestamp()))), "signature"),
        (_entry(integratedTime="99999999999999999"), "signature"),
        (_entry(logIndex="3"), "signature"),
        (_entry(kindVersion={"kind": "hashedrekord", "version": "0.0.1"}), "signature"),
        (_entry(canonicalizedBody=base64.b64encode(b"{}").decode()), "signature"),
        (_entry(inclusionPromise=None), "signature-form"),
        (lambda r: r["verificationMaterial"].update(tlogEntries=[]), "signature-unsupported"),
        (lambda r: r["verificationMaterial"].update(certificate={"rawBytes": "AAAA"}), "signature-form"),
        (lambda r: r["verificationMaterial"].update(publicKey={"hint": ""}), "signature-form"),
        (lambda r: r["dsseEnvelope"]["signatures"].clear(), "signature-form"),
        (lambda r: r.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"), "signature-form"),
        (lambda r: r.update(extra=1), "signature-form"),
    ],
)
def test_a_changed_bundle(model, signed, root, change, reason):
    record = json.loads(signed.read_bytes())
    change(record)
    signed.write_text(json.dumps(record))
    assert refusal(model, signed, root) == reason


def test_two_signatures_exchanged(model, signed, root, world):
    other = world.bundle(statement_of(model, signed))
    for part in ("certificate", "tlogEntries"):
        record = json.loads(signed.read_bytes())
        record["verificationMaterial"][part] = other["verificationMaterial"][part]
        path = signed.with_name("mixed.json")
        path.write_text(json.dumps(record))
        assert refusal(model, path, root) == "signature"


@pytest.mark.parametrize("minutes", [-1, 11, 60 * 24])
def test_a_certificate_that_was_not_valid_when_it_was_logged(model, signed, root, world, minutes):
    made = world.bundle(statement_of(model, signed), signed=START + timedelta(minutes=minutes))
    signed.write_text(json.dumps(made))
    assert refusal(model, signed, root) == "signature"


def test_a_certificate_for_something_else(model, signed, root, world):
    made = world.bundle(statement_of(model, signed), purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    signed.write_text(json.dumps(made))
    assert refusal(model, signed, root) == "signature"


def test_a_statement_about_no_model(model, signed, root, world):
    for payload in (b"{}", b"null", b'{"_type":"https://in-toto.io/Statement/v1"}', b"\xff"):
        signed.write_text(json.dumps(world.bundle(payload)))
        assert refusal(model, signed, root) == "signature-form"


@pytest.mark.parametrize("text", ["", "{}", "[]", "clienttrustconfig", '{"mediaType": "x"}', "\x00"])
def test_no_trust_root(model, signed, tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(FormatError):
        verify_keyless(model, signed, IDENTITY, ISSUER, path)


def test_flipped_bytes_are_refused_or_change_nothing(model, signed, root):
    data, refused, tried = signed.read_bytes(), 0, 0
    for at in range(3, len(data), 29):
        tried += 1
        signed.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            verify_keyless(model, signed, IDENTITY, ISSUER, root)
        except VerificationError:
            refused += 1
    assert refused > 0.95 * tried


def test_without_sigstore_the_remedy_is_named(model, signed, root, monkeypatch):
    monkeypatch.setitem(sys.modules, "sigstore.verify", None)
    with pytest.raises(DependencyError, match=r"assay\[sigstore\]"):
        verify_keyless(model, signed, IDENTITY, ISSUER, root)


# -- signing, with services on this machine ---------------------------------------------------------------------------


def _token(**claims):
    now = int(time.time())
    content = {"aud": "sigstore", "sub": IDENTITY, "iat": now - 5, "exp": now + 300, "iss": ISSUER, **claims}
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in ({"alg": "HS256"}, content)]
    return ".".join([*parts, "AA"])


@pytest.fixture
def services(tmp_path):
    world = World()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            data = json.dumps(world.respond(self.path, body)).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    world.url = f"http://127.0.0.1:{server.server_port}"
    config = tmp_path / "config.json"
    config.write_text(json.dumps(world.trust_config()))
    yield config
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_signing_without_a_key_then_verifying(tmp_path, model, services, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    bundle = tmp_path / "s.json"
    made = sign_keyless(model, bundle, _token(), services)
    found = verify_keyless(model, bundle, IDENTITY, ISSUER, services)
    assert dict(found.files) == dict(made)
    (model / "README.md").write_bytes(b"other")
    assert refusal(model, bundle, services) == "file-changed"


@pytest.mark.parametrize("token", ["", "a.b.c", _token(exp=5), _token(aud="other")])
def test_a_token_that_is_none_is_refused_and_not_shown(tmp_path, model, world, token):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(world.trust_config()))
    with pytest.raises(SettingError) as caught:
        sign_keyless(model, tmp_path / "s.json", token, config)
    assert not token or token not in str(caught.value)
    assert not (tmp_path / "s.json").exists()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_services_that_are_not_there(tmp_path, model, world, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    config = tmp_path / "config.json"
    config.write_text(json.dumps(world.trust_config()))
    with pytest.raises(JobError, match="did not sign"):
        sign_keyless(model, tmp_path / "s.json", _token(), config)
    config.write_text("{}")
    with pytest.raises(FormatError, match="trust configuration"):
        sign_keyless(model, tmp_path / "s.json", _token(), config)
