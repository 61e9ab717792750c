"""Reading event folders: one verified chain over all segments."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from assay.core.errors import DataError
from assay.core.event import Event, read_chain


def read_events(
    folder: str | os.PathLike[str], *, since: datetime | None = None, until: datetime | None = None
) -> Iterator[Event]:
    """Yield the events of a folder, or of one file, oldest first, from ``since`` on and before ``until``.

    The whole chain is checked, whatever the window. Raises DataError when there is no event file, and
    VerificationError, at the place, where the chain is broken. A last line that is still being written is left out.
    """
    path = Path(folder)
    segments = sorted(path.glob("events-*.jsonl")) if path.is_dir() else [path]
    if not segments or not segments[0].is_file():
        raise DataError("holds no event file", where=str(path), remedy="Check the path, or start the gateway first")
    where = str(path if path.is_dir() else segments[0])
    for event in read_chain(_lines(segments), where=where):
        if (since is None or event.time >= since) and (until is None or event.time < until):
            yield event


def _lines(segments: Iterable[Path]) -> Iterator[bytes]:
    for segment in segments:
        with segment.open("rb") as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    yield line
