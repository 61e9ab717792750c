"""The directory of a zip archive, read by us: all entries, duplicates and disagreements included (APPNOTE 6.3.10)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from mmap import mmap
from typing import TypeAlias

Data: TypeAlias = "bytes | mmap"

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FULL = 0xFFFFFFFF
_ENCRYPTED = 0x1 | 0x40
_LINK = 0o120000
_MOST_ENDS = 8


class ZipDamage(Exception):
    """The archive has no directory that can be followed."""


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of the central directory; start is where its packed bytes begin."""

    name: str
    raw: bytes
    method: int
    flags: int
    packed: int
    size: int
    header: int
    start: int
    link: bool

    @property
    def encrypted(self) -> bool:
        """Whether the bytes cannot be read without a password."""
        return bool(self.flags & _ENCRYPTED)


@dataclass(frozen=True, slots=True)
class Directory:
    """All members in order, and what surrounds them.

    prefix: bytes before the archive. stop: where it ends, its comment included. decoys: further end records that reach
    the end of the file as well, so that readers disagree on which directory is the archive's.
    """

    members: list[Member]
    prefix: int
    stop: int
    decoys: int = 0


def directory(data: Data, most: int) -> Directory:
    """Return the directory; with several end records that could be meant, the members of all. Raises ZipDamage."""
    ends = _ends(data)
    if not ends:
        raise ZipDamage("the archive has no directory")
    first, *others = ends
    members, prefix = _members(data, first, most)
    known = {(m.header, m.name) for m in members}
    decoys = 0
    for end in others:
        try:
            more, _ = _members(data, end, most)
        except ZipDamage:
            continue
        decoys += 1
        members += [m for m in more if (m.header, m.name) not in known]
        known |= {(m.header, m.name) for m in more}
    return Directory(members, prefix, min(len(data), _stop(data, first)), decoys)


def _ends(data: Data) -> list[int]:
    """Return where end records stand: the last one, then those before it whose comment reaches the end of the file."""
    found: list[int] = []
    position = len(data)
    while len(found) < _MOST_ENDS:
        position = data.rfind(b"PK\x05\x06", max(0, len(data) - 65557), position)
        if position < 0:
            break
        if position + _END.size <= len(data) and (not found or _stop(data, position) == len(data)):
            found.append(position)
    return found


def _stop(data: Data, end: int) -> int:
    return end + _END.size + int.from_bytes(data[end + 20 : end + 22], "little")


def _members(data: Data, end: int, most: int) -> tuple[list[Member], int]:
    _, _, _, _, count, size, offset, _ = _END.unpack(data[end : end + _END.size])
    stop = end
    if end >= _END64.size + 20 and data[end - 20 : end - 16] == b"PK\x06\x07":
        start64 = data.rfind(b"PK\x06\x06", max(0, end - 1024), end)
        if start64 >= 0:
            fields = _END64.unpack(data[start64 : start64 + _END64.size])
            count, size, offset, stop = fields[7], fields[8], fields[9], start64
    prefix = max(0, stop - size - offset) if size <= stop else -1
    if prefix < 0 or count > most:
        raise ZipDamage(
            "the archive's directory is damaged" if prefix < 0 else "the archive has more members than allowed"
        )
    members: list[Member] = []
    position = stop - size
    while position + _ENTRY.size <= stop and data[position : position + 4] == b"PK\x01\x02" and len(members) < most:
        member, position = _entry(data, position, prefix)
        members.append(member)
    if len(members) < count:
        raise ZipDamage("the archive's directory ends early")
    return members, prefix if members and data[prefix : prefix + 4] == b"PK\x03\x04" else 0


def _entry(data: Data, position: int, prefix: int) -> tuple[Member, int]:
    found = _ENTRY.unpack(data[position : position + _ENTRY.size])
    flags, method, packed, size = found[3], found[4], found[8], found[9]
    name_size, extra_size, comment_size, attributes, header = found[10], found[11], found[12], found[15], found[16]
    at = position + _ENTRY.size
    raw = data[at : at + name_size]
    extra = data[at + name_size : at + name_size + extra_size]
    packed, size, header = _wide(extra, packed, size, header)
    header += prefix
    local = data[header : header + _LOCAL.size]
    start = header + _LOCAL.size + sum(_LOCAL.unpack(local)[-2:]) if len(local) == _LOCAL.size else len(data) + 1
    name = raw.decode("utf-8", "replace")
    link = (attributes >> 16) & 0o170000 == _LINK
    return Member(
        name, raw, method, flags, packed, size, header, start, link
    ), at + name_size + extra_size + comment_size


def _wide(extra: bytes, packed: int, size: int, header: int) -> tuple[int, int, int]:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            numbers = list(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            if size == _FULL and numbers:
                size = numbers.pop(0)
            if packed == _FULL and numbers:
                packed = numbers.pop(0)
            if header == _FULL and numbers:
                header = numbers.pop(0)
        at += 4 + length
    return packed, size, header


def local_mismatch(data: Data, member: Member) -> str:
    """Return how a member's own header contradicts the directory, "" when it does not."""
    head = data[member.header : member.header + _LOCAL.size]
    if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
        return "the member has no header of its own"
    fields = _LOCAL.unpack(head)
    at = member.header + _LOCAL.size
    if data[at : at + fields[9]] != member.raw:
        return "the member has two names"
    if fields[3] != member.method:
        return "the member has two compression methods"
    if (fields[2] ^ member.flags) & (_ENCRYPTED | 0x20):
        return "the member's two headers disagree on encryption"
    return ""
