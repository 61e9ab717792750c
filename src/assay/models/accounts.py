"""One attacker with several accounts: where one is refused or spent, the next one asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.core.errors import DataError, Refused, UnsupportedError
from assay.models.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assay.contract.contract import Contract
    from assay.models.predictor import Array


class Accounts(Predictor):
    """Asks a model through several predictors of it, one account each, and goes on to the next when one is refused.

    used: accounts that were refused so far. Raises Refused when the last one is.
    """

    def __init__(self, accounts: Sequence[Predictor]) -> None:
        if not accounts or len({a.classes for a in accounts}) != 1:
            raise DataError("accounts must be one or more predictors of one model", remedy="Give one key or more")
        super().__init__(accounts[0].classes)
        self._accounts = tuple(accounts)
        self.used = 0

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Return False: which accounts there are is for the attacker to say."""
        del model
        return False

    @classmethod
    def wrap(cls, model: object, *, contract: Contract | None, **options: object) -> Predictor:
        """Raise UnsupportedError: make it from predictors."""
        del model, contract, options
        raise UnsupportedError("accounts are made from predictors", remedy="Use Accounts([predictor, ...])")

    def __len__(self) -> int:
        return len(self._accounts)

    def first(self, count: int) -> Accounts:
        """Return the same model through the first ``count`` accounts, none of them refused yet."""
        return Accounts(self._accounts[:count])

    def close(self) -> None:
        """Close every account."""
        for account in self._accounts:
            account.close()

    def _probabilities(self, x: Array) -> Array:
        while True:
            try:
                return self._accounts[self.used].limited(None).probabilities(x)
            except Refused:
                if self.used + 1 >= len(self._accounts):
                    raise
                self.used += 1
