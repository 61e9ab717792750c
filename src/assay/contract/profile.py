"""What each column of a table holds, found for all columns together by two aggregate queries on DuckDB."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_CATEGORIES = 100
_COLUMNS_A_QUERY = 16
_WHOLE_LIMIT = 2.0**53
_DATE_TEXT = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$")
_BOOLEAN_TEXT = ({"true", "false"}, {"0", "1"})


@dataclass(frozen=True, slots=True)
class Profile:
    """What one column holds.

    distinct: different values, approximately beyond 100; values: their counts, None when more than
    100. low, high, scale (standard deviation): of numbers, and in days of times. whole: every number is an integer.
    """

    name: str
    rows: int
    nulls: int
    distinct: int
    unique: bool
    numeric: bool
    textual: bool
    temporal: bool
    boolean: bool
    whole: bool
    low: float | None
    high: float | None
    scale: float
    values: Mapping[str, int] | None


def profile_table(arrow: Any) -> dict[str, Profile]:
    """Return the profile of each column of a pyarrow.Table with plain columns, by name."""
    import duckdb

    profiles: dict[str, Profile] = {}
    with duckdb.connect() as connection:
        connection.register("t", arrow)
        names = arrow.column_names
        for start in range(0, len(names), _COLUMNS_A_QUERY):
            block = names[start : start + _COLUMNS_A_QUERY]
            first = _query(connection, [_summary(n, arrow.schema.field(n).type) for n in block])
            second = _query(connection, [_detail(n, s, arrow.num_rows) for n, s in zip(block, first, strict=True)])
            for name, summary, detail in zip(block, first, second, strict=True):
                profiles[name] = _profile(name, arrow.schema.field(name).type, arrow.num_rows, summary, detail)
    return profiles


def _query(connection: Any, parts: list[str]) -> list[dict[str, Any]]:
    """Return one record a column from a single aggregate query over the table."""
    row = connection.execute(f"SELECT {', '.join(parts)} FROM t").fetchone()  # noqa: S608 - names are quoted
    return list(row)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _value(name: str, kind: Any) -> str:
    import pyarrow as pa

    column = _quote(name)
    if pa.types.is_floating(kind):
        return f"CASE WHEN isnan({column}) THEN NULL ELSE {column}::DOUBLE END"
    return column


def _summary(name: str, kind: Any) -> str:
    """Return SQL for a record: how many values, how many different, their range and spread."""
    import pyarrow as pa

    value = _value(name, kind)
    fields = [f"present := count({value})", f"different := approx_count_distinct({value})"]
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        finite = f"CASE WHEN isfinite(({value})::DOUBLE) THEN ({value})::DOUBLE END"
        fields += [
            f"low := min({finite})",
            f"high := max({finite})",
            f"scale := sqrt(greatest(0, {_variance(finite)}))",
        ]
        fields.append(f"whole := bool_and({finite} = floor({finite}) AND abs({finite}) <= {_WHOLE_LIMIT})")
    elif pa.types.is_timestamp(kind):
        days = f"epoch_us({value}) / 86400000000.0"
        fields += [f"low := min({days})", f"high := max({days})", f"scale := stddev_pop({days})"]
    elif pa.types.is_string(kind):
        fields += [
            f"sample := min({value})",
            f"last := max({value})",
            f"dates := count(TRY_CAST({value} AS TIMESTAMP))",
        ]
    return f"struct_pack({', '.join(fields)})"


def _variance(value: str) -> str:
    # by moments of the scaled value: stddev_pop raises on overflow where the spread of huge values is not finite
    return (
        f"CASE WHEN max(abs({value})) < 1e150 THEN var_pop(CASE WHEN abs({value}) < 1e150 THEN {value} END) ELSE 0 END"
    )


def _detail(name: str, summary: Mapping[str, Any], rows: int) -> str:
    """Return SQL for a record of what only some columns need: all values when few, an exact count when many."""
    column = _quote(name)
    fields = ["none := 0"]
    if summary["different"] <= 2 * MOST_CATEGORIES:
        fields.append(f"counts := histogram({column})")
    elif summary["different"] >= 0.8 * rows:
        fields.append(f"exact := count(DISTINCT {column})")
    return f"struct_pack({', '.join(fields)})"


def _profile(name: str, kind: Any, rows: int, summary: dict[str, Any], detail: dict[str, Any]) -> Profile:
    import pyarrow as pa

    values = _values(detail.get("counts"))
    if values is not None and len(values) > MOST_CATEGORIES:
        distinct, values = len(values), None
    else:
        distinct = len(values) if values is not None else int(detail.get("exact") or summary["different"])
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    textual = pa.types.is_string(kind)
    present = int(summary["present"])
    dates = textual and present > 0 and summary["dates"] == present
    boolean = pa.types.is_boolean(kind) or (
        values is not None and {v.lower() for v in values} in (_BOOLEAN_TEXT if not textual else _BOOLEAN_TEXT[:1])
    )
    scale = summary.get("scale")
    return Profile(
        name=name,
        rows=rows,
        nulls=rows - present,
        distinct=distinct,
        unique=present == rows and distinct == rows,
        numeric=numeric,
        textual=textual,
        temporal=pa.types.is_timestamp(kind) or (dates and _looks_like_dates(summary)),
        boolean=boolean,
        whole=bool(summary.get("whole")),
        low=summary.get("low"),
        high=summary.get("high"),
        scale=float(scale) if scale and scale > 0 else 1.0,
        values=values,
    )


def _values(counts: Mapping[Any, Any] | None) -> dict[str, int] | None:
    if counts is None:
        return None
    return {_text(v): int(n) for v, n in counts.items() if v is not None and not _is_nan(v)}


def _looks_like_dates(summary: Mapping[str, Any]) -> bool:
    return all(_DATE_TEXT.match(str(summary[key])) for key in ("sample", "last"))


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _text(value: object) -> str:
    """Return a value as ``assay.contract.table.as_text`` writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE_LIMIT:
        return str(int(value))
    return str(value)
