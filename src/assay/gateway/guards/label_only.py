"""Label only: the class is answered and no probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from assay.gateway.guard import Fitted, Guard, Shaping

if TYPE_CHECKING:
    from assay.contract.contract import Contract
    from assay.gateway.guard import Rows


@dataclass(frozen=True, slots=True)
class LabelOnly(Guard, name="label_only", techniques=("AML.T0024.002", "AML.T0024.000"), mitigations=("AML.M0002",)):
    """Answer the class alone. Label-only attacks still work; they need more queries."""

    order: ClassVar[int] = 90

    def shaping(self, contract: Contract, fitted: Fitted) -> Shaping:
        """Return the function that withholds every probability."""
        del contract, fitted

        def shape(probabilities: Rows) -> None:
            del probabilities

        return shape
