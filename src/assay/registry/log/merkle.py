"""Merkle tree hashes, inclusion and consistency proofs: RFC 6962 section 2.1, verified as in RFC 9162 section 2.1.

A tree is read through a ``Subtree``: a function of (height, index) that returns the hash of the complete subtree
over the entries ``index * 2**height`` to ``(index + 1) * 2**height``. Stored tiles and a list of leaves both are one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

from assay.core.errors import DataError, VerificationError

Subtree: TypeAlias = Callable[[int, int], bytes]

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry: SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash over two subtrees: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the tree hash over leaf hashes, in one pass over each level."""
    if not leaves:
        return EMPTY_ROOT
    level = leaves
    while len(level) > 1:
        odd = len(level) % 2
        above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - odd, 2)]
        # An odd last hash moves up unchanged: the right edge of the tree is not complete.
        level = [*above, level[-1]] if odd else above
    return level[0]


def in_memory(leaves: Sequence[bytes]) -> Subtree:
    """Return the tree over a list of leaf hashes."""
    return lambda height, index: root(leaves[index << height : (index + 1) << height])


def tree_root(size: int, subtree: Subtree) -> bytes:
    """Return the hash of the tree of ``size`` entries, from O(log size) complete subtrees."""
    return _range_root(0, size, subtree) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """Return the hashes that prove entry ``index`` of ``size``, from the leaf's sibling upwards (RFC 9162 2.1.3.1).

    Raises DataError when the index is outside the tree.
    """
    if not 0 <= index < size:
        raise DataError(f"there is no entry {index} in a log of {size}", remedy="Count from 0")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_root(middle, end, subtree))
            end = middle
        else:
            path.append(_range_root(start, middle, subtree))
            start = middle
    return tuple(reversed(path))


def consistency_path(old: int, size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """Return the hashes that prove the tree of ``size`` to extend that of ``old`` entries (RFC 9162 2.1.4.1).

    Empty for ``old`` 0 or equal to ``size``. Raises DataError when ``old`` is outside 0 to ``size``.
    """
    if not 0 <= old <= size:
        raise DataError(f"a log of {size} entries has no state of {old}")
    if old in (0, size):
        return ()
    path: list[bytes] = []
    start, end = 0, size
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range_root(middle, end, subtree))
            end = middle
        else:
            path.append(_range_root(start, middle, subtree))
            start = middle
    # The subtree that ends at `old` is itself the old tree when it starts at 0, and known to the verifier.
    if start:
        path.append(_range_root(start, end, subtree))
    return tuple(reversed(path))


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> None:
    """Return when ``path`` leads from the leaf hash to the root (RFC 9162 2.1.3.2). Raises VerificationError."""
    if not 0 <= index < size:
        raise VerificationError(f"the index {index} lies outside the log of {size} entries")
    position, last, value = index, size - 1, leaf
    for step in path:
        if last == 0:
            raise VerificationError("the inclusion proof has too many hashes")
        if position % 2 or position == last:
            value = node_hash(step, value)
            position, last = _ascend(position, last)
        else:
            value = node_hash(value, step)
        position, last = position >> 1, last >> 1
    if last:
        raise VerificationError("the inclusion proof has too few hashes")
    if value != expected:
        raise VerificationError(
            "the entry is not the one that the log holds at this index", remedy="Do not use what the entry says"
        )


def verify_consistency(old: int, old_root: bytes, size: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Return when the tree of ``size`` extends that of ``old`` entries (RFC 9162 2.1.4.2). Raises VerificationError."""
    if not 0 <= old <= size:
        raise VerificationError(f"the log of {size} entries is shorter than the {old} that were seen before")
    if old in (0, size):
        if path:
            raise VerificationError("the consistency proof has too many hashes")
        if old_root != (new_root if old else EMPTY_ROOT):
            raise VerificationError("the log does not extend its earlier state")
        return
    steps = list(path) if old & (old - 1) else [old_root, *path]
    if not steps:
        raise VerificationError("the consistency proof has too few hashes")
    position, last = old - 1, size - 1
    while position % 2:
        position, last = position >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise VerificationError("the consistency proof has too many hashes")
        if position % 2 or position == last:
            before, after = node_hash(step, before), node_hash(step, after)
            position, last = _ascend(position, last)
        else:
            after = node_hash(after, step)
        position, last = position >> 1, last >> 1
    if last:
        raise VerificationError("the consistency proof has too few hashes")
    if before != old_root or after != new_root:
        raise VerificationError("the log does not extend its earlier state")


def _ascend(position: int, last: int) -> tuple[int, int]:
    """Return both positions at the level where the node on the right edge becomes a right child."""
    while position and position % 2 == 0:
        position, last = position >> 1, last >> 1
    return position, last


def _split(size: int) -> int:
    """Return the largest power of two below ``size`` (size > 1)."""
    return 1 << (size - 1).bit_length() - 1


def _range_root(start: int, end: int, subtree: Subtree) -> bytes:
    # `start` is a multiple of the largest power of two in the range, as in every range that RFC 9162 splits off.
    size = end - start
    if size & (size - 1) == 0:
        height = size.bit_length() - 1
        return subtree(height, start >> height)
    middle = start + _split(size)
    return node_hash(_range_root(start, middle, subtree), _range_root(middle, end, subtree))
