"""k-anonymity and l-diversity: how many people share what others know of one, and what they then learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.contract.contract import Identifier
from assay.contract.table import as_text
from assay.core.evidence import NotChecked
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.data.privacy.base import PrivacyCheck, Seen, Tables, counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes = NDArray[np.intp]

_ENOUGH = 5
_SINGLED = 0.05
_PARTS = 10


class Anonymity(PrivacyCheck, name="anonymity"):
    """Size of the groups of rows that look alike in the contract's quasi-identifiers, and how varied they are inside.

    k-anonymity: rows of the smallest group (Sweeney 2002). l-diversity of each sensitive column and of the target:
    different values in the least varied group (Machanavajjhala et al. 2007); numbers are cut into ten equal parts.
    Counts of the table as it is; a missing value is a value of its own.
    """

    __slots__ = ()

    def look(self, tables: Tables) -> Seen:
        """Return k, the share of rows in groups below 5, and l of each sensitive column."""
        quasi = tables.marked(Identifier.QUASI)
        if not quasi:
            why = "the contract names no quasi-identifiers"
            missing = NotChecked(
                "k-anonymity", why, "Say identifier: quasi for each column that others know of a person"
            )
            return Seen(not_checked=(missing,))
        group = _groups([_coded(tables.train.column(name)) for name in quasi])
        size = np.bincount(group)
        n, k = len(group), int(size.min())
        measures = [
            Measure("k_anonymity", k, k, k, n, unit="rows", method="count of all rows"),
            counted(f"rows_in_groups_below@{_ENOUGH}", int(size[size < _ENOUGH].sum()), n),
            counted("rows_alone", int((size == 1).sum()), n),
        ]
        findings = [*_singled(size, n, quasi)]
        for name in _sensitive(tables, quasi):
            made, found = _diversity(name, _coded(tables.train.column(name), parts=_PARTS), group, size)
            measures += made
            findings += found
        if tables.test is not None and all(name in tables.test.column_names for name in quasi):
            measures.append(_linkable(tables, quasi))
        return Seen(tuple(measures), tuple(findings), parameters={"quasi_identifiers": quasi})


def _sensitive(tables: Tables, quasi: list[str]) -> list[str]:
    names = [c.name for c in tables.contract.columns if c.sensitive]
    if tables.contract.target is not None:
        names.append(tables.contract.target.name)
    have = set(tables.train.column_names)
    return [name for name in names if name in have and name not in quasi]


def _singled(size: Codes, n: int, quasi: list[str]) -> list[Finding]:
    alone = int((size == 1).sum())
    if not alone:
        return []
    severity = Severity.MEDIUM if alone > _SINGLED * n else Severity.LOW
    message = f"{alone} of {n} rows ({alone / n:.1%}) are the only ones with their {', '.join(quasi)}"
    remedy = "Coarsen or drop a quasi-identifier (years to decades, post codes to regions), or suppress these rows"
    return [Finding("singled-out", severity, message, "train", remedy)]


def _diversity(name: str, value: Codes, group: Codes, size: Codes) -> tuple[list[Measure], list[Finding]]:
    pairs = np.unique(group * (int(value.max()) + 1) + value)
    different = np.bincount(pairs // (int(value.max()) + 1), minlength=len(size))
    n, least = len(group), int(different.min())
    # A group of one is singled out already; here, what a crowd does not hide.
    told = int(size[(different == 1) & (size > 1)].sum())
    measures = [
        Measure(f"l_diversity@{name}", least, least, least, n, unit="values", method="count of all rows"),
        counted(f"rows_in_uniform_groups@{name}", told, n),
    ]
    if told <= _SINGLED * n:
        return measures, []
    message = (
        f"{told} of {n} rows are in groups of people who all have the same {name}: to know the group is to know it"
    )
    remedy = "Coarsen the quasi-identifiers until groups differ inside, or keep the table from those who know them"
    return measures, [Finding("uniform-group", Severity.LOW, message, name, remedy)]


def _linkable(tables: Tables, quasi: list[str]) -> Measure:
    """Return the share of test rows whose quasi-identifiers fit exactly one training row."""
    n = tables.train.num_rows
    both = [_coded(_joined(tables.train.column(q), tables.test.column(q))) for q in quasi]
    group = _groups(both)
    size = np.bincount(group[:n], minlength=int(group.max()) + 1)
    return counted("test_rows_that_fit_one_train_row", int((size[group[n:]] == 1).sum()), len(group) - n)


def _joined(first: Any, second: Any) -> Any:
    import pyarrow as pa

    return pa.chunked_array([*as_text(first).chunks, *as_text(second).chunks], type=pa.string())


def _coded(column: Any, *, parts: int = 0) -> Codes:
    """Return a code for each value, missing values included, (n,). parts: into how many a column of numbers is cut."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if parts and (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        values = np.array(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
        known = values[~np.isnan(values)]
        if len(np.unique(known)) > parts:
            edges = np.quantile(known, np.linspace(0.0, 1.0, parts + 1)[1:-1])
            return np.where(np.isnan(values), parts, np.searchsorted(edges, values, side="right")).astype(np.intp)
    text = as_text(column)
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    codes = pc.dictionary_encode(text, null_encoding="encode").indices
    return np.asarray(codes, dtype=np.intp)


def _groups(columns: list[Codes]) -> Codes:
    """Return for each row the number of its combination of codes, (n,), from 0 without a gap."""
    group = np.unique(columns[0], return_inverse=True)[1]
    for codes in columns[1:]:
        group = np.unique(group * (int(codes.max()) + 1) + codes, return_inverse=True)[1]
    return group.astype(np.intp)
