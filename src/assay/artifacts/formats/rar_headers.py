"""The headers of RAR archives, versions 1.5 to 4 and 5 to 7: where each member lies and whether it can be read as it is.

RAR 5.0 archive format, and the technote on earlier versions, as RARLAB publishes them.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from assay.artifacts.reader import Data

MAGIC = b"Rar!\x1a\x07"
_STORE = 0x30
_MAIN, _FILE, _SERVICE, _END = 0x73, 0x74, 0x7A, 0x7B
_MAIN5, _FILE5, _SERVICE5, _CRYPT5, _END5 = range(1, 6)
_LARGEST_HEADER = 2 << 20
# Comments, recovery records and signatures, which no loader uses.
_PLAIN_SERVICES = {"CMT", "RR", "AV", "QO", "EA2", "UOW", "ACL"}


class RarDamage(Exception):
    """The headers cannot be followed further."""


class RarEncrypted(Exception):
    """The headers themselves are encrypted."""


@dataclass(frozen=True, slots=True)
class RarMember:
    """A member and where its bytes lie. unread: why they are no plain content, "" when they are."""

    name: str
    start: int
    stop: int
    unread: str = ""
    folder: bool = False
    link: bool = False
    target: str = ""
    damaged: bool = False
    service: bool = False


def members(data: Data) -> Iterator[RarMember | int]:
    """Yield every member in order, and at last where the archive ends. Raises RarDamage and RarEncrypted."""
    return _members5(data) if data[6:8] == b"\x01\x00" else _members4(data)


def _members4(data: Data) -> Iterator[RarMember | int]:
    at = 7
    while at + 7 <= len(data):
        kind, flags = data[at + 2], _u16(data, at + 3)
        size = _u16(data, at + 5)
        head = bytes(data[at : at + size])
        if size < 7 or len(head) < size or not 0x72 <= kind <= _END:
            raise RarDamage("a header is damaged")
        behind = at + size
        damaged = zlib.crc32(head[2:]) & 0xFFFF != _u16(head, 0)
        if kind == _MAIN and flags & 0x80:
            raise RarEncrypted
        if kind in {_FILE, _SERVICE}:
            member = _member4(data, head, flags, behind, kind == _SERVICE, damaged)
            behind = member.stop
            yield member
        elif kind == _END:
            yield behind
            return
        else:
            if damaged:
                raise RarDamage("a header has a wrong checksum")
            behind += int.from_bytes(head[7:11], "little") if flags & 0x8000 and size >= 11 else 0
        at = behind
    yield at


def _member4(data: Data, head: bytes, flags: int, start: int, service: bool, damaged: bool) -> RarMember:
    if len(head) < 32:
        raise RarDamage("a header is damaged")
    packed, size = int.from_bytes(head[7:11], "little"), int.from_bytes(head[11:15], "little")
    host, method, length = head[15], head[25], _u16(head, 26)
    attributes, at = int.from_bytes(head[28:32], "little"), 32
    if flags & 0x100:
        if len(head) < 40:
            raise RarDamage("a header is damaged")
        packed += int.from_bytes(head[32:36], "little") << 32
        size += int.from_bytes(head[36:40], "little") << 32
        at = 40
    raw = head[at : at + length]
    name = _name4(raw) if flags & 0x200 and not service else raw.decode("utf-8", "replace")
    folder = flags & 0xE0 == 0xE0 and not service
    link = stat.S_ISLNK(attributes & 0xFFFF) if host == 3 else bool(attributes & 0x400)
    why = ""
    if flags & 4:
        why = "is encrypted"
    elif flags & 3:
        why = "lies in several volumes"
    elif method != _STORE and not folder:
        why = "is compressed with RAR's own method, which is not read"
    elif packed != size:
        why = "has two sizes"
    target = ""
    if link and not why and packed < 4096:
        target = bytes(data[start : min(len(data), start + packed)]).decode("utf-8", "replace")
    return RarMember(name, start, start + packed, why, folder, link, target, damaged, service)


def _name4(raw: bytes) -> str:
    """Return a name that is stored as text and as its difference to UTF-16; both, when they differ in what they say."""
    plain, mark, packed = raw.partition(b"\0")
    if not mark:
        return raw.decode("utf-8", "replace")
    out, at, bits, flags = bytearray(), 1, 0, 0
    high = packed[0] if packed else 0
    while at < len(packed) and len(out) < 8192:
        if not bits:
            flags, bits, at = packed[at], 8, at + 1
        bits -= 2
        kind = flags >> bits & 3
        step = packed[at : at + (1, 1, 2, 1)[kind]]
        at += len(step)
        if not step:
            break
        if kind == 2:
            out += step.ljust(2, b"\0")
        elif kind < 2:
            out += bytes((step[0], high if kind else 0))
        else:
            count, begun = (step[0] & 0x7F) + 2, len(out) // 2
            shift, top = (packed[at], high) if step[0] & 0x80 and at < len(packed) else (0, 0)
            at += step[0] >> 7
            for letter in plain[begun : begun + count]:
                out += bytes((letter + shift & 0xFF, top))
    return out.decode("utf-16-le", "replace")


def _members5(data: Data) -> Iterator[RarMember | int]:
    at = 8
    while at + 7 <= len(data):
        size, begun = _vint(data, at + 4, min(len(data), at + 7))
        behind = begun + size
        if not 2 <= size <= _LARGEST_HEADER or behind > len(data):
            raise RarDamage("a header is damaged")
        head = bytes(data[at + 4 : behind])
        damaged = zlib.crc32(head) != int.from_bytes(data[at : at + 4], "little")
        head = head[begun - at - 4 :]
        kind, place = _vint(head, 0, len(head))
        flags, place = _vint(head, place, len(head))
        extra, place = _vint(head, place, len(head)) if flags & 1 else (0, place)
        packed, place = _vint(head, place, len(head)) if flags & 2 else (0, place)
        if kind == _CRYPT5:
            raise RarEncrypted
        if extra > len(head) - place:
            raise RarDamage("a header is damaged")
        if kind in {_FILE5, _SERVICE5}:
            split = len(head) - extra
            yield _member5(
                head[:split], head[split:], place, flags, (behind, behind + packed), kind == _SERVICE5, damaged
            )
        elif kind == _END5:
            yield behind
            return
        elif damaged:
            raise RarDamage("a header has a wrong checksum")
        at = behind + packed
    # Unlike the old format, this one always says where it ends.
    raise RarDamage("the archive ends early")


def _member5(
    head: bytes, extra: bytes, at: int, flags: int, span: tuple[int, int], service: bool, damaged: bool
) -> RarMember:
    stop = len(head)
    own, at = _vint(head, at, stop)
    size, at = _vint(head, at, stop)
    attributes, at = _vint(head, at, stop)
    at += 4 * bool(own & 2) + 4 * bool(own & 4)
    method, at = _vint(head, at, stop)
    host, at = _vint(head, at, stop)
    length, at = _vint(head, at, stop)
    if at + length > stop:
        raise RarDamage("a name is damaged")
    name = head[at : at + length].decode("utf-8", "replace")
    folder = bool(own & 1) and not service
    encrypted, target, link = _extra(extra)
    link = link or (stat.S_ISLNK(attributes & 0xFFFF) if host else bool(attributes & 0x400))
    why = ""
    if encrypted:
        why = "is encrypted"
    elif flags & 0x18:
        why = "lies in several volumes"
    elif method >> 7 & 7 and not folder:
        why = "is compressed with RAR's own method, which is not read"
    elif span[1] - span[0] != size and not own & 8 and not link:
        why = "has two sizes"
    return RarMember(name, *span, why, folder, link, target, damaged, service)


def _extra(raw: bytes) -> tuple[bool, str, bool]:
    """Return whether the member is encrypted, what it is a link to, and whether it is one."""
    encrypted, link, target, at = False, False, "", 0
    while at < len(raw):
        size, begun = _vint(raw, at, len(raw))
        if not size or begun + size > len(raw):
            raise RarDamage("a header's extra part is damaged")
        at = begun + size
        kind, place = _vint(raw, begun, at)
        if kind == 1:
            encrypted = True
        elif kind == 5:
            link = True
            _, place = _vint(raw, place, at)
            _, place = _vint(raw, place, at)
            length, place = _vint(raw, place, at)
            target = raw[place : min(at, place + length)].decode("utf-8", "replace")
    return encrypted, target, link


def is_plain_service(name: str) -> bool:
    """Return whether a service header holds what no loader uses."""
    return name in _PLAIN_SERVICES


def _u16(data: Data, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _vint(data: Data, at: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while at < stop and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise RarDamage("a header is damaged")
