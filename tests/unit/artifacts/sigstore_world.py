"""A small Sigstore of one's own: authority, certificate log and transparency log, for tests without a network."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from asn1crypto import core as asn1
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from assay.core.canonical import canonical_bytes
from assay.core.statement import PAYLOAD_TYPE, Statement, pae

START = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
IDENTITY, ISSUER = "ada@example.com", "https://accounts.example.com"
_SCT = "1.3.6.1.4.1.11129.2.4.2"


def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def spki(k: ec.EllipticCurvePrivateKey) -> bytes:
    return k.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sign(k: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return k.sign(data, ec.ECDSA(hashes.SHA256()))


def _leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    at = 1 << ((len(leaves) - 1).bit_length() - 1)
    return _node(_root(leaves[:at]), _root(leaves[at:]))


def _proof(leaves: list[bytes], index: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    at = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < at:
        return [*_proof(leaves[:at], index), _root(leaves[at:])]
    return [*_proof(leaves[at:], index - at), _root(leaves[:at])]


@dataclass
class World:
    """authority, certificate log and Rekor, each with its key; ``entries`` are Rekor's."""

    authority: ec.EllipticCurvePrivateKey = field(default_factory=key)
    certificate_log: ec.EllipticCurvePrivateKey = field(default_factory=key)
    rekor: ec.EllipticCurvePrivateKey = field(default_factory=key)
    entries: list[bytes] = field(default_factory=lambda: [b"one", b"two", b"three", b"four", b"five"])
    url: str = "http://127.0.0.1:9"

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "small fulcio")])
        usage = {"digital_signature": False, "content_commitment": False, "key_encipherment": False}
        usage |= {"data_encipherment": False, "key_agreement": False, "encipher_only": False, "decipher_only": False}
        self.root = (
            x509.CertificateBuilder()
            .subject_name(name).issuer_name(name).public_key(self.authority.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(START - timedelta(days=1)).not_valid_after(START + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.authority.public_key()), critical=False)
            .sign(self.authority, hashes.SHA256())
        )  # fmt: skip

    def trusted_root(self) -> dict[str, object]:
        valid = {"start": "2025-01-01T00:00:00Z"}

        def log(k, url):
            public = {"rawBytes": b64(spki(k)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid}
            identifier = {"keyId": b64(hashlib.sha256(spki(k)).digest())}
            return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": identifier}

        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.rekor, self.url)],
            "certificateAuthorities": [{
                "subject": {"organization": "small", "commonName": "small fulcio"}, "uri": self.url,
                "certChain": {"certificates": [{"rawBytes": b64(self.root.public_bytes(Encoding.DER))}]},
                "validFor": valid,
            }],
            "ctlogs": [log(self.certificate_log, f"{self.url}/ct")],
            "timestampAuthorities": [],
        }  # fmt: skip

    def trust_config(self) -> dict[str, object]:
        def service(url):
            return [{"url": url, "majorApiVersion": 1, "validFor": {"start": "2025-01-01T00:00:00Z"}, "operator": "x"}]

        signing = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json", "caUrls": service(self.url),
            "oidcUrls": service(self.url), "rekorTlogUrls": service(self.url), "tsaUrls": [],
            "rekorTlogConfig": {"selector": "ANY"}, "tsaConfig": {"selector": "ANY"},
        }  # fmt: skip
        kind = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
        return {"mediaType": kind, "trustedRoot": self.trusted_root(), "signingConfig": signing}

    def certify(
        self, public, *, start: datetime = START, identity: str = IDENTITY, issuer: str = ISSUER, purpose=None
    ) -> x509.Certificate:
        """A certificate for ten minutes, logged: it carries the log's signed timestamp."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([])).issuer_name(self.root.subject).public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start).not_valid_after(start + timedelta(minutes=10))
            .add_extension(x509.KeyUsage(True, *[False] * 8), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose or ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(identity)]), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()), critical=False
            )
            .add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), issuer.encode()), False
            )
        )  # fmt: skip
        return self._logged(builder.sign(self.authority, hashes.SHA256()), start)

    def _logged(self, certificate: x509.Certificate, moment: datetime) -> x509.Certificate:
        entry = certificate.tbs_certificate_bytes
        stamp = int(moment.timestamp() * 1000)
        issuer = hashlib.sha256(spki(self.authority)).digest()
        sized = struct.pack("!I", len(entry))[1:] + entry
        signed = sign(self.certificate_log, struct.pack("!BBQH", 0, 0, stamp, 1) + issuer + sized + b"\0\0")
        log = hashlib.sha256(spki(self.certificate_log)).digest()
        sct = b"\0" + log + struct.pack("!Q", stamp) + b"\0\0" + b"\4\3" + struct.pack("!H", len(signed)) + signed
        listed = struct.pack("!H", len(sct) + 2) + struct.pack("!H", len(sct)) + sct
        made = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
        tbs = made["tbs_certificate"]
        value = asn1.ParsableOctetString(asn1.OctetString(listed).dump())
        tbs["extensions"].append(asn1_x509.Extension({"extn_id": _SCT, "critical": False, "extn_value": value}))
        final = asn1_x509.Certificate({
            "tbs_certificate": tbs, "signature_algorithm": made["signature_algorithm"],
            "signature_value": sign(self.authority, tbs.dump(force=True)),
        })  # fmt: skip
        return x509.load_der_x509_certificate(final.dump())

    def entry(self, payload: bytes, signature: bytes, certificate: x509.Certificate, moment: datetime) -> dict:
        """Log a DSSE envelope as Rekor v1 does; return the entry as in a bundle."""
        body = canonical_bytes({
            "apiVersion": "0.0.1", "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(b"envelope" + payload).hexdigest()},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
                "signatures": [{"signature": b64(signature), "verifier": b64(certificate.public_bytes(Encoding.PEM))}],
            },
        })  # fmt: skip
        self.entries.append(body)
        index, when = len(self.entries) - 1, int(moment.timestamp())
        leaves = [_leaf_hash(e) for e in self.entries]
        root, log = _root(leaves), hashlib.sha256(spki(self.rekor)).digest()
        note = f"small rekor - 1\n{len(leaves)}\n{b64(root)}\n"
        checkpoint = f"{note}\n\u2014 rekor {b64(log[:4] + sign(self.rekor, note.encode()))}\n"
        promise = {"body": b64(body), "integratedTime": when, "logID": log.hex(), "logIndex": index}
        return {
            "logIndex": str(index), "logId": {"keyId": b64(log)}, "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(when),
            "inclusionPromise": {"signedEntryTimestamp": b64(sign(self.rekor, canonical_bytes(promise)))},
            "inclusionProof": {
                "logIndex": str(index), "rootHash": b64(root), "treeSize": str(len(leaves)),
                "hashes": [b64(h) for h in _proof(leaves, index)], "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": b64(body),
        }  # fmt: skip

    def bundle(self, statement: Statement | bytes, *, signed: datetime = START + timedelta(minutes=1), **named) -> dict:
        """A bundle v0.3 for a statement, as sigstore's client would write it."""
        payload = statement if isinstance(statement, bytes) else canonical_bytes(statement.to_json())
        private = key()
        certificate = self.certify(private.public_key(), **named)
        signature = sign(private, pae(PAYLOAD_TYPE, payload))
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": b64(certificate.public_bytes(Encoding.DER))},
                "tlogEntries": [self.entry(payload, signature, certificate, signed)],
            },
            "dsseEnvelope": {
                "payload": b64(payload), "payloadType": PAYLOAD_TYPE, "signatures": [{"sig": b64(signature)}]
            },
        }  # fmt: skip

    def respond(self, path: str, body: dict) -> dict:
        """What Fulcio and Rekor answer to sigstore's client."""
        now = datetime.now(timezone.utc).replace(microsecond=0)
        if path.endswith("/signingCert"):
            request = x509.load_pem_x509_csr(base64.b64decode(body["certificateSigningRequest"]))
            made = self.certify(request.public_key(), start=now - timedelta(minutes=1))
            chain = [c.public_bytes(Encoding.PEM).decode() for c in (made, self.root)]
            return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}
        proposed = body["spec"]["proposedContent"]
        envelope = json.loads(proposed["envelope"])
        certificate = x509.load_pem_x509_certificate(base64.b64decode(proposed["verifiers"][0]))
        payload, signature = (base64.b64decode(t) for t in (envelope["payload"], envelope["signatures"][0]["sig"]))
        made = self.entry(payload, signature, certificate, now)
        proof = made["inclusionProof"]
        hexed = [base64.b64decode(h).hex() for h in proof["hashes"]]
        return {"uuid": {
            "body": made["canonicalizedBody"], "integratedTime": int(made["integratedTime"]),
            "logID": base64.b64decode(made["logId"]["keyId"]).hex(), "logIndex": int(made["logIndex"]),
            "verification": {
                "signedEntryTimestamp": made["inclusionPromise"]["signedEntryTimestamp"],
                "inclusionProof": {
                    "checkpoint": proof["checkpoint"]["envelope"], "hashes": hexed, "logIndex": int(proof["logIndex"]),
                    "rootHash": base64.b64decode(proof["rootHash"]).hex(), "treeSize": int(proof["treeSize"]),
                },
            },
        }}  # fmt: skip
