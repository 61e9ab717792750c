"""The same person on both sides of a split, by the keys that the contract names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.contract.contract import Identifier, Role
from assay.contract.table import as_text
from assay.core.finding import Finding, Severity
from assay.data.privacy.base import PrivacyCheck, Seen, Tables, counted
from assay.data.privacy.patterns import names_people

if TYPE_CHECKING:
    from assay.contract.contract import Feature
    from assay.core.measure import Measure

# Fewer values are a property of people, as in "member: yes".
_FEWEST = 20
_REMEDY = "Split by this column, so that all rows of one person stay on one side"


class SamePeople(PrivacyCheck, name="same-people"):
    """Count the test rows whose group, id or direct identifier is also in the training rows; a missing key is nobody's.

    A running number that starts anew in each table names no one, and is only noted. A column that by its name says whose row
    it is, and repeats, is taken for a key that the contract does not name yet.
    """

    __slots__ = ()

    def look(self, tables: Tables) -> Seen:
        """Return the share of shared keys, column by column."""
        measures: list[Measure] = []
        findings: list[Finding] = []
        for column in tables.contract.columns:
            if column.name not in tables.train.column_names:
                continue
            keyed = column.role in (Role.GROUP, Role.ID) or column.identifier is Identifier.DIRECT
            if not keyed and not _unnamed(column, tables.train.column(column.name)):
                continue
            if not keyed:
                findings.append(_undeclared(column.name))
            if tables.test is None or column.name not in tables.test.column_names:
                continue
            both = [t.column(column.name) for t in (tables.train, tables.test)]
            shared, known = _shared(*both)
            measures.append(counted(f"test_people_in_train@{column.name}", shared, known))
            if shared:
                findings.append(_found(column.name, both, shared, known))
        return Seen(tuple(measures), tuple(findings))


def _found(name: str, both: list[Any], shared: int, known: int) -> Finding:
    message = f"{shared} of {known} test rows name somebody who is trained on"
    severity = Severity.HIGH
    if all(_running(values) for values in both):
        message += ", but the column is a running number in both tables"
        severity = Severity.NOTE
    return Finding("same-person", severity, message, name, _REMEDY, technique="AML.T0024.000")


def _unnamed(column: Feature, values: Any) -> bool:
    """Return whether a column is a key of people by its name and its values, which the contract does not call one."""
    if not names_people(column.name):
        return False
    text = as_text(values).drop_null()
    return _FEWEST <= len(text.unique()) < len(text)


def _undeclared(name: str) -> Finding:
    message = "by its name, the column says whose row it is, it repeats, and the contract does not say so"
    remedy = "Say role: group, so that assessments see whether a person is on both sides of a split"
    return Finding("undeclared-group", Severity.LOW, message, name, remedy)


def _shared(train: Any, test: Any) -> tuple[int, int]:
    """Return how many test rows hold a key of the training rows, and how many hold a key at all."""
    import pyarrow.compute as pc

    left, right = as_text(train).drop_null(), as_text(test).drop_null()
    right = right.filter(pc.not_equal(pc.utf8_trim_whitespace(right), ""))
    found = pc.sum(pc.is_in(right, value_set=left.unique())).as_py()
    return int(found or 0), len(right)


def _running(column: Any) -> bool:
    """Return whether whole numbers count up from 0 or 1 without a gap."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_integer(column.type) or column.null_count:
        return False
    values = np.sort(column.to_numpy())
    return len(values) > 1 and values[0] in (0, 1) and bool((np.diff(values) == 1).all())
