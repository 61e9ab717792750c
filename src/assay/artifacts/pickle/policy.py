"""The policy on names: an allow-list per framework with reasons, and a table of what is known to be dangerous.

A name on the allow-list is allowed in the ways that really saved models use it: as a ``new`` object,
as a ``call``, or as a mere ``reference``. Everything else is unknown, which is suspicious and never
clean; what matches the table of dangers is malicious.
"""

from __future__ import annotations

import json
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path

from assay.core.errors import FormatError, SettingError

_DANGERS = "dangerous.json"
_PYTHON = "python"
_FOLDER = Path(__file__).parents[1] / "policies"


class Rating(Enum):
    """What the policy says of a name."""

    ALLOWED = "allowed"
    UNKNOWN = "unknown"
    DANGEROUS = "dangerous"


@dataclass(frozen=True, slots=True)
class Rule:
    """One answer of the policy. uses: ways in which an allowed name may be used; guard: a check on its arguments."""

    rating: Rating
    reason: str = ""
    technique: str = ""
    uses: frozenset[str] = frozenset()
    guard: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """Names that may be imported, and names that are known to be dangerous.

    allowed: by (module, name). modules: dangerous with all below them. names: dangerous by (module,
    name). parts: dangerous wherever they stand in a dotted path. made_of: what it was made of, beside the allow-lists.
    """

    allowed: Mapping[tuple[str, str], Rule]
    modules: dict[str, Rule]
    names: dict[tuple[str, str], Rule]
    parts: dict[str, Rule]
    made_of: tuple[str, ...] = ()
    _seen: dict[tuple[str, str], Rule] = field(default_factory=dict, repr=False, compare=False)

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of the data files that the policy is made of, and what callers added."""
        return (*(self.allowed.versions() if isinstance(self.allowed, Shelf) else ()), *self.made_of)

    def judge(self, module: str, name: str) -> Rule:
        """Return the rule for a name, under its present and its Python 2 spelling; the worse of the two counts."""
        key = (module, name)
        rule = self._seen.get(key)
        if rule is None:
            mapped = NAME_MAPPING.get(key) or (IMPORT_MAPPING.get(module, module), name)
            answers = [self._one(*mapped), self._one(*key)] if mapped != key else [self._one(*key)]
            dangerous = [r for r in answers if r.rating is Rating.DANGEROUS]
            rule = dangerous[0] if dangerous else answers[0]
            if len(self._seen) < 10_000:
                self._seen[key] = rule
        return rule

    def allowing(self, names: Iterable[str]) -> Policy:
        """Return the policy with more dotted names allowed in every use, at the word of the caller.

        Each is ``module.name`` or ``module:dotted.name``. What is known to be dangerous stays so. Raises SettingError.
        """
        more = {}
        for text in names:
            module, mark, name = text.partition(":") if ":" in text else text.rpartition(".")
            if not (mark and module and name):
                raise SettingError(f"{text[:80]!r} names nothing", remedy="Give module.name")
            if self.judge(module, name).rating is Rating.DANGEROUS:
                why = self.judge(module, name).reason
                raise SettingError(f"{text[:80]!r} {why}", remedy="Such a name is never allowed")
            more[module, name] = Rule(
                Rating.ALLOWED, "allowed by the caller", "", frozenset(("call", "new", "reference"))
            )
        versions = (*self.versions, *(f"caller allows {m}.{n}" for m, n in sorted(more)))
        return Policy({**self.allowed, **more}, self.modules, self.names, self.parts, versions)

    def _one(self, module: str, name: str) -> Rule:
        rule = self.allowed.get((module, name))
        if rule is not None:
            return rule
        first = name.partition(".")[0]
        rule = self.names.get((module, name)) or self.names.get((module, first)) or self._module(module)
        if rule is not None:
            return rule
        below = [*module.split(".")[1:], *name.split(".")]
        for part in below:
            if part in self.parts:
                return self.parts[part]
            if part.startswith("__") and part.endswith("__"):
                return Rule(Rating.DANGEROUS, f"reaches for {part}", "AML.T0011.000")
        if "." in name and (hidden := next((p for p in below if p.lstrip("_") in self.modules), None)):
            return Rule(Rating.DANGEROUS, f"reaches the module {hidden} through another one", "AML.T0011.000")
        return Rule(Rating.UNKNOWN, "is on no allow-list")

    def _module(self, module: str) -> Rule | None:
        while module:
            if module in self.modules:
                return self.modules[module]
            module = module.rpartition(".")[0]
        return None


class Shelf(Mapping[tuple[str, str], Rule]):
    """The allow-lists of a folder, one file a package, each read when the first of its names is asked for.

    A package without a file of its own is looked up in python.json. Raises FormatError for a damaged file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = sorted(f.stem for f in folder.iterdir() if f.name.endswith(".json") and f.name != _DANGERS)
        self._packages = frozenset(self._files) - {_PYTHON}
        self._read: dict[str, dict[tuple[str, str], Rule]] = {}

    def __getitem__(self, key: tuple[str, str]) -> Rule:
        package = key[0].partition(".")[0]
        return self._file(package if package in self._packages else _PYTHON)[key]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name in self._files:
            yield from self._file(name)

    def __len__(self) -> int:
        return sum(len(self._file(name)) for name in self._files)

    def versions(self) -> tuple[str, ...]:
        """The framework and the versions of each file, and of the table of dangers."""
        return tuple(_version(self._folder / f"{name}.json") for name in (*self._files, _DANGERS.removesuffix(".json")))

    def _file(self, name: str) -> dict[tuple[str, str], Rule]:
        if name not in self._read:
            self._read[name] = _allowed(self._folder / f"{name}.json")
        return self._read[name]


@cache
def builtin_policy() -> Policy:
    """Return the policy in Assay's data files. Raises FormatError when one of them is damaged."""
    modules: dict[str, Rule] = {}
    names: dict[tuple[str, str], Rule] = {}
    parts: dict[str, Rule] = {}
    file = _FOLDER / _DANGERS
    with _readable(file):
        _read_dangers(json.loads(file.read_text("utf-8")), modules, names, parts)
    return Policy(Shelf(_FOLDER), modules, names, parts)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"is a damaged policy ({error})", where=file.name, remedy="Reinstall Assay") from error


def _version(file: Path) -> str:
    with _readable(file):
        record = json.loads(file.read_text("utf-8"))
        return f"{record['framework']} {record['version']}"


def _allowed(file: Path) -> dict[tuple[str, str], Rule]:
    allowed: dict[tuple[str, str], Rule] = {}
    with _readable(file):
        _read_allowed(json.loads(file.read_text("utf-8")), allowed)
    return allowed


def _read_allowed(record: dict[str, list[dict[str, list[str] | str]]], into: dict[tuple[str, str], Rule]) -> None:
    for row in record["allow"]:
        for use, implied in (("reference", ()), ("new", ("reference",)), ("call", ("new", "reference"))):
            rule = Rule(Rating.ALLOWED, str(row["reason"]), "", frozenset((use, *implied)), str(row.get("guard", "")))
            into.update({(str(row["module"]), name): rule for name in row.get(use, ())})


def _read_dangers(
    record: dict[str, list[dict[str, list[str] | str]]],
    modules: dict[str, Rule],
    names: dict[tuple[str, str], Rule],
    parts: dict[str, Rule],
) -> None:
    for row in record["deny"]:
        rule = Rule(Rating.DANGEROUS, str(row["reason"]), str(row["technique"]))
        modules.update(dict.fromkeys(row.get("modules", ()), rule))
        names.update({(str(row["module"]), name): rule for name in row.get("names", ())})
        parts.update(dict.fromkeys(row.get("parts", ()), rule))
