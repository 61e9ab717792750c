"""People of a project: who may decide, with which key."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from assay.core.errors import InputError
from assay.core.keys import PublicKey
from assay.flows.identity import Identity
from assay.flows.project import Project
from assay.registry.approval import Person
from assay.registry.trust import Trust


def add_person(folder: Path, name: str, key: Path, roles: Iterable[str]) -> Person:
    """Add a person to ``trust.json`` of a project; a known name gets the new key and roles.

    Raises InputError for a key that is somebody else's, or the pipeline's own.
    """
    project = Project.read(folder)
    identity = Identity.of(project)
    person = Person(name, PublicKey.read(key), frozenset(roles))
    trust = Trust.read(project.trust)
    other = next((p.name for p in trust.people.values() if p.key.id == person.key.id and p.name != name), "")
    if identity.owns(person.key):
        other = "the pipeline"
    if other:
        raise InputError(f"this is the key of {other}", where=str(key), remedy="Give each person a key of their own")
    trust.with_person(person).write(project.trust)
    return person
