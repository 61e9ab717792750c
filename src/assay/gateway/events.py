"""The event file: every request in hash-chained segments, written and fsynced by one background thread.

A request is recorded before it is answered: ``put`` hands the event to a bounded queue and returns False
when the queue is full or the disk failed, and the gateway then answers 503 rather than unrecorded.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

from assay.core.canonical import parse
from assay.core.clock import Clock, system_clock
from assay.core.errors import FormatError, SettingError, VerificationError
from assay.core.event import GENESIS, Event, chain, line_hash, read_chain
from assay.core.files import write_bytes

_BATCH = 512


class Sink(Protocol):
    """Where the gateway's events go."""

    def put(self, event: Event | Callable[[], Event]) -> bool:
        """Take an event, or the function that makes it; False when it cannot be kept."""


class EventFile:
    """Events of one gateway in a folder of segments ``events-000001.jsonl``, one chain over all.

    Opening verifies the last segment. A last line that a crash cut short is moved to ``<segment>.torn`` and
    recorded as ``events.recovered``. segment_bytes: a new segment starts beyond it. pending: most events
    waiting for the disk. Raises VerificationError when the chain does not hold, SettingError when another
    process writes here.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        segment_bytes: int = 1 << 24,
        pending: int = 4096,
        clock: Clock = system_clock,
    ) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / ".lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise SettingError(
                "another gateway writes here", where=str(folder), remedy="Give each its own folder"
            ) from error
        self._segment_bytes = segment_bytes
        self._queue: queue.Queue[Event | Callable[[], Event] | None] = queue.Queue(pending)
        self._failure = ""
        try:
            self._number, self.head, torn = _resume(self.folder)
        except VerificationError:
            self._lock.close()
            raise
        self._stream = self._path().open("ab", buffering=0)
        self._thread = threading.Thread(target=self._work, name="assay-events", daemon=True)
        self._thread.start()
        if torn:
            self.put(Event("events.recovered", clock(), subject=torn.name, data={"bytes": torn.stat().st_size}))

    @property
    def failure(self) -> str:
        """Why events can no longer be written ("" while they can)."""
        return self._failure

    def put(self, event: Event | Callable[[], Event]) -> bool:
        """Queue an event, or the function that makes it in the writer's thread. False when it cannot be kept."""
        if self._failure or not self._thread.is_alive():
            return False
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            return False
        return True

    def flush(self) -> None:
        """Wait until everything that was put is on the disk."""
        self._queue.join()

    def close(self) -> None:
        """Write what is left, fsync, and let the folder go."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._stream.close()
        self._lock.close()
        self._failure = self._failure or "closed"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _path(self) -> Path:
        return self.folder / f"events-{self._number:06d}.jsonl"

    def _work(self) -> None:
        while True:
            batch = [self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get())
            events = [item for item in batch if item is not None]
            try:
                if events and not self._failure:
                    self._write([e if isinstance(e, Event) else e() for e in events])
            except (OSError, FormatError) as error:
                self._failure = str(error)
            finally:
                for _ in batch:
                    self._queue.task_done()
            if len(events) < len(batch):
                return

    def _write(self, events: list[Event]) -> None:
        lines = list(chain((e.to_json() for e in events), self.head))
        data = memoryview(b"".join(lines))
        while data:
            data = data[self._stream.write(data) :]
        os.fsync(self._stream.fileno())
        self.head = line_hash(lines[-1])
        if self._stream.tell() >= self._segment_bytes:
            self._stream.close()
            self._number += 1
            self._stream = self._path().open("ab", buffering=0)


def _resume(folder: Path) -> tuple[int, str, Path | None]:
    """Return the segment to go on with, the hash of the last line, and where a torn line was put."""
    segments = sorted(folder.glob("events-*.jsonl"))
    if not segments:
        return 1, GENESIS, None
    last = segments[-1]
    number = int(last.stem.partition("-")[2])
    torn = _mend(last)
    lines = last.read_bytes().splitlines(keepends=True)
    if not lines:
        return number, _tail(segments[-2]) if len(segments) > 1 else GENESIS, torn
    prev = _tail(segments[-2]) if len(segments) > 1 else GENESIS
    for _ in read_chain(lines, where=str(last), prev=prev):
        pass
    return number, line_hash(lines[-1]), torn


def _mend(segment: Path) -> Path | None:
    data = segment.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole == len(data):
        return None
    torn = segment.with_suffix(".torn")
    write_bytes(torn, data[whole:])
    os.truncate(segment, whole)
    return torn


def _tail(segment: Path) -> str:
    lines = segment.read_bytes().splitlines(keepends=True)
    if not lines:
        raise VerificationError("an event segment is empty", where=str(segment), remedy="Compare with a copy")
    try:
        parse(lines[-1])
    except FormatError as error:
        raise VerificationError(
            "an event segment is damaged", where=str(segment), remedy="Compare with a copy"
        ) from error
    return line_hash(lines[-1])
