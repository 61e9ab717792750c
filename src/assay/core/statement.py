"""In-toto statements in DSSE envelopes: the form in which evidence, provenance and approvals are signed.

Statement: https://in-toto.io/Statement/v1. Envelope: DSSE v1, whose signed bytes are the
pre-authentication encoding ``DSSEv1 <len> <type> <len> <payload>``. A verified envelope hands out
its payload; there is no other way to reach it, so unverified content is never used by accident.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from assay.core.canonical import canonical_bytes, parse
from assay.core.digest import Digest
from assay.core.errors import FormatError, VerificationError
from assay.core.evidence import Subject
from assay.core.keys import PrivateKey, PublicKey

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Statement:
    """A claim of a given type about subjects. ``predicate`` is plain JSON."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        """Return the statement as in-toto Statement v1."""
        return {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": s.name, "digest": {s.digest.algorithm: s.digest.hex}} for s in self.subjects],
            "predicateType": self.predicate_type,
            "predicate": dict(self.predicate),
        }

    @classmethod
    def from_json(cls, record: object) -> Statement:
        """Return the statement from in-toto Statement v1 data. Raises FormatError."""
        if not isinstance(record, Mapping) or record.get("_type") != STATEMENT_TYPE:
            raise FormatError("not an in-toto Statement v1")
        predicate, kind, subjects = record.get("predicate"), record.get("predicateType"), record.get("subject")
        if not isinstance(predicate, Mapping) or not isinstance(kind, str) or not isinstance(subjects, list):
            raise FormatError("an in-toto statement lacks subject, predicateType or predicate")
        return cls(tuple(_subject(s) for s in subjects), kind, dict(predicate))

    def about(self, digest: Digest) -> bool:
        """Return whether ``digest`` is among the subjects."""
        return any(s.digest == digest for s in self.subjects)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A DSSE envelope: payload bytes, their type, and signatures by key id."""

    payload: bytes
    payload_type: str
    signatures: tuple[tuple[str, bytes], ...]

    @classmethod
    def sign(cls, payload: bytes, payload_type: str, keys: Iterable[PrivateKey]) -> Envelope:
        """Return ``payload`` signed by every key."""
        message = pae(payload_type, payload)
        return cls(payload, payload_type, tuple((key.public.id, key.sign(message)) for key in keys))

    @classmethod
    def of(cls, statement: Statement, *keys: PrivateKey) -> Envelope:
        """Return a statement signed by every key."""
        return cls.sign(canonical_bytes(statement.to_json()), PAYLOAD_TYPE, keys)

    def verify(self, keys: Iterable[PublicKey]) -> Statement:
        """Return the authenticated statement when one of ``keys`` signed it. Raises VerificationError."""
        message = pae(self.payload_type, self.payload)
        for key in keys:
            for _, signature in self.signatures:
                try:
                    key.verify(signature, message)
                except VerificationError:
                    continue
                return self._statement()
        raise VerificationError(
            "no trusted key signed this statement",
            remedy="Add the signer's public key to the trusted keys, or refuse it",
        )

    def to_json(self) -> dict[str, object]:
        """Return the envelope as DSSE JSON."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": i, "sig": base64.b64encode(s).decode()} for i, s in self.signatures],
        }

    @classmethod
    def from_json(cls, record: object) -> Envelope:
        """Return the envelope from DSSE JSON. Raises FormatError."""
        if not isinstance(record, Mapping):
            raise FormatError("not a DSSE envelope")
        signatures = record.get("signatures")
        if not isinstance(signatures, list) or not all(isinstance(s, Mapping) for s in signatures):
            raise FormatError("a DSSE envelope lacks its signatures")
        return cls(
            _decode(record.get("payload")),
            str(record.get("payloadType", "")),
            tuple((str(s.get("keyid") or ""), _decode(s.get("sig"))) for s in signatures),
        )

    def _statement(self) -> Statement:
        if self.payload_type != PAYLOAD_TYPE:
            raise FormatError(f"the envelope holds {self.payload_type!r}, not an in-toto statement")
        return Statement.from_json(parse(self.payload))


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the DSSE v1 pre-authentication encoding, the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _decode(text: object) -> bytes:
    if not isinstance(text, str):
        raise FormatError("a DSSE envelope lacks base64 text")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise FormatError(f"a DSSE envelope holds bad base64 ({error})") from error


def _subject(record: object) -> Subject:
    digests = record.get("digest") if isinstance(record, Mapping) else None
    if not isinstance(record, Mapping) or not isinstance(digests, Mapping) or len(digests) != 1:
        raise FormatError("an in-toto subject needs a name and one digest")
    ((algorithm, value),) = digests.items()
    return Subject(str(record.get("name", "")), Digest(str(algorithm), str(value)))
