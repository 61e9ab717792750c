"""Zstandard frames: walked by us block by block, so that no step unpacks more than 128 KiB (RFC 8878)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from types import ModuleType

from assay.artifacts.formats.frames import FrameDamage, FrameUnread, behind_skippable, is_skippable, number
from assay.artifacts.reader import Data

MAGIC = b"\x28\xb5\x2f\xfd"
_LARGEST_BLOCK = 128 << 10
_LARGEST_WINDOW = 27
_EVERY = 256
_LIKE_STANDARD = ("compression.zstd", "backports.zstd")
_OTHERS = ("zstandard",)
_REMEDY = "Use Python 3.14 or later, or install the package zstandard, and scan again"


def unpack(data: Data, start: int, stop: int) -> Iterator[bytes]:
    """Yield the content of all frames, block by block, also empty pieces.

    Raises FrameDamage, and FrameUnread when nothing is installed that decodes zstd or a frame needs a dictionary.
    """
    make, failures = _decoder()
    at = start
    while at < stop:
        yield b""
        if is_skippable(data, at):
            at = behind_skippable(data, at, stop)
            continue
        if data[at : at + 4] != MAGIC:
            raise FrameDamage("bytes that are no frame lie behind the compressed stream")
        decode = make()
        for end in _steps(data, at, stop):
            # Sound frames are only cut into their blocks here: what a block says is left to the decoder.
            try:
                piece = decode(bytes(data[at:end]))
            except failures as error:
                raise FrameDamage("the compressed stream is damaged") from error
            at = end
            yield piece


def find_decoder() -> ModuleType | None:
    """Return the first module that decodes zstd: the standard library's, or an installed one; None when there is none."""
    for name in (*_LIKE_STANDARD, *_OTHERS):
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


def _decoder() -> tuple[Callable[[], Callable[[bytes], bytes]], tuple[type[Exception], ...]]:
    """Return what makes a decoder for one frame, and how that one fails. Raises FrameUnread."""
    module = find_decoder()
    if module is None:
        raise FrameUnread("is compressed with zstd, which nothing installed here decodes", _REMEDY)
    return partial(_from, module, module.__name__ in _LIKE_STANDARD), (module.ZstdError, EOFError, MemoryError)


def _from(module: ModuleType, like_standard: bool) -> Callable[[bytes], bytes]:
    if like_standard:
        options = {module.DecompressionParameter.window_log_max: _LARGEST_WINDOW}
        decode: Callable[[bytes], bytes] = module.ZstdDecompressor(options=options).decompress
    else:
        decode = module.ZstdDecompressor(max_window_size=1 << _LARGEST_WINDOW).decompressobj().decompress
    return decode


def _steps(data: Data, at: int, stop: int) -> Iterator[int]:
    """Yield where each part of a frame ends: the header with the first block, then block after block."""
    checksum = 4 * (number(data, at + 4, 1, stop) >> 2 & 1)
    at = _behind_header(data, at + 4, stop)
    last, small = False, 0
    while not last:
        head = number(data, at, 3, stop)
        last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
        if kind == 3 or size > _LARGEST_BLOCK:
            raise FrameDamage("the compressed stream is damaged")
        at += 3 + (1 if kind == 1 else size) + last * checksum
        if at > stop:
            raise FrameDamage("the compressed stream ends early")
        # Raw blocks are as large as they look; a run of small ones is decoded in one step.
        small = small + 1 if kind == 0 and size < 256 else 0
        if not last and small % _EVERY == 0:
            yield at
    yield at


def _behind_header(data: Data, at: int, stop: int) -> int:
    flags = number(data, at, 1, stop)
    single = flags >> 5 & 1
    named = (0, 1, 2, 4)[flags & 3]
    if flags & 8:
        raise FrameDamage("the compressed stream is of an unknown version")
    if not single and number(data, at + 1, 1, stop) >> 3 > _LARGEST_WINDOW - 10:
        raise FrameDamage("the compressed stream needs more memory than the budget allows")
    begun = at + 2 - single
    if named and number(data, begun, named, stop):
        raise FrameUnread("is compressed with a dictionary that is not in the file", "Unpack the file and scan again")
    content = (single, 2, 4, 8)[flags >> 6]
    wide = number(data, begun + named, content, stop) if single else 0
    if wide > 1 << _LARGEST_WINDOW:
        raise FrameDamage("the compressed stream needs more memory than the budget allows")
    return begun + named + content
