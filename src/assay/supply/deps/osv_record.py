"""One OSV record: whom it is about, which versions it affects (OSV schema, section "affected", PEP 440 order)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from packaging.version import InvalidVersion, Version

from assay.core.errors import FormatError
from assay.core.evidence import NotChecked
from assay.supply.deps.declared import canonical, short

Record: TypeAlias = Mapping[str, object]
Key: TypeAlias = tuple[str, str]
_KINDS = ("ECOSYSTEM", "SEMVER")


@dataclass(slots=True)
class Answer:
    """What a source of advisories said: the records that affect each name and version, and what could not be told."""

    hits: dict[Key, list[Record]] = field(default_factory=dict)
    unread: list[NotChecked] = field(default_factory=list)
    records: int = 0
    newest: str = ""


def table(value: object) -> Record:
    """Return a record, an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[object]:
    """Return a list, an empty one for anything else."""
    return value if isinstance(value, list) else []


def is_withdrawn(record: Record) -> bool:
    """Return whether a record was taken back."""
    return bool(record.get("withdrawn"))


def about(record: Record) -> Iterator[tuple[str, Record]]:
    """Yield the name, in normal form, and the entry of each PyPI package that a record is about. Raises FormatError."""
    affected = record.get("affected", [])
    if not isinstance(record.get("id"), str) or not isinstance(affected, list):
        raise FormatError("is no OSV record", remedy="Use the records as OSV exports them")
    for entry in affected:
        package = table(entry).get("package")
        if package is None:
            continue
        name, ecosystem = table(package).get("name"), table(package).get("ecosystem")
        if not isinstance(name, str) or not isinstance(ecosystem, str):
            raise FormatError("names no package", where=short(str(record["id"])))
        if ecosystem.partition(":")[0].lower() == "pypi":
            yield canonical(name), table(entry)


def affects(entry: Record, version: str) -> bool | None:
    """Return whether a package's entry covers a version; None when that cannot be told.

    A version is covered when it is listed or lies in a range. The local part (+cpu) does not count.
    """
    listed = [str(v) for v in items(entry.get("versions"))]
    if version in listed:
        return True
    try:
        wanted = parsed(version)
    except FormatError:
        return None
    if any(_same(v, wanted) for v in listed):
        return True
    told = [_inside(items(r.get("events")), wanted) for r in ranges_of(entry)]
    if True in told:
        return True
    return None if None in told or not (listed or told) else False


def ranges_of(entry: Record) -> list[Record]:
    """Return the ranges of an entry that are in versions, not in commits."""
    return [r for r in (table(r) for r in items(entry.get("ranges"))) if r.get("type") in _KINDS]


def parsed(version: str) -> Version:
    """Return a version without its local part. Raises FormatError when PEP 440 does not know it."""
    try:
        return Version(Version(version).public)
    except InvalidVersion as error:
        raise FormatError(f"{short(version)} is no version", remedy="Write it as in PEP 440") from error


def _same(text: str, wanted: Version) -> bool:
    try:
        return parsed(text) == wanted
    except FormatError:
        return False


def _inside(events: list[object], wanted: Version) -> bool | None:
    """Return whether a version lies in a range, by its events in order; None when one of them cannot be read."""
    pairs = [(kind, text) for event in events for kind, text in table(event).items() if (kind, text) != ("limit", "*")]
    try:
        steps = sorted((_at(text), kind != "introduced", kind) for kind, text in pairs)
    except FormatError:
        return None
    limits = [at for at, _, kind in steps if kind == "limit"]
    if not any(kind == "introduced" for *_, kind in steps):
        return None
    if limits and wanted >= max(limits):
        return False
    inside = False
    for at, _, kind in steps:
        if kind == "introduced" and wanted >= at:
            inside = True
        elif (kind == "fixed" and wanted >= at) or (kind == "last_affected" and wanted > at):
            inside = False
    return inside


def _at(text: object) -> Version:
    # Below every version: 0 itself would lie above 0.dev0.
    return Version("0.dev0") if text == "0" else parsed(str(text))
