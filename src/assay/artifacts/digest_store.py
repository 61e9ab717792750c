"""What is known of files that have not changed since: their digests, so that a large model is not read twice.

A file is known by device, inode, size and both of its times; its name and place do not matter. The rules of git's index
apply: a file whose times lie within two seconds of the moment when hashing began could have changed once more within
the same tick of the clock, so it is hashed again.

The store is a cache and proves nothing. Whoever may write it may say what a file holds, so it must belong to the user
who reads it and be writable by nobody else; a row that was damaged or edited fails its check and is not used. Pass a
``key`` that is kept elsewhere, and rows that were made without it fail as well. What changes a file without changing
its times is not noticed: a program that has it mapped for writing (always so on memory file systems), a raw write to
the disk, a clock set back. Hash afresh, without a store, where that matters.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from assay.core.digest import Digest
from assay.core.errors import DataError, FormatError

_RACY_NS = 2_000_000_000
_TABLE = (
    "CREATE TABLE IF NOT EXISTS digest (device TEXT, inode TEXT, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, "
    "algorithm TEXT, hex TEXT, hashed_ns INTEGER, mark BLOB, PRIMARY KEY (device, inode, algorithm)) WITHOUT ROWID"
)


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells one state of a file from another, times in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def identity_of(handle: int) -> FileIdentity:
    """Return the identity of an open file."""
    found = os.fstat(handle)
    return FileIdentity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class DigestStore:
    """Digests of files by identity, in one SQLite file; use it in a ``with`` block, from any thread.

    key: authenticates the rows when it is kept where the store's writers cannot read it; without one, damage and
    careless edits are noticed, forgery is not. fresh: nothing in the store is believed, all of it is learnt anew.
    now: present time in nanoseconds. found, hashed: how many files were known, and were not.
    Raises DataError for a file that is no such store, or that others may write.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        key: bytes = b"",
        fresh: bool = False,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self.path = Path(path)
        self.now = now
        self.found = 0
        self.hashed = 0
        self._fresh = fresh
        # 64 bytes are the most that blake2b takes as a key.
        self._key = hashlib.sha512(key).digest() if key else b""
        self._lock = Lock()
        self._pending: dict[tuple[str, str, str], tuple[object, ...]] = {}
        _private(self.path)
        try:
            self._rows = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=10)
            self._rows.execute(_TABLE)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def find(self, file: FileIdentity, algorithm: str) -> Digest | None:
        """Return the digest of a file in this very state, or None when it has to be hashed. Raises DataError."""
        columns = "size, mtime_ns, ctime_ns, algorithm, hex, hashed_ns, mark"
        where = "device = ? AND inode = ? AND algorithm = ?"
        with self._lock:
            row = None
            if not self._fresh:
                try:
                    row = self._rows.execute(
                        f"SELECT {columns} FROM digest WHERE {where}",  # noqa: S608 - both are constants
                        (str(file.device), str(file.inode), algorithm),
                    ).fetchone()
                except sqlite3.Error as error:
                    raise self._unusable(error) from error
            digest = self._believed(file, algorithm, row) if row is not None else None
            self.found += digest is not None
            self.hashed += digest is None
            return digest

    def add(self, file: FileIdentity, digest: Digest, started_ns: int) -> None:
        """Remember a digest, unless the file is too young for its times to tell another change apart.

        started_ns: the moment before the first byte was read.
        """
        if not _settled(file, started_ns):
            return
        row = (file.size, file.mtime_ns, file.ctime_ns, digest.algorithm, digest.hex, started_ns)
        names = (str(file.device), str(file.inode), digest.algorithm)
        with self._lock:
            self._pending[names] = (*names[:2], *row, self._mark(file, row))

    def save(self) -> None:
        """Write what was learnt, in one transaction. Raises DataError."""
        with self._lock:
            if not self._pending:
                return
            try:
                self._rows.execute("BEGIN IMMEDIATE")
                insert = "INSERT OR REPLACE INTO digest VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                self._rows.executemany(insert, self._pending.values())
                self._rows.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._unusable(error) from error
            self._pending.clear()

    def close(self) -> None:
        """Write what was learnt and close the file."""
        try:
            self.save()
        finally:
            self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _believed(self, file: FileIdentity, algorithm: str, row: tuple[object, ...]) -> Digest | None:
        *content, mark = row
        size, mtime_ns, ctime_ns, _, text, hashed_ns = content
        same = (size, mtime_ns, ctime_ns) == (file.size, file.mtime_ns, file.ctime_ns)
        if not same or not isinstance(hashed_ns, int) or not isinstance(mark, bytes) or hashed_ns > self.now():
            return None
        if not _settled(file, hashed_ns) or not compare_digest(mark, self._mark(file, tuple(content))):
            return None
        try:
            return Digest(algorithm, str(text))
        except FormatError:
            return None

    def _mark(self, file: FileIdentity, row: tuple[object, ...]) -> bytes:
        text = "\x1f".join(map(str, ("assay-digest-1", file.device, file.inode, *row)))
        return hashlib.blake2b(text.encode(errors="replace"), digest_size=16, key=self._key).digest()

    def _unusable(self, error: sqlite3.Error) -> DataError:
        return DataError(f"cannot be used as a digest store ({error})", where=str(self.path), remedy="Delete it")


def _settled(file: FileIdentity, moment_ns: int) -> bool:
    """Return whether any later change of a file would show in its times."""
    return max(file.mtime_ns, file.ctime_ns) <= moment_ns - _RACY_NS


def _private(path: Path) -> None:
    """Make the store readable and writable by its owner alone. Raises DataError when it is not so already."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror})", where=str(path), remedy="Check the path") from error
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise DataError("is not a plain file", where=str(path), remedy="Name another file")
    if found.st_mode & 0o022 or found.st_uid != os.geteuid():
        raise DataError(
            "may be written by others, who could say what your files hold", where=str(path),
            remedy="Delete it, or take their right to write",
        )  # fmt: skip
