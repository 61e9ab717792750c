"""Derivation statements: from which model a converted one was made, by what, and how far their answers differ.

An in-toto Statement v1 about the child, in a DSSE envelope, so that trust in the parent can be carried over by whoever
accepts the signer and the measured difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from assay.core.digest import Digest, digest_file
from assay.core.errors import FormatError, VerificationError
from assay.core.evidence import Subject
from assay.core.files import read_record
from assay.core.keys import PublicKey
from assay.core.statement import Envelope, Statement

DERIVATION_TYPE = "https://assay.dev/derivation/v1"
_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True)
class Derivation:
    """What a conversion did. measured: rows, max_difference, mean_difference, label_agreement; dropped: in words.

    rows: digest of the rows on which both were compared, None when there were none.
    """

    child: Subject
    parent: Subject
    tool: str
    measured: Mapping[str, float]
    versions: Mapping[str, str]
    dropped: tuple[str, ...] = ()
    rows: Digest | None = None

    def statement(self) -> Statement:
        """Return it as an in-toto statement about the child."""
        predicate: dict[str, object] = {
            "parent": {"name": self.parent.name, "digest": str(self.parent.digest)},
            "tool": self.tool, "versions": dict(self.versions), "measured": dict(self.measured),
            "dropped": list(self.dropped), "rows": str(self.rows) if self.rows else None,
        }  # fmt: skip
        return Statement((self.child,), DERIVATION_TYPE, predicate)

    @classmethod
    def of(cls, statement: Statement) -> Derivation:
        """Return it from a statement. Raises FormatError when it is another kind, or lacks something."""
        if statement.predicate_type != DERIVATION_TYPE or len(statement.subjects) != 1:
            raise FormatError("is no derivation statement", remedy="Give the derivation.json that assay convert wrote")
        record = statement.predicate
        parent, measured, versions = record.get("parent"), record.get("measured"), record.get("versions")
        dropped, rows = record.get("dropped"), record.get("rows")
        if (
            not (isinstance(parent, Mapping) and isinstance(measured, Mapping) and isinstance(versions, Mapping))
            or not isinstance(dropped, list)
            or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in measured.values())
        ):
            raise FormatError("a derivation statement lacks parent, measured, versions or dropped")
        return cls(
            statement.subjects[0],
            Subject(str(parent.get("name", "")), Digest.parse(str(parent.get("digest", "")))),
            str(record.get("tool", "")),
            {str(k): float(v) for k, v in measured.items()},
            {str(k): str(v) for k, v in versions.items()},
            tuple(str(d) for d in dropped),
            Digest.parse(str(rows)) if rows else None,
        )


def verify_derivation(
    statement: str | os.PathLike[str],
    child: str | os.PathLike[str],
    keys: Iterable[PublicKey],
    *,
    parent: str | os.PathLike[str] | None = None,
) -> Derivation:
    """Return what is stated of the file ``child``, when one of ``keys`` signed it, and of ``parent`` when that is given.

    Raises VerificationError (derivation-unsigned, derivation-child, derivation-parent), DataError or FormatError.
    """
    where = os.fspath(statement)
    envelope = Envelope.from_json(read_record(statement, limit=_LIMIT))
    try:
        found = Derivation.of(envelope.verify(keys))
    except VerificationError as error:
        raise VerificationError(
            "is not signed by a trusted key", where=where, reason="derivation-unsigned", remedy="Do not rely on it"
        ) from error
    if digest_file(child) != found.child.digest:
        raise VerificationError("is not the model that was derived", where=os.fspath(child), reason="derivation-child")
    if parent is not None and digest_file(parent) != found.parent.digest:
        raise VerificationError(
            "is not the model it was derived from", where=os.fspath(parent), reason="derivation-parent"
        )
    return found
