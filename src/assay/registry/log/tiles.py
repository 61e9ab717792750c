"""The files of a log: static tiles, https://c2sp.org/tlog-tiles, that any web server or disk can hold.

``tile/<L>/<N>`` holds 256 hashes of level L, ``tile/entries/<N>`` 256 entries, each after its length in two bytes;
the last of a level, while it is shorter, is ``<N>.p/<W>``. N is written in groups of three digits, ``x001/x234/067``.

An entry above 65,535 bytes does not fit two bytes of length. The log then holds a digest record in its place, the
canonical JSON ``{"blob":"sha256:<hex>","size":<bytes>}``, and the entry itself is the file ``blob/<hex>``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from assay.core.canonical import canonical_bytes
from assay.core.digest import Digest, digest_bytes
from assay.core.errors import DataError, FormatError
from assay.registry.log.merkle import HASH_SIZE, root

WIDTH = 256
CHECKPOINT = "checkpoint"
ENTRIES = -1
SMALL_LIMIT = 65_535
ENTRY_LIMIT = 1 << 28
BUNDLE_LIMIT = WIDTH * (SMALL_LIMIT + 2)

_PATH = re.compile(r"tile/(entries|0|[1-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_RECORD = re.compile(rb'\{"blob":"sha256:([0-9a-f]{64})","size":([1-9][0-9]{0,9})\}')


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """One tile. level: of its hashes, ENTRIES for a bundle of entries; width: 1 to 256, less than 256 is partial."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """The file's path in the log's folder. Round trip: ``Tile.parse(t.path) == t``."""
        text = str(self.index)
        groups = text.zfill(-(-len(text) // 3) * 3)
        number = "/".join(("x" if i + 3 < len(groups) else "") + groups[i : i + 3] for i in range(0, len(groups), 3))
        level = "entries" if self.level == ENTRIES else str(self.level)
        return f"tile/{level}/{number}" + ("" if self.width == WIDTH else f".p/{self.width}")

    @classmethod
    def parse(cls, path: str) -> Tile:
        """Return the tile of that path. Raises FormatError when no tile has it."""
        match = _PATH.fullmatch(path)
        if match is None:
            raise FormatError("not the path of a tile", where=path)
        level = ENTRIES if match[1] == "entries" else int(match[1])
        tile = cls(level, int(re.sub("[x/]", "", match[2])), int(match[3] or WIDTH))
        if tile.path != path:
            raise FormatError("not the path of a tile", where=path)
        return tile


def tiles_of(level: int, hashes: int, *, start: int = 0) -> Iterator[Tile]:
    """Yield the tiles of a level that has so many hashes (or entries), from tile ``start`` on."""
    full, rest = divmod(hashes, WIDTH)
    for index in range(start, full):
        yield Tile(level, index)
    if rest:
        yield Tile(level, full, rest)


def level_sizes(size: int) -> Iterator[tuple[int, int]]:
    """Yield each level of a log of ``size`` entries with its number of hashes, up to the last that has one."""
    level = 0
    while size:
        yield level, size
        level, size = level + 1, size // WIDTH


def log_tiles(size: int) -> Iterator[Tile]:
    """Yield every tile of a log of ``size`` entries: the bundles of entries first, then the levels upwards."""
    yield from tiles_of(ENTRIES, size)
    for level, hashes in level_sizes(size):
        yield from tiles_of(level, hashes)


def split_hashes(data: bytes) -> list[bytes]:
    """Return the hashes in a tile's bytes."""
    return [data[i : i + HASH_SIZE] for i in range(0, len(data), HASH_SIZE)]


def subtrees(size: int, read: Callable[[Tile], bytes]) -> Callable[[int, int], bytes]:
    """Return the tree (``merkle.Subtree``) of a log of ``size`` entries, whose tiles ``read`` gives."""
    kept: dict[Tile, list[bytes]] = {}

    def subtree(height: int, index: int) -> bytes:
        level, rest = divmod(height, 8)
        number, offset = divmod(index << rest, WIDTH)
        width = min(WIDTH, (size >> 8 * level) - number * WIDTH)
        tile = Tile(level, number, width)
        if tile not in kept:
            kept[tile] = split_hashes(read(tile))
        return root(kept[tile][offset : offset + (1 << rest)])

    return subtree


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return the bytes of a bundle of entries: each after its length as a big-endian 16-bit number."""
    return b"".join(len(e).to_bytes(2, "big") + e for e in entries)


def decode_bundle(data: bytes, count: int) -> list[bytes]:
    """Return the ``count`` entries in a bundle. Raises FormatError unless it holds exactly those."""
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < count:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data) or at + 2 > len(data):
            raise FormatError("an entry bundle ends inside an entry")
        entries.append(data[at + 2 : end])
        at = end
    if at != len(data) or len(entries) != count:
        raise FormatError(f"an entry bundle does not hold exactly {count} entries")
    return entries


def logged_form(entry: bytes) -> bytes:
    """Return the bytes that stand for an entry in the log: itself, or its digest record when it is large.

    Raises DataError when it is larger than ENTRY_LIMIT, or is itself a digest record.
    """
    if blob_of(entry) is not None:
        raise DataError("an entry in the form of a digest record cannot be told from a large one")
    if len(entry) <= SMALL_LIMIT:
        return entry
    if len(entry) > ENTRY_LIMIT:
        raise DataError(f"an entry has at most {ENTRY_LIMIT} bytes", remedy="Log its digest")
    return canonical_bytes({"blob": str(digest_bytes(entry)), "size": len(entry)})


def blob_of(record: bytes) -> tuple[Digest, int] | None:
    """Return the digest and size of the large entry that a record stands for, None when it is an entry itself."""
    match = _RECORD.fullmatch(record)
    if match is None or not SMALL_LIMIT < int(match[2]) <= ENTRY_LIMIT:
        return None
    return Digest("sha256", match[1].decode()), int(match[2])


def blob_path(digest: Digest) -> str:
    """Return the path of a large entry in the log's folder."""
    return f"blob/{digest.hex}"
