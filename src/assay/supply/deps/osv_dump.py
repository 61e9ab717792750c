"""OSV records from disk: a folder, a .zip as OSV exports them, or one .json; bounded in files, bytes and memory."""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from assay.core.canonical import parse
from assay.core.errors import AssayError, DataError, FormatError
from assay.core.evidence import NotChecked
from assay.core.files import read_bytes
from assay.supply.deps.declared import Package, short
from assay.supply.deps.osv_record import Answer, Key, about, affects, is_withdrawn, table

_LARGEST = 16 << 20
_MOST_BYTES = 4 << 30
_MOST_FILES = 1_000_000
_MOST_SHOWN = 20


def read_dump(path: Path, packages: Mapping[Key, Package]) -> Answer:
    """Return the records in a dump that affect packages; those that cannot be read are recorded.

    Raises DataError or FormatError when it cannot be read at all or holds no record about PyPI.
    """
    versions: dict[str, list[str]] = {}
    for name, version in packages:
        versions.setdefault(name, []).append(version)
    answer = Answer()
    bad = 0
    for place, data in _members(path):
        try:
            _take(data, versions, answer)
        except AssayError as error:
            bad += 1
            if bad <= _MOST_SHOWN:
                answer.unread.append(NotChecked(place, error.message, "Fetch the dump anew"))
    if bad > _MOST_SHOWN:
        answer.unread.append(NotChecked(str(path), f"{bad - _MOST_SHOWN} more records cannot be read"))
    if not answer.records and not bad:
        raise DataError("holds no OSV records about PyPI", where=str(path), remedy="Fetch the dump of PyPI from OSV")
    return answer


def _take(data: bytes, versions: Mapping[str, list[str]], answer: Answer) -> None:
    record = table(parse(data))
    entries = list(about(record))
    answer.records += bool(entries)
    changed = record.get("modified")
    if entries and isinstance(changed, str):
        answer.newest = max(answer.newest, changed[:20])
    if is_withdrawn(record):
        return
    for name, entry in entries:
        for version in versions.get(name, ()):
            told = affects(entry, version)
            if told:
                held = answer.hits.setdefault((name, version), [])
                if not any(other is record for other in held):
                    held.append(record)
            elif told is None:
                shown = short(str(record["id"]))
                answer.unread.append(
                    NotChecked(f"{name} {short(version)}", f"{shown} does not tell in versions whom it is about")
                )


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        yield from _folder(path)
    elif not path.is_file():
        raise DataError("does not exist", where=str(path), remedy="Give a folder, a .zip or a server's URL")
    elif path.suffix.lower() == ".json":
        yield str(path), read_bytes(path, limit=_LARGEST)
    else:
        yield from _zip(path)


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    count = total = 0
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(n for n in names if n.endswith(".json")):
            if not (Path(folder) / name).is_file():
                raise FormatError(f"{short(name)} is no file", where=folder)
            data = read_bytes(Path(folder) / name, limit=_LARGEST)
            count, total = count + 1, total + len(data)
            _check_size(path, count, total)
            yield str(Path(folder) / name), data


def _zip(path: Path) -> Iterator[tuple[str, bytes]]:
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for count, member in enumerate(archive.infolist(), start=1):
                if not member.filename.endswith(".json"):
                    continue
                with archive.open(member) as stream:
                    data = stream.read(_LARGEST + 1)
                if len(data) > _LARGEST:
                    raise FormatError(f"{short(member.filename)} is larger than {_LARGEST} bytes", where=str(path))
                total += len(data)
                _check_size(path, count, total)
                yield f"{path}!{short(member.filename)}", data
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError) as error:
        # RuntimeError: encrypted, or a method of compression that is not built in (NotImplementedError).
        raise FormatError(f"is no zip that can be read ({short(str(error))})", where=str(path)) from error


def _check_size(path: Path, count: int, total: int) -> None:
    if count > _MOST_FILES or total > _MOST_BYTES:
        raise DataError(f"holds more than {_MOST_FILES} files or {_MOST_BYTES} bytes", where=str(path))
