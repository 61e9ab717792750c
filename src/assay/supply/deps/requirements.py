"""Requirements files as pip reads them: continuations, comments, options, includes; nothing is fetched or run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from assay.core.digest import digest_bytes
from assay.core.errors import AssayError, FormatError
from assay.core.evidence import NotChecked
from assay.core.files import read_bytes
from assay.supply.deps.declared import Declared, Option, Package, canonical, short

LIMIT = 4 << 20
_MOST_FILES = 100
_MOST_PACKAGES = 50_000
_LONGEST = 4096
_COMMENT = re.compile(r"(^|\s)#.*$")
_NAME = re.compile(r"\w[\w.-]*")
_VCS = re.compile(r"(?:[\w.-]+\s*(?:\[[^\]]*\])?\s*@\s*)?(git|hg|svn|bzr)\+", re.IGNORECASE)
_NAMED_URL = re.compile(r"[\w.-]+\s*(?:\[[^\]]*\])?\s*@\s*[a-z][a-z+]*:", re.IGNORECASE)
_URL = re.compile(r"(?:https?|ftp|file)://", re.IGNORECASE)
_ARCHIVE = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tar")
_SHORT = {"r": "requirement", "c": "constraint", "e": "editable", "i": "index-url", "f": "find-links"}
_VALUED = (
    "requirement", "constraint", "editable", "index-url", "extra-index-url", "find-links", "trusted-host", "hash",
    "no-binary", "only-binary", "use-feature", "global-option", "config-settings", "pypi-url",
)  # fmt: skip
_FLAGS = ("no-index", "require-hashes", "pre", "prefer-binary", "process-dependency-links", "always-unzip")
_KEPT = {"index-url", "extra-index-url", "find-links", "trusted-host", "no-index"}


def read_requirements(path: Path, *, kind: str = "requirements") -> Declared:
    """Return what a requirements file asks for, with all it includes; lines that cannot be read are recorded.

    At most 100 files of 4 MiB each are read, every file once. Raises DataError or FormatError for the file itself.
    """
    reading = _Reading()
    reading.file(path, constraint=False)
    return Declared(
        str(path), kind, tuple(reading.packages), tuple(reading.options), tuple(reading.unread),
        reading.digests, tuple(reading.constraints),
    )  # fmt: skip


def parse_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number and text of each logical line, continuations joined and comments removed, as pip does."""
    held: list[str] = []
    start = 1
    for number, line in enumerate(text.splitlines(), start=1):
        comment = line.lstrip().startswith("#")
        if not held:
            start = number
        if line.endswith("\\") and not comment:
            held.append(line[:-1])
            continue
        held.append(f" {line}" if comment else line)
        if whole := _COMMENT.sub("", "".join(held)).strip():
            yield start, whole
        held = []
    if whole := _COMMENT.sub("", "".join(held)).strip():
        yield start, whole


def split_options(line: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the requirement on a line and its options as pairs, names written out. Raises FormatError."""
    words = line.split()
    first = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    options: list[tuple[str, str]] = []
    i = first
    while i < len(words):
        name, given, value = _option(words[i])
        i += 1
        if name in _VALUED and not given:
            if i == len(words):
                raise FormatError(f"the option --{name} has no value")
            value, i = words[i], i + 1
        if name == "editable":
            while i < len(words) and not words[i].startswith("-"):
                value, i = f"{value} {words[i]}", i + 1
        options.append((name, value.strip("\"'")))
    return " ".join(words[:first]), options


def parse_requirement(text: str, place: str) -> Package:
    """Return one requirement: a name with versions, a URL, a repository or a path. Raises FormatError."""
    if len(text) > _LONGEST:
        raise FormatError(f"a requirement is longer than {_LONGEST} characters")
    if _VCS.match(text) or _URL.match(text):
        return _located(text.partition(" ;")[0].strip(), "", place, text)
    plain = text.partition(";")[0].strip()
    is_path = plain.startswith((".", "/", "~")) or plain.lower().endswith(_ARCHIVE)
    if (is_path and not _NAMED_URL.match(plain)) or ("/" in plain and "@" not in plain):
        return _path(plain, place, text)
    try:
        parsed = Requirement(text)
    except (InvalidRequirement, RecursionError) as error:
        raise FormatError(f"is not a requirement: {short(text)}", remedy="Write it as in PEP 508") from error
    if parsed.url:
        return _located(parsed.url.strip(), canonical(parsed.name), place, text)
    return Package(
        canonical(parsed.name), place, exact_version(parsed.specifier), str(parsed.specifier), written=short(text)
    )


def exact_version(specifier: SpecifierSet) -> str:
    """Return the one version that a specifier allows, "" when it allows several."""
    return next(
        (s.version for s in specifier if s.operator in {"==", "==="} and not s.version.endswith(".*")),
        "",
    )


@dataclass(slots=True)
class _Reading:
    """The files read so far and what they said."""

    packages: list[Package] = field(default_factory=list)
    constraints: list[Package] = field(default_factory=list)
    options: list[Option] = field(default_factory=list)
    unread: list[NotChecked] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    seen: set[tuple[str, bool]] = field(default_factory=set)

    def file(self, path: Path, *, constraint: bool) -> None:
        waiting = [(path, constraint)]
        while waiting:
            path, constraint = waiting.pop()
            key = (os.path.realpath(path), constraint)
            if key in self.seen:
                continue
            if len(self.seen) >= _MOST_FILES:
                self.unread.append(NotChecked(str(path), f"more than {_MOST_FILES} files are included"))
                return
            self.seen.add(key)
            try:
                waiting += reversed(list(self.lines(path, constraint=constraint)))
            except AssayError as error:
                if len(self.seen) == 1:
                    raise
                self.unread.append(NotChecked(str(path), error.message, error.remedy or "Correct the include"))

    def lines(self, path: Path, *, constraint: bool) -> Iterator[tuple[Path, bool]]:
        data = read_bytes(path, limit=LIMIT)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise FormatError("is not UTF-8 text", where=str(path)) from error
        self.digests[str(path)] = str(digest_bytes(data))
        for number, line in parse_lines(text):
            place = f"{path}:{number}"
            try:
                yield from self.line(line, path, place, constraint=constraint)
            except FormatError as error:
                self.unread.append(NotChecked(place, error.message, error.remedy or "Correct the line"))

    def line(self, line: str, path: Path, place: str, *, constraint: bool) -> Iterator[tuple[Path, bool]]:
        wanted, options = split_options(line)
        hashes = tuple(value.lower() for name, value in options if name == "hash")
        if len(self.packages) + len(self.constraints) >= _MOST_PACKAGES:
            raise FormatError(f"more than {_MOST_PACKAGES} requirements", remedy="Split the file")
        for text in [wanted, *(value for name, value in options if name == "editable")]:
            if text:
                self.add(parse_requirement(text, place), hashes, constraint=constraint)
        for name, value in options:
            if name in _KEPT:
                self.options.append(Option(name, value, place))
            elif name in {"requirement", "constraint"} and _URL.match(value):
                self.options.append(Option("include", value, place))
                self.unread.append(
                    NotChecked(place, "includes a file from the network", "Keep the file beside this one")
                )
            elif name in {"requirement", "constraint"}:
                yield _included(path, value), constraint or name == "constraint"

    def add(self, package: Package, hashes: tuple[str, ...], *, constraint: bool) -> None:
        found = Package(
            package.name, package.place, package.version, package.specifier, (*package.hashes, *hashes),
            package.kind, package.source, written=package.written,
        )  # fmt: skip
        (self.constraints if constraint else self.packages).append(found)


def _included(path: Path, value: str) -> Path:
    inner = Path(os.path.normpath(path.parent / value.removeprefix("file:")))
    # Reading a device or a pipe might never end.
    if "\0" in value or (inner.exists() and not inner.is_file()):
        raise FormatError(f"includes {short(value)}, which is no file", remedy="Correct the include")
    return inner


def _option(word: str) -> tuple[str, bool, str]:
    if not word.startswith("--"):
        name = _SHORT.get(word[1:2], "")
        if not name:
            raise FormatError(f"unknown option {short(word)}")
        value = word[2:].removeprefix("=")
        return name, bool(value), value
    name, given, value = word[2:].partition("=")
    # pip's options may be cut short, as long as they are not ambiguous.
    known = (*_VALUED, *_FLAGS)
    match = [name] if name in known else [k for k in known if len(name) > 2 and k.startswith(name)]
    if len(match) != 1:
        raise FormatError(f"unknown option {short(word)}")
    return match[0], bool(given), value


def _located(url: str, name: str, place: str, text: str) -> Package:
    address, _, fragment = url.partition("#")
    parts = dict(part.partition("=")[::2] for part in fragment.split("&") if "=" in part)
    hashes = tuple(f"{k.lower()}:{v.lower()}" for k, v in parts.items() if k.lower().startswith(("sha", "md5")))
    told = _VCS.match(address)
    if told and not name and "@" in address[: told.end(0)]:
        name = canonical(address.partition("@")[0].partition("[")[0].strip())
        address = address.partition("@")[2].strip()
    if not name:
        egg = _NAME.match(parts.get("egg", ""))
        name = canonical(egg[0]) if egg else _archive_name(address)[0]
    kind = "vcs" if told else "folder" if address.startswith("file:") and not address.endswith(_ARCHIVE) else "url"
    return Package(name, place, _archive_name(address)[1], "", hashes, kind, address, written=short(text))


def _path(plain: str, place: str, text: str) -> Package:
    path = plain.partition("#")[0].partition("[")[0] if not plain.lower().endswith(_ARCHIVE) else plain
    name, version = _archive_name(path)
    kind = "file" if path.lower().endswith(_ARCHIVE) else "folder"
    return Package(name, place, version, "", (), kind, path, written=short(text))


def _archive_name(address: str) -> tuple[str, str]:
    """Return the name and version in the file name of a wheel, or two empty texts."""
    base = address.rstrip("/").rpartition("/")[2]
    parts = base.split("-")
    if base.lower().endswith(".whl") and len(parts) >= 5:
        return canonical(parts[0]), parts[1]
    return "", ""
