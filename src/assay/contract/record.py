"""The contract as plain data and as YAML, for people to review and edit.

Laws, held by property tests: ``from_record(to_record(c)) == c`` and ``from_yaml(to_yaml(c)) == c``; fields
that this version does not know survive in ``extra``, unless they are a slip of one that it knows. YAML is
read by a safe loader that refuses repeated keys, bounds aliases, depth and size, and keeps line numbers.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

from assay.contract.contract import CONTRACT_VERSION, Contract, Feature, Identifier, Kind, Mutable, Role, Target, Tensor
from assay.contract.reading import Lines, parse_yaml
from assay.contract.relations import Condition, Implication, OneHot, Relation
from assay.core.errors import ContractError

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - days in model space have no zone
T = TypeVar("T")
Reader: TypeAlias = Callable[[object, "_Place"], object]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a record something stands: the file, the path of keys, and the line when it came from YAML."""

    where: str = ""
    path: tuple[str | int, ...] = ()
    lines: Lines | None = None

    def at(self, key: str | int) -> _Place:
        return _Place(self.where, (*self.path, key), self.lines)

    def __str__(self) -> str:
        line = self.lines.get(self.path) if self.lines else None
        name = "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in self.path).lstrip(".")
        head = f"{self.where or 'contract'}:{line}" if line else self.where
        return f"{head} {name}".strip()

    def error(self, message: str, remedy: str = "See the reference of contract.yaml") -> ContractError:
        return ContractError(message, where=str(self), remedy=remedy)


def to_record(contract: Contract) -> dict[str, object]:
    """Return the contract as plain JSON data; fields at their default are left out."""
    record: dict[str, object] = {"contract": CONTRACT_VERSION}
    if contract.name:
        record["name"] = contract.name
    if contract.target:
        record["target"] = _given(contract.target, {"classes": list(contract.target.classes)})
    if contract.columns:
        record["columns"] = [_feature_record(c) for c in contract.columns]
    if contract.tensor:
        record["tensor"] = _given(contract.tensor, {"shape": list(contract.tensor.shape)})
    if contract.relations:
        record["relations"] = [
            _given(r, {"weights": dict(r.weights), "when": _conditions(r.when)}) for r in contract.relations
        ]
    if contract.implications:
        record["implications"] = [
            _given(i, {"when": _conditions(i.when), "then": _conditions(i.then)}) for i in contract.implications
        ]
    if contract.one_hot:
        record["one_hot"] = [_given(g, {"columns": list(g.columns)}) for g in contract.one_hot]
    if contract.max_age_days is not None:
        record["max_age_days"] = contract.max_age_days
    return {**record, **{k: v for k, v in contract.extra.items() if k not in record}}


def from_record(record: object, *, where: str = "", lines: Lines | None = None) -> Contract:
    """Return the contract from plain data. Raises ContractError that names the place and, from YAML, the line."""
    place = _Place(where, (), lines)
    values, extra = _fields(record, place, _CONTRACT)
    version = values.pop("contract", CONTRACT_VERSION)
    if version != CONTRACT_VERSION:
        raise place.at("contract").error(
            f"version {version} is not known", f"Write contract: {CONTRACT_VERSION}, or update Assay"
        )
    return _make(Contract, {**values, "extra": extra}, place)


def to_yaml(contract: Contract) -> str:
    """Return the contract as YAML text, one block a column."""
    import yaml

    text: str = yaml.safe_dump(
        to_record(contract), sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )
    return text


def from_yaml(text: str, *, where: str = "") -> Contract:
    """Return the contract in YAML text. Raises ContractError with the line."""
    value, lines = parse_yaml(text, where=where or "contract")
    return from_record(value, where=where, lines=lines)


def _given(value: Any, changed: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a dataclass that differ from their default."""
    record = {}
    for f in fields(value):
        item = changed.get(f.name, getattr(value, f.name))
        if item != f.default:
            record[f.name] = item.value if isinstance(item, (Kind, Role, Mutable, Identifier)) else item
    return record


def _conditions(conditions: tuple[Condition, ...]) -> object:
    """Return conditions as records; none as the default that it is."""
    made = [_given(c, {"one_of": list(c.one_of) if c.one_of else ()}) for c in conditions]
    return made or ()


def _feature_record(feature: Feature) -> dict[str, object]:
    record = _given(feature, {"categories": list(feature.categories), "extra": {}})
    for key in [k for k in ("categories", "extra") if not record.get(k)]:
        record.pop(key, None)
    if feature.kind is Kind.DATE:
        record.update({key: _iso(record[key]) for key in ("low", "high") if key in record})
    return {**record, **{k: v for k, v in feature.extra.items() if k not in _FEATURE}}


def _iso(days: object) -> object:
    """Return whole days since 1970 as ISO text, anything that ISO text cannot hold exactly as it is."""
    if isinstance(days, (int, float)) and float(days).is_integer() and -700_000 < days < 2_900_000:
        return (_EPOCH + timedelta(days=int(days))).date().isoformat()
    return days


def _fields(record: object, place: _Place, readers: Mapping[str, Reader]) -> tuple[dict[str, Any], dict[str, object]]:
    """Return the known fields of a record, read, and the unknown ones. Raises ContractError on a slip of a name."""
    if not isinstance(record, Mapping):
        raise place.error(f"expected a record, found {_said(record)}")
    known: dict[str, Any] = {}
    extra: dict[str, object] = {}
    for key, value in record.items():
        if not isinstance(key, str):
            raise place.error(f"the key {key!r} is not text")
        if key in readers:
            known[key] = readers[key](value, place.at(key))
            continue
        near = difflib.get_close_matches(key, readers, n=1, cutoff=0.75)
        if near:
            raise place.at(key).error(f"unknown field {key!r}", f"Did you mean {near[0]}?")
        extra[key] = value
    return known, extra


def _make(cls: type[T], values: Mapping[str, Any], place: _Place) -> T:
    missing = [f.name for f in fields(cls) if f.name in _NEEDED.get(cls, ()) and f.name not in values]  # type: ignore[arg-type]
    if missing:
        raise place.error(f"{' and '.join(missing)} missing")
    try:
        return cls(**values)
    except ContractError as error:
        name = f" ({error.where})" if error.where else ""
        raise place.error(f"{error.message}{name}", error.remedy) from error


def _feature(value: object, place: _Place) -> Feature:
    dated = isinstance(value, Mapping) and value.get("kind") == Kind.DATE.value
    values, extra = _fields(value, place, _FEATURE if not dated else {**_FEATURE, "low": _day, "high": _day})
    return _make(Feature, {**values, "extra": extra}, place)


def _strict(cls: type[T], readers: Mapping[str, Reader]) -> Callable[[object, _Place], T]:
    """Return a reader of a record in which no unknown field is allowed."""

    def read(value: object, place: _Place) -> T:
        values, extra = _fields(value, place, readers)
        for key in extra:
            raise place.at(key).error(f"unknown field {key!r}", f"Use {', '.join(readers)}")
        return _make(cls, values, place)

    return read


def _said(value: object) -> str:
    return {type(None): "nothing", list: "a list", dict: "a record", str: f"the text {str(value)[:40]!r}"}.get(
        type(value), str(value)[:40]
    )


def _number(value: object, place: _Place) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _finite(value):
        raise place.error(f"expected a number, found {_said(value)}")
    return float(value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _maybe_number(value: object, place: _Place) -> float | None:
    return None if value is None else _number(value, place)


def _day(value: object, place: _Place) -> float | None:
    if not isinstance(value, str):
        return _maybe_number(value, place)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise place.error(f"{value[:40]!r} is not an ISO date", "Write it as 2026-01-31") from error
    return (moment.replace(tzinfo=None) - (moment.utcoffset() or timedelta(0)) - _EPOCH) / timedelta(days=1)


def _whole(value: object, place: _Place) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise place.error(f"expected a whole number, found {_said(value)}")
    return value


def _flag(value: object, place: _Place) -> bool:
    if not isinstance(value, bool):
        raise place.error(f"expected true or false, found {_said(value)}")
    return value


def _text(value: object, place: _Place) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise place.error(f"expected a text, found {_said(value)}")
    return str(value)


def _many(read: Callable[[object, _Place], T]) -> Callable[[object, _Place], tuple[T, ...]]:
    def read_all(value: object, place: _Place) -> tuple[T, ...]:
        if not isinstance(value, (list, tuple)):
            raise place.error(f"expected a list, found {_said(value)}")
        return tuple(read(item, place.at(i)) for i, item in enumerate(value))

    return read_all


def _one_of(options: type[Kind | Role | Mutable | Identifier]) -> Reader:
    def read(value: object, place: _Place) -> object:
        text = "no" if value is False and options in (Mutable, Identifier) else value
        for option in options:
            if option.value == text:
                return option
        raise place.error(f"{_said(value)} is not allowed", f"Use {', '.join(o.value for o in options)}")

    return read


def _weights(value: object, place: _Place) -> dict[str, float]:
    if not isinstance(value, Mapping) or not value:
        raise place.error("expected a record of feature: weight")
    return {str(name): _number(weight, place.at(str(name))) for name, weight in value.items()}


_FEATURE: dict[str, Reader] = {
    "name": _text,
    "kind": _one_of(Kind),
    "role": _one_of(Role),
    "low": _maybe_number,
    "high": _maybe_number,
    "categories": _many(_text),
    "max_null": _number,
    "unique": _flag,
    "constant": _flag,
    "ordered": _flag,
    "mutable": _one_of(Mutable),
    "step": _number,
    "cost": _number,
    "scale": _number,
    "sensitive": _flag,
    "slice": _flag,
    "identifier": _one_of(Identifier),
    "description": _text,
}
_CONDITION: dict[str, Reader] = {
    "column": _text,
    **dict.fromkeys(("above", "least", "below", "most"), _day),
    "one_of": _many(_text),
}
_WHEN = _many(_strict(Condition, _CONDITION))
_CONTRACT: dict[str, Reader] = {
    "contract": _whole,
    "name": _text,
    "target": _strict(Target, {"name": _text, "classes": _many(_text), "positive": _text}),
    "columns": _many(_feature),
    "tensor": _strict(Tensor, {"shape": _many(_whole), "dtype": _text, "low": _number, "high": _number}),
    "relations": _many(
        _strict(Relation, {"weights": _weights, "bound": _number, "equal": _flag, "name": _text, "when": _WHEN})
    ),
    "implications": _many(_strict(Implication, {"when": _WHEN, "then": _WHEN, "name": _text})),
    "one_hot": _many(_strict(OneHot, {"columns": _many(_text), "optional": _flag, "name": _text})),
    "max_age_days": _maybe_number,
}
_NEEDED: dict[type, tuple[str, ...]] = {
    Feature: ("name", "kind"),
    Target: ("name", "classes"),
    Tensor: ("shape",),
    Relation: ("weights", "bound"),
    Condition: ("column",),
    Implication: ("when", "then"),
    OneHot: ("columns",),
}
