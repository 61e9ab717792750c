"""What people declare of a model and its data for the bill of materials: ``card.yaml``.

::

    name: credit default
    licence: Apache-2.0
    supplier: Risk department
    task: classification
    users: [credit officers]
    use_cases: [ranking of applications that a person decides]
    limitations: [not trained on companies]
    ethics: [{name: age, mitigation: not an input}]
    fairness: [{group: applicants below 25, harms: refused more often, mitigation: reviewed by a person}]
    data:
      train: {owner: Data office, classification: confidential, licence: internal, sensitive: [income]}
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from assay.artifacts.bom.card import Fairness
from assay.artifacts.bom.document import Party
from assay.core.errors import FormatError
from assay.core.files import read_bytes

_LIMIT = 1 << 20
APPROACHES = ("supervised", "unsupervised", "reinforcement-learning", "semi-supervised", "self-supervised")
_ROLES = ("owner", "custodian", "steward")
_TEXTS = ("name", "version", "licence", "supplier", "description", "task", "approach", "family", "architecture")
_LISTS = ("users", "use_cases", "limitations", "tradeoffs")
_GROUP = ("group", "benefits", "harms", "mitigation")
_DATA = {*_ROLES, "classification", "description", "licence", "sensitive", "name"}


@dataclass(frozen=True, slots=True)
class DataDeclared:
    """What is declared of one dataset."""

    name: str = ""
    classification: str = ""
    description: str = ""
    licence: str = ""
    sensitive: tuple[str, ...] = ()
    parties: tuple[Party, ...] = ()


@dataclass(frozen=True, slots=True)
class DeclaredCard:
    """What is declared of a model; empty where nothing is. data: by use, as in ``train``."""

    name: str = ""
    version: str = ""
    licence: str = ""
    supplier: str = ""
    description: str = ""
    task: str = ""
    approach: str = ""
    family: str = ""
    architecture: str = ""
    users: tuple[str, ...] = ()
    use_cases: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    tradeoffs: tuple[str, ...] = ()
    ethics: tuple[tuple[str, str], ...] = ()
    fairness: tuple[Fairness, ...] = ()
    data: Mapping[str, DataDeclared] = field(default_factory=dict)


def read_card(path: str | os.PathLike[str]) -> DeclaredCard:
    """Return the declarations in a YAML file. Raises DataError, or FormatError that names the key."""
    where = os.fspath(path)
    try:
        record = yaml.safe_load(read_bytes(path, limit=_LIMIT))
    except (yaml.YAMLError, RecursionError) as error:
        raise FormatError(f"is not valid YAML ({' '.join(str(error).split())[:200]})", where=where) from error
    table = _table(record or {}, where, "the file", {*_TEXTS, *_LISTS, "ethics", "fairness", "data"})
    texts = {key: _text(table.get(key, ""), where, key) for key in _TEXTS}
    if texts["approach"] and texts["approach"] not in APPROACHES:
        raise FormatError(f"approach is none of {', '.join(APPROACHES)}", where=where)
    lists = {key: _texts(table.get(key, []), where, key) for key in _LISTS}
    ethics = [
        _table(e, where, "ethics", {"name", "mitigation"}) for e in _list(table.get("ethics", []), where, "ethics")
    ]
    groups = _list(table.get("fairness", []), where, "fairness")
    fairness = [_table(g, where, "fairness", set(_GROUP)) for g in groups]
    data = _table(table.get("data") or {}, where, "data", None)
    return DeclaredCard(
        texts["name"], texts["version"], texts["licence"], texts["supplier"], texts["description"], texts["task"],
        texts["approach"], texts["family"], texts["architecture"],
        lists["users"], lists["use_cases"], lists["limitations"], lists["tradeoffs"],
        tuple((_text(e.get("name", ""), where, "ethics"), _text(e.get("mitigation", ""), where, "ethics")) for e in ethics),
        tuple(_fairness(group, where) for group in fairness),
        {use: _data(item, where, f"data.{use}") for use, item in data.items()},
    )  # fmt: skip


def _fairness(group: dict[str, object], where: str) -> Fairness:
    texts = {key: _text(group.get(key, ""), where, f"fairness.{key}") for key in _GROUP}
    return Fairness(texts["group"], texts["benefits"], texts["harms"], texts["mitigation"])


def _data(value: object, where: str, key: str) -> DataDeclared:
    table = _table(value or {}, where, key, _DATA)
    texts = {
        k: _text(table.get(k, ""), where, f"{key}.{k}")
        for k in (*_ROLES, "name", "classification", "description", "licence")
    }
    parties = tuple(Party(role, texts.pop(role)) for role in _ROLES if texts.get(role))
    return DataDeclared(
        texts["name"], texts["classification"], texts["description"], texts["licence"],
        _texts(table.get("sensitive", []), where, f"{key}.sensitive"), parties,
    )  # fmt: skip


def _table(value: object, where: str, key: str, known: set[str] | None) -> dict[str, object]:
    if not isinstance(value, dict):
        raise FormatError(f"{key} should be a record", where=where)
    for name in value:
        if not isinstance(name, str) or (known is not None and name not in known):
            usable = f"Use {', '.join(sorted(known))}" if known else "Use text"
            raise FormatError(f"{key} has an unknown key {name!r}", where=where, remedy=usable)
    return value


def _list(value: object, where: str, key: str) -> list[object]:
    if not isinstance(value, list):
        raise FormatError(f"{key} should be a list", where=where)
    return value


def _texts(value: object, where: str, key: str) -> tuple[str, ...]:
    return tuple(_text(item, where, key) for item in _list(value, where, key))


def _text(value: object, where: str, key: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise FormatError(f"{key} should be text", where=where)
    return " ".join(str(value).split())
