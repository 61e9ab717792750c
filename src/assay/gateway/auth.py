"""API keys: the file of the gateway holds keyed digests only, so a leaked file opens nothing.

A key reads ``assay_<id>_<secret>`` with 256 random bits. What is stored is its BLAKE2b digest under a
random salt; lookup is by that digest, which a guesser cannot steer, and ends in a constant-time comparison.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from assay.core.canonical import canonical_bytes
from assay.core.errors import FormatError, SettingError
from assay.core.files import read_record, write_bytes

SCOPES = ("infer", "metrics")
_LONGEST = 128


@dataclass(frozen=True, slots=True)
class Key:
    """One key as stored. id: public part; principal: who is charged; models: names that it opens (``*``: all)."""

    id: str
    principal: str
    digest: str
    scopes: tuple[str, ...] = SCOPES
    models: tuple[str, ...] = ("*",)

    def opens(self, model: str, scope: str) -> bool:
        """Return whether the key may be used for this model and scope."""
        return scope in self.scopes and ("*" in self.models or model in self.models)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that a gateway knows. salt: 32 bytes in hex. Round trip: ``Keys.from_json(k.to_json()) == k``."""

    salt: str
    keys: Mapping[str, Key]

    @classmethod
    def empty(cls) -> Keys:
        """Return no keys, under a fresh salt."""
        return cls(secrets.token_hex(32), {})

    def find(self, secret: bytes) -> Key | None:
        """Return the key whose secret this is, None when there is none."""
        if not secret or len(secret) > _LONGEST:
            return None
        digest = _digest(self.salt, secret)
        key = self.keys.get(digest)
        return key if key is not None and hmac.compare_digest(key.digest, digest) else None

    def with_key(self, key: Key) -> Keys:
        """Return the keys with one more."""
        return replace(self, keys={**self.keys, key.digest: key})

    def without(self, key_id: str) -> Keys:
        """Return the keys without that one. Raises SettingError when there is none of that id."""
        left = {d: k for d, k in self.keys.items() if k.id != key_id}
        if len(left) == len(self.keys):
            raise SettingError(f"there is no key {key_id!r}")
        return replace(self, keys=left)

    def to_json(self) -> dict[str, object]:
        """Return the keys as plain data; no secret is in it."""
        rows = [
            {
                "id": k.id,
                "principal": k.principal,
                "digest": k.digest,
                "scopes": list(k.scopes),
                "models": list(k.models),
            }
            for k in self.keys.values()
        ]
        return {"salt": self.salt, "keys": rows}

    @classmethod
    def from_json(cls, record: object, *, where: str = "") -> Keys:
        """Return the keys in plain data. Raises FormatError."""
        rows = record.get("keys") if isinstance(record, Mapping) else None
        if not isinstance(record, Mapping) or not isinstance(rows, list) or not isinstance(record.get("salt"), str):
            raise FormatError("not a file of API keys", where=where, remedy="Make one with make_key")
        try:
            bytes.fromhex(str(record["salt"]))
            keys = [
                Key(str(r["id"]), str(r["principal"]), str(r["digest"]), tuple(r["scopes"]), tuple(r["models"]))
                for r in rows
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"a stored API key is damaged ({error})", where=where) from error
        return cls(str(record["salt"]), {k.digest: k for k in keys})

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Keys:
        """Return the keys in a file. Raises DataError or FormatError."""
        return cls.from_json(read_record(path), where=str(path))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the keys, readable by the owner only."""
        write_bytes(path, canonical_bytes(self.to_json()) + b"\n", mode=0o600)


def make_key(
    keys: Keys, principal: str, *, scopes: tuple[str, ...] = SCOPES, models: tuple[str, ...] = ("*",)
) -> tuple[str, Keys]:
    """Return a new secret key for ``principal``, and the keys that know it. The secret is shown this once.

    Raises SettingError on an empty principal or an unknown scope.
    """
    if not principal or not set(scopes) <= set(SCOPES):
        raise SettingError("a key needs a principal and known scopes", remedy=f"Scopes: {', '.join(SCOPES)}")
    key_id = secrets.token_hex(4)
    secret = f"assay_{key_id}_{secrets.token_urlsafe(32)}"
    return secret, keys.with_key(Key(key_id, principal, _digest(keys.salt, secret.encode()), scopes, models))


def _digest(salt: str, secret: bytes) -> str:
    return hashlib.blake2b(secret, key=bytes.fromhex(salt)[:64], digest_size=32).hexdigest()
