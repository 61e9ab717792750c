"""The law suite of guards: what every guard, ours or a plugin's, has to hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from assay.contract.contract import Contract, Feature, Kind, Target
from assay.core.canonical import canonical_bytes, parse
from assay.core.clock import stream
from assay.core.errors import SettingError, VerificationError
from assay.core.settings import settings_of
from assay.gateway.guard import Armed, Guard, arm_guards, fit_guards

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_guard(kind: type[Guard], *, seed: int = 0) -> None:
    """Raise VerificationError when a guard breaks a law; a guard may not need settings without a default.

    Laws: invalid settings are refused; what is learnt is JSON, the same for the same seed, and survives a round
    trip; inputs are not changed; judging is per row, whatever the batch; at most 2 % of honest rows are refused
    (negative control); shaped answers have the shape they came in, or are withheld, and the best class stays.
    """
    _check_settings(kind)
    contract, x = guarded_table(seed=seed)
    guard = kind()
    train, fresh = x[:4000], x[4000:]
    before = x.copy()
    learnt = fit_guards([guard], contract, train, seed=seed)
    _law(
        canonical_bytes(learnt) == canonical_bytes(fit_guards([guard], contract, train, seed=seed)), kind, "determinism"
    )
    restored = parse(canonical_bytes(learnt))
    _law(isinstance(restored, dict), kind, "what is learnt is a record")
    (armed,) = arm_guards([guard], contract, restored if isinstance(restored, dict) else {})
    _check_screen(kind, armed, fresh)
    _check_shape(kind, armed, seed)
    _law(bool((x == before).all()), kind, "training rows are not changed")


def guarded_table(n: int = 6000, *, seed: int = 0) -> tuple[Contract, NDArray[np.float64]]:
    """Return a contract of two numbers, an integer, a boolean and a category, and n honest rows (n, 5)."""
    import numpy as np

    rng = stream(seed, "testing", "guards")
    a = rng.normal(size=n).clip(-6, 6)
    x = np.column_stack(
        [
            a,
            (0.8 * a + 0.6 * rng.normal(size=n)).clip(-8, 8),
            rng.poisson(4, n),
            rng.integers(0, 2, n),
            rng.integers(0, 3, n),
        ]
    ).astype(np.float64)
    columns = (
        Feature("a", Kind.NUMBER, low=-10, high=10),
        Feature("b", Kind.NUMBER, low=-10, high=10),
        Feature("count", Kind.INTEGER, low=0, high=100),
        Feature("flag", Kind.BOOLEAN),
        Feature("colour", Kind.CATEGORY, categories=("red", "green", "blue")),
    )
    return Contract(Target("y", ("no", "yes")), columns, name="guarded"), x


def _check_settings(kind: type[Guard]) -> None:
    made: Callable[..., Guard] = kind
    for name, declared in settings_of(kind).items():
        for value in declared.constraint.invalid():
            try:
                made(**{name: value})
            except SettingError:
                continue
            _law(False, kind, f"{name}={value!r} is refused")


def _check_screen(kind: type[Guard], armed: Armed, fresh: NDArray[np.float64]) -> None:
    import numpy as np

    if armed.screen is None:
        return
    kept = fresh.copy()
    screen = armed.screen(fresh)
    _law(bool((fresh == kept).all()), kind, "rows are not changed")
    ok = np.ones(len(fresh), dtype=bool) if screen is None else screen.ok
    _law(ok.shape == (len(fresh),) and ok.dtype == bool, kind, "ok is one bool a row")
    _law(float((~ok).mean()) <= 0.02, kind, "honest rows pass")
    for i in [0, 1, *np.flatnonzero(~ok)[:3].tolist()]:
        alone = armed.screen(fresh[i : i + 1])
        _law((alone is None or bool(alone.ok[0])) == bool(ok[i]), kind, "a row is judged alone as in a batch")


def _check_shape(kind: type[Guard], armed: Armed, seed: int) -> None:
    if armed.shape is None:
        return
    probabilities = stream(seed, "testing", "shapes").dirichlet([0.5, 0.5], size=64)
    kept = probabilities.copy()
    answer = armed.shape(probabilities)
    _law(bool((probabilities == kept).all()), kind, "probabilities are not changed in place")
    if answer is None:
        return
    _law(answer.shape == kept.shape, kind, "the shape stays")
    best = kept.argmax(axis=1)
    rows = range(len(kept))
    _law(bool((answer[rows, best] >= answer.max(axis=1)).all()), kind, "the best class stays")


def _law(holds: bool, kind: type[Guard], law: str) -> None:
    if not holds:
        raise VerificationError(f"the guard breaks a law: {law}", where=kind.name or kind.__name__)
