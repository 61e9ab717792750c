"""Enforcement where models run: a model's files reach the server only after the whole release was verified.

Default deny. What is unsigned, unapproved, expired or changed leaves the destination empty. The bytes that are
written are those that were verified, held in memory; the source is not read a second time.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from assay.core.clock import Clock, system_clock
from assay.core.errors import InputError, Refused
from assay.core.files import write_bytes
from assay.flows.release import verify
from assay.registry.release import VerifiedRelease
from assay.registry.trust import Trust

MARK = ".assay-release"
VOLUMES = Path("/mnt/pvc")
_FOLDER = "model/"

Fetch: TypeAlias = Callable[[str, Path], Path]
"""Brings the release at a URI into an empty scratch folder, and returns the folder that holds ``release.json``."""


@dataclass(frozen=True, slots=True)
class Enforced:
    """A release whose files were let through. release: its digest; files: what lies in the destination."""

    name: str
    version: str
    release: str
    approved_by: tuple[str, ...]
    destination: Path
    files: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Return what was let through as plain data."""
        return {
            "name": self.name, "version": self.version, "release": self.release, "files": list(self.files),
            "approved_by": list(self.approved_by), "destination": str(self.destination),
        }  # fmt: skip

    def line(self) -> str:
        """Return the one line that a person reads."""
        people = ", ".join(self.approved_by)
        return f"ok: {self.name} version {self.version}, approved by {people}: {len(self.files)} files in {self.destination}"


def fetch_nothing(uri: str, scratch: Path) -> Path:
    """Refuse a URI that names neither a folder nor a mounted volume. Raises Refused."""
    raise Refused(
        f"there is no way to fetch this into {scratch.name}", where=uri, reason="source-scheme",
        remedy="Mount the release as a volume (pvc://CLAIM/PATH, file:///PATH), or start the guard with a fetch function",
    )  # fmt: skip


def enforce(
    source: str,
    destination: str | os.PathLike[str],
    trust: Trust | str | os.PathLike[str],
    *,
    fetch: Fetch = fetch_nothing,
    volumes: Path = VOLUMES,
    clock: Clock = system_clock,
) -> Enforced:
    """Verify the release at ``source``, and only then put its model files into the folder ``destination``.

    source: path, ``file:///PATH`` or ``pvc://CLAIM/PATH`` (the claim is mounted at ``volumes``); all else is left to
    ``fetch``. destination: absent, empty, or what an earlier run left. trust: the keys, or their file, which does not
    come from the source. On any error the destination is empty. Runs on one destination wait for each other.

    Raises Refused or VerificationError with a stable reason, InputError, and OSError when the disk fails.
    """
    target = Path(destination)
    with _locked(target):
        _must_be_ours(target)
        placed = False
        try:
            believed = trust if isinstance(trust, Trust) else Trust.read(trust)
            found = _verified(source, target, believed, fetch, volumes, clock)
            files = _place(found, target)
            placed = True
        finally:
            if not placed:
                _clear(target)
    people = tuple(a.person for a in found.approvals)
    return Enforced(found.name, found.version, str(found.digest), people, target, files)


def _verified(source: str, target: Path, trust: Trust, fetch: Fetch, volumes: Path, clock: Clock) -> VerifiedRelease:
    """Return the release at a source when all of it holds; what had to be fetched is removed again."""
    local = local_path(source, volumes)
    scratch = target / f".assay-{secrets.token_hex(6)}.part"
    try:
        if local is None:
            scratch.mkdir()
            local = _inside(fetch(source, scratch), scratch, source)
        if target.resolve().is_relative_to(local.resolve()):
            raise InputError("lies inside the release", where=str(target), remedy="Give a folder of its own")
        return verify(_plain_folder(local, source), trust, now=clock())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def local_path(source: str, volumes: Path = VOLUMES) -> Path | None:
    """Return the folder that a path, ``file://`` or ``pvc://`` URI names, None for other schemes. Raises Refused."""
    if not source or "\0" in source:
        raise Refused("names no release", where="source", reason="source-path", remedy="Give a path or a URI")
    scheme, divider, _ = source.partition("://")
    if not divider:
        return Path(source)
    if scheme not in {"file", "pvc"}:
        return None
    try:
        parts = urlsplit(source)
    except ValueError as error:
        raise _no_path(source, "is no URI") from error
    path = unquote(parts.path)
    if parts.query or parts.fragment or "\0" in path or ".." in PurePosixPath(path).parts:
        raise _no_path(source, "is not a plain path")
    if scheme == "file":
        if parts.netloc not in {"", "localhost"} or not path.startswith("/"):
            raise _no_path(source, "names another machine")
        return Path(path)
    if not parts.netloc:
        raise _no_path(source, "names no claim")
    return _inside(volumes / path.lstrip("/"), volumes, source)


def _inside(path: Path, root: Path, source: str) -> Path:
    """Return a path that does not lead out of ``root``, through links or otherwise."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise _no_path(source, f"leads out of {root}")
    return path


def _plain_folder(path: Path, source: str) -> Path:
    """Return a folder that is there and is no link."""
    if path.is_symlink():
        raise _no_path(source, "is a link")
    if not path.is_dir():
        raise Refused("is not a folder", where=source, reason="no-release", remedy="Give the release folder")
    return path


def _no_path(source: str, what: str) -> Refused:
    return Refused(what, where=source, reason="source-path", remedy="Give the folder of the release itself")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the one lock of a folder, which is made when it is not there. Raises Refused when it is a link."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (NotADirectoryError, FileExistsError) as error:
        raise Refused(
            "is not a folder, or is a link", where=str(folder), reason="destination", remedy="Give an empty folder"
        ) from error
    except OSError as error:
        raise Refused(
            f"cannot be opened ({error.strerror})", where=str(folder), reason="destination",
            remedy="Give a folder that can be written",
        ) from error  # fmt: skip
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _must_be_ours(folder: Path) -> None:
    """Raise Refused when the folder holds files that no earlier run left there."""
    names = {path.name for path in folder.iterdir()}
    marked = MARK in names and stat.S_ISREG((folder / MARK).lstat().st_mode)
    if not marked and not all(_is_draft(name) for name in names):
        raise Refused(
            "holds files that were not verified here", where=str(folder), reason="destination",
            remedy="Give an empty folder",
        )  # fmt: skip


def _is_draft(name: str) -> bool:
    return name.startswith(".assay-") and name.endswith(".part")


def _clear(folder: Path) -> None:
    """Remove all that a marked folder holds, the mark last, so that a run cut short can be taken up."""
    for path in sorted(folder.iterdir(), key=lambda p: p.name == MARK):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _place(found: VerifiedRelease, folder: Path) -> tuple[str, ...]:
    """Write the verified model files under a temporary name, then rename them into place, the model last."""
    files = {path.removeprefix(_FOLDER): data for path, data in found.files.items() if path.startswith(_FOLDER)}
    names = tuple(sorted(files))
    if _is_same(folder, files, str(found.digest)):
        return names
    _clear(folder)
    draft = folder / f".assay-{secrets.token_hex(6)}.part"
    for name, data in files.items():
        write_bytes(draft / name, data, mode=0o644)
    write_bytes(folder / MARK, f"{found.digest}\n".encode(), mode=0o644)
    for name in sorted({n.partition("/")[0] for n in names}, key=lambda n: (n == "model.onnx", n)):
        os.rename(draft / name, folder / name)
    draft.rmdir()
    return names


def _is_same(folder: Path, files: dict[str, bytes], release: str) -> bool:
    """Return whether a folder holds just these files already, so that nobody who reads them is disturbed."""
    wanted = {**files, MARK: f"{release}\n".encode()}
    found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    if {path.relative_to(folder).as_posix() for path in found} != set(wanted):
        return False
    plain = all(stat.S_ISREG(path.lstat().st_mode) for path in found)
    return plain and all((folder / name).read_bytes() == data for name, data in wanted.items())
