"""Compressed streams, as joblib writes them: unpacked piece by piece under a hard budget, then read by content."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from mmap import ACCESS_READ, mmap
from typing import Protocol, Self

from assay.artifacts.formats import lz4_frame, zstd_frame
from assay.artifacts.formats.frames import FrameDamage, FrameUnread
from assay.artifacts.reader import DENIAL, Data, FormatReader, Inspection

_CHUNK = 1 << 16
_OUTPUT = 1 << 20
_IN_MEMORY = 16 << 20
_JUDGE_RATIO_FROM, _BOMB_FROM = 64 << 20, 8 << 20
_HEADS: dict[bytes, str] = {
    b"\x1f\x8b\x08": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x5d\x00\x00": "lzma",
    b"ZF0x": "joblib-zfile", lz4_frame.MAGIC: "lz4", zstd_frame.MAGIC: "zstd",
}  # fmt: skip
_MAGICS = tuple(_HEADS)
_ZFILE_HEAD = 21
_ZLIB_TRIAL = 512


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Zlib:
    """zlib's decompressor with the interface of the other two."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class _ZipLzma:
    """LZMA as zip archives hold it: two lengths, the properties, then the stream without its size."""

    def __init__(self) -> None:
        self._inner = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=128 << 20)
        self._begun = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._inner.needs_input

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if not self._begun:
            self._begun, data = True, data[4:9] + b"\xff" * 8 + data[9:]
        return self._inner.decompress(data, max_length)


_UNPACKERS: dict[str, Callable[[], _Unpacker]] = {
    "gzip": lambda: _Zlib(31), "zlib": lambda: _Zlib(15), "joblib-zfile": lambda: _Zlib(15), "raw-deflate": lambda: _Zlib(-15),
    "bz2": bz2.BZ2Decompressor, "xz": lambda: lzma.LZMADecompressor(memlimit=128 << 20),
    "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=128 << 20), "zip-lzma": _ZipLzma,
}  # fmt: skip


_FRAMED = {"lz4": lz4_frame.unpack, "zstd": zstd_frame.unpack}


class CompressedReader(FormatReader, name="compressed", techniques=(DENIAL,)):
    """Unpack gzip, zlib, bz2, xz, lzma, lz4 and zstd streams within budgets and read what is inside."""

    def claims(self, data: Data) -> bool:
        """Return whether the content begins as a compressed stream."""
        return _kind(data) != ""

    def read(self, data: Data, where: str, inspection: Inspection) -> str:
        """Examine the unpacked content; the name of the format is that of the inside."""
        kind = _kind(data)
        start = _ZFILE_HEAD if kind == "joblib-zfile" else 0
        return unpack_and_scan(data, start, len(data), kind, f"{where}!{kind}", inspection)


def _kind(data: Data) -> str:
    head = data[:6]
    if head.startswith(_MAGICS):
        return next(kind for magic, kind in _HEADS.items() if head.startswith(magic))
    return "zlib" if _is_zlib(data) else ""


def _is_zlib(data: Data) -> bool:
    """Return whether the content begins as a zlib stream of any window (RFC 1950), of which a little can be unpacked."""
    if len(data) < 6 or data[0] & 0x8F != 0x08 or data[1] & 0x20 or (data[0] << 8 | data[1]) % 31:
        return False
    try:
        zlib.decompressobj(15).decompress(data[:_ZLIB_TRIAL], 64)
    except zlib.error:
        return False
    return True


def unpack_and_scan(data: Data, start: int, stop: int, kind: str, where: str, inspection: Inspection) -> str:
    """Unpack ``data[start:stop]``, of which nothing large stays in memory, and examine it. Returns its format."""
    return scan_pieces(pieces(data, start, stop, kind), stop - start, kind, where, inspection)


def scan_pieces(
    unpacked: Iterable[bytes | Reason],
    packed: int,
    kind: str,
    where: str,
    inspection: Inspection,
    *,
    empty: bool = False,
) -> str:
    """Examine what the pieces make together, within the budgets. Returns its format, ``kind`` when there is none.

    packed: bytes that they came from. empty: nothing at all is in order.
    """
    import tempfile

    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        total, complete = 0, True
        for piece in unpacked:
            if not isinstance(piece, bytes):
                complete = False
                if isinstance(piece, Unread):
                    inspection.cannot(where, piece, piece.remedy)
                else:
                    inspection.error(where, piece)
                break
            total += len(piece)
            spool.write(piece)
            if over_budget(total, len(piece), packed, where, inspection):
                complete = False
                break
        if not total:
            if complete and not empty:
                inspection.cannot(where, "holds nothing")
            return kind
        outer, inspection.inflated = inspection.inflated, max(inspection.inflated, total / max(packed, 1))
        try:
            if total <= _IN_MEMORY:
                spool.seek(0)
                return inspection.scan(spool.read(), where)
            spool.flush()
            with mmap(spool.fileno(), 0, access=ACCESS_READ) as mapped:
                return inspection.scan(mapped, where)
        finally:
            inspection.inflated = outer


def over_budget(total: int, new: int, packed: int, where: str, inspection: Inspection) -> bool:
    """Count newly unpacked bytes; return whether to stop, after saying why."""
    limits = inspection.limits
    inspection.unpacked += new
    if total > _JUDGE_RATIO_FROM and total > limits.ratio * packed:
        inspection.bomb(where, f"unpacks to more than {limits.ratio} times its size")
        return True
    if inspection.unpacked > limits.unpacked:
        inspection.error(where, "unpacks to more bytes than the budget allows")
        return True
    if inspection.expired():
        inspection.error(where, "takes more time than the budget allows")
        if total > limits.ratio * packed and total > _BOMB_FROM:
            inspection.bomb(where, f"unpacks to more than {limits.ratio} times its size, and takes too long")
        return True
    return False


class Reason(str):
    """Why unpacking ended early."""

    __slots__ = ()


class Unread(Reason):
    """Why nothing here can unpack the stream, sound as it may be, and what would help."""

    __slots__ = ("remedy",)

    remedy: str

    def __new__(cls, why: str, remedy: str) -> Self:
        """Return the reason with its remedy."""
        made = super().__new__(cls, why)
        made.remedy = remedy
        return made


def pieces(data: Data, start: int, stop: int, kind: str) -> Iterator[bytes | Reason]:
    """Yield unpacked pieces of at most 1 MiB, and as the last item a text when the stream is damaged."""
    position = start
    if kind in _FRAMED:
        yield from _framed(data, start, stop, kind)
        return
    while kind == "stored" and position < stop:
        yield data[position : min(stop, position + _OUTPUT)]
        position += _OUTPUT
    while position < stop:
        unpacker = _UNPACKERS[kind]()
        begun = position
        while not unpacker.eof:
            chunk = data[position : min(stop, position + _CHUNK)] if unpacker.needs_input else b""
            position += len(chunk)
            try:
                made = unpacker.decompress(chunk, _OUTPUT)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, MemoryError):
                if begun == start:
                    yield Reason("the compressed stream is damaged")
                return
            if made:
                yield made
            elif not chunk and position >= stop:
                break
        if not unpacker.eof:
            yield Reason("the compressed stream ends early")
            return
        if kind not in {"gzip", "bz2", "xz"}:
            return
        # An empty piece lets the caller look at its clock between streams that hold nothing.
        yield b""
        position -= len(unpacker.unused_data)
        if position <= begun or data[position : position + 2] not in {b"\x1f\x8b", b"BZ", b"\xfd7"}:
            return


def _framed(data: Data, start: int, stop: int, kind: str) -> Iterator[bytes | Reason]:
    try:
        yield from _FRAMED[kind](data, start, stop)
    except FrameDamage as damage:
        yield Reason(str(damage))
    except FrameUnread as unread:
        yield Unread(str(unread), unread.remedy)
