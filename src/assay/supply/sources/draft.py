"""The private folder that a fetch writes to: names are checked, bytes counted and hashed, nothing shows before the end."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.core.errors import BudgetError, DataError, Refused, VerificationError
from assay.supply.sources.limits import Deadline, SourceLimits

_DEEPEST = 16
_LONGEST = 255
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


class Draft:
    """Files on their way in, below a folder that only the caller's user can enter."""

    def __init__(self, folder: Path, limits: SourceLimits, where: str) -> None:
        self.folder = folder
        self.limits = limits
        self.where = where
        self.deadline = Deadline(limits, where)
        self.total = 0
        self._names: set[str] = set()
        # Without case, as some file systems compare names.
        self._files: set[str] = set()
        self._folders: set[str] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """The files that have been written, sorted."""
        return tuple(sorted(self._names))

    def expect(self, sizes: Iterable[int]) -> None:
        """Check announced sizes against the limits, before a byte is fetched. Raises BudgetError."""
        listed = list(sizes)
        if len(listed) > self.limits.files:
            raise self._over(f"has {len(listed)} files, more than {self.limits.files}", "files")
        if any(size > self.limits.file_bytes for size in listed):
            raise self._over(f"has a file larger than {self.limits.file_bytes} bytes", "bytes")
        if sum(listed) > self.limits.bytes:
            raise self._over(f"is larger than {self.limits.bytes} bytes", "bytes")

    def write(
        self, name: str, chunks: Iterator[bytes], *, size: int | None = None, sha256: str = "", git: str = ""
    ) -> None:
        """Write one file. size, sha256, git (blob id, SHA-1): what the source announced, "" or None when it did not.

        Raises Refused for an unsafe or repeated name, BudgetError beyond a limit, VerificationError when what
        arrives is not what was announced.
        """
        target = self.place(name)
        state, blob, count = hashlib.sha256(), hashlib.sha1(usedforsecurity=False), 0
        blob.update(f"blob {size or 0}\0".encode())
        with open(target, "xb") as stream:
            while chunk := self.deadline.run(lambda: next(chunks, b"")):
                count += len(chunk)
                self.count(len(chunk), of_file=count)
                if size is not None and count > size:
                    raise self._changed(name, f"is longer than the {size} bytes announced", "wrong-length")
                stream.write(chunk)
                state.update(chunk)
                blob.update(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        if size is not None and count != size:
            raise self._changed(name, f"has {count} bytes where {size} were announced", "wrong-length")
        if sha256 and state.hexdigest() != sha256.lower():
            raise self._changed(name, "does not have the SHA-256 that its source announced", "wrong-digest")
        if git and blob.hexdigest() != git.lower():
            raise self._changed(name, "does not have the git blob id that its source announced", "wrong-digest")

    def place(self, name: str) -> Path:
        """Return where a file of that name goes, its folders made. Raises Refused, BudgetError."""
        parts = safe_parts(name, self.where)
        folded = unicodedata.normalize("NFC", "/".join(parts)).casefold()
        above = {folded.rsplit("/", n)[0] for n in range(1, len(parts))}
        if folded in self._files | self._folders or above & self._files:
            raise Refused(f"the source names {shown(name)!r} twice", where=self.where, reason="unsafe-name")
        self._files.add(folded)
        self._folders |= above
        self._names.add("/".join(parts))
        if len(self._names) > self.limits.files:
            raise self._over(f"has more than {self.limits.files} files", "files")
        target = self.folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return target

    def count(self, size: int, *, of_file: int) -> None:
        """Count bytes that arrived. Raises BudgetError beyond a limit."""
        self.total += size
        if of_file > self.limits.file_bytes:
            raise self._over(f"has a file larger than {self.limits.file_bytes} bytes", "bytes")
        if self.total > self.limits.bytes:
            raise self._over(f"is larger than {self.limits.bytes} bytes", "bytes")

    def _over(self, what: str, limit: str) -> BudgetError:
        return BudgetError(what, where=self.where, remedy=f"Raise the limit on {limit}", reason=f"source-{limit}")

    def _changed(self, name: str, what: str, reason: str) -> VerificationError:
        remedy = "Do not use the model; fetch it again from a source that you trust"
        return VerificationError(f"{shown(name)} {what}", where=self.where, remedy=remedy, reason=reason)


@contextmanager
def drafting(folder: Path, limits: SourceLimits, where: str) -> Iterator[Draft]:
    """Yield a draft in a new private folder inside ``folder``, which is removed at the end with all that is left in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        private = folder / f".fetch.{secrets.token_hex(8)}.part"
        private.mkdir(mode=0o700)
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror})", where=str(folder), remedy="Give a folder") from error
    try:
        yield Draft(private, limits, where)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def publish(source: Path, target: Path) -> None:
    """Give what was fetched its name, in one step, folders and names on disk first. Raises DataError."""
    try:
        folders = [Path(at) for at, _, _ in os.walk(source)] if source.is_dir() else []
        for folder in [*reversed(folders)]:
            sync_folder(folder)
        os.replace(source, target)
        sync_folder(target.parent)
    except OSError as error:
        remedy = "Give an empty folder"
        raise DataError(f"cannot be written ({error.strerror})", where=str(target), remedy=remedy) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def safe_parts(name: str, where: str) -> tuple[str, ...]:
    """Return the parts of a relative file name from outside. Raises Refused when it could lead anywhere else."""
    parts = tuple(name.split("/"))
    if len(parts) > _DEEPEST or not all(_harmless(part) for part in parts):
        raise Refused(
            f"the source names a file {shown(name)!r}, which could leave its folder or mislead",
            where=where,
            remedy="Do not use this source",
            reason="unsafe-name",
        )
    return parts


def _harmless(part: str) -> bool:
    if not part or part in {".", ".."} or len(part.encode("utf-8", "replace")) > _LONGEST or not part.isprintable():
        return False
    return not (
        set(part) & set('\\:*?"<>|') or part != part.strip(" ") or part.endswith(".") or _DEVICE.fullmatch(part)
    )


def shown(name: str) -> str:
    """Return a name from outside as one short line of printable text."""
    text = name[:120]
    return text if text.isprintable() else ascii(text)[1:-1]
