"""The files of a model: which there are, without following links, and the digest of each, hashed in parallel."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from assay.artifacts.digest_store import DigestStore, identity_of
from assay.core.digest import Digest
from assay.core.errors import DataError

ALONE = PurePosixPath(".")
_MOST = 1_000_000
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """Something in a model. name: relative to its folder. odd: why it cannot be signed, empty for a plain file."""

    name: PurePosixPath
    odd: str = ""


def find_files(model: Path, left_out: Iterable[str] = ()) -> Iterator[Found]:
    """Yield what a model file or folder holds, folder by folder; a file alone is named ``.``.

    left_out: names, relative to the folder, of files and of folders that are not entered. Links are not followed.
    Raises DataError for what is neither file nor folder, cannot be read, or holds more than a million entries.
    """
    mode = _mode(model)
    if not stat.S_ISDIR(mode):
        yield Found(ALONE, _odd(model.name, mode))
        return
    skipped = {PurePosixPath(name) for name in left_out}
    folders, budget = [PurePosixPath()], _MOST
    while folders:
        below = folders.pop()
        for name, mode in _entries(model / below, budget):
            budget -= 1
            inside = below / name
            if inside in skipped:
                continue
            if stat.S_ISDIR(mode):
                folders.append(inside)
            else:
                yield Found(inside, _odd(name, mode))


def hash_files(
    model: Path, names: Collection[PurePosixPath], algorithm: str, digests: DigestStore | None = None
) -> dict[str, Digest]:
    """Return the digest of each named file, name -> digest, in the order given; every byte is read once.

    algorithm: a name that hashlib knows. digests: what is known of unchanged files, which are not read again; what is
    learnt is added. Raises DataError when a file cannot be read or has become a link.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(lambda name: _hash(model / name, algorithm, digests), names)
        found = {str(name): digest for name, digest in zip(names, made, strict=True)}
    if digests is not None:
        digests.save()
    return found


@contextmanager
def open_plain(path: Path) -> Iterator[int]:
    """Yield a descriptor of a plain file, never of a link or a pipe. Raises DataError for anything else."""
    # What was listed as a file can be swapped for a link or a pipe before it is opened.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise DataError("is not a plain file", where=shown(path))
            yield handle
        finally:
            os.close(handle)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=shown(path)) from error


def read_digest(handle: int, algorithm: str) -> Digest:
    """Return the digest of everything that is left in an open file, read in large blocks."""
    state, block = hashlib.new(algorithm), bytearray(_BLOCK)
    view = memoryview(block)
    while count := os.readv(handle, [block]):
        state.update(view[:count])
    return Digest(algorithm, state.hexdigest())


def shown(name: object) -> str:
    """Return a name from outside as one line of printable text."""
    text = str(name)[:200]
    return text if text.isprintable() else ascii(text)[1:-1]


def _mode(model: Path) -> int:
    try:
        return model.lstat().st_mode
    except (OSError, ValueError) as error:
        raise DataError("does not exist", where=shown(model), remedy="Give a model file or folder") from error


def _entries(folder: Path, most: int) -> list[tuple[str, int]]:
    try:
        with os.scandir(folder) as entries:
            listed = sorted((e.name, e.stat(follow_symlinks=False).st_mode) for e in islice(entries, most + 1))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=shown(folder)) from error
    if len(listed) > most:
        raise DataError(f"holds more than {_MOST} entries with its folders", where=shown(folder))
    return listed


def _odd(name: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "is a link"
    if not stat.S_ISREG(mode):
        return "is not a plain file"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    return ""


def _hash(path: Path, algorithm: str, digests: DigestStore | None) -> Digest:
    with open_plain(path) as handle:
        if digests is None:
            return read_digest(handle, algorithm)
        before, started = identity_of(handle), digests.now()
        known = digests.find(before, algorithm)
        if known is not None:
            return known
        digest = read_digest(handle, algorithm)
        if identity_of(handle) == before:
            digests.add(before, digest, started)
        return digest
