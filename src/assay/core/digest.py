"""Content digests of bytes, files and folders: the names by which everything else refers to things."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from assay.core.canonical import canonical_bytes
from assay.core.errors import DataError, FormatError

_CHUNK = 1 << 20
_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128, "blake2b": 128}


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A content digest, written ``sha256:<hex>``. Round trip: ``Digest.parse(str(d)) == d``."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        wanted = _LENGTHS.get(self.algorithm)
        if wanted is None:
            raise FormatError(f"unknown digest algorithm {self.algorithm!r}", remedy="Use sha256")
        if len(self.hex) != wanted or not set(self.hex) <= set("0123456789abcdef"):
            raise FormatError(f"{self.hex!r} is not a {self.algorithm} digest in lower-case hex")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Return the digest written as ``algorithm:hex``. Raises FormatError."""
        algorithm, _, value = text.partition(":")
        return cls(algorithm, value)

    @property
    def short(self) -> str:
        """The first twelve hex digits, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def digest_bytes(data: bytes) -> Digest:
    """Return the SHA-256 digest of ``data``."""
    # Here, since hashlib loads OpenSSL, and many a command digests nothing.
    import hashlib

    return Digest("sha256", hashlib.sha256(data).hexdigest())


def digest_record(value: object) -> Digest:
    """Return the SHA-256 digest of a record's canonical JSON bytes."""
    return digest_bytes(canonical_bytes(value))


def digest_file(path: str | os.PathLike[str]) -> Digest:
    """Return the SHA-256 digest of a file. Raises DataError when it cannot be read."""
    import hashlib

    try:
        with open(path, "rb", buffering=0) as stream:
            return Digest("sha256", hashlib.file_digest(stream, "sha256").hexdigest())
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=str(path), remedy="Check the path") from error


def digest_tree(folder: str | os.PathLike[str]) -> Digest:
    """Return the digest of a file, or of a folder as the record of its relative file names and digests.

    Links are refused, since what they point to can change without the digest changing.
    Raises DataError.
    """
    root = Path(folder)
    if root.is_file():
        return digest_file(root)
    entries: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            raise DataError("is a link inside a digested folder", where=str(path), remedy="Replace it by the file")
        if path.is_file():
            entries[path.relative_to(root).as_posix()] = str(digest_file(path))
    if not entries:
        raise DataError("holds no file", where=str(root), remedy="Check the path")
    return digest_record(entries)
