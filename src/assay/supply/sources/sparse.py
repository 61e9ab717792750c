"""Fetch what can run code and leave the numbers: of a remote torch archive, all but the raw tensors."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from assay.core.digest import Digest, digest_bytes, digest_record
from assay.core.errors import AssayError, VerificationError
from assay.core.evidence import NotChecked
from assay.supply.sources.draft import drafting, publish
from assay.supply.sources.limits import Deadline, SourceLimits
from assay.supply.sources.range_file import RangeFile
from assay.supply.sources.source import (
    DEFAULT_LIMITS,
    Fetched,
    RemoteFile,
    displayed,
    final_name,
    open_source,
    ranges_of,
    source_of,
)

_RAW = re.compile(r"(?:[^/]*/)?data/\d+")
_TAIL = 65_557
_WORTH = 1 << 16
_MOST_MEMBERS = 20_000
_STEP = 4 << 20
_LARGEST = 1 << 42
_LARGEST_DIRECTORY = 64 << 20
_LOCAL = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True, slots=True)
class Hole:
    """A member that is not fetched: its packed bytes, from start up to stop."""

    name: str
    start: int
    stop: int


def fetch_sparse(
    url: str, folder: Path, *, limits: SourceLimits = DEFAULT_LIMITS, allow_unpinned: bool = False
) -> Fetched:
    """Fetch the file at ``url`` as a sparse one: of a torch archive, all but the raw bytes of large tensors.

    The result has the file's full size and its bytes at their places; ``not_fetched`` names the members that are
    holes. Whatever is not plainly a torch archive, and sources that give no parts of files, are fetched whole.
    Raises as ``open_source``.
    """
    deadline = Deadline(limits, displayed(url))
    source = source_of(url)
    try:
        remote = source.remote(url, deadline, allow_unpinned=allow_unpinned)
        stream = ranges_of(remote, deadline, limits)
        holes = find_holes(stream)
    except AssayError as error:
        # A budget, a wrong range or a moved revision is an answer; that there are no parts is none.
        if error.exit_code == 1:
            raise
        holes = []
    if not holes or remote.size > _LARGEST:
        return open_source(url, folder, limits=limits, allow_unpinned=allow_unpinned)
    with drafting(folder, limits, displayed(url)) as draft:
        made = draft.place(final_name(remote.name))
        digest = _fill(made, remote, stream, holes)
        if not deadline.run(remote.same):
            raise VerificationError(
                "changed while it was read", where=displayed(url), remedy="Fetch it again", reason="source-changed"
            )
        target = folder / made.name
        publish(made, target)
    notes = tuple(NotChecked(f"{target}!{h.name}", "raw tensor data, not fetched") for h in holes)
    return Fetched(target, remote.url, digest, stream.bytes_read, notes)


def find_holes(stream: RangeFile) -> list[Hole]:
    """Return the members of a torch archive that hold raw tensors only; none when the archive is odd in any way.

    Odd: readers could disagree on where members are. A hole never overlaps another member or the directory.
    """
    if stream.size < _WORTH or stream.exactly(0, 4) != b"PK\x03\x04":
        return []
    tail = stream.exactly(max(0, stream.size - _TAIL), stream.size)
    if tail.count(b"PK\x05\x06") != 1 or tail.rfind(b"PK\x05\x06") + 22 != len(tail):
        return []
    try:
        with zipfile.ZipFile(RangeFile(stream.exactly, stream.size, most=_LARGEST_DIRECTORY)) as archive:
            members, begin = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, ValueError, NotImplementedError, struct.error):
        return []
    names = [m.filename.lower() for m in members]
    if len(set(names)) != len(names) or len(names) > _MOST_MEMBERS:
        return []
    if sum(name.rpartition("/")[2] == "data.pkl" for name in names) != 1 or min(m.header_offset for m in members):
        return []
    ordered = sorted(members, key=lambda m: m.header_offset)
    stops = [m.header_offset for m in ordered[1:]] + [begin]
    found = [_hole(stream, member, stop) for member, stop in zip(ordered, stops, strict=True)]
    return [hole for hole in found if hole is not None]


def _hole(stream: RangeFile, member: zipfile.ZipInfo, stop: int) -> Hole | None:
    if not _RAW.fullmatch(member.filename) or member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 0x41:
        return None
    if member.file_size < _WORTH or member.file_size != member.compress_size:
        return None
    head = stream.exactly(member.header_offset, min(member.header_offset + 30, stream.size))
    if len(head) < 30:
        return None
    fields = _LOCAL.unpack(head)
    start = member.header_offset + 30 + fields[9] + fields[10]
    end = start + member.compress_size
    if fields[0] != b"PK\x03\x04" or fields[3] != zipfile.ZIP_STORED or end > stop:
        return None
    return Hole(member.filename, start, end)


def _fill(path: Path, remote: RemoteFile, stream: RangeFile, holes: list[Hole]) -> Digest:
    parts: list[list[object]] = []
    with open(path, "xb") as file:
        os.ftruncate(file.fileno(), remote.size)
        for start, stop in _between(holes, remote.size):
            data = stream.exactly(start, stop)
            os.pwrite(file.fileno(), data, start)
            parts.append([start, stop, str(digest_bytes(data))])
        os.fsync(file.fileno())
    return digest_record({"size": remote.size, "ranges": parts})


def _between(holes: list[Hole], size: int) -> list[tuple[int, int]]:
    made, at = [], 0
    for hole in [*holes, Hole("", size, size)]:
        made += [(start, min(start + _STEP, hole.start)) for start in range(at, hole.start, _STEP)]
        at = hole.stop
    return made
