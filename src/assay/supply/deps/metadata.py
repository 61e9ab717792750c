"""What installed packages say of themselves: licences and what they need. Read from their metadata; no code is run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement

from assay.supply.deps.declared import canonical

_PREFIX = "License :: "
_LONGEST = 120


@dataclass(frozen=True, slots=True)
class Facts:
    """One installed package. licences: as it writes them; needs: names it needs in this environment, no extras."""

    name: str
    version: str
    licences: tuple[str, ...]
    needs: tuple[str, ...]
    summary: str = ""


def installed_facts(site: str | os.PathLike[str] | None = None) -> dict[tuple[str, str], Facts]:
    """Return what is installed by (normal name, version), in a site-packages folder or (None) where this runs."""
    found = distributions() if site is None else distributions(path=[os.fspath(site)])
    facts: dict[tuple[str, str], Facts] = {}
    for item in found:
        name, version = _field(item, "Name"), _field(item, "Version")
        if name and version:
            read = Facts(
                canonical(name), version, tuple(_licences(item)), tuple(sorted(set(_needs(item)))),
                " ".join(_field(item, "Summary").split())[:200],
            )  # fmt: skip
            facts.setdefault((read.name, read.version), read)
    return facts


def _licences(item: Distribution) -> Iterator[str]:
    """Yield the licence: the SPDX expression of PEP 639, else a short licence field, else the classifiers."""
    expression = _field(item, "License-Expression")
    if expression:
        yield expression
        return
    plain = _field(item, "License")
    if plain and "\n" not in plain and len(plain) <= _LONGEST and plain.upper() != "UNKNOWN":
        yield plain
        return
    for text in item.metadata.get_all("Classifier") or ():
        if text.startswith(_PREFIX):
            yield text.rpartition(" :: ")[2]


def _needs(item: Distribution) -> Iterator[str]:
    for line in item.requires or ():
        try:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                yield canonical(wanted.name)
        except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName):
            # What cannot be read is told by `assay deps check`; here it names no package.
            continue


def _field(item: Distribution, name: str) -> str:
    """Return a field of the metadata, "" where a broken installation has none."""
    return next(iter(item.metadata.get_all(name) or ()), "").strip() if item.metadata else ""
