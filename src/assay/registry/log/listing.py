"""What an entry of a log says about itself: the type and subjects of the statement in it, its signer not checked."""

from __future__ import annotations

from dataclasses import dataclass

from assay.core.canonical import parse
from assay.core.errors import FormatError
from assay.core.statement import PAYLOAD_TYPE, Envelope, Statement


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry as a line. kind: predicate type, "" when it is no statement; subjects: ``name sha256:...``."""

    index: int
    size: int
    kind: str
    subjects: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Return the line as plain data."""
        return {"index": self.index, "bytes": self.size, "type": self.kind, "subjects": list(self.subjects)}


def listed(index: int, entry: bytes) -> Listed:
    """Return the line of an entry; one that is no DSSE envelope of an in-toto statement has no type."""
    try:
        envelope = Envelope.from_json(parse(entry))
        if envelope.payload_type != PAYLOAD_TYPE:
            return Listed(index, len(entry), _plain(envelope.payload_type), ())
        statement = Statement.from_json(parse(envelope.payload))
    except FormatError:
        return Listed(index, len(entry), "", ())
    subjects = tuple(_plain(f"{s.name} {s.digest}".strip()) for s in statement.subjects)
    return Listed(index, len(entry), _plain(statement.predicate_type), subjects)


def _plain(text: str) -> str:
    # The text is a signer's: it must not steer the terminal that shows it.
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
