"""The folder of a log as it is read: one reader or writer at a time, every path accounted for, nothing followed."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.core.errors import DataError, FormatError, VerificationError
from assay.registry.log.tiles import CHECKPOINT, Tile

_DRAFT = re.compile(r"(?:[^/]+/)*\.[^/]+\.[0-9a-f]{12}\.part")
_BLOB = re.compile(r"blob/[0-9a-f]{64}")


@contextmanager
def locked(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold the folder's lock, shared by readers or ``alone`` for a writer; the lock leaves no file behind.

    Raises DataError when there is no such folder.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise DataError(f"not the folder of a log ({error.strerror})", where=str(folder)) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def paths(folder: Path) -> set[str]:
    """Return the path of every file in the folder. Raises VerificationError at a link or a special file."""
    found: set[str] = set()
    waiting = [""]
    while waiting:
        below = waiting.pop()
        for item in _items(folder / below):
            path = below + item.name
            if item.is_dir(follow_symlinks=False):
                waiting.append(f"{path}/")
            elif item.is_file(follow_symlinks=False):
                found.add(path)
            else:
                raise VerificationError("is a link or a special file", where=shown(folder, path))
    return found


def shown(folder: Path, path: str) -> str:
    """Return the place of a file for a message; a name made to confuse a terminal is escaped."""
    return f"{folder}{os.sep}{path if path.isprintable() else ascii(path)}"


def sync_folders(folder: Path, written: Iterable[str]) -> None:
    """Make the folders of written files durable, with those above them up to the log's folder."""
    folders = {parent for path in written for parent in Path(path).parents}
    for below in sorted(folders, key=lambda p: len(p.parts), reverse=True):
        handle = os.open(folder / below, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_part(folder: Path, path: str, *, limit: int, exact: int | None = None) -> bytes:
    """Return the bytes of one file of the log. Raises VerificationError when it is missing, a link or of another size."""
    place = folder / path
    try:
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise VerificationError(f"a file of the log is missing ({error.strerror})", where=str(place)) from error
    if exact is not None and len(data) != exact:
        found = f"{len(data)}" if len(data) <= limit else "more"
        raise VerificationError(f"a file of the log has {found} bytes, not {exact}", where=str(place))
    if len(data) > limit:
        raise VerificationError(f"a file of the log has more than {limit} bytes", where=str(place))
    return data


def is_leftover(path: str) -> bool:
    """Return whether an append that was cut short can have left a file of this path."""
    if _DRAFT.fullmatch(path) or _BLOB.fullmatch(path):
        return True
    try:
        Tile.parse(path)
    except FormatError:
        return False
    return path != CHECKPOINT


def remove(folder: Path, path: str) -> None:
    """Remove a file, and its folder of partial tiles when that is left empty."""
    place = folder / path
    place.unlink(missing_ok=True)
    if place.parent.suffix == ".p" and not any(place.parent.iterdir()):
        place.parent.rmdir()


def _items(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return list(items)
    except OSError as error:
        raise VerificationError(f"a folder of the log cannot be read ({error.strerror})", where=str(folder)) from error
