"""The log of one folder: append signed statements, prove that one is there, and never rewrite.

The tree only grows. An append writes new tiles first and the checkpoint last, so that a crash between leaves the
old log, whole; the next ``open`` removes what the crash left. The tiles that a larger one replaces are removed once
the checkpoint is written; a reader on the web who misses one reads the checkpoint again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from assay.core.errors import DataError, FormatError, VerificationError
from assay.core.files import write_bytes
from assay.core.keys import PrivateKey
from assay.registry.log import merkle
from assay.registry.log.audit import consistent, signed_checkpoint, verified_entries, verify_log
from assay.registry.log.folder import is_leftover, locked, paths, read_part, remove, sync_folders
from assay.registry.log.note import Checkpoint, VerifierKey, sign_checkpoint
from assay.registry.log.proof import Proof
from assay.registry.log.tiles import (
    BUNDLE_LIMIT,
    CHECKPOINT,
    ENTRIES,
    ENTRY_LIMIT,
    WIDTH,
    Tile,
    blob_of,
    blob_path,
    decode_bundle,
    encode_bundle,
    level_sizes,
    log_tiles,
    logged_form,
    split_hashes,
    subtrees,
    tiles_of,
)

__all__ = ["Log", "consistent", "verified_entries", "verify_log"]


class Log:
    """A log that its key can extend. Make one with ``create`` or ``open``; readers need only ``verify_log``."""

    def __init__(self, folder: Path, key: PrivateKey, verifier: VerifierKey) -> None:
        self.folder = folder
        self.verifier = verifier
        self._key = key
        self._leaves: list[bytes] = []
        self._index: dict[bytes, int] = {}
        self._seen: Checkpoint | None = None

    @classmethod
    def create(cls, folder: str | os.PathLike[str], key: PrivateKey, origin: str) -> Log:
        """Return a new, empty log. origin: its name for ever, as in ``example.com/models``.

        Raises DataError when the folder holds anything, FormatError on a bad origin or a key that is not Ed25519.
        """
        root = Path(folder)
        first = sign_checkpoint(origin, 0, merkle.EMPTY_ROOT, key)
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot become the folder of a log ({error.strerror})", where=str(root)) from error
        with locked(root, alone=True):
            if any(root.iterdir()):
                raise DataError("the folder is not empty", where=str(root), remedy="Give a log a folder of its own")
            write_bytes(root / CHECKPOINT, first.text.encode())
        return cls.open(root, key, origin)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], key: PrivateKey, origin: str) -> Log:
        """Return the log of a folder, without what an interrupted append left there.

        Raises DataError when there is none, VerificationError when its checkpoint is not of this key and origin.
        """
        log = cls(Path(folder), key, VerifierKey.of(origin, key.public))
        with locked(log.folder, alone=True):
            now = log._current()
            log._learn(now)
            log._sweep(now, blobs=True)
        return log

    def checkpoint(self) -> Checkpoint:
        """Return the newest checkpoint. Raises VerificationError, also when it does not extend the one seen before."""
        with locked(self.folder, alone=False):
            return self._current()

    def append(self, entries: Sequence[bytes]) -> list[int]:
        """Return the index of each entry, after adding those that the log does not hold yet, in one step.

        Raises DataError on an entry that cannot be logged; then nothing is added. Raises VerificationError when
        the files are not those of the checkpoint: a damaged log is not extended.
        """
        forms = [logged_form(entry) for entry in entries]
        hashes = [merkle.leaf_hash(form) for form in forms]
        with locked(self.folder, alone=True):
            before = self._current()
            self._learn(before)
            added: dict[bytes, int] = {}
            for position, value in enumerate(hashes):
                if value not in self._index and value not in added:
                    added[value] = position
            if added:
                self._sweep(before)
                positions = list(added.values())
                self._write_blobs([entries[p] for p in positions if forms[p] is not entries[p]])
                self._extend(before, [forms[p] for p in positions], list(added))
            return [self._index[value] for value in hashes]

    def entry(self, index: int) -> bytes:
        """Return entry ``index``, authenticated. Raises DataError outside the log, VerificationError when changed."""
        with locked(self.folder, alone=False):
            checkpoint = self._current()
            path = merkle.inclusion_path(index, checkpoint.size, self._tree(checkpoint.size))
            number, offset = divmod(index, WIDTH)
            width = min(WIDTH, checkpoint.size - number * WIDTH)
            form = self._bundle(Tile(ENTRIES, number, width))[offset]
            merkle.verify_inclusion(merkle.leaf_hash(form), index, checkpoint.size, path, checkpoint.root)
            large = blob_of(form)
            if large is None:
                return form
            data = read_part(self.folder, blob_path(large[0]), limit=ENTRY_LIMIT, exact=large[1])
        if logged_form(data) != form:
            raise VerificationError("the large entry is not the one that was logged", where=blob_path(large[0]))
        return data

    def proof(self, index: int) -> Proof:
        """Return the offline proof of entry ``index``. Raises DataError outside the log, VerificationError if damaged."""
        with locked(self.folder, alone=False):
            checkpoint = self._current()
            tree = self._tree(checkpoint.size)
            path = merkle.inclusion_path(index, checkpoint.size, tree)
            merkle.verify_inclusion(tree(0, index), index, checkpoint.size, path, checkpoint.root)
        return Proof(index, path, checkpoint.text)

    def consistency(self, old: int) -> tuple[bytes, ...]:
        """Return the hashes that prove the log to extend its state of ``old`` entries (RFC 9162 2.1.4)."""
        with locked(self.folder, alone=False):
            size = self._current().size
            return merkle.consistency_path(old, size, self._tree(size))

    def _current(self) -> Checkpoint:
        found = self._read_checkpoint()
        seen = self._seen
        if seen is not None and found != seen:
            if found.size < seen.size:
                raise VerificationError("the log is shorter than it was", where=str(self.folder))
            path = merkle.consistency_path(seen.size, found.size, self._tree(found.size))
            merkle.verify_consistency(seen.size, seen.root, found.size, found.root, path)
        self._seen = found
        return found

    def _read_checkpoint(self) -> Checkpoint:
        if not (self.folder / CHECKPOINT).exists():
            raise DataError("there is no log", where=str(self.folder), remedy="Create it first")
        return signed_checkpoint(self.folder, self.verifier)

    def _read(self, tile: Tile) -> bytes:
        size = tile.width * merkle.HASH_SIZE
        return read_part(self.folder, tile.path, limit=size, exact=size)

    def _bundle(self, tile: Tile) -> list[bytes]:
        try:
            return decode_bundle(read_part(self.folder, tile.path, limit=BUNDLE_LIMIT), tile.width)
        except FormatError as error:
            raise VerificationError(error.message, where=str(self.folder / tile.path)) from error

    def _tree(self, size: int) -> merkle.Subtree:
        return subtrees(size, self._read)

    def _learn(self, checkpoint: Checkpoint) -> None:
        """Read the hashes of entries that were logged since, and hold all of them against the checkpoint."""
        known = len(self._leaves)
        if known == checkpoint.size:
            return
        start = known // WIDTH
        read = [h for tile in tiles_of(0, checkpoint.size, start=start) for h in split_hashes(self._read(tile))]
        leaves = self._leaves[: start * WIDTH] + read
        if merkle.root(leaves) != checkpoint.root:
            raise VerificationError("the tiles are not those of the checkpoint", where=str(self.folder))
        for position in range(known, checkpoint.size):
            self._index.setdefault(leaves[position], position)
        self._leaves = leaves

    def _sweep(self, checkpoint: Checkpoint, *, blobs: bool = False) -> None:
        """Remove what an append that was cut short can have left; unused blobs only where ``blobs`` says so."""
        found = paths(self.folder)
        wanted = {tile.path for tile in log_tiles(checkpoint.size)}
        if wanted - found:
            raise VerificationError("a file of the log is missing", where=str(self.folder / min(wanted - found)))
        stored = any(path.startswith("blob/") for path in found)
        if blobs and stored:
            wanted |= self._used_blobs(checkpoint)
        for path in found - wanted:
            if is_leftover(path) and (blobs or not path.startswith("blob/")):
                remove(self.folder, path)

    def _used_blobs(self, checkpoint: Checkpoint) -> set[str]:
        forms = [form for tile in tiles_of(ENTRIES, checkpoint.size) for form in self._bundle(tile)]
        # A changed bundle must not make a blob look unused: it would be removed.
        if [merkle.leaf_hash(form) for form in forms] != self._leaves:
            raise VerificationError("an entry is not the one that was logged", where=str(self.folder))
        return {blob_path(large[0]) for large in map(blob_of, forms) if large is not None}

    def _write_blobs(self, entries: Sequence[bytes]) -> None:
        for data in entries:
            large = blob_of(logged_form(data))
            if large is not None:
                write_bytes(self.folder / blob_path(large[0]), data)
                sync_folders(self.folder, [blob_path(large[0])])

    def _extend(self, before: Checkpoint, forms: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        old_tree = self._tree(before.size)
        if merkle.tree_root(before.size, old_tree) != before.root:
            raise VerificationError("the tiles are not those of the checkpoint", where=str(self.folder))
        size = before.size + len(forms)
        bundles, replaced = self._new_bundles(before.size, forms)
        levels, replaced_hashes = self._new_levels(before.size, size, hashes)
        new = bundles | levels

        def read(tile: Tile) -> bytes:
            return new[tile] if tile in new else self._read(tile)

        after = sign_checkpoint(self.verifier.name, size, merkle.tree_root(size, subtrees(size, read)), self._key)
        for tile, data in new.items():
            write_bytes(self.folder / tile.path, data)
        sync_folders(self.folder, [tile.path for tile in new])
        write_bytes(self.folder / CHECKPOINT, after.text.encode())
        self._seen = after
        self._leaves.extend(hashes)
        self._index.update((value, before.size + i) for i, value in enumerate(hashes))
        for tile in (*replaced, *replaced_hashes):
            remove(self.folder, tile.path)

    def _new_bundles(self, old: int, forms: Sequence[bytes]) -> tuple[dict[Tile, bytes], list[Tile]]:
        """Return the bundles to write, and those that they replace, whose entries are checked against the tree."""
        partial = [t for t in tiles_of(ENTRIES, old, start=old // WIDTH) if t.width < WIDTH]
        kept: list[bytes] = []
        for tile in partial:
            kept = self._bundle(tile)
            if [merkle.leaf_hash(form) for form in kept] != split_hashes(self._read(Tile(0, tile.index, tile.width))):
                raise VerificationError("an entry is not the one that was logged", where=tile.path)
        everything = [*kept, *forms]
        start = old // WIDTH
        new = {
            tile: encode_bundle(everything[(tile.index - start) * WIDTH : (tile.index - start + 1) * WIDTH])
            for tile in tiles_of(ENTRIES, old + len(forms), start=start)
        }
        return new, partial

    def _new_levels(self, old: int, size: int, hashes: Sequence[bytes]) -> tuple[dict[Tile, bytes], list[Tile]]:
        """Return the tiles of hashes to write, and those that they replace."""
        new: dict[Tile, bytes] = {}
        replaced: list[Tile] = []
        fresh = list(hashes)
        for level, count in level_sizes(size):
            had = old >> 8 * level
            start = had // WIDTH
            partial = list(tiles_of(level, had, start=start))
            if not fresh:
                break
            values = [h for tile in partial for h in split_hashes(self._read(tile))] + fresh
            replaced += partial
            fresh = []
            for tile in tiles_of(level, count, start=start):
                chunk = values[(tile.index - start) * WIDTH : (tile.index - start + 1) * WIDTH]
                new[tile] = b"".join(chunk)
                if tile.width == WIDTH:
                    fresh.append(merkle.root(chunk))
        return new, replaced
