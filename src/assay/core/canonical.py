"""Canonical JSON: one serialisation per record, so that equal records have equal bytes.

Keys are sorted by code point, there is no white space, text is UTF-8, and numbers use the
shortest form that reads back equal (the rules of RFC 8785 for the values that Assay writes).

Laws, held by property tests::

    parse(canonical_bytes(v)) == v
    canonical_bytes(parse(canonical_bytes(v))) == canonical_bytes(v)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TypeAlias

from assay.core.errors import FormatError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_SAFE_INTEGER = 2**53


def canonical_bytes(value: object) -> bytes:
    """Return the canonical JSON bytes of a record made of plain JSON values.

    Tuples are written as arrays. Raises FormatError on NaN, infinities, keys that are not text,
    integers beyond 2**53 (other readers would round them) and any other type.
    """
    return json.dumps(
        _plain(value, "$"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8")


def parse(data: bytes | str, *, where: str = "") -> Json:
    """Return the JSON value in ``data``. Raises FormatError on bad UTF-8, bad JSON, NaN or a repeated key."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value: Json = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not valid JSON ({error})", where=where, remedy="Check that the file is complete") from error
    return value


def _plain(value: object, path: str) -> Json:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        if abs(value) > _SAFE_INTEGER:
            raise FormatError(f"integer {value} at {path} does not fit 53 bits", remedy="Store it as text")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise FormatError(f"{value} at {path} is not a JSON number", remedy="Use null for a missing number")
        return int(value) if value.is_integer() and abs(value) <= _SAFE_INTEGER else value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise FormatError(f"key {key!r} at {path} is not text")
        return {key: _plain(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{i}]") for i, item in enumerate(value)]
    raise FormatError(f"a {type(value).__name__} at {path} is not a JSON value")


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not allowed")


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key is repeated")
    return record
