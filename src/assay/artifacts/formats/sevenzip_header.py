"""The headers of 7z archives: which coders unpack which bytes into which members (7zFormat.txt of the LZMA SDK)."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from functools import cache

from assay.artifacts.reader import Data

MAGIC = b"7z\xbc\xaf\x27\x1c"
START = 32
_MOST_ITEMS = 100_000
_MOST_STEPS = 1_000_000
_NAME = rb"((?:[^\x00].|\x00[^\x00]){0,4096}+)\x00\x00"
(
    _END, _HEADER, _ARCHIVE, _ADDITIONAL, _STREAMS, _FILES, _PACK, _UNPACK, _SUBSTREAMS, _SIZE, _CRC, _FOLDER,
    _CODER_SIZES, _SUB_COUNT, _EMPTY_STREAM, _EMPTY_FILE, _ANTI, _NAMES,
) = range(18)  # fmt: skip
_ATTRIBUTES, _ENCODED = 0x15, 0x17


@cache
def _name_pattern() -> re.Pattern[bytes]:
    return re.compile(_NAME, re.DOTALL)


class SevenZipDamage(Exception):
    """The header cannot be followed."""


@dataclass(frozen=True, slots=True)
class Coder:
    """One step of unpacking: the id of its method, its settings, how many streams go in and come out."""

    method: bytes
    settings: bytes
    inputs: int
    outputs: int


@dataclass(slots=True)
class Folder:
    """Members packed together. sizes: what each coder puts out. start, packed: where the bytes lie in the file."""

    coders: list[Coder]
    bonds: list[tuple[int, int]]
    packs: int
    sizes: list[int] = field(default_factory=list)
    crc: int | None = None
    start: int = 0
    packed: int = 0
    members: list[tuple[int, int | None]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes that the last coder puts out."""
        bound = {out for _, out in self.bonds}
        return next((s for at, s in enumerate(self.sizes) if at not in bound), 0)


@dataclass(slots=True)
class Entry:
    """A member by name; empty: it has no bytes of its own, as folders have none. mode: of Unix, 0 when unknown."""

    name: str = ""
    empty: bool = False
    mode: int = 0
    reparse: bool = False


@dataclass(slots=True)
class Listing:
    """All folders and members of an archive; encoded: the true header is packed in the folders."""

    folders: list[Folder] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    encoded: bool = False


class _Cursor:
    """Numbers and vectors of a header, read in order; going beyond its end raises SevenZipDamage."""

    def __init__(self, raw: bytes, left: list[int] | None = None) -> None:
        self._raw, self._at = raw, 0
        # A header of a few bytes can ask for many items, again and again: how many more are given out.
        self._left = [_MOST_STEPS] if left is None else left

    def part(self) -> _Cursor:
        return _Cursor(self.take(self.number()), self._left)

    def spend(self, steps: int) -> None:
        self._left[0] -= steps
        if self._left[0] < 0:
            raise SevenZipDamage("the header has more items than the budget allows")

    def take(self, count: int) -> bytes:
        if count < 0 or self._at + count > len(self._raw):
            raise SevenZipDamage("the header ends early")
        self._at += count
        return self._raw[self._at - count : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def number(self) -> int:
        self.spend(1)
        first, mask, value = self.byte(), 0x80, 0
        for at in range(8):
            if not first & mask:
                return value | (first & (mask - 1)) << (8 * at)
            value |= self.byte() << (8 * at)
            mask >>= 1
        return value

    def count(self) -> int:
        value = self.number()
        if value > _MOST_ITEMS:
            raise SevenZipDamage("the header has more items than the budget allows")
        self.spend(value)
        return value

    def bits(self, count: int) -> list[bool]:
        self.spend(count)
        raw = self.take((count + 7) // 8)
        return [bool(raw[at >> 3] & (0x80 >> (at & 7))) for at in range(count)]

    def optional_bits(self, count: int) -> list[bool]:
        return [True] * count if self.byte() else self.bits(count)

    def digests(self, count: int) -> list[int | None]:
        return [self.u32() if there else None for there in self.optional_bits(count)]

    def name(self) -> str:
        # Compiled when the first archive comes: that takes a fiftieth of what the program takes to start.
        found = _name_pattern().match(self._raw, self._at)
        if not found:
            raise SevenZipDamage("a name has no end")
        self._at = found.end()
        return found.group(1).decode("utf-16-le", "replace")


def start_header(data: Data) -> tuple[int, int, int]:
    """Return where the end header begins and stops, and its CRC. Raises SevenZipDamage."""
    head = data[:START]
    if len(head) < START:
        raise SevenZipDamage("the archive ends early")
    if zlib.crc32(head[12:32]) != int.from_bytes(head[8:12], "little"):
        raise SevenZipDamage("the start header has a wrong checksum")
    begin = START + int.from_bytes(head[12:20], "little")
    stop = begin + int.from_bytes(head[20:28], "little")
    if stop > len(data):
        raise SevenZipDamage("the archive ends early")
    return begin, stop, int.from_bytes(head[28:32], "little")


def parse(raw: bytes) -> Listing:
    """Return what a header says. Raises SevenZipDamage."""
    cursor, listing = _Cursor(raw), Listing()
    kind = cursor.byte()
    if kind == _ENCODED:
        listing.folders, listing.encoded = _streams(cursor), True
        return listing
    if kind != _HEADER:
        raise SevenZipDamage("the header is of no known kind")
    seen: set[int] = set()
    while (kind := cursor.byte()) != _END:
        if kind in seen:
            raise SevenZipDamage("the header has a part twice")
        seen.add(kind)
        if kind == _STREAMS:
            listing.folders = _streams(cursor)
        elif kind == _FILES:
            listing.entries = _files(cursor)
        elif kind == _ADDITIONAL:
            _streams(cursor)
        elif kind == _ARCHIVE:
            while cursor.byte() != _END:
                cursor.take(cursor.number())
        else:
            raise SevenZipDamage("the header has an unknown part")
    return listing


def _streams(cursor: _Cursor) -> list[Folder]:
    offset, packed = 0, list[int]()
    folders: list[Folder] = []
    divided = False
    while (kind := cursor.byte()) != _END:
        if kind == _PACK:
            offset, packed = _pack_info(cursor)
        elif kind == _UNPACK:
            folders = _folders(cursor)
        elif kind == _SUBSTREAMS:
            _substreams(cursor, folders)
            divided = True
        else:
            raise SevenZipDamage("the streams have an unknown part")
    if not divided:
        for folder in folders:
            folder.members = [(folder.size, folder.crc)]
    if sum(f.packs for f in folders) > len(packed):
        raise SevenZipDamage("the folders need more streams than there are")
    at, position = 0, START + offset
    for folder in folders:
        folder.start, folder.packed = position, sum(packed[at : at + folder.packs])
        position += folder.packed
        at += folder.packs
    return folders


def _pack_info(cursor: _Cursor) -> tuple[int, list[int]]:
    offset, count = cursor.number(), cursor.count()
    sizes: list[int] = []
    while (kind := cursor.byte()) != _END:
        if kind == _SIZE:
            sizes = [cursor.number() for _ in range(count)]
        elif kind == _CRC:
            cursor.digests(count)
        else:
            raise SevenZipDamage("the packed streams have an unknown part")
    return offset, sizes


def _folders(cursor: _Cursor) -> list[Folder]:
    if cursor.byte() != _FOLDER:
        raise SevenZipDamage("the folders are missing")
    count = cursor.count()
    if cursor.byte():
        raise SevenZipDamage("the folders lie outside of the header")
    folders = [_folder(cursor) for _ in range(count)]
    while (kind := cursor.byte()) != _END:
        if kind == _CODER_SIZES:
            for folder in folders:
                folder.sizes = [cursor.number() for coder in folder.coders for _ in range(coder.outputs)]
        elif kind == _CRC:
            for folder, crc in zip(folders, cursor.digests(count), strict=True):
                folder.crc = crc
        else:
            raise SevenZipDamage("the folders have an unknown part")
    return folders


def _folder(cursor: _Cursor) -> Folder:
    coders = []
    for _ in range(_few(cursor)):
        flags = cursor.byte()
        method = cursor.take(flags & 15)
        ins, outs = (_few(cursor), _few(cursor)) if flags & 0x10 else (1, 1)
        coders.append(Coder(method, cursor.take(cursor.count()) if flags & 0x20 else b"", ins, outs))
        if flags & 0x80:
            raise SevenZipDamage("a coder has alternatives")
    bonds = [(cursor.number(), cursor.number()) for _ in range(sum(c.outputs for c in coders) - 1)]
    packs = sum(c.inputs for c in coders) - len(bonds)
    if packs < 1:
        raise SevenZipDamage("a folder has no stream")
    if packs > 1:
        for _ in range(packs):
            cursor.number()
    return Folder(coders, bonds, packs)


def _few(cursor: _Cursor) -> int:
    count = cursor.number()
    if not 1 <= count <= 32:
        raise SevenZipDamage("a folder has an impossible number of coders")
    return count


def _substreams(cursor: _Cursor, folders: list[Folder]) -> None:
    counts = [1] * len(folders)
    kind = cursor.byte()
    if kind == _SUB_COUNT:
        counts = [cursor.count() for _ in folders]
        kind = cursor.byte()
    if sum(counts) > _MOST_ITEMS:
        raise SevenZipDamage("the header has more items than the budget allows")
    sizes = _member_sizes(cursor if kind == _SIZE else None, folders, counts)
    if kind == _SIZE:
        kind = cursor.byte()
    known = [len(s) == 1 and f.crc is not None for f, s in zip(folders, sizes, strict=True)]
    found: list[int | None] = []
    while kind != _END:
        if kind != _CRC:
            raise SevenZipDamage("the members have an unknown part")
        found = cursor.digests(sum(len(s) for s, k in zip(sizes, known, strict=True) if not k))
        kind = cursor.byte()
    rest_of = iter(found)
    for folder, own, has in zip(folders, sizes, known, strict=True):
        folder.members = [(size, folder.crc if has else next(rest_of, None)) for size in own]


def _member_sizes(cursor: _Cursor | None, folders: list[Folder], counts: list[int]) -> list[list[int]]:
    """Return the sizes of each folder's members; all but the last are written, if ``cursor`` has them, and it is the rest."""
    sizes: list[list[int]] = []
    for folder, count in zip(folders, counts, strict=True):
        if cursor is None and count > 1:
            raise SevenZipDamage("the members have no sizes")
        own = [cursor.number() for _ in range(count - 1)] if cursor else []
        rest = folder.size - sum(own)
        if rest < 0:
            raise SevenZipDamage("the members are larger than their folder")
        sizes.append([*own, rest] if count else [])
    return sizes


def _files(cursor: _Cursor) -> list[Entry]:
    entries = [Entry() for _ in range(cursor.count())]
    while (kind := cursor.number()) != _END:
        part = cursor.part()
        if kind == _EMPTY_STREAM:
            for entry, empty in zip(entries, part.bits(len(entries)), strict=True):
                entry.empty = empty
        elif kind == _NAMES:
            if part.byte():
                raise SevenZipDamage("the names lie outside of the header")
            for entry in entries:
                entry.name = part.name()
        elif kind == _ATTRIBUTES:
            there = part.optional_bits(len(entries))
            if part.byte():
                raise SevenZipDamage("the attributes lie outside of the header")
            for entry, has in zip(entries, there, strict=True):
                value = part.u32() if has else 0
                entry.mode = value >> 16 if value & 0x8000 else 0
                entry.reparse = bool(value & 0x400)
    return entries
