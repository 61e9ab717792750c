"""The shapes of MITRE ATLAS: tactics, techniques, mitigations and the matrix that ties them together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from assay.core.errors import FormatError, SettingError


@dataclass(frozen=True, slots=True)
class Tactic:
    """A goal of an attacker; ``id`` as in ``AML.TA0001``."""

    id: str
    name: str

    @property
    def slug(self) -> str:
        """The name as Navigator layers write it: ``ai-attack-staging``."""
        return self.name.lower().replace(" ", "-")


@dataclass(frozen=True, slots=True)
class Technique:
    """A way to reach a goal; ``id`` as in ``AML.T0043`` or, below it, ``AML.T0043.001``.

    tactics: ids of the goals; empty for a sub-technique, which has those of its parent.
    maturity: ``feasible``, ``demonstrated`` or ``realized``.
    """

    id: str
    name: str
    tactics: tuple[str, ...]
    maturity: str

    @property
    def parent(self) -> str:
        """The id of the technique that this one is a part of; empty for a technique of its own."""
        head, dot, _ = self.id.removeprefix("AML.").partition(".")
        return f"AML.{head}" if dot else ""


@dataclass(frozen=True, slots=True)
class Mitigation:
    """A measure against techniques; ``id`` as in ``AML.M0015``, techniques as ATLAS itself links them."""

    id: str
    name: str
    techniques: tuple[str, ...]


Part = TypeVar("Part", Tactic, Technique, Mitigation)


@dataclass(frozen=True)
class Atlas:
    """One version of ATLAS. Raises FormatError when ids repeat or refer to nothing."""

    version: str
    tactics: tuple[Tactic, ...]
    techniques: tuple[Technique, ...]
    mitigations: tuple[Mitigation, ...]

    def __post_init__(self) -> None:
        everything = [t.id for t in self.tactics] + [t.id for t in self.techniques] + [m.id for m in self.mitigations]
        if len(set(everything)) != len(everything):
            twice = next(i for n, i in enumerate(everything) if i in everything[:n])
            raise FormatError("is defined twice", where=twice)
        for technique in self.techniques:
            if technique.parent and technique.parent not in self._techniques:
                raise FormatError("is part of a technique that is not there", where=technique.id)
            if not technique.parent and not technique.tactics:
                raise FormatError("has no tactic", where=technique.id)
            for tactic in technique.tactics:
                if tactic not in self._tactics:
                    raise FormatError(f"has the tactic {tactic}, which is not there", where=technique.id)
        for mitigation in self.mitigations:
            for linked in mitigation.techniques:
                if linked not in self._techniques:
                    raise FormatError(f"is linked to {linked}, which is not there", where=mitigation.id)

    @cached_property
    def _tactics(self) -> dict[str, Tactic]:
        return {tactic.id: tactic for tactic in self.tactics}

    @cached_property
    def _techniques(self) -> dict[str, Technique]:
        return {technique.id: technique for technique in self.techniques}

    @cached_property
    def _mitigations(self) -> dict[str, Mitigation]:
        return {mitigation.id: mitigation for mitigation in self.mitigations}

    def __contains__(self, key: object) -> bool:
        """Return whether an id is that of a tactic, technique or mitigation."""
        return key in self._techniques or key in self._mitigations or key in self._tactics

    def tactic(self, key: str) -> Tactic:
        """Return the tactic of that id. Raises SettingError."""
        return _get(self._tactics, key, self.version)

    def technique(self, key: str) -> Technique:
        """Return the technique of that id. Raises SettingError."""
        return _get(self._techniques, key, self.version)

    def mitigation(self, key: str) -> Mitigation:
        """Return the mitigation of that id. Raises SettingError."""
        return _get(self._mitigations, key, self.version)

    def tactics_of(self, technique: str) -> tuple[Tactic, ...]:
        """Return the goals of a technique, those of its parent for a sub-technique. Raises SettingError."""
        found = self.technique(technique)
        owner = self.technique(found.parent) if found.parent and not found.tactics else found
        return tuple(self._tactics[tactic] for tactic in owner.tactics)

    def parts_of(self, technique: str) -> tuple[Technique, ...]:
        """Return the sub-techniques of a technique, in order of id. Raises SettingError."""
        self.technique(technique)
        return tuple(sorted((t for t in self.techniques if t.parent == technique), key=lambda t: t.id))

    def mitigations_of(self, technique: str) -> tuple[Mitigation, ...]:
        """Return the mitigations that ATLAS links to a technique itself; none is an answer. Raises SettingError."""
        self.technique(technique)
        return tuple(m for m in self.mitigations if technique in m.techniques)


def _get(parts: dict[str, Part], key: str, version: str) -> Part:
    if key not in parts:
        raise SettingError(
            f"there is no such id in ATLAS {version} as it concerns classical models",
            where=key,
            remedy="Check the id, or load another ATLAS release",
        )
    return parts[key]
