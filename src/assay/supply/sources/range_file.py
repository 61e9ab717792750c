"""A remote file as a seekable one: only the blocks that are read are fetched, few are kept, all are counted."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable

from assay.core.errors import BudgetError, FormatError, VerificationError

_BLOCK = 1 << 16
_KEPT = 64


class RangeFile(io.RawIOBase):
    """A file of ``size`` bytes, read through ``fetch(start, stop)``.

    block: bytes of one request; kept: blocks that are remembered; most: bytes that may be fetched in all.
    ``bytes_read`` counts what was fetched. Raises BudgetError beyond ``most`` and VerificationError when the
    source gives another number of bytes than was asked for.
    """

    def __init__(
        self,
        fetch: Callable[[int, int], bytes],
        size: int,
        *,
        where: str = "",
        block: int = _BLOCK,
        kept: int = _KEPT,
        most: int = 1 << 30,
    ) -> None:
        super().__init__()
        if size < 0 or block < 1 or kept < 1:
            raise FormatError("a remote file needs a size and a block size", where=where)
        self.size = size
        self.bytes_read = 0
        self._fetch, self._where, self._block, self._kept, self._most = fetch, where, block, kept, most
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, which may lie beyond the end. Raises OSError before the start, as files do."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise OSError(22, "the position lies before the start of the file")
        self._at = start + offset
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes from the position on, all that are left when it is negative."""
        left = max(0, self.size - self._at)
        # Before the memory is taken: the size may come from the file itself.
        wanted = left if size < 0 else min(size, left)
        if wanted > self._most:
            raise self._spent()
        made = bytearray(wanted)
        return bytes(made[: self.readinto(made)])

    def readinto(self, buffer: memoryview | bytearray, /) -> int:  # type: ignore[override]
        """Fill ``buffer`` from the position on and return how many bytes there were."""
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self.size - self._at))
        done = 0
        while done < wanted:
            index, inside = divmod(self._at + done, self._block)
            piece = self._piece(index)[inside : inside + wanted - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
        self._at += done
        return done

    def exactly(self, start: int, stop: int) -> bytes:
        """Return the bytes of a range in one request, past the cache. Raises as reading does."""
        if not 0 <= start <= stop <= self.size:
            raise FormatError("the range lies outside of the file", where=self._where)
        if start == stop:
            return b""
        if self.bytes_read + stop - start > self._most:
            raise self._spent()
        data = self._fetch(start, stop)
        self.bytes_read += len(data)
        if len(data) != stop - start:
            raise VerificationError(
                f"gave {len(data)} bytes where {stop - start} were asked for", where=self._where, reason="wrong-length"
            )
        return data

    def _spent(self) -> BudgetError:
        return BudgetError(
            f"more than {self._most} bytes would have to be read",
            where=self._where,
            remedy="Raise the limit on bytes",
            reason="source-bytes",
        )

    def _piece(self, index: int) -> bytes:
        if index in self._blocks:
            self._blocks.move_to_end(index)
            return self._blocks[index]
        start = index * self._block
        data = self._blocks[index] = self.exactly(start, min(start + self._block, self.size))
        while len(self._blocks) > self._kept:
            self._blocks.popitem(last=False)
        return data
