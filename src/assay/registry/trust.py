"""Trust: the public keys that a release is verified with, kept apart from the release itself.

Whoever verifies keeps this file; a key that came along with the release would vouch for itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from assay.core.errors import FormatError
from assay.core.files import read_record, write_record
from assay.core.keys import PublicKey
from assay.registry.approval import Person

FORMAT = "assay-trust/v1"


@dataclass(frozen=True, slots=True)
class Trust:
    """Who is believed. Round trip: ``Trust.from_json(t.to_json()) == t``.

    log: verifier key of the transparency log, as ``name+hex+base64``. pipeline: keys that sign models, evidence
    and releases. people: who may approve, by name.
    """

    log: str
    pipeline: tuple[PublicKey, ...]
    people: Mapping[str, Person] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Trust:
        """Return the trust in a file. Raises DataError or FormatError that names it."""
        return cls.from_json(read_record(path, limit=1 << 20), where=str(path))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the trust as a record."""
        write_record(path, self.to_json())

    def with_person(self, person: Person) -> Trust:
        """Return the trust with one more person; a known name gets the new key and roles."""
        return replace(self, people={**self.people, person.name: person})

    def to_json(self) -> dict[str, object]:
        """Return the trust as plain data."""
        return {
            "format": FORMAT,
            "log": self.log,
            "pipeline": [key.to_pem().decode() for key in self.pipeline],
            "people": {
                name: {"key": person.key.to_pem().decode(), "roles": sorted(person.roles)}
                for name, person in self.people.items()
            },
        }

    @classmethod
    def from_json(cls, record: object, *, where: str = "") -> Trust:
        """Return the trust in plain data. Raises FormatError."""
        if not isinstance(record, Mapping) or record.get("format") != FORMAT:
            raise FormatError(f"not a {FORMAT} record", where=where, remedy="Give the trust.json of the project")
        log, keys, people = record.get("log"), record.get("pipeline"), record.get("people", {})
        if not isinstance(log, str) or not isinstance(keys, list) or not keys or not isinstance(people, Mapping):
            raise FormatError("log, pipeline or people is missing or of the wrong kind", where=where)
        return cls(
            log,
            tuple(PublicKey.from_pem(str(key).encode(), where=where) for key in keys),
            {str(name): _person(str(name), held, where) for name, held in people.items()},
        )


def _person(name: str, record: object, where: str) -> Person:
    roles = record.get("roles") if isinstance(record, Mapping) else None
    if not isinstance(record, Mapping) or not isinstance(roles, list):
        raise FormatError(f"people.{name} needs a key and roles", where=where)
    key = PublicKey.from_pem(str(record.get("key", "")).encode(), where=f"{where}: people.{name}")
    return Person(name, key, frozenset(map(str, roles)))
