"""The same person on both sides of a split, by the keys that the contract names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.contract.contract import Identifier, Role
from assay.contract.table import as_text
from assay.core.finding import Finding, Severity
from assay.data.privacy.base import PrivacyCheck, Seen, Tables, counted

if TYPE_CHECKING:
    from assay.core.measure import Measure

_REMEDY = "Split by this column, so that all rows of one person stay on one side"


class SamePeople(PrivacyCheck, name="same-people"):
    """Count the test rows whose group, id or direct identifier is also in the training rows; a missing key is nobody's.

    A running number that starts anew in each table names no one, and is only noted.
    """

    __slots__ = ()

    def look(self, tables: Tables) -> Seen:
        """Return the share of shared keys, column by column."""
        if tables.test is None:
            return Seen()
        measures: list[Measure] = []
        findings: list[Finding] = []
        for column in tables.contract.columns:
            keyed = column.role in (Role.GROUP, Role.ID) or column.identifier is Identifier.DIRECT
            if not keyed or any(column.name not in t.column_names for t in (tables.train, tables.test)):
                continue
            both = [t.column(column.name) for t in (tables.train, tables.test)]
            shared, known = _shared(*both)
            measures.append(counted(f"test_people_in_train@{column.name}", shared, known))
            if not shared:
                continue
            message = f"{shared} of {known} test rows name somebody who is trained on"
            severity = Severity.HIGH
            if all(_running(values) for values in both):
                message += ", but the column is a running number in both tables"
                severity = Severity.NOTE
            findings.append(Finding("same-person", severity, message, column.name, _REMEDY, technique="AML.T0024.000"))
        return Seen(tuple(measures), tuple(findings))


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
