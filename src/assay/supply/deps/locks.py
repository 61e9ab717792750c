"""Lock files and project files: uv.lock, poetry.lock, Pipfile.lock, pylock.toml (PEP 751) and pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from assay.core.canonical import parse
from assay.core.digest import digest_bytes
from assay.core.errors import AssayError, FormatError
from assay.core.evidence import NotChecked
from assay.core.files import read_bytes
from assay.supply.deps.declared import Declared, Option, Package, canonical, short
from assay.supply.deps.requirements import parse_requirement
from assay.supply.deps.sources import project_sources

LIMIT = 32 << 20
_QUOTED = re.compile(r"\"([^\"\n]*)\"|'([^'\n]*)'")
_PYPI = "https://pypi.org/simple"

Table = Mapping[str, object]


def read_lock(path: Path) -> Declared:
    """Return what a lock or project file states. Raises DataError or FormatError, naming it."""
    data = read_bytes(path, limit=LIMIT)
    try:
        text = data.decode("utf-8-sig")
        held = parse(text.encode()) if path.name == "Pipfile.lock" else tomllib.loads(text)
    except AssayError as error:
        raise FormatError(error.message, where=str(path), remedy="Write the lock anew") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"cannot be read ({short(str(error))})", where=str(path), remedy="Write it anew") from error
    table = _table(held)
    reader = _READERS.get(path.name, _pylock)
    unread: list[NotChecked] = []
    packages = tuple(reader(table, text, str(path), unread))
    project = path.name in {"pyproject.toml", "Pipfile"}
    options = (
        tuple(project_sources(table, _Places(text, str(path)), path.name)) if project else _lock_sources(table, path)
    )
    kind = "project" if project else "lock"
    return Declared(str(path), kind, packages, options, tuple(unread), {str(path): str(digest_bytes(data))})


def is_lock(path: Path) -> bool:
    """Return whether a file's name is that of a lock or project file this module reads."""
    return path.name in _READERS or (path.name.startswith("pylock.") and path.suffix == ".toml")


class _Places:
    """The line on which a quoted text or a table's heading first stands."""

    def __init__(self, text: str, path: str) -> None:
        self._path = path
        self._lines: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            for double, single in _QUOTED.findall(line):
                self._lines.setdefault(double or single, number)
            self._lines.setdefault(line.partition("=")[0].strip(), number)

    def __call__(self, *texts: str) -> str:
        return f"{self._path}:{next((self._lines[t] for t in texts if t in self._lines), 1)}"


def _uv(held: Table, text: str, path: str, unread: list[NotChecked]) -> Iterator[Package]:
    for item, place in _packages(held, text, path, "package", unread):
        source = _table(item.get("source"))
        artifacts = [_table(a) for a in [*_list(item.get("wheels")), item.get("sdist")] if a]
        hashes = tuple(str(a["hash"]).lower() for a in artifacts if a.get("hash"))
        name, version = canonical(str(item.get("name", ""))), str(item.get("version", ""))
        kinds = {"git": "vcs", "url": "url", "path": "file", "editable": "own", "virtual": "own", "directory": "folder"}
        kind, key = next(((kinds[k], k) for k in kinds if k in source), ("registry", "registry"))
        missing = max(len(artifacts) - len(hashes), 0 if artifacts else 1)
        address = str(source.get(key, ""))
        if kind == "vcs":
            # The fragment is the commit that was resolved.
            address = f"git+{address.partition('?')[0].partition('#')[0]}@{address.partition('#')[2]}"
        yield Package(name, place, version, "", hashes, kind, address, missing, written=f"{name} {version}")


def _poetry(held: Table, text: str, path: str, unread: list[NotChecked]) -> Iterator[Package]:
    metadata = _table(held.get("metadata"))
    older = {canonical(k): _list(v) for k, v in _table(metadata.get("files") or metadata.get("hashes")).items()}
    for item, place in _packages(held, text, path, "package", unread):
        name, version = canonical(str(item.get("name", ""))), str(item.get("version", ""))
        files = _list(item.get("files")) or older.get(name, [])
        given = [str(_table(f).get("hash", "")) if isinstance(f, Mapping) else str(f) for f in files]
        hashes = tuple((h if ":" in h else f"sha256:{h}").lower() for h in given if h)
        source = _table(item.get("source"))
        kind = {"git": "vcs", "url": "url", "file": "file", "directory": "folder"}.get(
            str(source.get("type", "")), "registry"
        )
        address = str(source.get("url", _PYPI if kind == "registry" else ""))
        if kind == "vcs":
            address = f"git+{address}@{source.get('resolved_reference', '')}"
        missing = max(len(files) - len(hashes), 0 if files else 1)
        yield Package(name, place, version, "", hashes, kind, address, missing, written=f"{name} {version}")


def _pipfile_lock(held: Table, text: str, path: str, unread: list[NotChecked]) -> Iterator[Package]:
    sources = [_table(s) for s in _list(_table(held.get("_meta")).get("sources"))]
    urls = {str(s.get("name", "")): str(s.get("url", "")) for s in sources}
    first = next(iter(urls.values()), _PYPI)
    places = _Places(text, path)
    for section, items in held.items():
        if section.startswith("_") or not isinstance(items, Mapping):
            continue
        for raw, value in items.items():
            item = _table(value)
            name, place = canonical(raw), places(raw)
            if not item:
                unread.append(NotChecked(place, f"{short(raw)} is not a record", "Write the lock anew"))
                continue
            hashes = tuple(str(h).lower() for h in _list(item.get("hashes")))
            address = urls.get(str(item.get("index", "")), first)
            kind = "registry"
            if "git" in item:
                kind, address = "vcs", f"git+{item['git']}@{item.get('ref', '')}"
            elif "file" in item:
                kind, address = "url", str(item["file"])
            elif "path" in item:
                kind, address = "own" if item["path"] == "." else "folder", str(item["path"])
            version = str(item.get("version", "")).removeprefix("==")
            yield Package(name, place, version, "", hashes, kind, address, 0 if hashes else 1, written=short(raw))


def _pylock(held: Table, text: str, path: str, unread: list[NotChecked]) -> Iterator[Package]:
    for item, place in _packages(held, text, path, "packages", unread):
        name, version = canonical(str(item.get("name", ""))), str(item.get("version", ""))
        archive = _table(item.get("archive"))
        artifacts = [_table(a) for a in [*_list(item.get("wheels")), item.get("sdist"), archive] if a]
        each = [_table(a.get("hashes")) for a in artifacts]
        # Several hashes of one file are alternatives: the strongest of them counts.
        best = [max(h, key=lambda k: (k.startswith("sha"), len(str(h[k])))) for h in each if h]
        hashes = tuple(f"{k}:{h[k]}".lower() for k, h in zip(best, (h for h in each if h), strict=True))
        vcs = _table(item.get("vcs"))
        kind, address = "registry", str(item.get("index", ""))
        if vcs:
            kind, address = "vcs", f"git+{vcs.get('url', '')}@{vcs.get('commit-id', '')}"
        elif archive:
            kind, address = "url", str(archive.get("url", archive.get("path", "")))
        elif item.get("directory"):
            kind, address = "folder", str(_table(item["directory"]).get("path", ""))
        missing = max(len(artifacts) - len(hashes), 0 if artifacts else 1)
        yield Package(name, place, version, "", hashes, kind, address, missing, written=f"{name} {version}")


def _project(held: Table, text: str, path: str, unread: list[NotChecked]) -> Iterator[Package]:
    places = _Places(text, path)
    project, tool = _table(held.get("project")), _table(held.get("tool"))
    own = canonical(str(project.get("name", "")))
    groups = [*_table(project.get("optional-dependencies")).values(), *_table(held.get("dependency-groups")).values()]
    groups += [project.get("dependencies"), _table(tool.get("uv")).get("dev-dependencies")]
    groups += [_table(held.get("build-system")).get("requires")]
    bound = _table(_table(tool.get("uv")).get("sources"))
    sources = {canonical(k): _table(v) for k, v in bound.items()}
    for line in (line for group in groups for line in _list(group) if isinstance(line, str)):
        try:
            found = parse_requirement(line, places(line))
        except FormatError as error:
            unread.append(NotChecked(places(line), error.message, error.remedy))
            continue
        if found.name != own:
            yield _bound(found, sources.get(found.name, {}))
    poetry = _table(tool.get("poetry"))
    tables = [poetry.get("dependencies"), poetry.get("dev-dependencies")]
    tables += [_table(g).get("dependencies") for g in _table(poetry.get("group")).values()]
    for items in tables:
        for raw, value in _table(items).items():
            if raw != "python":
                yield _poetry_wanted(raw, value, places(raw))


def _pipfile(held: Table, text: str, path: str, unread: list[NotChecked]) -> Iterator[Package]:
    del unread
    places = _Places(text, path)
    for section in ("packages", "dev-packages"):
        for raw, value in _table(held.get(section)).items():
            yield _poetry_wanted(raw, value, places(raw))


def _bound(package: Package, source: Table) -> Package:
    if "git" in source:
        kind, address = "vcs", f"git+{source['git']}@{source.get('rev', '')}"
    elif "url" in source:
        kind, address = "url", str(source["url"])
    elif "path" in source or source.get("workspace"):
        kind, address = "folder", str(source.get("path", "."))
    else:
        kind, address = package.kind, package.source
    return Package(
        package.name, package.place, package.version, package.specifier, package.hashes, kind, address,
        index=str(source.get("index", "")), written=package.written,
    )  # fmt: skip


def _poetry_wanted(raw: str, value: object, place: str) -> Package:
    item = _table(value)
    wanted = str(item.get("version", "")) if item else str(value)
    exact = wanted.removeprefix("==").strip()
    version = exact if re.fullmatch(r"\d[\w.!+]*", exact) else ""
    bound = {"git": item["git"], "rev": item.get("rev", item.get("ref", ""))} if "git" in item else dict(item)
    bound["index"] = item.get("source", item.get("index", ""))
    return _bound(Package(canonical(raw), place, version, wanted, written=short(f"{raw} {wanted}")), bound)


def _lock_sources(held: Table, path: Path) -> tuple[Option, ...]:
    found = {}
    for item in [*_list(held.get("package")), *_list(_table(held.get("_meta")).get("sources"))]:
        source = _table(_table(item).get("source"))
        address = str(source.get("registry", source.get("url", _table(item).get("url", ""))))
        parts = urlsplit(address) if address.startswith("http") else None
        if parts and source.get("type") != "git":
            found[address] = Option("lock-index", address, str(path), "lock")
    return tuple(found.values())


def _packages(held: Table, text: str, path: str, key: str, unread: list[NotChecked]) -> Iterator[tuple[Table, str]]:
    items = _list(held.get(key))
    lines = [n for n, line in enumerate(text.splitlines(), start=1) if line.strip() == f"[[{key}]]"]
    lines = lines if len(lines) == len(items) else [1] * len(items)
    for item, line in zip(items, lines, strict=True):
        record = _table(item)
        if not record.get("name"):
            unread.append(NotChecked(f"{path}:{line}", "a package without a name", "Write the lock anew"))
            continue
        yield record, f"{path}:{line}"


def _table(value: object) -> Table:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


_READERS: Mapping[str, Callable[[Table, str, str, list[NotChecked]], Iterator[Package]]] = {
    "uv.lock": _uv, "poetry.lock": _poetry, "Pipfile.lock": _pipfile_lock, "pylock.toml": _pylock,
    "pyproject.toml": _project, "Pipfile": _pipfile,
}  # fmt: skip
