"""Model space: a table as the float64 matrix that models, attacks and guards see, and back.

Law, held by property tests: ``encode(contract, decode(contract, x)) == x`` for every valid ``x``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.contract.contract import Contract, Feature, Kind
from assay.contract.table import as_column, as_table, as_text
from assay.core.errors import ContractError, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TRUE = ("true", "1", "yes", "t", "y")
_FALSE = ("false", "0", "no", "f", "n")
_MICROSECONDS_A_DAY = 86_400_000_000.0


def encode(contract: Contract, table: object) -> NDArray[np.float64]:
    """Return the table in model space: (n, d), features in contract order, NaN missing, -1 an unseen category.

    table: anything that ``assay.contract.table.as_table`` takes; an array passes through for a tensor contract.
    Raises DataError when a feature's column is missing or holds what cannot be its kind.
    """
    import numpy as np

    if contract.tensor is not None:
        return np.asarray(table, dtype=np.float64)
    arrow = as_table(table)
    missing = [f.name for f in contract.features if f.name not in set(arrow.column_names)]
    if missing:
        raise DataError(
            f"the table lacks {len(missing)} column(s): {', '.join(missing[:8])}", remedy="See contract.yaml"
        )
    x = np.empty((arrow.num_rows, contract.width))
    for place, feature in enumerate(contract.features):
        x[:, place] = encode_column(feature, arrow.column(feature.name))
    return x


def encode_column(feature: Feature, column: Any) -> NDArray[np.float64]:
    """Return one pyarrow column in model space, (n,). Raises DataError that names the column and the row."""
    if feature.kind is Kind.CATEGORY:
        return _codes(as_text(column), feature.categories)
    if feature.kind is Kind.BOOLEAN:
        return _booleans(feature, column)
    if feature.kind is Kind.DATE:
        return _days(feature, column)
    if feature.kind is Kind.TEXT:
        raise ContractError(
            "a text cannot enter a model", where=feature.name, remedy="Give it role: ignore, or kind: category"
        )
    return _numbers(feature, column)


def decode(contract: Contract, x: NDArray[np.float64]) -> Any:
    """Return rows of model space, (n, d), as a pandas.DataFrame with one column a feature.

    Integers come back as int64 (float64 where one is missing), booleans as bool (object where one is missing),
    categories as texts (None where missing or unseen), dates as datetime64. Raises DataError on a wrong width.
    """
    import numpy as np
    import pandas as pd

    x = np.asarray(x, dtype=np.float64)
    if contract.tensor is not None or x.ndim != 2 or x.shape[1] != contract.width:
        raise DataError(f"an array of shape {x.shape} is no table of {len(contract.features)} features")
    return pd.DataFrame({f.name: _decoded(f, x[:, i]) for i, f in enumerate(contract.features)}, index=range(len(x)))


def labels(contract: Contract, table: object) -> NDArray[np.intp]:
    """Return the class index of each row, (n,), in the order of ``contract.target.classes``.

    Raises ContractError when the contract has no target, DataError when a label is missing or unknown.
    """
    if contract.target is None:
        raise ContractError("the contract has no target", where=contract.name, remedy="Add target: {name, classes}")
    target, arrow = contract.target, as_table(table)
    if target.name not in arrow.column_names:
        raise DataError(
            "the table has no such column", where=target.name, remedy="The target of the contract is needed"
        )
    return class_indices(arrow.column(target.name), target.classes, where=target.name)


def class_indices(values: Any, classes: tuple[str, ...], *, where: str) -> NDArray[np.intp]:
    """Return the place of each label among the names of classes, (n,). values: an Arrow column or anything of n labels.

    Raises DataError, at ``where``, when a label is missing or unknown.
    """
    import numpy as np
    import pyarrow as pa

    column = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else as_column(values)
    codes = _codes(as_text(column), classes)
    bad = np.flatnonzero(~(codes >= 0))
    if len(bad):
        value = column[int(bad[0])].as_py()
        problem = "is missing" if value is None or str(value) == "nan" else f"is {str(value)[:40]!r}, which is no class"
        raise DataError(
            f"row {bad[0]}: the label {problem} ({len(bad)} such rows)", where=where, remedy="Correct or drop them"
        )
    return codes.astype(np.intp)


def _codes(text: Any, values: tuple[str, ...]) -> NDArray[np.float64]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.fill_null(pc.index_in(text, value_set=pa.array(values, type=pa.string())), -1)
    codes = np.asarray(found, dtype=np.float64).copy()
    codes[np.asarray(pc.is_null(text))] = np.nan
    return codes


def _booleans(feature: Feature, column: Any) -> NDArray[np.float64]:
    import numpy as np
    import pyarrow.compute as pc

    text = pc.utf8_lower(pc.utf8_trim_whitespace(as_text(column)))
    codes = _codes(text, _FALSE + _TRUE)
    _refuse(feature, column, codes == -1, "a boolean")
    return np.where(np.isnan(codes), np.nan, (codes >= len(_FALSE)).astype(np.float64))


def _numbers(feature: Feature, column: Any) -> NDArray[np.float64]:
    import numpy as np
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        raise DataError(
            "holds times where numbers should be", where=feature.name, remedy="Correct the column or the contract"
        )
    if not pa.types.is_string(column.type):
        return _floats(column)
    import pandas as pd

    text = column.to_pandas()
    values = np.array(pd.to_numeric(text, errors="coerce"), dtype=np.float64)
    blank = np.asarray(text.isna() | (text.str.strip().str.lower().isin(["", "nan"])), dtype=bool)
    _refuse(feature, column, np.isnan(values) & ~blank, "a number")
    return values


def _days(feature: Feature, column: Any) -> NDArray[np.float64]:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_string(column.type):
        text = column.to_pandas()
        times = pd.to_datetime(text, errors="coerce", format="ISO8601", utc=True)
        _refuse(feature, column, np.asarray(times.isna() & text.notna(), dtype=bool), "an ISO date")
        column = pa.chunked_array([pa.array(times.dt.tz_localize(None))]).cast(pa.timestamp("us"), safe=False)
    if not pa.types.is_timestamp(column.type):
        raise DataError(f"holds {column.type} where dates should be", where=feature.name)
    return _floats(column.cast(pa.int64())) / _MICROSECONDS_A_DAY


def _floats(column: Any) -> NDArray[np.float64]:
    import numpy as np
    import pyarrow as pa

    return np.array(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _refuse(feature: Feature, column: Any, bad: NDArray[np.bool_], what: str) -> None:
    import numpy as np

    rows = np.flatnonzero(bad)
    if len(rows):
        value = str(column[int(rows[0])].as_py())[:40]
        raise DataError(
            f"row {rows[0]}: {value!r} is not {what} ({len(rows)} such rows)",
            where=feature.name,
            remedy="Correct or drop them",
        )


def _decoded(feature: Feature, values: NDArray[np.float64]) -> Any:
    import numpy as np

    missing = np.isnan(values)
    if feature.kind is Kind.CATEGORY:
        names = np.array([*feature.categories, None], dtype=object)
        valid = ~missing & (values >= 0) & (values < len(feature.categories))
        return names[np.where(valid, values, -1).astype(np.intp)]
    if feature.kind is Kind.DATE:
        days = np.where(missing, 0, np.rint(values * _MICROSECONDS_A_DAY)).astype("int64").astype("datetime64[us]")
        return np.where(missing, np.datetime64("NaT", "us"), days)
    if feature.kind is Kind.BOOLEAN:
        flags = values >= 0.5
        return (
            flags if not missing.any() else np.array([None, False, True], dtype=object)[np.where(missing, 0, 1 + flags)]
        )
    if feature.kind is Kind.INTEGER and not missing.any() and not (values % 1).any():
        return values.astype(np.int64)
    return values
