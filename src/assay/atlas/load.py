"""Reading another release of ATLAS from the ``ATLAS.yaml`` that MITRE publishes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import yaml

from assay.atlas.matrix import Atlas, Mitigation, Tactic, Technique
from assay.core.errors import FormatError
from assay.core.files import read_bytes

_LIMIT = 1 << 23
_TECHNIQUE = re.compile(r"AML\.T\d{4}(\.\d{3})?", re.ASCII)


def load(path: str | os.PathLike[str]) -> Atlas:
    """Return the first matrix of an ``ATLAS.yaml`` of at most 8 MiB, whole, without leaving techniques out.

    Links that repeat, or that lead to a technique which is not there, are dropped, as published releases have
    them. Raises DataError when the file cannot be read, FormatError when it is no ATLAS release.
    """
    return parse(read_bytes(path, limit=_LIMIT), where=str(path))


def parse(content: bytes, *, where: str = "") -> Atlas:
    """Return the first matrix of an ATLAS release. Raises FormatError. YAML aliases are refused."""
    try:
        text = content.decode("utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=_LOADER)):
            raise FormatError("uses YAML aliases, which a release of ATLAS does not", where=where)
        record = yaml.load(text, Loader=_LOADER)  # noqa: S506 - both are safe loaders
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FormatError(f"is no YAML ({type(error).__name__})", where=where) from error
    matrix = _first(_record(record, "the file", where).get("matrices"), where)
    techniques = tuple(_technique(row, where) for row in _rows(matrix, "techniques", where))
    known = frozenset(technique.id for technique in techniques)
    return Atlas(
        _text(record, "version", where),
        tuple(Tactic(_text(row, "id", where), _text(row, "name", where)) for row in _rows(matrix, "tactics", where)),
        techniques,
        tuple(_mitigation(row, known, where) for row in _rows(matrix, "mitigations", where)),
    )


_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _technique(row: Mapping[str, object], where: str) -> Technique:
    key = _text(row, "id", where)
    if not _TECHNIQUE.fullmatch(key):
        raise FormatError(f"{key!r} is no technique id", where=where)
    tactics = row.get("tactics") or []
    if not isinstance(tactics, list):
        raise FormatError(f"the tactics of {key} are no list", where=where)
    return Technique(key, _text(row, "name", where), tuple(map(str, tactics)), str(row.get("maturity") or "feasible"))


def _mitigation(row: Mapping[str, object], known: frozenset[str], where: str) -> Mitigation:
    linked = {str(link["id"]) for link in _rows(row, "techniques", where) if "id" in link}
    return Mitigation(_text(row, "id", where), _text(row, "name", where), tuple(sorted(linked & known)))


def _first(matrices: object, where: str) -> Mapping[str, object]:
    if not isinstance(matrices, list) or not matrices:
        raise FormatError("has no matrix", where=where, remedy="Give dist/ATLAS.yaml of the ATLAS data")
    return _record(matrices[0], "a matrix", where)


def _rows(record: Mapping[str, object], key: str, where: str) -> list[Mapping[str, object]]:
    rows = record.get(key) or []
    if not isinstance(rows, list):
        raise FormatError(f"{key} is no list", where=where)
    return [_record(row, f"an entry of {key}", where) for row in rows]


def _record(value: object, what: str, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise FormatError(f"{what} is no record", where=where)
    return value


def _text(record: Mapping[str, object], key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value:
        raise FormatError(f"an entry lacks {key}", where=where)
    return value
