"""What columns owe to one another: linear relations, implications and one-hot groups, as the contract states them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from assay.core.errors import ContractError

if TYPE_CHECKING:
    from assay.contract.contract import Feature

_BITS = {"true": 1.0, "yes": 1.0, "1": 1.0, "false": 0.0, "no": 0.0, "0": 0.0}
_SIGNS = (("above", ">"), ("least", ">="), ("below", "<"), ("most", "<="))


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of one column; all that is given must hold, and a missing value meets none.

    above, least, below, most: the value is >, >=, <, <= that. one_of: the value is one of these, as text:
    categories of a category, numbers of a number, ``true`` or ``false`` of a boolean.
    """

    column: str
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    one_of: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ends = [getattr(self, name) for name, _ in _SIGNS if getattr(self, name) is not None]
        if not ends and not self.one_of:
            raise ContractError("a condition tests nothing", where=self.column, remedy="Give above, most or one_of")
        if not all(math.isfinite(v) for v in ends):
            raise ContractError("a condition's bound is not finite", where=self.column, remedy="Leave it out")
        low, high = self.interval()
        if low > high:
            raise ContractError("no value can meet the condition", where=self.column, remedy="Correct its bounds")

    @property
    def bounded(self) -> bool:
        """Whether it bounds the value, besides listing some."""
        return any(getattr(self, name) is not None for name, _ in _SIGNS)

    def interval(self) -> tuple[float, float]:
        """Return the closed interval of floats that the bounds leave, infinite where there is none."""
        low = -math.inf if self.least is None else self.least
        high = math.inf if self.most is None else self.most
        # The next float, so that strict bounds are closed ones too.
        low = low if self.above is None else max(low, math.nextafter(self.above, math.inf))
        high = high if self.below is None else min(high, math.nextafter(self.below, -math.inf))
        return low, high

    def describe(self) -> str:
        """Return the condition in words, such as ``late > 0``."""
        ends = [
            f"{self.column} {sign} {getattr(self, name):g}" for name, sign in _SIGNS if getattr(self, name) is not None
        ]
        if self.one_of:
            ends.append(f"{self.column} is {' or '.join(self.one_of)}")
        return " and ".join(ends)


@dataclass(frozen=True, slots=True)
class Relation:
    """A linear relation that every valid row meets: ``sum(weights[f] * f) <= bound`` (or ``==``).

    when: conditions, all of which must hold for the relation to bind (none: it always does).
    """

    weights: Mapping[str, float]
    bound: float
    equal: bool = False
    name: str = ""
    when: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        if not self.weights or not all(math.isfinite(v) for v in (self.bound, *self.weights.values())):
            raise ContractError("a relation needs weights and a bound that are finite", where=self.name)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it speaks of."""
        return (*self.weights, *(c.column for c in self.when))

    def describe(self) -> str:
        """Return the relation in words, such as ``if late > 0, 1 a + -2 b <= 3``."""
        terms = " + ".join(f"{w:g} {n}" for n, w in self.weights.items())
        head = f"if {_all(self.when)}, " if self.when else ""
        return f"{head}{terms} {'==' if self.equal else '<='} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Implication:
    """Where every condition of ``when`` holds, every condition of ``then`` holds; a missing value excuses a row."""

    when: tuple[Condition, ...]
    then: tuple[Condition, ...]
    name: str = ""

    def __post_init__(self) -> None:
        if not self.when or not self.then:
            raise ContractError("an implication needs when and then", where=self.name, remedy="Give both")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it speaks of."""
        return tuple(c.column for c in (*self.when, *self.then))

    def describe(self) -> str:
        """Return the implication in words, such as ``if late > 0, days >= 1``."""
        return f"if {_all(self.when)}, {_all(self.then)}"


@dataclass(frozen=True, slots=True)
class OneHot:
    """Columns of 0 and 1 of which exactly one is 1; with ``optional``, at most one."""

    columns: tuple[str, ...]
    optional: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.columns) < 2 or len(set(self.columns)) != len(self.columns):
            raise ContractError("a one-hot group needs two or more different columns", where=self.name)

    def describe(self) -> str:
        """Return the group in words."""
        return f"{'at most' if self.optional else 'exactly'} one of {', '.join(self.columns)} is 1"


Owed: TypeAlias = Relation | Implication | OneHot


def values_of(condition: Condition, feature: Feature) -> tuple[float, ...]:
    """Return the values of model space that ``one_of`` lists. Raises ContractError for one that cannot be."""
    return tuple(_value(text, feature) for text in condition.one_of)


def _value(text: str, feature: Feature) -> float:
    if feature.categories:
        if text not in feature.categories:
            raise ContractError(f"a condition names {text!r}, which is no category", where=feature.name)
        return float(feature.categories.index(text))
    if text.lower() in _BITS:
        return _BITS[text.lower()]
    try:
        number = float(text)
    except ValueError as error:
        raise ContractError(f"a condition names {text!r}, which is no number", where=feature.name) from error
    if not math.isfinite(number):
        raise ContractError("a condition names a value that is not finite", where=feature.name)
    return number


def _all(conditions: tuple[Condition, ...]) -> str:
    return " and ".join(c.describe() for c in conditions)
