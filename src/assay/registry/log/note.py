"""Checkpoints: the size and root of a log as a signed note, https://c2sp.org/tlog-checkpoint and /signed-note.

Text of a checkpoint (the last line may repeat, for the log and its witnesses)::

    <origin>
    <number of entries>
    <base64 of the root hash>
    <empty line>
    — <key name> <base64 of a 4-byte key id and the signature>

Parsing is strict: there is one text for each checkpoint and its signatures, so no byte of it can be changed unseen.
Lines of extensions, which the standard advises against, are refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

from assay.core.errors import FormatError, VerificationError
from assay.core.keys import PrivateKey, PublicKey
from assay.registry.log.merkle import HASH_SIZE

NOTE_LIMIT = 1 << 18
_SIGNATURES = 64
_ED25519 = b"\x01"
_DASH = "\u2014 "
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log that its key signed. root: 32 bytes; text: the signed note, with every signature on it."""

    origin: str
    size: int
    root: bytes
    text: str = field(compare=False, repr=False)

    def to_json(self) -> dict[str, object]:
        """Return origin, size and root (base64) as plain data."""
        return {"origin": self.origin, "size": self.size, "root": base64.b64encode(self.root).decode()}


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The Ed25519 key that speaks for a log. name: the log's origin. Round trip: ``VerifierKey.parse(str(k)) == k``."""

    name: str
    raw: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.raw) != 32:
            raise FormatError("a log's key has 32 bytes", where=self.name)

    @classmethod
    def of(cls, name: str, key: PublicKey) -> VerifierKey:
        """Return the key of the log called ``name``. Raises FormatError on a bad name, or a key that is not Ed25519."""
        return cls(name, key.raw())

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Return the key written ``name+hex+base64``, as Go's ``sumdb/note`` writes it. Raises FormatError."""
        name, _, rest = text.partition("+")
        label, _, encoded = rest.partition("+")
        data = decode_base64(encoded)
        if len(data) != 33 or data[:1] != _ED25519:
            raise FormatError("not the key of a log", remedy="It reads name+hash+base64, for an Ed25519 key")
        key = cls(name, data[1:])
        if label != key.id.hex():
            raise FormatError(f"the key's hash is {key.id.hex()}, not {label[:16]!r}", remedy="Copy the key again")
        return key

    @property
    def id(self) -> bytes:
        """The four bytes by which signature lines name the key: SHA-256(name || 0x0A || 0x01 || key)[:4]."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_base64(_ED25519 + self.raw)}"

    def open(self, text: str, *, where: str = "") -> Checkpoint:
        """Return the checkpoint in a signed note, authenticated.

        Signatures of other keys, such as witnesses, are kept and not judged.
        Raises VerificationError when the note is not in the one right form, is not signed by this key, or is
        of another log than the key's name says.
        """
        try:
            body, signatures = split_note(text)
            checkpoint = _checkpoint(body, text)
        except FormatError as error:
            raise VerificationError(f"not a checkpoint: {error.message}", where=where) from error
        own = [signature for name, key, signature in signatures if (name, key) == (self.name, self.id)]
        if not own:
            raise VerificationError(f"the checkpoint is not signed by the key of {self.name}", where=where)
        for signature in own:
            self._verify(signature, body.encode(), where)
        if checkpoint.origin != self.name:
            raise VerificationError(f"the checkpoint is of another log than {self.name}", where=where)
        return checkpoint

    def _verify(self, signature: bytes, message: bytes, where: str) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            PublicKey(Ed25519PublicKey.from_public_bytes(self.raw)).verify(signature, message)
        except VerificationError as error:
            raise VerificationError("the checkpoint's signature does not match", where=where) from error


def sign_checkpoint(origin: str, size: int, root: bytes, key: PrivateKey) -> Checkpoint:
    """Return the checkpoint signed by the log's key. Raises FormatError on a bad origin, size or root."""
    verifier = VerifierKey.of(origin, key.public)
    body = f"{origin}\n{size}\n{_base64(root)}\n"
    text = f"{body}\n{_DASH}{origin} {_base64(verifier.id + key.sign(body.encode()))}\n"
    return _checkpoint(body, text)


def split_note(text: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Return the text of a signed note and its signatures as (key name, key id, signature), none of them verified.

    Raises FormatError for anything but the one right form.
    """
    if len(text) > NOTE_LIMIT:
        raise FormatError(f"a note has at most {NOTE_LIMIT} characters")
    if any(ord(c) < 32 and c != "\n" for c in text):
        raise FormatError("a note holds no control characters")
    body, _, tail = text.rpartition("\n\n")
    lines = tail.split("\n")
    if not body or lines[-1] or len(lines) < 2:
        raise FormatError("a note has a text, an empty line, and lines of signatures")
    if len(lines) > _SIGNATURES + 1:
        raise FormatError(f"a note has at most {_SIGNATURES} signatures")
    return f"{body}\n", [_signature(line) for line in lines[:-1]]


def decode_base64(text: str) -> bytes:
    """Return the bytes in standard base64. Raises FormatError unless encoding them gives the same text."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeError) as error:
        raise FormatError("not base64") from error
    if _base64(data) != text:
        raise FormatError("not base64 in its one right form")
    return data


def parse_number(text: str) -> int:
    """Return a decimal number of up to 18 digits without leading zeros. Raises FormatError."""
    if not _NUMBER.fullmatch(text):
        raise FormatError(f"{text[:24]!r} is not a decimal number")
    return int(text)


def _checkpoint(body: str, text: str) -> Checkpoint:
    lines = body.split("\n")
    if len(lines) != 4:
        raise FormatError("a checkpoint has three lines: origin, size, root")
    origin, size, encoded, _ = lines
    _check_name(origin)
    root = decode_base64(encoded)
    if len(root) != HASH_SIZE:
        raise FormatError(f"the root has {len(root)} bytes, not {HASH_SIZE}")
    return Checkpoint(origin, parse_number(size), root, text)


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    data = decode_base64(encoded)
    if not line.startswith(_DASH) or not space or len(data) < 5:
        raise FormatError("a signature line reads: dash, key name, base64")
    _check_name(name)
    return name, data[:4], data[4:]


def _check_name(name: str) -> None:
    if not name or not name.isprintable() or " " in name or "+" in name:
        raise FormatError(f"{name[:60]!r} cannot name a log", remedy="Use something like example.com/models, no spaces")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
