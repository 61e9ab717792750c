"""Settings as data: a field's range or options are declared once and serve everyone.

The declaration checks values when an object is made, generates the invalid cases of the law suites,
and gives the command line and the reference page their text::

    @dataclass(frozen=True, slots=True)
    class HopSkipJump(EvasionAttack, name="hopskipjump"):
        max_queries: int = setting(2000, Within(1, None), "Hard budget of model queries for each row.")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

from assay.core.errors import SettingError

_KEY = "assay.setting"
T = TypeVar("T")


@runtime_checkable
class Constraint(Protocol):
    """What values a setting admits."""

    def admits(self, value: object) -> bool:
        """Return whether ``value`` is allowed."""

    def describe(self) -> str:
        """Return the constraint in words."""

    def invalid(self) -> Iterator[object]:
        """Yield values that must be refused, for the law suites."""


@dataclass(frozen=True, slots=True)
class Within:
    """A number between ``low`` and ``high``; ``open_low``/``open_high`` leave the end out; None is no end."""

    low: float | None
    high: float | None
    open_low: bool = False
    open_high: bool = False
    optional: bool = False

    def admits(self, value: object) -> bool:
        """Return whether ``value`` is a finite number within the ends."""
        if value is None:
            return self.optional
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            return False
        above = self.low is None or (value > self.low if self.open_low else value >= self.low)
        below = self.high is None or (value < self.high if self.open_high else value <= self.high)
        return above and below

    def describe(self) -> str:
        """Return the interval as text, such as ``[1, inf)``."""
        left = "(" if self.open_low or self.low is None else "["
        right = ")" if self.open_high or self.high is None else "]"
        low = "-inf" if self.low is None else f"{self.low:g}"
        high = "inf" if self.high is None else f"{self.high:g}"
        return f"{left}{low}, {high}{right}{' or none' if self.optional else ''}"

    def invalid(self) -> Iterator[object]:
        """Yield a value below, a value above, not-a-number and a text."""
        if self.low is not None:
            yield self.low if self.open_low else self.low - 1
        if self.high is not None:
            yield self.high if self.open_high else self.high + 1
        yield float("nan")
        yield "many"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few values."""

    options: tuple[object, ...]

    def admits(self, value: object) -> bool:
        """Return whether ``value`` is among the options."""
        return value in self.options

    def describe(self) -> str:
        """Return the options as text."""
        return ", ".join(map(str, self.options))

    def invalid(self) -> Iterator[object]:
        """Yield a value that is no option."""
        yield "no-such-option"


@dataclass(frozen=True, slots=True)
class Setting:
    """A declared setting: its constraint and what it means."""

    constraint: Constraint
    doc: str


def setting(default: T, constraint: Constraint, doc: str) -> T:
    """Declare a dataclass field with a default, a constraint and a sentence on what it means."""
    made: Any = field(default=default, metadata={_KEY: Setting(constraint, doc)})
    result: T = made
    return result


def settings_of(cls: type) -> dict[str, Setting]:
    """Return the declared settings of a dataclass by field name."""
    return {f.name: f.metadata[_KEY] for f in dataclasses.fields(cls) if _KEY in f.metadata}


def check_settings(instance: object) -> None:
    """Check every declared setting of a dataclass instance. Raises SettingError that names the field."""
    for name, declared in settings_of(type(instance)).items():
        value = getattr(instance, name)
        if not declared.constraint.admits(value):
            raise SettingError(
                f"{type(instance).__name__}.{name} cannot be {value!r}",
                remedy=f"Give a value in {declared.constraint.describe()}",
            )
