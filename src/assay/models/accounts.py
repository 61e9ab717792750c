"""One attacker with several accounts: where one is refused or spent, the next one asks."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from assay.core.errors import BudgetError, DataError, Refused, RowsRefused
from assay.models.predictor import Derived, Predictor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from assay.models.predictor import Array

_BATCH = 50
# Who is told to come again at once waits a second, so that patience comes to an end.
_SHORTEST = 1.0


class Accounts(Derived):
    """Asks a model through several predictors of it, one account each, and goes on to the next when one is refused.

    used: accounts that were refused so far. When the last one is, and some may ask again later, the attacker waits, for
    at most ``patience`` seconds in all. A row that a guard refuses is refused to every account. Raises Refused.
    """

    def __init__(
        self, accounts: Sequence[Predictor], *, patience: float = 0.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if not accounts or len({a.classes for a in accounts}) != 1:
            raise DataError("accounts must be one or more predictors of one model", remedy="Give one key or more")
        # In small questions, so that what one account was answered is not asked again when it is spent.
        super().__init__(accounts[0].classes, batch=_BATCH)
        self.address = accounts[0].address
        self._accounts, self._patience, self._sleep = tuple(accounts), patience, sleep
        self._later: tuple[float, ...] = ()
        self.used = 0

    def __len__(self) -> int:
        return len(self._accounts)

    def first(self, count: int) -> Accounts:
        """Return the same model through the first ``count`` accounts, none of them refused yet."""
        return Accounts(self._accounts[:count], patience=self._patience, sleep=self._sleep)

    def close(self) -> None:
        """Close every account."""
        for account in self._accounts:
            account.close()

    def _probabilities(self, x: Array) -> Array:
        while True:
            try:
                return self._accounts[self.used].limited(None).probabilities(x)
            except RowsRefused:
                raise
            except Refused as error:
                if isinstance(error, BudgetError) and error.wait is not None:
                    self._later = (*self._later, error.wait)
                if self.used + 1 >= len(self._accounts):
                    self._wait(error)
                    self.used = 0
                else:
                    self.used += 1

    def _wait(self, error: Refused) -> None:
        """Wait until the first account may ask again; raise ``error`` when none may soon enough."""
        seconds = max(_SHORTEST, min(self._later, default=math.inf))
        if seconds > self._patience:
            raise error
        self._later = ()
        self._patience -= seconds
        self._sleep(seconds)
