"""OpenSSF Model Signing v1 with certificates: a company's own authority says whose key signed a model.

The bundle holds the signer's certificate and those between it and the root. Bundles are exchanged both ways with
``model_signing sign certificate`` and ``verify certificate``. Unlike that command, which takes the day of issue for the
day of signing, verifying asks whether the certificates hold at a time that the verifier gives, by default now:
nothing in such a bundle proves when it was made.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from assay.artifacts.chain import check_chain, decode_certificates, names_of, unreadable
from assay.artifacts.digest_store import DigestStore
from assay.artifacts.manifest import (
    Content,
    check_curve,
    compare_model,
    list_model,
    open_envelope,
    read_bundle,
    read_content,
    refusal,
    write_bundle,
)
from assay.core.clock import system_clock
from assay.core.digest import Digest
from assay.core.errors import FormatError, SettingError, UnsupportedError
from assay.core.keys import PrivateKey, PublicKey
from assay.core.statement import Envelope

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


@dataclass(frozen=True, slots=True)
class Vouched:
    """A model that somebody is vouched to have signed. files: path -> digest; names: of the signer, authenticated."""

    files: Mapping[str, Digest]
    names: tuple[str, ...]


def sign_with_certificate(
    model: str | os.PathLike[str],
    key: PrivateKey,
    chain: Sequence[Certificate],
    bundle: str | os.PathLike[str],
    *,
    ignore: Iterable[str] = (),
    digests: DigestStore | None = None,
) -> Mapping[str, Digest]:
    """Sign a model file or folder and write the bundle with the signer's certificates; return path -> digest.

    chain: the signer's certificate, then those that lead to the root. Raises as ``sign_content_with_certificate``,
    and DataError as ``sign_model`` does.
    """
    _matching(key, chain)
    content = read_content(list_model(model, bundle, ignore), digests)
    sign_content_with_certificate(content, key, chain, bundle)
    return content.files


def sign_content_with_certificate(
    content: Content, key: PrivateKey, chain: Sequence[Certificate], bundle: str | os.PathLike[str]
) -> None:
    """Sign files that have been read, and write the bundle; a root among the certificates is left out of it.

    Raises SettingError when the first certificate is not for this key, UnsupportedError for a curve that others cannot
    verify.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    _matching(key, chain)
    kept = [c for c in chain if c is chain[0] or c.issuer != c.subject]
    encoded = [{"rawBytes": base64.b64encode(c.public_bytes(Encoding.DER)).decode()} for c in kept]
    material = {"x509CertificateChain": {"certificates": encoded}}
    write_bundle(bundle, material, Envelope.of(content.statement(), key))


def verify_with_certificate(
    model: str | os.PathLike[str],
    bundle: str | os.PathLike[str],
    roots: Iterable[Certificate],
    *,
    subject: str | None = None,
    at: datetime | None = None,
    ignore: Iterable[str] = (),
    digests: DigestStore | None = None,
) -> Vouched:
    """Return what was signed and by whom, when a certificate that leads to one of ``roots`` signed just these files.

    subject: whom it must be (see ``names_of``); without one, anybody with a certificate for code signing will do.
    at: when the certificates must hold, default now. Raises VerificationError: those of ``check_chain``,
    certificate-subject, certificate-form, and those of ``verify_model``.
    """
    source, moment = Path(bundle), at or system_clock()
    if moment.tzinfo is None:
        raise SettingError("a time without a zone says no moment", remedy="Use a UTC time")
    material, envelope = read_bundle(source)
    leaf, *others = _certificates(material, source)
    check_chain((leaf, *others), roots, moment)
    try:
        names = names_of(leaf)
    except unreadable() as error:
        raise refusal(f"names its signer in no readable way ({error})", source, "certificate-form") from error
    if subject is not None and subject not in names:
        why = f"was signed by {', '.join(map(ascii, names))[:300]}, not by {subject!r}"
        raise refusal(why, source, "certificate-subject")
    statement = open_envelope(envelope, (_key_of(leaf, source),), source)
    return Vouched(compare_model(model, source, statement, ignore, digests), names)


def _matching(key: PrivateKey, chain: Sequence[Certificate]) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    check_curve(key)
    if not chain:
        raise SettingError("a certificate is needed", where="chain", remedy="Give the certificate of the key first")
    der = chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if der != key.public.to_der():
        raise SettingError("the certificate is not for this key", where="chain", remedy="Give the key's own first")


def _certificates(material: Mapping[str, object], bundle: Path) -> tuple[Certificate, ...]:
    chain = material.get("x509CertificateChain")
    if not isinstance(chain, Mapping):
        why = "was not signed with a certificate chain"
        raise refusal(why, bundle, "signature-unsupported", "Verify it with the signer's key or Sigstore identity")
    certificates = chain.get("certificates")
    if (
        chain.keys() != {"certificates"}
        or not isinstance(certificates, list)
        or material.keys() - {"x509CertificateChain", "tlogEntries"}
        or material.get("tlogEntries")
    ):
        raise refusal("holds more or less than certificates", bundle, "certificate-form")
    try:
        return decode_certificates([_der(item) for item in certificates])
    except FormatError as error:
        raise refusal(error.message, bundle, "certificate-form") from error


def _der(item: object) -> bytes:
    text = item.get("rawBytes") if isinstance(item, Mapping) and item.keys() == {"rawBytes"} else None
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError as error:
        raise FormatError("holds a certificate that is no base64") from error
    if not data or base64.b64encode(data).decode() != text:
        raise FormatError("holds a certificate that is none")
    return data


def _key_of(leaf: Certificate, bundle: Path) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = leaf.public_key()
    if not isinstance(key, (EllipticCurvePublicKey, Ed25519PublicKey)):
        raise refusal("is signed with a kind of key that is not taken", bundle, "signature-unsupported")
    public = PublicKey(key)
    try:
        check_curve(public)
    except UnsupportedError as error:
        raise refusal(error.message, bundle, "signature-unsupported") from error
    return public
