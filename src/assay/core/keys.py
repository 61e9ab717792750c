"""Signing keys: Ed25519 and ECDSA P-256, in PEM files, with a key id by which records name them.

A private key file is written with mode 0600 and its content never appears in an error or a log.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.core.digest import digest_bytes
from assay.core.errors import FormatError, SettingError, VerificationError
from assay.core.files import read_bytes, write_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_KEY_FILE_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that verifies signatures. ``id``: SHA-256 of its SubjectPublicKeyInfo, hex."""

    key: Ed25519PublicKey | EllipticCurvePublicKey

    @classmethod
    def from_pem(cls, data: bytes, *, where: str = "") -> PublicKey:
        """Return the key in PEM bytes. Raises FormatError for anything but Ed25519 or EC."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise FormatError("not a public key in PEM form", where=where, remedy="Give the .pub file") from error
        if not isinstance(key, (Ed25519PublicKey, EllipticCurvePublicKey)):
            raise FormatError("only Ed25519 and EC keys are accepted", where=where)
        return cls(key)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PublicKey:
        """Return the public key in a PEM file."""
        return cls.from_pem(read_bytes(path, limit=_KEY_FILE_LIMIT), where=str(path))

    def to_pem(self) -> bytes:
        """Return the key as PEM SubjectPublicKeyInfo."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def to_der(self) -> bytes:
        """Return the key as DER SubjectPublicKeyInfo."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def raw(self) -> bytes:
        """Return the 32 raw bytes of an Ed25519 key. Raises FormatError for other kinds."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if not isinstance(self.key, Ed25519PublicKey):
            raise FormatError("this needs an Ed25519 key")
        return self.key.public_bytes_raw()

    @property
    def id(self) -> str:
        """SHA-256 of the DER form, hex."""
        return digest_bytes(self.to_der()).hex

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return when the signature of ``message`` holds. Raises VerificationError."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            if isinstance(self.key, Ed25519PublicKey):
                self.key.verify(signature, message)
            else:
                self.key.verify(signature, message, _ecdsa(self.key.curve.key_size))
        except InvalidSignature as error:
            raise VerificationError("the signature does not match", remedy="Do not use what it covers") from error


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """A private key that signs. Its repr shows the id only."""

    key: Ed25519PrivateKey | EllipticCurvePrivateKey

    @classmethod
    def generate(cls, kind: str = "ed25519") -> PrivateKey:
        """Return a new key from the operating system's entropy. kind: ``ed25519`` or ``p256``."""
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519

        if kind == "ed25519":
            return cls(ed25519.Ed25519PrivateKey.generate())
        if kind == "p256":
            return cls(ec.generate_private_key(ec.SECP256R1()))
        raise SettingError(f"unknown key kind {kind!r}", remedy="Use ed25519 or p256")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PrivateKey:
        """Return the private key in an unencrypted PEM file. Raises FormatError."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(read_bytes(path, limit=_KEY_FILE_LIMIT), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # `from None`: the cause's text may quote key material.
            raise FormatError("not an unencrypted private key in PEM form", where=str(path)) from None
        if not isinstance(key, (Ed25519PrivateKey, EllipticCurvePrivateKey)):
            raise FormatError("only Ed25519 and EC keys are accepted", where=str(path))
        return cls(key)

    @property
    def public(self) -> PublicKey:
        """The matching public key."""
        return PublicKey(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        """Return the signature of ``message`` (Ed25519, or ECDSA in DER form)."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if isinstance(self.key, Ed25519PrivateKey):
            return self.key.sign(message)
        return self.key.sign(message, _ecdsa(self.key.curve.key_size))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the private key with mode 0600, and the public key beside it as ``<path>.pub``."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_bytes(path, pem, mode=0o600)
        write_bytes(f"{os.fspath(path)}.pub", self.public.to_pem())

    def __repr__(self) -> str:
        return f"PrivateKey(id={self.public.id[:12]})"


def _ecdsa(bits: int) -> ECDSA:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    return ECDSA({256: hashes.SHA256(), 384: hashes.SHA384()}.get(bits, hashes.SHA512()))


if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
