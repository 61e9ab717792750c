"""LZ4 frames, as joblib writes them, unpacked in Python piece by piece (LZ4 Frame Format 1.6.4, Block Format)."""

from __future__ import annotations

from collections.abc import Iterator

from assay.artifacts.formats.frames import FrameDamage, behind_skippable, is_skippable, number
from assay.artifacts.reader import Data

MAGIC = b"\x04\x22\x4d\x18"
_HISTORY, _PIECE = 1 << 16, 1 << 18
_LARGEST = {4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 4 << 20}
_STORED = 1 << 31


def unpack(data: Data, start: int, stop: int) -> Iterator[bytes]:
    """Yield the content of all frames in pieces of about 256 KiB, also empty ones. Raises FrameDamage.

    Checksums are not compared: what they guard is examined as it is.
    """
    at = start
    while at < stop:
        # An empty piece lets the caller look at its clock.
        yield b""
        if is_skippable(data, at):
            at = behind_skippable(data, at, stop)
            continue
        if data[at : at + 4] != MAGIC:
            raise FrameDamage("bytes that are no frame lie behind the compressed stream")
        at, largest, checked, whole = _header(data, at + 4, stop)
        out = bytearray()
        while size := number(data, at, 4, stop):
            stored, size = bool(size & _STORED), size & (_STORED - 1)
            at += 4
            if size > largest or at + size > stop:
                raise FrameDamage("the compressed stream is damaged")
            block = bytes(data[at : at + size])
            at += size + 4 * checked
            if stored:
                out += block
            else:
                yield from _block(block, out, largest)
            yield bytes(out[:-_HISTORY])
            del out[:-_HISTORY]
        yield bytes(out)
        at += 4 + 4 * whole
        if at > stop:
            raise FrameDamage("the compressed stream ends early")


def _header(data: Data, at: int, stop: int) -> tuple[int, int, bool, bool]:
    """Return (place of the first block, largest block, blocks have checksums, the content has one)."""
    flags, sizes = number(data, at, 1, stop), number(data, at + 1, 1, stop)
    largest = _LARGEST.get(sizes >> 4)
    if flags >> 6 != 1 or largest is None:
        raise FrameDamage("the compressed stream is of an unknown version")
    behind = at + 3 + 8 * (flags >> 3 & 1) + 4 * (flags & 1)
    return behind, largest, bool(flags & 0x10), bool(flags & 4)


def _block(block: bytes, out: bytearray, largest: int) -> Iterator[bytes]:
    """Unpack a block to the end of ``out``, from whose beginning pieces are taken when it grows long."""
    at, made, stop = 0, 0, len(block)
    try:
        while at < stop:
            token = block[at]
            count, at = _length(block, at + 1, token >> 4)
            out += block[at : at + count]
            at += count
            made += count
            if at >= stop:
                break
            distance = block[at] | block[at + 1] << 8
            length, at = _length(block, at + 2, token & 15)
            length += 4
            made += length
            if not 0 < distance <= len(out) or made > largest:
                raise FrameDamage("the compressed stream is damaged")
            found = out[len(out) - distance : len(out) - distance + min(length, distance)]
            out += found if length <= distance else (found * (length // distance + 1))[:length]
            if len(out) >= _PIECE:
                yield bytes(out[:-_HISTORY])
                del out[:-_HISTORY]
    except IndexError:
        raise FrameDamage("the compressed stream is damaged") from None
    if at != stop or made > largest:
        raise FrameDamage("the compressed stream is damaged")


def _length(block: bytes, at: int, count: int) -> tuple[int, int]:
    if count < 15:
        return count, at
    more = 255
    while more == 255:
        more = block[at]
        at += 1
        count += more
    return count, at
