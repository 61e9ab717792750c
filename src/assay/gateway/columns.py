"""Named columns to model space, as light as the hot path needs: numpy only, one pass a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from assay.contract.contract import Feature, Kind
from assay.gateway.reject import Rejected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.contract.contract import Contract

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


class Columns:
    """The columns of one contract. ``encode`` gives the same matrix as ``assay.contract.encode`` for valid rows."""

    __slots__ = ("_codes", "_features", "_ignored", "width")

    def __init__(self, contract: Contract) -> None:
        self._features = contract.features
        self._ignored = {c.name for c in contract.columns} - {f.name for f in self._features}
        self._codes = {
            f.name: {text: float(i) for i, text in enumerate(f.categories)}
            for f in self._features
            if f.kind is Kind.CATEGORY
        }
        self.width = contract.width

    def encode(self, columns: Mapping[str, Sequence[object]], rows: int) -> NDArray[np.float64]:
        """Return (rows, d). None is a missing value, an unseen category is -1.

        Raises Rejected 422 on a missing or unknown column, and on a value of another type.
        """
        import numpy as np

        if not self._features:
            raise Rejected(422, "columns", "this model takes one tensor, not named columns")
        x = np.empty((rows, self.width))
        for j, feature in enumerate(self._features):
            values = columns.get(feature.name)
            if values is None:
                raise Rejected(422, "columns", f"the column {feature.name!r} is missing")
            if len(values) != rows:
                raise Rejected(422, "shape", f"the column {feature.name!r} has {len(values)} values for {rows} rows")
            x[:, j] = self._column(feature, values)
        unknown = columns.keys() - {f.name for f in self._features} - self._ignored
        if unknown:
            raise Rejected(422, "columns", f"the column {min(unknown)[:80]!r} is not in the contract")
        return x

    def _column(self, feature: Feature, values: Sequence[object]) -> list[float]:
        if feature.kind is Kind.CATEGORY:
            codes = self._codes[feature.name]
            return [_NAN if v is None else codes.get(_text(v, feature), -1.0) for v in values]
        if feature.kind is Kind.DATE:
            return [_days(v, feature) for v in values]
        return [_number(v, feature) for v in values]


_NAN = float("nan")


def _number(value: object, feature: Feature) -> float:
    if value is None:
        return _NAN
    if isinstance(value, bool):
        if feature.kind is Kind.BOOLEAN:
            return float(value)
    elif isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63):
        return float(value)
    raise _wrong(value, feature)


def _text(value: object, feature: Feature) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) < 2**63:
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2.0**53 else str(value)
    raise _wrong(value, feature)


def _days(value: object, feature: Feature) -> float:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise _wrong(value, feature) from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) / _DAY
    return _number(value, feature)


def _wrong(value: object, feature: Feature) -> Rejected:
    kind = type(value).__name__
    return Rejected(422, "type", f"the column {feature.name!r} takes a {feature.kind.value}, not a {kind} like that")
