"""7z archives: the header is followed by our own reader, every member is unpacked within budgets and read by content."""

from __future__ import annotations

import bz2
import lzma
import stat
import zlib
from collections.abc import Iterator
from typing import Protocol

from assay.artifacts.formats.archive_member import check_member, check_twice, scan_member, unread_member
from assay.artifacts.formats.compressed import Reason
from assay.artifacts.formats.sevenzip_header import (
    MAGIC,
    START,
    Coder,
    Entry,
    Folder,
    Listing,
    SevenZipDamage,
    parse,
    start_header,
)
from assay.artifacts.formats.trailing import check_tail
from assay.artifacts.reader import EMBEDDED_CODE, Data, FormatReader, Inspection

_CHUNK, _OUTPUT = 1 << 16, 1 << 20
_MOST_MEMORY = 128 << 20
_LARGEST_HEADER = 4 << 20
_LONGEST_CHAIN = 4
_ROUNDS = 4
_COPY, _LZMA, _LZMA2, _DEFLATE, _BZIP2 = b"\x00", b"\x03\x01\x01", b"\x21", b"\x04\x01\x08", b"\x04\x02\x02"
_DELTA = b"\x03"
_BRANCHES = {
    b"\x04": lzma.FILTER_X86, b"\x03\x03\x01\x03": lzma.FILTER_X86, b"\x05": lzma.FILTER_POWERPC,
    b"\x03\x03\x02\x05": lzma.FILTER_POWERPC, b"\x06": lzma.FILTER_IA64, b"\x03\x03\x04\x01": lzma.FILTER_IA64,
    b"\x07": lzma.FILTER_ARM, b"\x03\x03\x05\x01": lzma.FILTER_ARM, b"\x08": lzma.FILTER_ARMTHUMB,
    b"\x03\x03\x07\x01": lzma.FILTER_ARMTHUMB, b"\x09": lzma.FILTER_SPARC, b"\x03\x03\x08\x05": lzma.FILTER_SPARC,
}  # fmt: skip
_UNREAD = {
    b"\x06\xf1\x07\x01": "AES encryption", b"\x03\x04\x01": "PPMd", b"\x03\x03\x01\x1b": "BCJ2", b"\x04\x01\x09": "Deflate64",
    b"\x04\xf7\x11\x01": "zstd", b"\x04\xf7\x11\x04": "lz4", b"\x0a": "ARM64", b"\x04\xf7\x11\x02": "brotli",
}  # fmt: skip


class _Unsupported(Exception):
    """The coders are not read."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class SevenZipReader(FormatReader, name="7z", techniques=(EMBEDDED_CODE,)):
    """Read every member of a 7z archive."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as a 7z archive."""
        return data[:6] == MAGIC

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine all members, folder by folder."""
        try:
            listing = _listing(data, where, inspection)
            _members(data, listing, where, inspection)
        except SevenZipDamage as damage:
            inspection.error(where, str(damage))
        except _Unsupported as coder:
            inspection.cannot(where, f"the header needs {coder}, which is not read")
        return "7z"


def _listing(data: Data, where: str, inspection: Inspection) -> Listing:
    begin, stop, crc = start_header(data)
    check_tail(data, stop, where, inspection)
    if stop == begin:
        return Listing()
    if stop - begin > _LARGEST_HEADER:
        raise SevenZipDamage("the header is larger than the budget allows")
    raw = bytes(data[begin:stop])
    if zlib.crc32(raw) != crc:
        raise SevenZipDamage("the end header has a wrong checksum")
    for _ in range(_ROUNDS):
        listing = parse(raw)
        if not listing.encoded:
            return listing
        if len(listing.folders) != 1 or listing.folders[0].size > _LARGEST_HEADER:
            raise SevenZipDamage("the packed header is damaged or larger than the budget allows")
        folder = listing.folders[0]
        raw = _unpacked(data, folder)
        inspection.unpacked += len(raw)
        if folder.crc is not None and zlib.crc32(raw) != folder.crc:
            raise SevenZipDamage("the packed header has a wrong checksum")
    raise SevenZipDamage("the header is packed again and again")


def _unpacked(data: Data, folder: Folder) -> bytes:
    made = bytearray()
    for piece in _Stream(data, folder).take(folder.size):
        if not isinstance(piece, bytes):
            raise SevenZipDamage("the packed header cannot be unpacked")
        made += piece
    return bytes(made)


def _members(data: Data, listing: Listing, where: str, inspection: Inspection) -> None:
    check_twice((e.name for e in listing.entries), where, inspection)
    for entry in listing.entries:
        if entry.empty:
            check_member(entry.name, f"{where}!{entry.name}", inspection, link=_is_link(entry))
    filled = iter([e for e in listing.entries if not e.empty])
    for folder in listing.folders:
        members = [(next(filled, Entry("?")), size, crc) for size, crc in folder.members]
        inspection.members += len(members)
        if inspection.members > inspection.limits.members or inspection.expired():
            inspection.error(where, "has more members, or takes more time, than the budget allows")
            return
        if folder.start + folder.packed > len(data):
            inspection.error(where, "a folder lies beyond the end of the archive")
            continue
        _folder(data, folder, members, where, inspection)
    if next(filled, None) is not None:
        inspection.error(where, "the archive names members that it does not hold")


def _folder(
    data: Data, folder: Folder, members: list[tuple[Entry, int, int | None]], where: str, inspection: Inspection
) -> None:
    try:
        stream = _Stream(data, folder)
    except _Unsupported as coder:
        for entry, _, _ in members:
            why = f"needs {coder}, which is not read"
            unread_member(entry.name, f"{where}!{entry.name}", why, inspection, link=_is_link(entry))
        return
    except SevenZipDamage as damage:
        inspection.error(where, str(damage))
        return
    for entry, size, crc in members:
        place = f"{where}!{entry.name}"
        stream.begin()
        scan_member(
            entry.name, stream.take(size), folder.packed, place, inspection, link=_is_link(entry), empty=not size
        )
        if stream.given < size:
            inspection.error(place, "was not unpacked to its end, and what follows it neither")
            return
        if crc is not None and stream.crc != crc:
            inspection.error(place, "has a wrong checksum")


def _is_link(entry: Entry) -> bool:
    return stat.S_ISLNK(entry.mode) or entry.reparse


class _Stream:
    """The unpacked bytes of a folder, in order. Raises _Unsupported or SevenZipDamage when made."""

    def __init__(self, data: Data, folder: Folder) -> None:
        if any(c.inputs != 1 or c.outputs != 1 for c in folder.coders):
            names = [_UNREAD[c.method] for c in folder.coders if c.method in _UNREAD]
            raise _Unsupported(names[0] if names else "a graph of coders")
        self.given = self.crc = 0
        self._rest = b""
        chain = _order(folder)
        if sum(_lzma_filter(c, size)["dict_size"] for c, size in chain if c.method in {_LZMA, _LZMA2}) > _MOST_MEMORY:
            raise SevenZipDamage("the coders need more memory than the budget allows")
        self._pieces: Iterator[bytes | Reason] = _packed(data, folder.start, folder.start + folder.packed)
        for coder, size in chain:
            self._pieces = _coded(self._pieces, coder, size)

    def begin(self) -> None:
        """Count anew for the next member."""
        self.given = self.crc = 0

    def take(self, size: int) -> Iterator[bytes | Reason]:
        """Yield the next ``size`` bytes in pieces, or a reason when the stream is damaged or ends."""
        while self.given < size:
            piece: bytes | Reason = self._rest or next(self._pieces, Reason("the archive's stream ends early"))
            if not isinstance(piece, bytes):
                yield piece
                return
            now, self._rest = piece[: size - self.given], piece[size - self.given :]
            self.given += len(now)
            self.crc = zlib.crc32(now, self.crc)
            if now:
                yield now


def _order(folder: Folder) -> list[tuple[Coder, int]]:
    """Return the coders from the packed stream outwards, each with the size of what it puts out."""
    if len(folder.sizes) != len(folder.coders):
        raise SevenZipDamage("the coders have no sizes")
    if len(folder.coders) > _LONGEST_CHAIN:
        raise _Unsupported("a long chain of coders")
    after = {source: sink for sink, source in folder.bonds}
    fed = {sink for sink, _ in folder.bonds}
    at: int | None = next((i for i in range(len(folder.coders)) if i not in fed), None)
    chain: list[tuple[Coder, int]] = []
    while at is not None and len(chain) < len(folder.coders):
        if at >= len(folder.coders):
            raise SevenZipDamage("the coders are bound to nothing")
        coder = folder.coders[at]
        if coder.method not in {_COPY, _LZMA, _LZMA2, _DEFLATE, _BZIP2, _DELTA, *_BRANCHES}:
            raise _Unsupported(_UNREAD.get(coder.method, f"the coder {coder.method.hex()}"))
        chain.append((coder, folder.sizes[at]))
        at = after.get(at)
    if len(chain) != len(folder.coders):
        raise SevenZipDamage("the coders make no chain")
    return chain


def _packed(data: Data, start: int, stop: int) -> Iterator[bytes | Reason]:
    for at in range(max(start, START), stop, _CHUNK):
        yield bytes(data[at : min(stop, at + _CHUNK)])


def _coded(source: Iterator[bytes | Reason], coder: Coder, size: int) -> Iterator[bytes | Reason]:
    if coder.method == _COPY:
        return source
    if coder.method in _BRANCHES or coder.method == _DELTA:
        # liblzma runs its filters only before LZMA2, so that the bytes are wrapped as chunks stored in it.
        step = {"id": _BRANCHES.get(coder.method, lzma.FILTER_DELTA)}
        if coder.method == _DELTA:
            step["dist"] = (coder.settings[0] if coder.settings else 0) + 1
        chain = [step, {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]
        return _run(lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain), _wrapped(source), size)
    if coder.method == _DEFLATE:
        return _run(_Deflate(), source, size)
    if coder.method == _BZIP2:
        return _run(bz2.BZ2Decompressor(), source, size)
    return _run(lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[_lzma_filter(coder, size)]), source, size)


def _lzma_filter(coder: Coder, size: int) -> dict[str, int]:
    raw = coder.settings
    if coder.method == _LZMA2:
        if len(raw) != 1 or raw[0] > 40:
            raise SevenZipDamage("a coder has impossible settings")
        wanted = 0xFFFFFFFF if raw[0] == 40 else (2 | (raw[0] & 1)) << (raw[0] // 2 + 11)
        return {"id": lzma.FILTER_LZMA2, "dict_size": _dictionary(wanted, size)}
    if len(raw) != 5 or raw[0] >= 225:
        raise SevenZipDamage("a coder has impossible settings")
    pb, rest = divmod(raw[0], 45)
    lp, lc = divmod(rest, 9)
    if lc + lp > 4:
        raise SevenZipDamage("a coder has impossible settings")
    made = {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb}
    return {**made, "dict_size": _dictionary(int.from_bytes(raw[1:], "little"), size)}


def _dictionary(wanted: int, size: int) -> int:
    # No stream can look back further than it is long.
    needed = max(4096, min(wanted, size))
    if needed > _MOST_MEMORY:
        raise SevenZipDamage("a coder needs more memory than the budget allows")
    return needed


class _Deflate:
    """zlib's raw decompressor, bounded as the others are."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(-15)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _run(unpacker: _Unpacker, source: Iterator[bytes | Reason], size: int) -> Iterator[bytes | Reason]:
    """Yield at most ``size`` unpacked bytes in pieces of at most 1 MiB."""
    made, fresh = 0, b""
    while made < size and not unpacker.eof:
        try:
            piece = unpacker.decompress(fresh, min(_OUTPUT, size - made))
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, MemoryError):
            yield Reason("the archive's stream is damaged")
            return
        made += len(piece)
        fresh = b""
        if piece:
            yield piece
            continue
        more = next(source, None)
        if more is None:
            return
        if not isinstance(more, bytes):
            yield more
            return
        fresh = more


def _wrapped(source: Iterator[bytes | Reason]) -> Iterator[bytes | Reason]:
    head = b"\x01"
    for piece in source:
        if not isinstance(piece, bytes):
            yield piece
            return
        for at in range(0, len(piece), _CHUNK):
            part = piece[at : at + _CHUNK]
            yield head + (len(part) - 1).to_bytes(2, "big") + part
            head = b"\x02"
    yield b"\x00"
