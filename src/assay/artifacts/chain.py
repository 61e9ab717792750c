"""X.509 chains that end in a given root, checked by RFC 5280 for one purpose: signing of code and models.

A path is searched from the leaf to a root that the verifier gave. Of each certificate the signature, the dates, and the
extensions are checked; of each issuer also that it is an authority, may sign certificates, and allows so long a path.
An extension that must be understood and is not ends in refusal; so do name constraints, which are not evaluated here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar
from warnings import catch_warnings, simplefilter

from assay.core.clock import format_time
from assay.core.errors import FormatError, VerificationError
from assay.core.files import read_bytes

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, ExtensionType

Kind = TypeVar("Kind", bound="ExtensionType")

_FILE_LIMIT = 1 << 22
_MOST = 16
_LONGEST = 8
_WEAK = {"md5", "sha1"}
# Key usage, basic constraints, extended key usage, subject alternative names.
_UNDERSTOOD = {"2.5.29.15", "2.5.29.19", "2.5.29.37", "2.5.29.17"}


def read_certificates(*paths: str | os.PathLike[str]) -> tuple[Certificate, ...]:
    """Return the certificates of PEM files, in their order. Raises FormatError for a file without one."""
    from cryptography.x509 import load_pem_x509_certificates

    found: list[Certificate] = []
    for path in paths:
        try:
            found += load_pem_x509_certificates(read_bytes(path, limit=_FILE_LIMIT))
        except ValueError as error:
            raise FormatError("holds no certificate in PEM form", where=str(path), remedy="Give a PEM file") from error
    return tuple(found)


def decode_certificates(encoded: Sequence[bytes]) -> tuple[Certificate, ...]:
    """Return certificates from their DER form. Raises FormatError, also for more of them than a chain can need."""
    from cryptography.utils import CryptographyDeprecationWarning
    from cryptography.x509 import load_der_x509_certificate

    if not 0 < len(encoded) <= _MOST:
        raise FormatError(f"a chain has 1 to {_MOST} certificates, not {len(encoded)}")
    damaged: tuple[type[Exception], ...] = (CryptographyDeprecationWarning, *unreadable())
    try:
        with catch_warnings():
            # What cryptography warns of is broken in a way that other verifiers refuse already.
            simplefilter("error", CryptographyDeprecationWarning)
            return tuple(load_der_x509_certificate(data) for data in encoded)
    except damaged as error:
        raise FormatError(f"holds a damaged certificate ({error})") from error


def check_chain(chain: Sequence[Certificate], roots: Iterable[Certificate], at: datetime) -> tuple[Certificate, ...]:
    """Return the path from the leaf, ``chain[0]``, to one of ``roots`` when all of it holds at the time ``at``.

    The rest of ``chain`` are authorities that may be needed, in any order; roots among them count for nothing.
    Raises VerificationError: certificate-expired, certificate-usage, certificate-root (no path to a root),
    certificate-form.
    """
    leaf, *others = chain
    anchors = tuple(roots)
    try:
        _check_leaf(leaf, at)
        failures: list[VerificationError] = []
        path = _path(leaf, others, anchors, at, failures)
    except unreadable() as error:
        raise _no(f"cannot be read ({error})", leaf, "certificate-form") from error
    if path is None:
        # The reason of a path that almost held says more than that there was none.
        raise failures[0] if failures else _no("was issued by nobody who is trusted", leaf, "certificate-root")
    return path


def names_of(certificate: Certificate) -> tuple[str, ...]:
    """Return the names that an authority vouches for: the subject's mail addresses, URIs and host names.

    A certificate without any gives its whole subject, as in ``CN=Ada,O=Example``, and its common name.
    """
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.oid.NameOID.COMMON_NAME)
        return (certificate.subject.rfc4514_string(), *(str(c.value) for c in common))
    kinds = (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName)
    return tuple(str(name) for kind in kinds for name in found.get_values_for_type(kind))


def unreadable() -> tuple[type[Exception], ...]:
    """Return what cryptography raises, sooner or later, for a certificate that is damaged or of an unknown kind."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    return (
        ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    )  # fmt: skip


def _path(
    leaf: Certificate,
    others: Sequence[Certificate],
    roots: Sequence[Certificate],
    at: datetime,
    failures: list[VerificationError],
) -> tuple[Certificate, ...] | None:
    """Return the shortest path that holds; what was wrong with others is added to ``failures``.

    Each certificate is reached once, by the shortest way, which is the way that path lengths allow if any is: work
    grows with the square of the chain, however its certificates sign one another.
    """
    left = [c for c in others if c not in roots and c != leaf]
    paths: list[tuple[Certificate, ...]] = [(leaf,)]
    while paths:
        longer: list[tuple[Certificate, ...]] = []
        for path in paths:
            below = len(path) - 1
            for root in roots:
                if root not in path and _issued(path[-1], root) and _holds(root, at, below, failures):
                    return (*path, root)
            for issuer in tuple(left) if len(path) < _LONGEST else ():
                if _issued(path[-1], issuer) and _holds(issuer, at, below, failures):
                    left.remove(issuer)
                    longer.append((*path, issuer))
        paths = longer
    return None


def _issued(certificate: Certificate, issuer: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    if certificate.issuer != issuer.subject:
        return False
    wrong: tuple[type[Exception], ...] = (InvalidSignature, *unreadable())
    try:
        hashed = certificate.signature_hash_algorithm
        if hashed is not None and hashed.name in _WEAK:
            return False
        certificate.verify_directly_issued_by(issuer)
    except wrong:
        return False
    return True


def _holds(issuer: Certificate, at: datetime, below: int, failures: list[VerificationError]) -> bool:
    try:
        _check_issuer(issuer, at, below)
    except VerificationError as error:
        failures.append(error)
        return False
    return True


def _check_leaf(leaf: Certificate, at: datetime) -> None:
    from cryptography import x509

    _check_common(leaf, at)
    usage, purposes = _extension(leaf, x509.KeyUsage), _extension(leaf, x509.ExtendedKeyUsage)
    basic = _extension(leaf, x509.BasicConstraints)
    if basic is not None and basic.ca:
        raise _no("is an authority's, not a signer's", leaf, "certificate-usage")
    if usage is None or not usage.digital_signature:
        raise _no("is not for digital signatures", leaf, "certificate-usage")
    if purposes is None or x509.oid.ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise _no("is not for code signing", leaf, "certificate-usage")


def _check_issuer(issuer: Certificate, at: datetime, below: int) -> None:
    """Raise VerificationError unless a certificate may have issued one with ``below`` authorities beneath it."""
    from cryptography import x509

    _check_common(issuer, at)
    basic, usage = _extension(issuer, x509.BasicConstraints), _extension(issuer, x509.KeyUsage)
    purposes = _extension(issuer, x509.ExtendedKeyUsage)
    if basic is None or not basic.ca:
        raise _no("issued a certificate and is no authority", issuer, "certificate-usage")
    if basic.path_length is not None and below > basic.path_length:
        raise _no("does not allow so long a chain", issuer, "certificate-usage")
    if usage is not None and not usage.key_cert_sign:
        raise _no("may not issue certificates", issuer, "certificate-usage")
    allowed = (x509.oid.ExtendedKeyUsageOID.CODE_SIGNING, x509.oid.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if purposes is not None and not any(oid in purposes for oid in allowed):
        raise _no("may not issue certificates for code signing", issuer, "certificate-usage")


def _check_common(certificate: Certificate, at: datetime) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        dates = [format_time(t) for t in (certificate.not_valid_before_utc, certificate.not_valid_after_utc)]
        why = f"is valid from {dates[0]} to {dates[1]}, not at {format_time(at)}"
        raise _no(why, certificate, "certificate-expired")
    extensions, key = certificate.extensions, certificate.public_key()
    for extension in extensions:
        oid = extension.oid.dotted_string
        if (extension.critical and oid not in _UNDERSTOOD) or extension.oid == x509.oid.ExtensionOID.NAME_CONSTRAINTS:
            raise _no(f"has a rule that is not understood here ({oid})", certificate, "certificate-form")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        raise _no(f"has a weak key of {key.key_size} bits", certificate, "certificate-form")


def _extension(certificate: Certificate, kind: type[Kind]) -> Kind | None:
    from cryptography.x509 import ExtensionNotFound

    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except ExtensionNotFound:
        return None


def _no(what: str, certificate: Certificate, reason: str) -> VerificationError:
    try:
        text = ascii(certificate.subject.rfc4514_string()[:200])[1:-1]
    except unreadable():  # a name that cannot be read is often what is wrong
        text = f"number {certificate.serial_number}"
    return VerificationError(what, where=f"certificate {text}", remedy="Do not use the model", reason=reason)
