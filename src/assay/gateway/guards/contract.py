"""The contract guard: rows that the contract does not allow never reach the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from assay.gateway.guard import Fitted, Guard, Screen, Screening

if TYPE_CHECKING:
    from assay.contract.contract import Contract
    from assay.gateway.guard import Rows


@dataclass(frozen=True, slots=True)
class ContractGuard(Guard, name="contract", techniques=("AML.T0043",), mitigations=("AML.M0015",)):
    """Refuse rows outside the contract's ranges, categories, nulls and relations."""

    order: ClassVar[int] = 10

    def screening(self, contract: Contract, fitted: Fitted) -> Screening:
        """Return the check of rows against ``contract``."""
        from assay.contract.rows import RowRules

        del fitted
        rules = RowRules(contract)
        shape = contract.tensor.shape if contract.tensor else (contract.width,)

        def screen(x: Rows) -> Screen | None:
            found = rules.violations(x.reshape(len(x), *shape))
            return None if found.ok.all() else Screen(found.ok, found.reasons)

        return screen
