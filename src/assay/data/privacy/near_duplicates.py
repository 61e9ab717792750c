"""Near-copies of training rows among the test rows."""

from __future__ import annotations

import numpy as np

from assay.contract.contract import Kind
from assay.core.errors import DataError
from assay.data.copies import near_copies
from assay.data.privacy.base import PrivacyCheck, Seen, Tables

_PAIRS = 100_000_000


class NearDuplicates(PrivacyCheck, name="near-duplicates"):
    """Count test rows that are almost a training row, beside training rows that are almost another one."""

    __slots__ = ()

    def look(self, tables: Tables) -> Seen:
        """Return both shares. Raises DataError for too few rows, or rows without a distance."""
        train, test = tables.encoded()
        if test is None:
            return Seen()
        kept = [f for f in tables.contract.features if f.kind is not Kind.TEXT]
        category = np.array([f.kind is Kind.CATEGORY and not f.ordered for f in kept])
        found = near_copies(train, test, category, seed=tables.seed, pairs=_PAIRS)
        if found is None:
            raise DataError("too few rows, or rows that hardly differ", remedy="Give 50 or more of each table")
        return Seen(found.measures(), found.findings())
