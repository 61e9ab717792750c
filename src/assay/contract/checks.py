"""The checks that a contract asks of a table, as Ibis expressions: one boolean a row and rule.

Nothing here runs a query: ``assay.contract.validate`` sums all flags in one aggregate over the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

from assay.contract.contract import Contract, Feature, Kind, Role
from assay.contract.relations import Condition, Implication, OneHot, Relation, values_of
from assay.core.finding import Severity

_TRUE_FALSE = ("true", "false", "1", "0", "yes", "no", "t", "f", "y", "n")
_TRUE = ("true", "1", "yes", "t", "y")
_MICROSECONDS_A_DAY = 86_400_000_000
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """One rule on one column: ``flag`` is true in the rows that break it. share: largest share that may (0: none)."""

    rule: str
    column: str
    severity: Severity
    flag: Any
    says: str
    share: float = 0.0
    shows: bool = True


def checks_of(contract: Contract, table: Any) -> list[Check]:
    """Return the row checks of every column of the contract that the Ibis table has."""
    schema = table.schema()
    out: list[Check] = []
    for feature in contract.columns:
        if feature.name in schema and feature.role is not Role.IGNORE:
            out += _column(feature, table[feature.name], schema[feature.name])
    if contract.target and contract.target.name in schema:
        name = contract.target.name
        value = text_of(table[name], schema[name])
        out.append(Check("target-missing", name, Severity.HIGH, value.isnull(), "the label is missing"))
        unknown = value.notnull() & ~value.isin(contract.target.classes)
        out.append(
            Check(
                "unknown-class", name, Severity.HIGH, unknown, f"the label is none of {_few(contract.target.classes)}"
            )
        )
    return out + _relations(contract, table)


def text_of(column: Any, dtype: Any) -> Any:
    """Return a column as text as categories and classes are written: whole floats without a point, NaN as missing."""
    import ibis

    if dtype.is_floating() or dtype.is_decimal():
        value = column.cast("float64")
        value = value.isnan().ifelse(ibis.null("float64"), value)
        whole = (value % 1 == 0) & (value.abs() < 2.0**53)  # floor() would cast to int64 and overflow
        return whole.ifelse(value.try_cast("int64").cast("string"), value.cast("string"))
    return column.cast("string")


def number_of(column: Any, dtype: Any) -> Any:
    """Return a column as float64, null where it is missing or no number."""
    import ibis

    if dtype.is_string():
        value = column.strip().try_cast("float64")
    elif dtype.is_numeric() or dtype.is_boolean():
        value = column.cast("float64")
    else:
        return _nothing(column)
    return value.isnan().ifelse(ibis.null("float64"), value)


def days_of(column: Any, dtype: Any) -> Any:
    """Return a column as days since 1970-01-01, null where it is missing or no time."""
    if dtype.is_string():
        column = column.try_cast("timestamp")
    elif not (dtype.is_timestamp() or dtype.is_date()):
        return _nothing(column)
    return column.cast("timestamp").epoch_seconds().cast("float64") / (_MICROSECONDS_A_DAY / 1e6)


def _nothing(column: Any) -> Any:
    import ibis

    return column.isnull().ifelse(ibis.null("float64"), ibis.null("float64"))


def _column(feature: Feature, column: Any, dtype: Any) -> list[Check]:
    missing = _missing(feature, column, dtype)
    nulls = Check(
        "too-many-nulls", feature.name, Severity.MEDIUM, missing, f"a value is missing (may: {feature.max_null:.1%})",
        share=feature.max_null, shows=False,
    )  # fmt: skip
    if feature.role in (Role.ID, Role.GROUP):
        return [nulls]
    return [nulls, *_KINDS[feature.kind](feature, column, dtype, ~missing)]


def _missing(feature: Feature, column: Any, dtype: Any) -> Any:
    if dtype.is_floating():
        return column.isnull() | column.isnan()
    if dtype.is_string() and feature.kind not in (Kind.CATEGORY, Kind.TEXT):
        return column.isnull() | column.strip().lower().isin(["", "nan"])
    return column.isnull()


def _numbers(feature: Feature, column: Any, dtype: Any, present: Any) -> list[Check]:
    value, name = number_of(column, dtype), feature.name
    finite = value.notnull() & (value.abs() < float("inf"))
    out = [Check("wrong-type", name, Severity.HIGH, present & ~finite, "is not a finite number")]
    if feature.kind is Kind.INTEGER:
        out.append(Check("not-integer", name, Severity.MEDIUM, finite & (value % 1 != 0), "is not a whole number"))
    return out + _range(feature, value, finite)


def _dates(feature: Feature, column: Any, dtype: Any, present: Any) -> list[Check]:
    value = days_of(column, dtype)
    wrong = Check("wrong-type", feature.name, Severity.HIGH, present & value.isnull(), "is not an ISO date")
    return [wrong, *_range(feature, value, value.notnull())]


def _booleans(feature: Feature, column: Any, dtype: Any, present: Any) -> list[Check]:
    value = text_of(column, dtype).strip().lower()
    flag = present & ~value.isin(_TRUE_FALSE)
    return [Check("wrong-type", feature.name, Severity.HIGH, flag, "is not true or false")]


def _categories(feature: Feature, column: Any, dtype: Any, present: Any) -> list[Check]:
    if not feature.categories:
        return []
    flag = present & ~text_of(column, dtype).isin(feature.categories)
    return [Check("unseen-category", feature.name, Severity.MEDIUM, flag, f"is none of {_few(feature.categories)}")]


def _texts(feature: Feature, column: Any, dtype: Any, present: Any) -> list[Check]:
    del column
    return [] if dtype.is_string() else [Check("wrong-type", feature.name, Severity.HIGH, present, "is not a text")]


_KINDS = {
    Kind.NUMBER: _numbers,
    Kind.INTEGER: _numbers,
    Kind.DATE: _dates,
    Kind.BOOLEAN: _booleans,
    Kind.CATEGORY: _categories,
    Kind.TEXT: _texts,
}


def _range(feature: Feature, value: Any, valid: Any) -> list[Check]:
    if feature.low is None and feature.high is None:
        return []
    low, high = feature.low, feature.high
    outside = value < low if high is None else value > high if low is None else (value < low) | (value > high)
    ends = f"[{'-inf' if low is None else f'{low:g}'}, {'inf' if high is None else f'{high:g}'}]"
    return [Check("out-of-range", feature.name, Severity.MEDIUM, valid & outside, f"is outside {ends}")]


def _relations(contract: Contract, table: Any) -> list[Check]:
    """Return one check for each relation, implication and one-hot group whose columns the table has."""
    have = {
        f.name: value_of(f, table[f.name], table.schema()[f.name])
        for f in contract.features
        if f.name in table.schema()
    }
    known = {f.name: f for f in contract.features}
    out = []
    for part in (p for p in contract.owed if all(name in have for name in p.columns)):
        if isinstance(part, Relation):
            flag = _met(part.when, have, known) & _unequal(part, have)
        elif isinstance(part, Implication):
            present = reduce(and_, (have[c.column].notnull() for c in part.then))
            flag = _met(part.when, have, known) & present & ~_met(part.then, have, known)
        else:
            flag = _not_one_hot(part, have)
        words = part.describe()
        out.append(Check("relation", part.name or words, Severity.MEDIUM, flag, f"{words} does not hold", shows=False))
    return out


def value_of(feature: Feature, column: Any, dtype: Any) -> Any:
    """Return a column as it stands in model space, null where it is missing or cannot be read."""
    import ibis

    if feature.kind is Kind.CATEGORY:
        text = text_of(column, dtype)
        codes = text.cases(*((name, float(code)) for code, name in enumerate(feature.categories)), else_=-1.0)
        return text.isnull().ifelse(ibis.null("float64"), codes)
    if feature.kind is Kind.DATE:
        return days_of(column, dtype)
    if feature.kind is Kind.BOOLEAN and dtype.is_string():
        text = column.strip().lower()
        return text.isin(_TRUE_FALSE).ifelse(text.isin(_TRUE).cast("float64"), ibis.null("float64"))
    return number_of(column, dtype)


def _unequal(relation: Relation, have: Mapping[str, Any]) -> Any:
    total: Any = 0.0
    size: Any = 1.0
    for name, weight in relation.weights.items():
        total, size = total + have[name] * weight, size + have[name].abs() * abs(weight)
    over = total - relation.bound
    return (over.abs() if relation.equal else over) > size * _TOLERANCE


def _met(conditions: tuple[Condition, ...], have: Mapping[str, Any], known: Mapping[str, Feature]) -> Any:
    """Return whether all conditions hold; a missing value meets none."""
    import ibis

    flag: Any = ibis.literal(True)
    for condition in conditions:
        value = have[condition.column]
        low, high = condition.interval()
        if low > -math.inf:
            flag &= value >= low
        if high < math.inf:
            flag &= value <= high
        if condition.one_of:
            flag &= value.isin(values_of(condition, known[condition.column]))
    return flag.fill_null(False)


def _not_one_hot(group: OneHot, have: Mapping[str, Any]) -> Any:
    total: Any = 0.0
    bits: Any = True
    for name in group.columns:
        total, bits = total + have[name], bits & have[name].isin((0.0, 1.0))
    right = (total == 1) | (total == 0) if group.optional else total == 1
    return ~(bits & right)


def _few(values: tuple[str, ...]) -> str:
    return ", ".join(values[:5]) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
