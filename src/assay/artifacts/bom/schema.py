"""Holding a bill of materials against the CycloneDX 1.7 schema, and against what the schema cannot say.

The rules are those of the official JSON Schema (draft 7), kept in ``cyclonedx-1.7.json`` without its prose; the rules
of that dialect which it uses are read here, so that nothing has to be installed. Beyond the schema: every ``bom-ref``
stands once, and every reference to one leads somewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from assay.core.canonical import canonical_bytes
from assay.core.errors import AssayError, FormatError

Rules: TypeAlias = Mapping[str, Any]
Faults: TypeAlias = Iterator[str]

SPEC_VERSION = "1.7"
_DEEPEST = 60
_MOST_SHOWN = 5
_NOT_IN_URI = re.compile(r"[\s<>\"{}|\\^`\x00-\x1f]")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (Mapping,), "array": (list,), "string": (str,), "boolean": (bool,), "integer": (int,),
    "number": (int, float), "null": (type(None),),
}  # fmt: skip


def check_bom(record: object, *, where: str = "") -> None:
    """Return when ``record`` is a valid CycloneDX 1.7 document whose references hold together.

    Raises FormatError that names the first few places and what is wrong there.
    """
    try:
        found = list(faults_of(record))
    except (AssayError, RecursionError) as error:
        raise FormatError(f"is no CycloneDX document ({error})", where=where) from error
    if found:
        more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
        raise FormatError(
            f"is not valid CycloneDX {SPEC_VERSION}: {'; '.join(found[:_MOST_SHOWN])}{more}", where=where,
            remedy="Write it anew with `assay bom`",
        )  # fmt: skip


def faults_of(record: object) -> Faults:
    """Yield what is wrong with a document, ``place: what``; nothing for a valid one."""
    faults = list(_faults(record, {"$ref": "bom#"}, "$", "bom", 0))
    yield from faults
    if not faults and isinstance(record, Mapping):
        if record.get("specVersion") != SPEC_VERSION:
            yield f"$.specVersion: is {record.get('specVersion')!r}, not {SPEC_VERSION!r}"
        yield from _references(record)


def spdx_ids() -> tuple[str, ...]:
    """Return the licence ids that the schema admits."""
    return tuple(_schemas()["spdx"]["enum"])


@cache
def _schemas() -> Rules:
    text = files(__package__).joinpath("cyclonedx-1.7.json").read_text(encoding="utf-8")
    loaded: Rules = json.loads(text)
    return loaded


def _faults(value: object, rules: object, place: str, home: str, depth: int) -> Faults:
    """Yield the faults of a value against one schema. home: the file that references without a file name are in."""
    if depth > _DEEPEST:
        yield f"{place}: is nested too deep"
        return
    if isinstance(rules, bool):
        if not rules:
            yield f"{place}: is not allowed"
        return
    assert isinstance(rules, Mapping)
    if "$ref" in rules:
        # In draft 7 a reference stands alone: what is beside it does not count.
        target, home = _resolve(str(rules["$ref"]), home)
        yield from _faults(value, target, place, home, depth + 1)
        return
    wanted = rules.get("type")
    if wanted is not None and not _is(value, wanted):
        yield f"{place}: should be {wanted if isinstance(wanted, str) else ' or '.join(wanted)}"
        return
    yield from _alone(value, rules, place)
    yield from _together(value, rules, place, home, depth)
    if isinstance(value, Mapping):
        yield from _object(value, rules, place, home, depth)
    elif isinstance(value, list):
        yield from _array(value, rules, place, home, depth)


def _resolve(reference: str, home: str) -> tuple[object, str]:
    file, _, path = reference.partition("#")
    found: Any = _schemas()[file or home]
    for step in filter(None, path.split("/")):
        found = found[step]
    return found, file or home


def _is(value: object, wanted: object) -> bool:
    kinds = [wanted] if isinstance(wanted, str) else wanted
    assert isinstance(kinds, list)
    for kind in kinds:
        if isinstance(value, bool) and kind != "boolean":
            continue
        if isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, float) and value.is_integer()):
            return True
    return False


def _alone(value: object, rules: Rules, place: str) -> Faults:
    """Yield the faults of a value by itself: its options, its text, its size."""
    if "enum" in rules and not any(_same(value, option) for option in rules["enum"]):
        yield f"{place}: {_shown(value)} is none of the {len(rules['enum'])} values allowed"
    if "const" in rules and not _same(value, rules["const"]):
        yield f"{place}: should be {_shown(rules['const'])}"
    if isinstance(value, str):
        if "pattern" in rules and not _pattern(rules["pattern"]).search(value):
            yield f"{place}: {_shown(value)} does not have the form {rules['pattern']}"
        if not rules.get("minLength", 0) <= len(value) <= rules.get("maxLength", len(value)):
            yield f"{place}: has the wrong length"
        check = _FORMATS.get(rules.get("format", ""))
        if check is not None and not check(value):
            yield f"{place}: {_shown(value)} is no {rules['format']}"
    elif (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and not rules.get("minimum", value) <= value <= rules.get("maximum", value)
    ):
        yield f"{place}: {value} is out of range"


def _together(value: object, rules: Rules, place: str, home: str, depth: int) -> Faults:
    """Yield the faults against combined schemas."""

    def fits(inner: object) -> bool:
        return next(_faults(value, inner, place, home, depth + 1), None) is None

    for inner in rules.get("allOf", ()):
        yield from _faults(value, inner, place, home, depth + 1)
    if "anyOf" in rules and not any(fits(inner) for inner in rules["anyOf"]):
        yield f"{place}: fits none of its {len(rules['anyOf'])} forms"
    if "oneOf" in rules:
        count = sum(fits(inner) for inner in rules["oneOf"])
        if count != 1:
            yield f"{place}: fits {count or 'none'} of its {len(rules['oneOf'])} forms, not one"
    if "not" in rules and fits(rules["not"]):
        yield f"{place}: has a form that is not allowed"
    if "if" in rules:
        branch = rules.get("then" if fits(rules["if"]) else "else")
        if branch is not None:
            yield from _faults(value, branch, place, home, depth + 1)


def _object(value: Mapping[str, object], rules: Rules, place: str, home: str, depth: int) -> Faults:
    known = rules.get("properties", {})
    for key in rules.get("required", ()):
        if key not in value:
            yield f"{place}: lacks {key}"
    for key, item in value.items():
        inner = known.get(key, rules.get("additionalProperties", True))
        if inner is False:
            yield f"{place}: {_shown(key)} is not known"
        else:
            yield from _faults(item, inner, f"{place}.{key}", home, depth + 1)


def _array(value: list[object], rules: Rules, place: str, home: str, depth: int) -> Faults:
    if len(value) < rules.get("minItems", 0):
        yield f"{place}: has too few items"
    if rules.get("uniqueItems") and len({canonical_bytes(item) for item in value}) != len(value):
        yield f"{place}: an item stands twice"
    if "items" in rules:
        for number, item in enumerate(value):
            yield from _faults(item, rules["items"], f"{place}[{number}]", home, depth + 1)


def _references(record: Mapping[str, object]) -> Faults:
    """Yield names that stand twice, and references that lead nowhere within the document."""
    named: set[str] = set()
    for place, name in _found(record, {"bom-ref"}, "$"):
        if name in named:
            yield f"{place}: {_shown(name)} stands twice"
        named.add(name)
    parts = {k: record.get(k, []) for k in ("dependencies", "compositions")}
    card = [("$.metadata.component.modelCard", _card(record))]
    asked = list(_found(parts, {"ref", "dependsOn", "provides", "dependencies", "assemblies"}, "$"))
    asked += [pair for place, item in card for pair in _found(item, {"ref"}, place)]
    for place, name in asked:
        if name not in named and not name.startswith("urn:cdx:"):
            yield f"{place}: {_shown(name)} is nowhere in the document"


def _card(record: Mapping[str, object]) -> object:
    found: object = record
    for key in ("metadata", "component", "modelCard"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _found(value: object, keys: set[str], place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            here = f"{place}.{key}"
            if key in keys:
                names = item if isinstance(item, list) else [item]
                yield from ((here, name) for name in names if isinstance(name, str))
            yield from _found(item, keys, here)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _found(item, keys, f"{place}[{number}]")


def _same(one: object, other: object) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@cache
def _pattern(text: str) -> re.Pattern[str]:
    # `$` of the schema's dialect is the very end, that of Python also stands before a last newline.
    return re.compile(re.sub(r"(?<!\\)\$(?=$|\)|\|)", r"\\Z", text))


def _is_moment(text: str) -> bool:
    try:
        return re.match(r"\d{4}-\d\d-\d\d[Tt]", text) is not None and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    try:
        return len(text) == 10 and bool(date.fromisoformat(text))
    except ValueError:
        return False


def _is_reference(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:
        return False
    return _NOT_IN_URI.search(text) is None


def _is_uri(text: str) -> bool:
    return _is_reference(text) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) is not None


_FORMATS: Mapping[str, Callable[[str], bool]] = {
    "date-time": _is_moment,
    "date": _is_date,
    "uri": _is_uri,
    "iri-reference": _is_reference,
    "idn-email": lambda text: "@" in text.strip("@"),
}
