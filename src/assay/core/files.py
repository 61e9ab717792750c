"""Writing files so that a reader sees the old content or the new, never half of one.

The one module of ``core`` that touches the disk: every room above needs it (docs/adr/0002).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.core.canonical import Json, canonical_bytes, parse
from assay.core.errors import DataError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success fsync it and rename it over ``path``.

    On any error the temporary file is removed and ``path`` is left as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.urandom(6).hex()}.part")
    try:
        yield draft
        with open(draft, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(draft, target)
        _sync_folder(target.parent)
    finally:
        draft.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes, *, mode: int | None = None) -> None:
    """Write ``data`` to ``path`` in one step; ``mode`` sets permissions before any byte is written."""
    with replacing(path) as draft:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text to ``path`` in one step."""
    write_bytes(path, text.encode("utf-8"))


def write_record(path: str | os.PathLike[str], value: object) -> None:
    """Write a record as canonical JSON and a final newline, in one step."""
    write_bytes(path, canonical_bytes(value) + b"\n")


def read_bytes(path: str | os.PathLike[str], *, limit: int | None = None) -> bytes:
    """Return a file's bytes. Raises DataError when it is missing, unreadable or larger than ``limit``."""
    try:
        with open(path, "rb") as stream:
            data = stream.read() if limit is None else stream.read(limit + 1)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=str(path), remedy="Check the path") from error
    if limit is not None and len(data) > limit:
        raise DataError(f"is larger than {limit} bytes", where=str(path))
    return data


def read_record(path: str | os.PathLike[str], *, limit: int = 1 << 26) -> Json:
    """Return the JSON value in a file. Raises DataError or FormatError, naming the file."""
    return parse(read_bytes(path, limit=limit), where=str(path))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
