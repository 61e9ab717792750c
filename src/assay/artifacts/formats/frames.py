"""What lz4 and zstd frames share: frames to pass over, and the two ways in which unpacking can end early."""

from __future__ import annotations

from assay.artifacts.reader import Data


class FrameDamage(Exception):
    """The frame is damaged, ends early, or needs more than the budget allows."""


class FrameUnread(Exception):
    """The frame is not read, for the reason given; ``remedy`` says what would help."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.remedy = remedy


def number(data: Data, at: int, size: int, stop: int) -> int:
    """Return the little-endian number at a place. Raises FrameDamage when it lies beyond ``stop``."""
    if at + size > stop:
        raise FrameDamage("the compressed stream ends early")
    return int.from_bytes(data[at : at + size], "little")


def is_skippable(data: Data, at: int) -> bool:
    """Return whether a frame without content begins here, which both formats pass over."""
    return data[at + 1 : at + 4] == b"\x2a\x4d\x18" and data[at] & 0xF0 == 0x50


def behind_skippable(data: Data, at: int, stop: int) -> int:
    """Return where the next frame begins. Raises FrameDamage when the frame goes on beyond ``stop``."""
    behind = at + 8 + number(data, at + 4, 4, stop)
    if behind > stop:
        raise FrameDamage("the compressed stream ends early")
    return behind
