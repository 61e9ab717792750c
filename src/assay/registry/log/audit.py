"""Verifying a log as a stranger: everything is computed again from the entries, and every file must be accounted for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.core.digest import digest_bytes
from assay.core.errors import FormatError, VerificationError
from assay.registry.log import merkle
from assay.registry.log.folder import is_leftover, locked, paths, read_part, shown
from assay.registry.log.note import NOTE_LIMIT, Checkpoint, VerifierKey
from assay.registry.log.tiles import (
    BUNDLE_LIMIT,
    CHECKPOINT,
    ENTRIES,
    WIDTH,
    Tile,
    blob_of,
    blob_path,
    decode_bundle,
    split_hashes,
    tiles_of,
)

_RESTORE = "Do not rely on this copy; get the log again from where it is kept"


def verify_log(folder: str | os.PathLike[str], key: VerifierKey, *, leftovers: bool = False) -> Checkpoint:
    """Return the authenticated checkpoint of a log in which every byte is accounted for.

    leftovers: accept files that an append which was cut short can leave beyond the checkpoint; they are not read.
    Raises VerificationError, whose ``where`` is the file: the checkpoint is not of this log and key, a file is
    missing, has another size, was changed or does not belong, or the checkpoint's size or root does not fit.
    Raises DataError when there is no such folder.
    """
    checkpoint, _ = _audit(Path(folder), key, leftovers=leftovers)
    return checkpoint


def consistent(old: Checkpoint, folder: str | os.PathLike[str], key: VerifierKey) -> Checkpoint:
    """Return the checkpoint of a verified log that extends ``old``, a checkpoint of it that was remembered.

    Raises VerificationError when the log fails ``verify_log``, is another one, is shorter, or has another history.
    """
    checkpoint, reading = _audit(Path(folder), key, leftovers=False)
    if old.origin != checkpoint.origin:
        raise VerificationError(f"the remembered checkpoint is of {old.origin!r}, another log", where=str(folder))
    if old.size > checkpoint.size:
        raise VerificationError(
            f"the log has {checkpoint.size} entries, fewer than the {old.size} that were remembered",
            where=str(folder),
            remedy="Entries were removed: keep the remembered checkpoint as evidence",
        )
    if merkle.root(reading.leaves[: old.size]) != old.root:
        raise VerificationError(
            f"the first {old.size} entries are not those that were remembered: the history was rewritten",
            where=str(folder),
            remedy="Keep both checkpoints: together they prove it",
        )
    return checkpoint


def verified_entries(folder: str | os.PathLike[str], key: VerifierKey) -> tuple[Checkpoint, tuple[bytes, ...]]:
    """Return the checkpoint of a log and all its entries, in order, after verifying it as ``verify_log`` does."""
    root = Path(folder)
    entries: list[bytes] = []
    checkpoint, _ = _audit(root, key, leftovers=False, keep=entries)
    return checkpoint, tuple(entries)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What was read. leaves: hashes of the entries; stored: those in the tiles of level 0; used: paths read."""

    leaves: list[bytes]
    stored: list[bytes]
    used: set[str]


def _audit(
    folder: Path, key: VerifierKey, *, leftovers: bool, keep: list[bytes] | None = None
) -> tuple[Checkpoint, _Reading]:
    with locked(folder, alone=False):
        found = paths(folder)
        if CHECKPOINT not in found:
            raise VerificationError("a file of the log is missing", where=str(folder / CHECKPOINT))
        checkpoint = signed_checkpoint(folder, key)
        reading = _Reading([], [], {CHECKPOINT})
        for tile in tiles_of(ENTRIES, checkpoint.size):
            for form, entry in _entries(folder, tile, reading):
                reading.leaves.append(merkle.leaf_hash(form))
                if keep is not None:
                    keep.append(entry)
        for tile in tiles_of(0, checkpoint.size):
            reading.stored.extend(split_hashes(_tile(folder, tile)))
        _compare_root(folder, checkpoint, reading)
        _compare_tiles(folder, reading)
    extra = sorted(found - reading.used)
    unknown = [path for path in extra if not (leftovers and is_leftover(path))]
    if unknown:
        raise VerificationError(
            "the file does not belong to the log",
            where=shown(folder, unknown[0]),
            remedy="If an append was interrupted, the log's owner removes it by opening the log",
        )
    return checkpoint, reading


def signed_checkpoint(folder: Path, key: VerifierKey) -> Checkpoint:
    """Return the checkpoint in a log's folder, its signature verified and its tree not yet. Raises VerificationError."""
    place = str(folder / CHECKPOINT)
    data = read_part(folder, CHECKPOINT, limit=4 * NOTE_LIMIT)
    try:
        return key.open(data.decode("utf-8"), where=place)
    except UnicodeDecodeError as error:
        raise VerificationError("not a checkpoint: not UTF-8", where=place) from error


def _entries(folder: Path, tile: Tile, reading: _Reading) -> Iterator[tuple[bytes, bytes]]:
    """Yield each entry of a bundle in the form that is hashed, and whole."""
    data = read_part(folder, tile.path, limit=BUNDLE_LIMIT)
    try:
        forms = decode_bundle(data, tile.width)
    except FormatError as error:
        raise VerificationError(error.message, where=str(folder / tile.path), remedy=_RESTORE) from error
    reading.used.add(tile.path)
    for form in forms:
        large = blob_of(form)
        if large is None:
            yield form, form
            continue
        digest, size = large
        path = blob_path(digest)
        content = read_part(folder, path, limit=size, exact=size)
        if digest_bytes(content) != digest:
            raise VerificationError("the large entry was changed", where=str(folder / path), remedy=_RESTORE)
        reading.used.add(path)
        yield form, content


def _tile(folder: Path, tile: Tile) -> bytes:
    size = tile.width * merkle.HASH_SIZE
    return read_part(folder, tile.path, limit=size, exact=size)


def _compare_root(folder: Path, checkpoint: Checkpoint, reading: _Reading) -> None:
    if merkle.root(reading.leaves) == checkpoint.root:
        return
    if merkle.root(reading.stored) == checkpoint.root:
        # The hashes are those that were signed, so the entries are what changed: name the first bundle.
        changed = next(i for i, (a, b) in enumerate(zip(reading.leaves, reading.stored, strict=True)) if a != b)
        bundle = next(tiles_of(ENTRIES, checkpoint.size, start=changed // WIDTH))
        raise VerificationError(
            f"entry {changed} is not the one that was logged", where=str(folder / bundle.path), remedy=_RESTORE
        )
    raise VerificationError(
        "the checkpoint's root is not that of the entries", where=str(folder / CHECKPOINT), remedy=_RESTORE
    )


def _compare_tiles(folder: Path, reading: _Reading) -> None:
    values: Sequence[bytes] = reading.leaves
    level = 0
    while values:
        above: list[bytes] = []
        for tile in tiles_of(level, len(values)):
            chunk = values[tile.index * WIDTH : (tile.index + 1) * WIDTH]
            if _tile(folder, tile) != b"".join(chunk):
                raise VerificationError("a tile was changed", where=str(folder / tile.path), remedy=_RESTORE)
            reading.used.add(tile.path)
            if tile.width == WIDTH:
                above.append(merkle.root(chunk))
        values, level = above, level + 1
