"""A batch against its contract, in one aggregate pass over the table whatever the number of checks.

DuckDB does the work through Ibis, out of core for Parquet files. Only when a row is bad is the table read once more,
for examples and the quarantine. What could not be checked is said, never passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from assay.contract.checks import Check, checks_of, days_of, text_of
from assay.contract.contract import Contract, Role
from assay.contract.table import as_table, first_line, source_digest, table_format
from assay.core.clock import Clock, system_clock
from assay.core.errors import DataError
from assay.core.evidence import Evidence, NotChecked, Subject
from assay.core.files import replacing
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure

CONTROL = "data.contract"
_TECHNIQUES = ("AML.T0020", "AML.T0043")
_ROW = "row"
_REASONS = "reasons"
_MOST_EXAMPLE_RULES = 50


def check(
    batch: object,
    contract: Contract,
    *,
    clock: Clock = system_clock,
    quarantine: str | os.PathLike[str] | None = None,
    examples: int = 5,
) -> Evidence:
    """Return the evidence of a batch against a contract: findings with counts and example rows.

    batch: a path of a CSV or Parquet file, a frame, an Arrow table, a dict of arrays; an array for a tensor.
    quarantine: where to write the bad rows as Parquet, with their ``row`` number (from 0) and ``reasons``;
    nothing is written when no row is bad. Measures: ``bad_rows``, ``duplicate_rows``, shares of all rows.
    Raises DataError when the batch cannot be read, or is empty.
    """
    if contract.tensor is not None:
        from assay.contract.tensor import check_samples

        return check_samples(batch, contract, clock=clock, control=CONTROL)
    name = Path(batch).name if isinstance(batch, (str, os.PathLike)) else "batch"
    with _opened(batch) as table:
        findings, unchecked = _columns(contract, table.columns)
        checks = checks_of(contract, table)
        unique = [c.name for c in contract.columns if c.unique and c.name in table.columns]
        totals = _totals(table, contract, checks, unique)
        n = int(totals["n"])
        if n == 0:
            raise DataError("holds no rows", where=name, remedy="Give a table with rows")
        failing = [(c, int(totals[f"c{i}"])) for i, c in enumerate(checks) if _fails(c, int(totals[f"c{i}"]), n)]
        repeated = {u: int(totals[f"u{i}"]) for i, u in enumerate(unique) if totals[f"u{i}"]}
        bad = int(totals["bad"])
        shown: dict[tuple[str, str], str] = {}
        if failing or repeated:
            marked = [(c.rule, c.column, c.flag, c.shows) for c, _ in failing if c.share == 0.0]
            bad, shown = _bad_rows(table, marked, list(repeated), quarantine, examples)
    findings += [_finding(c, count, n, shown.get((c.rule, c.column), "")) for c, count in failing]
    findings += [_repeated(u, count, shown.get(("duplicate-id", u), "")) for u, count in repeated.items()]
    findings += _freshness(contract, totals.get("newest"), clock, unchecked)
    duplicates = n - int(totals["different"])
    if duplicates:
        findings.append(Finding("duplicate-rows", Severity.NOTE, f"{duplicates} rows repeat an earlier row", name))
    return Evidence(
        control=CONTROL,
        subjects=(Subject(name, source_digest(batch)),),
        made=clock(),
        techniques=_TECHNIQUES,
        measures=(_share("bad_rows", bad, n), _share("duplicate_rows", duplicates, n)),
        findings=tuple(sorted(findings, key=lambda f: -f.severity.rank)),
        not_checked=tuple(unchecked),
        parameters={"contract": str(contract.digest()), "rows": n, "checks": len(checks) + len(unique)},
    )


@contextmanager
def _opened(batch: object) -> Iterator[Any]:
    """Yield the batch as an Ibis table on a DuckDB of its own. Foreign errors leave as DataError."""
    import duckdb
    import ibis

    where = str(batch) if isinstance(batch, (str, os.PathLike)) else "batch"
    connection = ibis.duckdb.connect()
    try:
        if isinstance(batch, (str, os.PathLike)) and table_format(batch) == "parquet":
            yield connection.read_parquet(batch, table_name="batch")
        else:  # a CSV file too, so that its columns have the types that encode() sees
            arrow = as_table(batch)
            if arrow.num_rows == 0:
                raise DataError("holds no rows", where=where, remedy="Give a table with rows")
            connection.con.register("batch", arrow)
            yield connection.table("batch")
    except duckdb.Error as error:
        raise DataError(
            f"cannot be read ({first_line(error)})", where=where, remedy="Check that the file is complete"
        ) from error
    finally:
        connection.disconnect()


def _columns(contract: Contract, names: Sequence[str]) -> tuple[list[Finding], list[NotChecked]]:
    """Return findings on columns that are missing or unknown, and what therefore cannot be checked."""
    findings: list[Finding] = []
    unchecked: list[NotChecked] = []
    present = set(names)
    for column in contract.columns:
        if column.name in present or column.role is Role.IGNORE:
            continue
        severity = Severity.HIGH if column.role is Role.FEATURE else Severity.MEDIUM
        findings.append(
            Finding("missing-column", severity, "the column is missing", column.name, "Add it to the table")
        )
        unchecked.append(NotChecked(column.name, "the column is missing", "Add it to the table"))
    target = contract.target.name if contract.target else ""
    if target and target not in present:
        findings.append(Finding("no-target", Severity.NOTE, "the batch has no labels", target))
    known = {c.name for c in contract.columns} | {target}
    for name in names:
        if name not in known:
            remedy = "Remove it, or add it to the contract with role: ignore"
            findings.append(Finding("unknown-column", Severity.MEDIUM, "the contract has no such column", name, remedy))
    return findings, unchecked


def _totals(table: Any, contract: Contract, checks: list[Check], unique: list[str]) -> dict[str, Any]:
    """Return every count that is needed, by the one aggregate query."""
    import ibis

    measures = {f"c{i}": c.flag.fill_null(False).sum() for i, c in enumerate(checks)}
    measures |= {f"u{i}": table[u].count() - table[u].nunique() for i, u in enumerate(unique)}
    rows = [c.flag.fill_null(False) for c in checks if c.share == 0.0]
    measures["bad"] = _any(rows).sum() if rows else ibis.literal(0).sum()
    measures["n"] = table.count()
    measures["different"] = ibis.struct({f"k{i}": table[c] for i, c in enumerate(table.columns)}).hash().nunique()
    for column in contract.columns:
        if column.role is Role.TIME and column.name in table.columns:
            measures["newest"] = days_of(table[column.name], table.schema()[column.name]).max()
            break
    record: dict[str, Any] = table.aggregate(**measures).to_pyarrow().to_pylist()[0]
    return {key: value or 0 if key != "newest" else value for key, value in record.items()}


def _any(flags: list[Any]) -> Any:
    """Return the disjunction of flags as a balanced tree, since Ibis recurses into expressions."""
    while len(flags) > 1:
        flags = [reduce(or_, flags[i : i + 2]) for i in range(0, len(flags), 2)]
    return flags[0]


def _fails(check: Check, count: int, n: int) -> bool:
    return count > check.share * n


def _bad_rows(
    table: Any,
    marked: list[tuple[str, str, Any, bool]],
    repeated: list[str],
    quarantine: str | os.PathLike[str] | None,
    examples: int,
) -> tuple[int, dict[tuple[str, str], str]]:
    """Return how many rows are bad and, by rule and column, examples in words; write the quarantine."""
    import ibis

    rules = [(rule, column, shows) for rule, column, _, shows in marked] + [("duplicate-id", u, True) for u in repeated]
    if not rules:
        return 0, {}
    flags = {f"__c{i}": flag.fill_null(False) for i, (_, _, flag, _) in enumerate(marked)}
    wide = table.mutate(**flags, __row=ibis.row_number())
    later = {
        f"__c{len(marked) + i}": (ibis.row_number().over(group_by=wide[u], order_by=wide["__row"]) > 0)
        & wide[u].notnull()
        for i, u in enumerate(repeated)
    }
    wide = wide.mutate(**later) if later else wide
    names = [f"__c{i}" for i in range(len(rules))]
    bad = wide.get_backend().create_table("bad_rows", obj=wide.filter(_any([wide[name] for name in names])), temp=True)
    shown = {
        (rule, column): _examples(bad, name, column if shows else "", table.schema(), examples)
        for name, (rule, column, shows) in list(zip(names, rules, strict=True))[:_MOST_EXAMPLE_RULES]
    }
    if quarantine is not None:
        words = [
            bad[n].ifelse(f"{rule} {column}", ibis.null("string"))
            for n, (rule, column, _) in zip(names, rules, strict=True)
        ]
        reasons = ibis.array(words).filter(lambda w: w.notnull()).join("; ")
        kept = bad.mutate(**{_REASONS: reasons, _ROW: bad["__row"]}).order_by(_ROW).drop(*names, "__row")
        with replacing(quarantine) as draft:
            kept.to_parquet(draft)
    return int(bad.count().to_pyarrow().as_py()), shown


def _examples(bad: Any, name: str, column: str, schema: Any, examples: int) -> str:
    """Return the first rows that break a rule, with their values, in words."""
    import ibis

    value = text_of(bad[column], schema[column]) if column else ibis.null("string")
    found = (
        bad.filter(bad[name]).order_by("__row").limit(examples).select(r=bad["__row"], v=value).to_pyarrow().to_pylist()
    )
    said = [f"{e['r']} ({e['v'][:40]!r})" if e["v"] is not None else str(e["r"]) for e in found]
    return f", as in row {', '.join(said)}" if said else ""


def _finding(check: Check, count: int, n: int, shown: str) -> Finding:
    remedy = "Correct or quarantine the rows, or widen the contract"
    return Finding(check.rule, check.severity, f"{count} of {n} rows: {check.says}{shown}", check.column, remedy)


def _repeated(column: str, count: int, shown: str) -> Finding:
    message = f"{count} rows repeat an earlier value of a unique column{shown}"
    return Finding("duplicate-id", Severity.HIGH, message, column, "Remove the repeated rows")


def _freshness(contract: Contract, newest: float | None, clock: Clock, unchecked: list[NotChecked]) -> list[Finding]:
    if contract.max_age_days is None:
        return []
    if newest is None:
        unchecked.append(NotChecked("freshness", "no time value could be read", "Give one column role: time"))
        return []
    age = clock().timestamp() / 86400.0 - newest
    if age <= contract.max_age_days:
        return []
    message = f"the newest row is {age:.1f} days old, at most {contract.max_age_days:g} are allowed"
    return [Finding("stale", Severity.MEDIUM, message, "", "Give a fresher table")]


def _share(name: str, count: int, n: int) -> Measure:
    share = count / n
    return Measure(name, share, share, share, n, method="count of all rows")
