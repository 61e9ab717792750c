"""Hard budgets: what is spent is counted before it is spent, and never exceeds the limit."""

from __future__ import annotations

from assay.core.errors import BudgetError, SettingError


class Budget:
    """A counter of something limited (queries, rows, privacy loss). ``limit=None`` only counts.

    Law: ``spent <= limit`` always, whatever the caller does.
    """

    __slots__ = ("_limit", "_spent", "_unit")

    def __init__(self, limit: int | None = None, *, unit: str = "queries") -> None:
        if limit is not None and limit < 0:
            raise SettingError(f"a budget of {limit} {unit} is negative", remedy="Give 0 or more")
        self._limit = limit
        self._spent = 0
        self._unit = unit

    @property
    def limit(self) -> int | None:
        """The most that may be spent, None when unlimited."""
        return self._limit

    @property
    def spent(self) -> int:
        """What has been spent so far."""
        return self._spent

    @property
    def left(self) -> int | None:
        """What may still be spent, None when unlimited."""
        return None if self._limit is None else self._limit - self._spent

    def spend(self, amount: int) -> None:
        """Spend ``amount``. Raises BudgetError, having spent nothing, when that would pass the limit."""
        if amount < 0:
            raise SettingError(f"cannot spend {amount} {self._unit}")
        if self._limit is not None and self._spent + amount > self._limit:
            raise BudgetError(
                f"{amount} more {self._unit} would pass the budget of {self._limit} ({self._spent} spent)",
                remedy="Raise the budget or ask for less",
            )
        self._spent += amount
