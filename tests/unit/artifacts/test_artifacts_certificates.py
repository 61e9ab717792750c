"""Model signatures by certificate: exchanged with ``model_signing`` both ways, and every broken chain refused."""

from __future__ import annotations

import base64
import json
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.artifacts.certificates import sign_with_certificate, verify_with_certificate
from assay.artifacts.chain import check_chain, read_certificates
from assay.artifacts.oms import sign_model, verify_model
from assay.core.errors import AssayError, FormatError, SettingError, VerificationError
from assay.core.keys import PrivateKey

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)
_NO_USAGE = dict.fromkeys(
    ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
    False,
)
_FOR_CODE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])


def usage(sign=False, certify=False):
    return x509.KeyUsage(digital_signature=sign, key_cert_sign=certify, crl_sign=certify, **_NO_USAGE)


def make(
    name, issuer=None, *, ca=False, length=None, key=None, start=NOW - timedelta(days=30), days=365,
    key_usage=..., purposes=..., names=(), more=(), hashed=None,
):  # fmt: skip
    """A certificate and its key; issuer: a pair of the same kind, None for one that signs itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    above, above_key = issuer or (None, key)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(above.subject if above else subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(start).not_valid_after(start + timedelta(days=days))
    )  # fmt: skip
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, length if ca else None), critical=True)
    if key_usage is ...:
        key_usage = usage(sign=not ca, certify=bool(ca))
    if key_usage:
        builder = builder.add_extension(key_usage, critical=True)
    if purposes is ...:
        purposes = None if ca else _FOR_CODE
    if purposes:
        builder = builder.add_extension(purposes, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical)
    return builder.sign(above_key, hashed or hashes.SHA256()), key


@pytest.fixture(scope="module")
def pki():
    root = make("root", ca=True)
    middle = make("middle", root, ca=True, length=0)
    leaf = make("Ada", middle, names=[x509.RFC822Name("ada@example.com"), x509.DNSName("build.example.com")])
    return root, middle, leaf


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "weights.onnx").write_bytes(b"weights")
    (folder / "README.md").write_bytes(b"read me")
    return folder


@pytest.fixture
def signed(tmp_path, model, pki):
    _, middle, leaf = pki
    sign_with_certificate(model, PrivateKey(leaf[1]), (leaf[0], middle[0]), tmp_path / "s.sig")
    return tmp_path / "s.sig"


def reason(*arguments, at=NOW, **named):
    with pytest.raises(VerificationError) as caught:
        verify_with_certificate(*arguments, at=at, **named)
    return caught.value.reason


def chain_reason(chain, roots, at=NOW):
    with pytest.raises(VerificationError) as caught:
        check_chain([c for c, _ in chain], [c for c, _ in roots], at)
    return caught.value.reason


def test_the_signer_is_named_by_the_chain(model, signed, pki):
    root = pki[0][0]
    for subject in (None, "ada@example.com", "build.example.com"):
        found = verify_with_certificate(model, signed, [root], subject=subject, at=NOW)
        assert found.names == ("ada@example.com", "build.example.com")
    assert set(found.files) == {"weights.onnx", "README.md"}
    assert reason(model, signed, [root], subject="eve@example.com") == "certificate-subject"
    assert reason(model, signed, [root], subject="CN=Ada") == "certificate-subject"
    (model / "weights.onnx").write_bytes(b"weightz")
    assert reason(model, signed, [root]) == "file-changed"


@pytest.mark.parametrize("at", [NOW - timedelta(days=31), NOW + timedelta(days=336)])
def test_at_another_time(model, signed, pki, at):
    assert reason(model, signed, [pki[0][0]], at=at) == "certificate-expired"


def test_a_time_without_a_zone_is_no_time(model, signed, pki):
    with pytest.raises(SettingError, match="zone"):
        verify_with_certificate(model, signed, [pki[0][0]], at=NOW.replace(tzinfo=None))


def test_another_root_or_none(model, signed, pki):
    assert reason(model, signed, [make("root", ca=True)[0]]) == "certificate-root"
    assert reason(model, signed, []) == "certificate-root"
    assert reason(model, signed, [pki[2][0]]) == "certificate-root", "a leaf is no root of itself"
    assert verify_with_certificate(model, signed, [pki[1][0]], at=NOW), "a verifier may trust the middle alone"


def test_broken_chains(pki):
    root, middle, leaf = pki
    assert len(check_chain([leaf[0], middle[0], root[0]], [root[0]], NOW)) == 3
    assert chain_reason([leaf], [root]) == "certificate-root"
    for odd, expected in (
        (make("x", middle, key_usage=None), "certificate-usage"),
        (make("x", middle, key_usage=usage(certify=True)), "certificate-usage"),
        (make("x", middle, purposes=None), "certificate-usage"),
        (make("x", middle, purposes=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])), "certificate-usage"),
        (make("x", middle, ca=True, purposes=_FOR_CODE, key_usage=usage(sign=True)), "certificate-usage"),
        (make("x", middle, start=NOW + timedelta(days=1)), "certificate-expired"),
        (make("x", middle, days=1), "certificate-expired"),
        (make("x", more=()), "certificate-root"),
        (
            make("x", middle, more=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)]),
            "certificate-form",
        ),
        (make("x", middle, key=rsa.generate_private_key(65537, 1024)), "certificate-form"),
    ):
        assert chain_reason([odd, middle], [root]) == expected


def test_issuers_that_may_not_issue(pki):
    root = pki[0]
    only = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    limits = x509.NameConstraints([x509.DNSName("a.example")], None)
    for settings_, expected in (
        ({"ca": False, "key_usage": usage(certify=True), "purposes": None}, "certificate-usage"),
        ({"ca": None}, "certificate-usage"),
        ({"ca": True, "key_usage": usage(sign=True)}, "certificate-usage"),
        ({"ca": True, "purposes": only}, "certificate-usage"),
        ({"ca": True, "days": 1}, "certificate-expired"),
        ({"ca": True, "more": [(limits, True)]}, "certificate-form"),
    ):
        middle = make("odd", root, **settings_)
        assert chain_reason([make("x", middle), middle], [root]) == expected
    short = make("short", root, ca=True, length=0)
    below = make("below", short, ca=True)
    assert chain_reason([make("x", below), below, short], [root]) == "certificate-usage"
    impostor = make("root", ca=True)
    assert chain_reason([make("x", impostor), impostor], [root]) == "certificate-root"
    old = make("old root", ca=True, days=1)
    assert chain_reason([make("x", old)], [old]) == "certificate-expired"


def test_a_long_chain_ends(pki):
    chain = [make("0", pki[0], ca=True)]
    for depth in range(1, 12):
        chain.insert(0, make(str(depth), chain[0], ca=True))
    assert chain_reason([make("x", chain[0]), *chain], [pki[0]]) == "certificate-root"
    ring = [make("same", ca=True, key=pki[1][1]) for _ in range(14)]
    assert chain_reason([make("x", ring[0]), *ring], [pki[0]]) == "certificate-root"


def test_what_cannot_sign(tmp_path, model, pki):
    with pytest.raises(SettingError, match="not for this key"):
        sign_with_certificate(model, PrivateKey.generate("p256"), [pki[2][0]], tmp_path / "n.sig")
    with pytest.raises(SettingError, match="needed"):
        sign_with_certificate(model, PrivateKey.generate("p256"), [], tmp_path / "n.sig")
    (tmp_path / "x.pem").write_bytes(b"none")
    with pytest.raises(FormatError, match="PEM"):
        read_certificates(tmp_path / "x.pem")
    assert not (tmp_path / "n.sig").exists()


def test_a_key_bundle_and_a_certificate_bundle_are_not_mistaken(tmp_path, model, signed, pki):
    key = PrivateKey(pki[2][1])
    with pytest.raises(VerificationError) as caught:
        verify_model(model, signed, [key.public])
    assert caught.value.reason == "signature-unsupported"
    sign_model(model, key, tmp_path / "k.sig")
    assert reason(model, tmp_path / "k.sig", [pki[0][0]]) == "signature-unsupported"


def _chain(change):
    return lambda r: change(r["verificationMaterial"]["x509CertificateChain"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_chain(lambda c: c.update(certificates=[])), "certificate-form"),
        (_chain(lambda c: c.update(certificates=[7])), "certificate-form"),
        (_chain(lambda c: c.update(certificates=c["certificates"] * 9)), "certificate-form"),
        (_chain(lambda c: c.update(more=1)), "certificate-form"),
        (_chain(lambda c: c["certificates"][0].update(rawBytes="AAAA")), "certificate-form"),
        (_chain(lambda c: c["certificates"][0].update(rawBytes="é")), "certificate-form"),
        (_chain(lambda c: c["certificates"].reverse()), "certificate-usage"),
        (_chain(lambda c: c["certificates"].pop()), "certificate-root"),
        (lambda r: r["verificationMaterial"].update(tlogEntries=[{}]), "certificate-form"),
        (lambda r: r["verificationMaterial"].update(publicKey={}), "certificate-form"),
        (lambda r: r["dsseEnvelope"]["signatures"][0].update(sig=base64.b64encode(b"0" * 70).decode()), "signature"),
    ],
)
def test_a_changed_bundle(model, signed, pki, change, expected):
    record = json.loads(signed.read_bytes())
    change(record)
    signed.write_text(json.dumps(record))
    assert reason(model, signed, [pki[0][0]]) == expected


# -- with the other implementation ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_exchanged_with_the_peer_both_ways(tmp_path, model, pki, curve):
    peer = pytest.importorskip("model_signing")
    root, middle, _ = pki
    leaf = make("Ada", middle, key=ec.generate_private_key(curve()))
    PrivateKey(leaf[1]).write(tmp_path / "k")
    for name, (certificate, _key) in {"root": root, "middle": middle, "leaf": leaf}.items():
        (tmp_path / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    verifier = peer.verifying.Config().use_certificate_verifier(certificate_chain=[tmp_path / "root.pem"])
    chain = read_certificates(tmp_path / "leaf.pem", tmp_path / "middle.pem", tmp_path / "root.pem")
    sign_with_certificate(model, PrivateKey(leaf[1]), chain, tmp_path / "ours.sig")
    verifier.verify(model, tmp_path / "ours.sig")
    peer.signing.Config().use_certificate_signer(
        private_key=tmp_path / "k", signing_certificate=tmp_path / "leaf.pem",
        certificate_chain=[tmp_path / "middle.pem"],
    ).sign(model, tmp_path / "theirs.sig")  # fmt: skip
    found = verify_with_certificate(model, tmp_path / "theirs.sig", [root[0]], subject="CN=Ada", at=NOW)
    assert set(found.files) == {"weights.onnx", "README.md"}
    (model / "README.md").write_bytes(b"other")
    assert reason(model, tmp_path / "theirs.sig", [root[0]]) == "file-changed"
    with pytest.raises(ValueError, match="mismatch"):
        verifier.verify(model, tmp_path / "ours.sig")


# -- every byte -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(pki, tmp_path_factory):
    """A signed file by each way to sign, and how to verify it."""
    root, middle, leaf = pki
    made = {}
    for way in ("ed25519", "p256", "certificate"):
        folder = tmp_path_factory.mktemp(way)
        model, bundle = folder / "m", folder / "m.sig"
        model.write_bytes(b"weights of a model")
        if way == "certificate":
            sign_with_certificate(model, PrivateKey(leaf[1]), (leaf[0], middle[0]), bundle)
            check = lambda m, b: verify_with_certificate(m, b, [root[0]], at=NOW)  # noqa: E731
        else:
            key = PrivateKey.generate(way)
            sign_model(model, key, bundle)
            check = lambda m, b, key=key: verify_model(m, b, [key.public])  # noqa: E731
        check(model, bundle)
        made[way] = (model.read_bytes(), bundle.read_bytes(), check)
    return made


def _refused(check, data, record):
    with tempfile.TemporaryDirectory() as scratch:
        model, bundle = Path(scratch) / "m", Path(scratch) / "m.sig"
        model.write_bytes(data)
        bundle.write_bytes(record)
        with pytest.raises(VerificationError):
            check(model, bundle)


@pytest.mark.parametrize("way", ["ed25519", "p256", "certificate"])
def test_every_byte_of_the_bundle_counts(three, way, tmp_path):
    data, record, check = three[way]
    model, bundle = tmp_path / "m", tmp_path / "m.sig"
    model.write_bytes(data)
    for at in range(len(record)):
        bundle.write_bytes(record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :])
        with pytest.raises(VerificationError):
            check(model, bundle)


@settings(max_examples=300, deadline=None)
@given(
    way=st.sampled_from(["ed25519", "p256", "certificate"]),
    at=st.floats(0, 1, exclude_max=True),
    mask=st.integers(1, 255),
)
def test_any_one_byte_of_model_or_bundle(three, way, at, mask):
    data, record, check = three[way]
    place = int(at * (len(data) + len(record)))
    both = bytearray(data + record)
    both[place] ^= mask
    _refused(check, bytes(both[: len(data)]), bytes(both[len(data) :]))


@settings(max_examples=100, deadline=None)
@given(
    way=st.sampled_from(["ed25519", "p256", "certificate"]),
    at=st.floats(0, 1, exclude_max=True),
    mask=st.integers(1, 255),
)
def test_any_one_byte_of_the_statement(three, way, at, mask):
    data, record, check = three[way]
    parsed = json.loads(record)
    payload = bytearray(base64.b64decode(parsed["dsseEnvelope"]["payload"]))
    payload[int(at * len(payload))] ^= mask
    parsed["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    _refused(check, data, json.dumps(parsed).encode())


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes_as_a_certificate_end_in_a_refusal(data, three):
    model, record, check = three["certificate"]
    parsed = json.loads(record)
    parsed["verificationMaterial"]["x509CertificateChain"]["certificates"][0]["rawBytes"] = base64.b64encode(
        data
    ).decode()
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "m").write_bytes(model)
        (Path(scratch) / "s").write_text(json.dumps(parsed))
        with pytest.raises(AssayError):
            check(Path(scratch) / "m", Path(scratch) / "s")
