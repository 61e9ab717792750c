"""One event as recorded: who did what to which model, with what outcome, chained to the event before.

An event file is a sequence of canonical JSON lines. Each line carries ``prev``, the SHA-256 of the
line before it (64 zeros at the start), so that an edit, a removal or a reordering breaks the chain at
that place. The gateway writes such files; monitoring, response and export read them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from assay.core.canonical import canonical_bytes, parse
from assay.core.clock import format_time, parse_time
from assay.core.errors import FormatError, VerificationError

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Event:
    """kind: dotted type such as ``request.served``, ``request.refused``, ``release.refused``, ``drift.alert``.

    actor: principal or key id, never a secret. subject: model or release by name and digest.
    reason: stable word for the outcome ("" when served). data: plain JSON, such as counts and scores.
    """

    kind: str
    time: datetime
    actor: str = ""
    subject: str = ""
    reason: str = ""
    technique: str = ""
    data: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the event as plain data."""
        return {
            "kind": self.kind,
            "time": format_time(self.time),
            "actor": self.actor,
            "subject": self.subject,
            "reason": self.reason,
            "technique": self.technique,
            "data": dict(self.data),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> Event:
        """Return the event from its plain data. Raises FormatError."""
        data = record.get("data", {})
        try:
            if not isinstance(data, Mapping):
                raise FormatError("an event's data is not a record")
            return cls(
                kind=str(record["kind"]),
                time=parse_time(str(record["time"])),
                actor=str(record.get("actor", "")),
                subject=str(record.get("subject", "")),
                reason=str(record.get("reason", "")),
                technique=str(record.get("technique", "")),
                data=dict(data),
            )
        except KeyError as error:
            raise FormatError(f"an event lacks {error}") from error


def chain(events: Iterable[Mapping[str, object]], prev: str = GENESIS) -> Iterator[bytes]:
    """Yield one line (newline included) for each event record, chained from ``prev``."""
    for event in events:
        line = canonical_bytes({**event, "prev": prev})
        prev = hashlib.sha256(line).hexdigest()
        yield line + b"\n"


def line_hash(line: bytes) -> str:
    """Return the hash by which the next line names this one."""
    return hashlib.sha256(line.rstrip(b"\n")).hexdigest()


def read_chain(lines: Iterable[bytes], *, where: str = "", prev: str = GENESIS) -> Iterator[Event]:
    """Yield the events of chained lines. Raises VerificationError at the first line that breaks the chain."""
    for number, line in enumerate(lines, 1):
        place = f"{where}:{number}"
        try:
            record = parse(line, where=place)
        except FormatError as error:
            raise VerificationError("an event line is damaged", where=place, remedy="Compare with a copy") from error
        if not isinstance(record, dict) or record.get("prev") != prev:
            raise VerificationError("the event chain is broken here", where=place, remedy="Compare with a copy")
        prev = line_hash(line)
        yield Event.from_json(record)
