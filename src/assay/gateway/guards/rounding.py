"""Rounded probabilities: less information for each query, to a thief and to a membership attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from assay.core.settings import Within, setting
from assay.gateway.guard import Fitted, Guard, Shaping

if TYPE_CHECKING:
    from assay.contract.contract import Contract
    from assay.gateway.guard import Rows


@dataclass(frozen=True, slots=True)
class Rounding(Guard, name="rounding", techniques=("AML.T0024.002",), mitigations=("AML.M0002",)):
    """Round probabilities; the answered class stays that of the unrounded ones. Raises the price, prevents nothing."""

    order: ClassVar[int] = 80

    decimals: int = setting(2, Within(0, 8), "Decimals that are kept.")

    def shaping(self, contract: Contract, fitted: Fitted) -> Shaping:
        """Return the rounding of probabilities (n, classes)."""
        del contract, fitted
        decimals = self.decimals

        def shape(probabilities: Rows) -> Rows:
            return probabilities.round(decimals)

        return shape
