"""A first contract from a table, for people to review and edit.

All columns are profiled together by aggregate queries, never one query a column, and a table of rules
turns each profile into a feature.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from assay.contract.contract import Contract, Feature, Kind, Mutable, Role, Target, Tensor
from assay.contract.profile import MOST_CATEGORIES, Profile, profile_table
from assay.contract.table import as_table
from assay.core.errors import ContractError, DataError, SettingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ID_NAME = re.compile(r"(?i:(^|[_\W])(id|uuid|guid|key|nbr|number)$)|[a-z]I[dD]$")
_ID = re.compile(r"^(id|uuid|guid|index|rowid|row_id|unnamed: ?\d+)$", re.IGNORECASE)
_INNATE = re.compile(
    r"(^|[_\W])(age|sex|gender|race|ethnic\w*|birth\w*|national\w*|native\w*|disab\w*)($|[_\W])", re.IGNORECASE
)
_SENSITIVE = re.compile(
    r"(^|[_\W])(relig\w*|marital\w*|marriage|pregnan\w*|orientation|politic\w*)($|[_\W])", re.IGNORECASE
)
_MOST_CLASSES = 100
_WORDS_FOR_YES = ("1", "true", "yes", "y", "t", "positive", "bad", "fraud", "malware", "spam", "attack")


@dataclass(frozen=True, slots=True)
class _Options:
    ids: frozenset[str]
    sensitive: frozenset[str]
    margin: float
    rows: int


def infer(
    table: object,
    target: str,
    *,
    name: str = "",
    seed: int = 0,  # noqa: ARG001 - every inference takes one; nothing here is drawn
    ids: Sequence[str] = (),
    sensitive: Sequence[str] = (),
    margin: float = 0.1,
    labels: object = None,
) -> Contract:
    """Return a first contract for a table, its path, or an array.

    ids: columns that name a row or a person. sensitive: columns to protect, besides those whose name says so.
    margin: how far beyond the seen range a number may lie, as a share of that range (never across zero).
    labels: (n,) classes when ``table`` is an array (n, ...) without a target column.
    The target must have no missing value and 2 to 100 classes. Raises ContractError or DataError.
    """
    if margin < 0:
        raise SettingError(f"a margin of {margin:g} is negative", remedy="Give 0 or more")
    if _is_array(table):
        return _infer_array(table, target, labels, name=name, margin=margin)
    arrow = as_table(table)
    if arrow.num_rows == 0:
        raise DataError("the table holds no rows", where=name, remedy="Give a table with rows")
    for column in (target, *ids, *sensitive):
        _require(column, arrow.column_names)
    profiles = profile_table(arrow)
    options = _Options(frozenset(ids), frozenset(sensitive), margin, arrow.num_rows)
    described = _target(profiles[target])
    columns = [_column(profiles[c], options) for c in arrow.column_names if c != target]
    if not any(c.role is Role.FEATURE for c in columns):
        raise ContractError(
            "no column is left to predict from", where=target, remedy="Give a table with feature columns"
        )
    return Contract(target=described, columns=_one_time(columns), name=name)


def _require(column: str, names: Sequence[str]) -> None:
    if column in names:
        return
    lower = {n.lower(): n for n in names}
    near = [lower[n] for n in difflib.get_close_matches(column.lower(), lower, n=3, cutoff=0.5)]
    known = (
        f"Did you mean {' or '.join(near)}?"
        if near
        else f"It has {', '.join(names[:12])}{' ...' if len(names) > 12 else ''}"
    )
    raise ContractError("the table has no such column", where=column, remedy=known)


def _target(profile: Profile) -> Target:
    if profile.nulls:
        raise ContractError(
            f"the target is missing in {profile.nulls} row(s)", where=profile.name, remedy="Drop or label those rows"
        )
    values = profile.values
    if values is None or len(values) > _MOST_CLASSES or (profile.numeric and not profile.whole):
        raise ContractError(
            f"the target has about {profile.distinct} different values, too many for classes",
            where=profile.name,
            remedy="Give a column with 2 to 100 classes",
        )
    if len(values) < 2:
        raise ContractError(
            f"the target has one value only ({', '.join(values)})", where=profile.name, remedy="Give both classes"
        )
    classes = sort_classes(values)
    positive = ""
    if len(classes) == 2:
        named = [c for c in classes if c.lower() in _WORDS_FOR_YES]
        positive = named[0] if named else min(classes, key=lambda c: values[c])
    return Target(profile.name, classes, positive)


def sort_classes(values: object) -> tuple[str, ...]:
    """Return class texts in the order in which scikit-learn sorts the values: numbers by size, texts by code point."""
    texts = [str(v) for v in values]  # type: ignore[attr-defined]
    try:
        return tuple(sorted(texts, key=float))
    except ValueError:
        return tuple(sorted(texts))


def _column(profile: Profile, options: _Options) -> Feature:
    """Return the feature that a profile tells of: its kind and range first, then its role."""
    feature = _kind(profile, options.margin)
    share = profile.nulls / options.rows
    unique = profile.unique and options.rows > 20
    feature = replace(
        feature,
        max_null=0.0 if not profile.nulls else min(1.0, math.ceil(150 * share + 1) / 100),
        constant=profile.distinct <= 1,
        mutable=Mutable.NO if profile.distinct <= 1 else Mutable.FREE,
    )
    if profile.name in options.ids or _is_id(profile, unique):
        return replace(
            feature, role=Role.ID, unique=unique, mutable=Mutable.NO, low=None, high=None, step=0.0, scale=1.0
        )
    if _ID_NAME.search(profile.name) and profile.distinct > MOST_CATEGORIES and not _is_fraction(profile):
        return replace(feature, role=Role.GROUP, mutable=Mutable.NO, low=None, high=None, step=0.0, scale=1.0)
    if _is_split(profile):
        return replace(
            feature, role=Role.IGNORE, mutable=Mutable.NO, description="says which rows are for training and testing"
        )
    if profile.distinct == 0:
        return replace(feature, role=Role.IGNORE, description="has no value at all")
    if feature.kind is Kind.TEXT:
        return replace(feature, role=Role.IGNORE, description=f"free text, about {profile.distinct} different values")
    innate = bool(_INNATE.search(profile.name))
    if innate or profile.name in options.sensitive or _SENSITIVE.search(profile.name):
        groups = feature.kind in (Kind.CATEGORY, Kind.BOOLEAN) or profile.distinct <= 10
        return replace(feature, sensitive=True, slice=groups, mutable=Mutable.NO if innate else feature.mutable)
    return feature


def _kind(profile: Profile, margin: float) -> Feature:
    name, low, high = profile.name, profile.low, profile.high
    if profile.temporal:
        return Feature(name, Kind.DATE, Role.TIME, step=1.0, scale=profile.scale, mutable=Mutable.NO)
    if profile.boolean:
        return Feature(name, Kind.BOOLEAN, step=1.0)
    if profile.numeric and low is not None and high is not None:
        low, high = _widen(low, high, margin)
        if profile.whole:
            return Feature(name, Kind.INTEGER, low=math.ceil(low), high=math.floor(high), step=1.0, scale=profile.scale)
        return Feature(name, Kind.NUMBER, low=low, high=high, scale=profile.scale)
    if profile.values and len(profile.values) <= MOST_CATEGORIES:
        return Feature(name, Kind.CATEGORY, categories=tuple(sorted(profile.values)))
    return Feature(name, Kind.NUMBER if profile.numeric else Kind.TEXT)


def _widen(low: float, high: float, margin: float) -> tuple[float, float]:
    room = margin * (high - low)
    wide_low = low - room if low < 0 else max(0.0, low - room)
    wide_high = high + room if high > 0 else min(0.0, high + room)
    return (wide_low, wide_high) if math.isfinite(wide_low) and math.isfinite(wide_high) else (low, high)


def _is_id(profile: Profile, unique: bool) -> bool:
    if _ID.match(profile.name):
        return profile.distinct > 1
    if not unique:
        return False
    counter = (
        profile.whole
        and profile.low is not None
        and profile.high is not None
        and (profile.high - profile.low == profile.rows - 1)
    )
    return bool(_ID_NAME.search(profile.name)) or profile.textual or counter


def _is_fraction(profile: Profile) -> bool:
    return profile.numeric and not profile.whole


def _is_split(profile: Profile) -> bool:
    return profile.name.lower() == "split" and set(profile.values or ()) <= {"train", "test", "valid", "validation"}


def _one_time(columns: list[Feature]) -> tuple[Feature, ...]:
    """Return the columns with the first time column as the time, the others left aside."""
    seen = False
    out = []
    for column in columns:
        if column.role is Role.TIME and seen:
            out.append(replace(column, role=Role.IGNORE, description="another time column"))
        else:
            out.append(column)
        seen = seen or column.role is Role.TIME
    return tuple(out)


def _is_array(table: object) -> bool:
    return hasattr(table, "__array_interface__") and hasattr(table, "ndim")


def _infer_array(table: Any, target: str, labels: object, *, name: str, margin: float) -> Contract:
    import numpy as np

    x = np.asarray(table)
    if x.ndim < 2 or len(x) == 0 or x.dtype.kind not in "biuf":
        raise DataError(f"an array of shape {x.shape} and type {x.dtype} is no set of samples", where=name)
    classes = _classes(labels, len(x), target)
    if x.ndim == 2:
        columns: dict[str, object] = {f"f{i}": x[:, i] for i in range(x.shape[1])}
        if labels is None:
            raise ContractError("an array has no target column", where=target, remedy="Give labels=, or a table")
        return infer({**columns, target: labels}, target, name=name, margin=margin)
    if not np.isfinite(x).all():
        raise DataError("the array holds values that are not finite", where=name)
    low, high = float(x.min()), float(x.max())
    low, high = (
        (0.0, 255.0) if x.dtype == np.uint8 else (min(low, 0.0), high) if high > min(low, 0.0) else (low, low + 1.0)
    )
    tensor = Tensor(tuple(x.shape[1:]), str(x.dtype), low, high)
    return Contract(target=Target(target, classes) if classes else None, tensor=tensor, name=name)


def _classes(labels: object, n: int, target: str) -> tuple[str, ...]:
    import numpy as np

    if labels is None:
        return ()
    y: NDArray[np.generic] = np.asarray(labels)
    if y.shape != (n,):
        raise DataError(f"labels of shape {y.shape} do not fit {n} samples", where=target)
    return sort_classes(np.unique(y).tolist())
