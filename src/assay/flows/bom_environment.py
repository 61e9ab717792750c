"""The libraries in a bill of materials: from lock files, from what a training ran with, and from what is installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from assay.artifacts.bom.document import Part, Reference, Tier
from assay.core.errors import DataError
from assay.supply.deps.declared import Package, canonical, is_commit, redacted
from assay.supply.deps.locks import is_lock, read_lock
from assay.supply.deps.metadata import Facts, installed_facts
from assay.supply.deps.requirements import read_requirements

LOCKS = ("uv.lock", "poetry.lock", "Pipfile.lock", "pylock.toml", "requirements.lock", "requirements.txt")
Key = tuple[str, str]


def find_locks(folder: Path) -> tuple[Path, ...]:
    """Return the lock file of a project folder, the strictest kind that is there, none when there is none."""
    found = next((folder / name for name in LOCKS if (folder / name).is_file()), None)
    return (found,) if found else ()


def environment_parts(
    locks: Sequence[Path], installed: Iterable[str], tier: Tier
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """Return the libraries as parts, and in words what does not fit together.

    locks: lock or requirements files; what they say is declared. installed: ``name==version`` of what a training ran
    with, which is of ``tier``. Licences and needs are read from packages that are installed here in the same version.
    Raises DataError or FormatError for a lock that cannot be read.
    """
    held: dict[Key, Part] = {}
    for package in _locked(locks):
        part = _part(package)
        held[part.name, part.version] = _merged(held.get((part.name, part.version)), part)
    ran = [_named(line) for line in installed]
    told = _disagreements({name: {v for n, v in held if n == name} for name, _ in held}, ran) if ran else ()
    for key in ran:
        known = held.get(key) or Part(_ref(*key), key[0], version=key[1], purl=_purl(*key))
        held[key] = replace(known, claims={**known.claims, "": tier})
    return _linked(held, installed_facts()), told


def _locked(locks: Sequence[Path]) -> Iterable[Package]:
    for path in locks:
        if not path.is_file():
            raise DataError("the lock does not exist", where=str(path), remedy="Check the path")
        read = read_lock(path) if is_lock(path) else read_requirements(path)
        yield from (p for p in read.packages if p.name and p.kind != "own")


def _part(package: Package) -> Part:
    """Return a package of a lock as a part: its hashes are those of the files that may be installed."""
    purl = _purl(package.name, package.version) if package.kind == "registry" else ""
    claims = {"": Tier.DECLARED}
    references: tuple[Reference, ...] = ()
    digests: tuple[str, ...] = ()
    if len(package.hashes) == 1:
        digests = package.hashes
    if package.hashes:
        claims["hashes"] = Tier.DECLARED
        comment = "one of these files" if len(package.hashes) > 1 else ""
        references = (Reference("distribution", purl or _address(package), package.hashes, comment),)
    elif package.kind != "registry" and package.source:
        kind = "vcs" if package.kind == "vcs" else "distribution"
        references = (Reference(kind, _address(package)),)
    facts = {"assay:source": package.kind}
    if package.kind == "vcs":
        facts["assay:pinned"] = str(is_commit(package.source.rpartition("@")[2])).lower()
    if not package.version and package.specifier:
        facts["assay:wanted"] = package.specifier
    return Part(
        _ref(package.name, package.version), package.name, version=package.version, digests=digests, purl=purl,
        references=references, claims=claims, properties=facts,
    )  # fmt: skip


def _merged(known: Part | None, part: Part) -> Part:
    """Return one part of two lines about the same version, as platforms have them."""
    if known is None or known == part:
        return part
    references = tuple(dict.fromkeys((*known.references, *part.references)))
    return replace(known, references=references, digests=(), properties={**part.properties, **known.properties})


def _linked(held: Mapping[Key, Part], facts: Mapping[Key, Facts]) -> tuple[Part, ...]:
    """Return the parts with the licences and the needs of those that are installed here in that version."""
    by_name: dict[str, list[str]] = {}
    for (name, _), part in held.items():
        by_name.setdefault(name, []).append(part.ref)
    made = []
    for key, part in held.items():
        known = facts.get(key)
        if known is None:
            made.append(part)
            continue
        needs = tuple(sorted({ref for name in known.needs for ref in by_name.get(name, ())} - {part.ref}))
        claims = {**part.claims, **({"licences": Tier.INFERRED} if known.licences else {})}
        made.append(replace(part, licences=known.licences, description=known.summary, needs=needs, claims=claims))
    return tuple(made)


def _disagreements(locked: Mapping[str, set[str]], ran: Sequence[Key]) -> tuple[str, ...]:
    told = [
        f"the lock states {name} {' or '.join(sorted(v for v in locked[name] if v))}, the training ran with {version}"
        for name, version in ran
        if any(locked.get(name, ())) and version not in locked[name]
    ]
    missing = sorted(set(locked) - {name for name, _ in ran})
    if missing:
        told.append(f"{len(missing)} packages of the lock were not installed in the training, as {missing[0]}")
    return tuple(told)


def _named(line: str) -> Key:
    name, _, version = line.partition("==")
    return canonical(name), version.strip()


def _address(package: Package) -> str:
    """Return where a package comes from as a reference that a document may hold, its name when that is none."""
    text = quote(redacted(package.source), safe=":/?#[]@!$&'()*+,;=-._~%")
    try:
        urlsplit(text)
    except ValueError:
        text = ""
    return text or quote(package.name)


def _ref(name: str, version: str) -> str:
    return f"pypi:{name}@{version}" if version else f"pypi:{name}"


def _purl(name: str, version: str) -> str:
    plain = f"pkg:pypi/{quote(name, safe='')}"
    return f"{plain}@{quote(version, safe='')}" if version else plain
