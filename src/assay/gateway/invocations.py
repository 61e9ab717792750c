"""MLflow's scoring protocol (``/invocations``), turned into the same rows as an OIP v2 request.

One of ``dataframe_split`` {columns, data}, ``dataframe_records`` [{...}], ``instances`` (records or rows)
and ``inputs`` (rows, or a record of columns). https://mlflow.org/docs/latest/deployment, "Accepted formats".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from assay.core.canonical import parse
from assay.core.errors import FormatError
from assay.gateway.columns import Columns
from assay.gateway.limits import Caps
from assay.gateway.reject import Rejected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_encode = msgspec.json.Encoder().encode


def decode_invocation(body: bytes, columns: Columns, caps: Caps) -> NDArray[np.float64]:
    """Return rows (n, d). Raises Rejected 400 on bad JSON (a key twice, NaN), 413 on too many rows, else 422."""
    try:
        record = parse(body)
    except FormatError as error:
        raise Rejected(400, "json", error.message[:200]) from None
    given = [k for k in _KEYS if isinstance(record, Mapping) and k in record]
    if not isinstance(record, Mapping) or len(given) != 1:
        raise Rejected(422, "columns", f"give exactly one of {', '.join(_KEYS)}")
    content = record[given[0]]
    if given[0] == "dataframe_split":
        return _split(content, columns, caps)
    if given[0] == "inputs" and isinstance(content, Mapping):
        return _columns({str(k): _list(v) for k, v in content.items()}, columns, caps)
    rows = _list(content)
    _count(len(rows), caps)
    if isinstance(rows[0], Mapping):
        return _records(rows, columns)
    if given[0] == "dataframe_records":
        raise Rejected(422, "columns", "dataframe_records takes records")
    return _matrix(rows, columns)


def encode_invocation(
    labels: NDArray[np.intp], probabilities: NDArray[np.float64] | None, classes: tuple[str, ...]
) -> bytes:
    """Return the answer: the class of each row under ``predictions``, and ``probabilities`` where they are given."""
    answer: dict[str, object] = {"predictions": [classes[i] for i in labels.tolist()] if classes else labels.tolist()}
    if probabilities is not None:
        answer["probabilities"] = probabilities.tolist()
    return _encode(answer)


def _split(content: object, columns: Columns, caps: Caps) -> NDArray[np.float64]:
    if not isinstance(content, Mapping):
        raise Rejected(422, "columns", "dataframe_split takes columns and data")
    names, rows = _list(content.get("columns")), _list(content.get("data"))
    _count(len(rows), caps)
    if len(set(map(str, names))) != len(names):
        raise Rejected(422, "columns", "a column is given twice")
    table = [_list(row) for row in rows]
    if any(len(row) != len(names) for row in table):
        raise Rejected(422, "shape", "a row has more or fewer values than there are columns")
    return columns.encode({str(name): [row[i] for row in table] for i, name in enumerate(names)}, len(table))


def _records(rows: list[object], columns: Columns) -> NDArray[np.float64]:
    names: dict[str, None] = {}
    records: list[Mapping[str, object]] = []
    for row in rows:
        if not isinstance(row, Mapping):
            raise Rejected(422, "columns", "every row must be a record")
        records.append(row)
        names.update(dict.fromkeys(row))
    return columns.encode({name: [r.get(name) for r in records] for name in names}, len(records))


def _columns(values: dict[str, list[object]], columns: Columns, caps: Caps) -> NDArray[np.float64]:
    rows = len(next(iter(values.values()), []))
    _count(rows, caps)
    return columns.encode(values, rows)


def _matrix(rows: list[object], columns: Columns) -> NDArray[np.float64]:
    import numpy as np

    flat: list[float] = []
    for row in rows:
        values = _list(row)
        if len(values) != columns.width:
            raise Rejected(422, "shape", f"a row must have {columns.width} values")
        for value in values:
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise Rejected(422, "type", "rows without names must be of numbers")
            if isinstance(value, int) and abs(value) >= 2**63:
                raise Rejected(422, "type", "a number is too large")
            flat.append(float("nan") if value is None else value)
    return np.array(flat, dtype=np.float64).reshape(len(rows), columns.width)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise Rejected(422, "shape", "a list is needed here")
    return value


def _count(rows: int, caps: Caps) -> None:
    if rows == 0:
        raise Rejected(422, "shape", "no rows")
    if rows > caps.rows:
        raise Rejected(413, "rows", f"more than {caps.rows} rows")
