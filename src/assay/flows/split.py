"""A first split of one table into training and test rows that an evaluation can rest on.

Rows with equal content go to the same side, so that no test row was trained on; so do rows of one
group when a group column is named. With a time column the last rows are the test rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.core.clock import stream
from assay.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

SPLIT_COLUMN = "split"
_MIN_ROWS = 50


def split_table(
    table: pa.Table, *, target: str, test_share: float = 0.3, group: str = "", time: str = "", seed: int = 0
) -> tuple[pa.Table, pa.Table, str]:
    """Return training rows, test rows and how they were split, in words.

    A column called ``split`` with the values train and test is obeyed. Raises DataError when a named
    column is missing or a side would be empty.
    """
    import numpy as np

    for column in filter(None, (group, time)):
        if column not in table.column_names:
            raise DataError(
                "the table has no such column", where=column, remedy=f"It has {', '.join(table.column_names[:12])}"
            )
    if table.num_rows < _MIN_ROWS:
        raise DataError(f"{table.num_rows} rows are too few to train and test on", remedy=f"Give {_MIN_ROWS} or more")
    source = _source_split(table)
    if source is not None:
        test, how = source, f"as the column {SPLIT_COLUMN!r} says"
    elif time:
        order = np.argsort(table.column(time).to_numpy(zero_copy_only=False), kind="stable")
        test = np.zeros(table.num_rows, dtype=bool)
        test[order[round(table.num_rows * (1 - test_share)) :]] = True
        how = f"the last {test_share:.0%} by {time!r}"
    else:
        keys = _keys(table.select([group]) if group else table.drop_columns([target]))
        unique, index = np.unique(keys, return_inverse=True)
        draws = stream(seed, "split").random(len(unique))
        test = draws[index] < test_share
        how = f"{test_share:.0%} at random, " + (f"by group {group!r}" if group else "equal rows on one side")
    if not test.any() or test.all():
        raise DataError(
            "one side of the split is empty", remedy="Give separate train and test files, or a larger table"
        )
    kept = table.drop_columns([SPLIT_COLUMN]) if source is not None else table
    return kept.filter(~test), kept.filter(test), how


def _source_split(table: pa.Table) -> NDArray[np.bool_] | None:
    import numpy as np

    if SPLIT_COLUMN not in table.column_names:
        return None
    words = np.array([str(v) for v in table.column(SPLIT_COLUMN).to_pylist()])
    return words == "test" if set(words) == {"train", "test"} else None


def _keys(table: pa.Table) -> NDArray[np.uint64]:
    import pandas as pd

    keys: NDArray[np.uint64] = pd.util.hash_pandas_object(table.to_pandas(), index=False).to_numpy()
    return keys
