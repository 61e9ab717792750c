"""A guard: one defence at the endpoint, as settings, a fit on training rows, and what it does to a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from assay.core.discovery import Control, named
from assay.core.errors import SettingError
from assay.core.settings import OneOf, check_settings, setting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.contract.contract import Contract

    Rows: TypeAlias = NDArray[np.float64]

Fitted: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Screen:
    """What a guard says of n rows. ok: (n,) bool; reasons: for each row why not, [] where ok."""

    ok: NDArray[np.bool_]
    reasons: Sequence[Sequence[str]]


Screening: TypeAlias = "Callable[[Rows], Screen | None]"
Shaping: TypeAlias = "Callable[[Rows], Rows | None]"


@dataclass(frozen=True, slots=True)
class Guard(Control, package="assay.gateway.guards"):
    """One defence. Authors implement ``screening``, which judges rows, or ``shaping``, which changes answers.

    mode: ``observe`` reports whom the guard would have refused and changes nothing.
    order: guards are applied from the lowest order to the highest.
    """

    order: ClassVar[int] = 50

    mode: str = setting("enforce", OneOf(("enforce", "observe")), "Whether to act, or only to report.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, contract: Contract, x: Rows, *, seed: int = 0) -> dict[str, object]:
        """Return what the guard learns from training rows (n, d), as plain JSON that ships with the release."""
        del contract, x, seed
        return {}

    def screening(self, contract: Contract, fitted: Fitted) -> Screening | None:
        """Return the function that judges rows (n, d): None or a Screen. None for a guard that only shapes."""
        del contract, fitted
        return None

    def shaping(self, contract: Contract, fitted: Fitted) -> Shaping | None:
        """Return the function from probabilities to what is answered (None: the label alone)."""
        del contract, fitted
        return None


@dataclass(frozen=True, slots=True)
class Armed:
    """A guard ready to run: its name, whether it acts, and its functions."""

    name: str
    enforce: bool
    screen: Screening | None
    shape: Shaping | None


def guards_of(settings: Mapping[str, object]) -> tuple[Guard, ...]:
    """Return the guards that ``serve.guards`` of assay.yaml asks for, in order of work.

    settings: guard name -> its fields (or null for the defaults). The contract guard is always there;
    ``contract: {mode: observe}`` is the way to let invalid rows through. Raises SettingError.
    """
    made = []
    for name, given in {"contract": None, **settings}.items():
        values = {} if given is None or given is True else given
        if not isinstance(values, Mapping):
            raise SettingError(
                f"{given!r} are no settings", where=f"serve.guards.{name}", remedy="Give name: value pairs"
            )
        kind = named(Guard, name)
        known = {f.name for f in fields(kind)}
        for key in values:
            if key not in known:
                raise SettingError(
                    f"there is no setting {key!r}",
                    where=f"serve.guards.{name}",
                    remedy=f"Use: {', '.join(sorted(known))}",
                )
        made.append(kind(**values))
    return tuple(sorted(made, key=lambda g: (g.order, g.name)))


def fit_guards(guards: Sequence[Guard], contract: Contract, x: Rows, *, seed: int = 0) -> dict[str, object]:
    """Return what the guards learn from training rows, by guard name, as plain JSON."""
    return {guard.name: fitted for guard in guards if (fitted := guard.fit(contract, x, seed=seed))}


def arm_guards(guards: Sequence[Guard], contract: Contract, fitted: Mapping[str, object]) -> tuple[Armed, ...]:
    """Return the guards ready to run. fitted: as ``fit_guards`` gave it. Raises SettingError when a fit is missing."""
    armed = []
    for guard in guards:
        learned = fitted.get(guard.name, {})
        if not isinstance(learned, Mapping):
            raise SettingError("the fitted guard is damaged", where=guard.name, remedy="Fit the guards again")
        screen, shape = guard.screening(contract, learned), guard.shaping(contract, learned)
        armed.append(Armed(guard.name, guard.mode == "enforce", screen, shape))
    return tuple(armed)
