"""Standard input as a source: ``cat model.pkl | assay scan -``."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator

from assay.core.errors import DataError
from assay.supply.sources.draft import Draft
from assay.supply.sources.source import Arrived, ModelSource

_CHUNK = 1 << 16


class StandardInput(ModelSource, name="stdin"):
    """Read one model from standard input, to its end."""

    schemes = ("-",)

    def fetch(self, url: str, draft: Draft, *, allow_unpinned: bool) -> Arrived:
        """Write what arrives as one file. Raises DataError when nothing does, BudgetError beyond the limits."""
        del url, allow_unpinned
        draft.write("stdin", _chunks())
        if not draft.total:
            raise DataError("standard input is empty", where="-", remedy="Pipe a model into the command")
        return Arrived("-", "stdin", single=True)


def _chunks() -> Iterator[bytes]:
    try:
        handle = sys.stdin.fileno()
    except (AttributeError, OSError, io.UnsupportedOperation):
        # Input that is no file of the system's, as under a test runner.
        stream = getattr(sys.stdin, "buffer", None)
        while stream is not None and (chunk := stream.read(_CHUNK)):
            yield chunk
        return
    # By descriptor: a buffered reader that is left waiting in a thread would block the end of the program.
    while chunk := os.read(handle, _CHUNK):
        yield chunk
