"""What a detector is worth: against attackers who do not know it, and against those who do.

The second number is the one that counts. A detector is public as soon as its answers are: whoever is refused can
tell. So the attacks run once on the model alone, and once on the model and its screen together, where a refused
input is no success and the screen's score, slope and threshold are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from assay.core.errors import DataError, UnsupportedError
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.models.screened import Screen, Screened
from assay.stats.intervals import auc_interval, clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.base import EvasionAttack
    from assay.contract.region import Region
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Labels = NDArray[np.intp]

_STATIC = "white or black box on the model alone: does not know that there is a detector"
_AWARE = "knows model, detector and threshold; a refused input is no success"
# Of the evasions that succeed without a detector: the share from which one that lets them through is worth little.
_LITTLE = 0.5


class NamedScreen(Screen, Protocol):
    """A screen with a name."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """What was measured of one detector, and rows that show it.

    measures: false alarms, AUC, detection and evasion against both attackers. x_aware (n, ...): for each sample an input
    that is wrong and let through, or the sample itself; evaded (n,): where there is one.
    """

    measures: tuple[Measure, ...]
    findings: tuple[Finding, ...]
    x_aware: Array
    evaded: Flags

    def measure(self, start: str) -> Measure:
        """Return the measure whose name starts so. Raises DataError when there is none."""
        found = next((m for m in self.measures if m.name.startswith(start)), None)
        if found is None:
            raise DataError(f"no measure is called {start!r}")
        return found


def measure_detector(
    model: Predictor,
    screen: NamedScreen,
    x: NDArray[np.floating],
    y: NDArray[np.integer],
    region: Region,
    attacks: Sequence[EvasionAttack],
    *,
    seed: int = 0,
) -> Detection:
    """Return what ``screen`` is worth on clean samples x (n, ...) with labels y (n,) that it has not seen.

    attacks: each is run on the model alone and on model and screen; a sample is evaded when any of them evades it. The
    aware attacker also sends what the blind one found, where the screen lets it through. Attacks that need gradients
    are left out for a model without, but at least one has to be left. Raises DataError or UnsupportedError.
    """
    rows, truth = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.intp)
    right = model.labels(rows) == truth
    if not right.any():
        raise DataError("the model gets no sample right, so there is nothing to evade")
    blind, broken = _blind(model, rows, truth, region, attacks, seed)
    passed = broken & ~_flags(screen, blind)
    aware, evaded = blind.copy(), passed.copy()
    aware[~passed] = rows[~passed]
    for attack in attacks:
        for label in np.unique(truth[right & ~evaded]):
            at = np.flatnonzero(right & ~evaded & (truth == label))
            try:
                found = attack(Screened(model, screen, int(label)), rows[at], truth[at], region, seed=seed)
            except UnsupportedError:
                break
            hit = at[found.success]
            # Counted only where the real answer and the real flag say so.
            won = found.x_adv[found.success]
            real = (model.labels(won) != truth[hit]) & ~_flags(screen, won) if len(hit) else np.zeros(0, dtype=bool)
            aware[hit[real]], evaded[hit[real]] = won[real], True
    measures = _measures(screen, rows, right, blind, broken, passed, aware, evaded, seed, attacks)
    return Detection(measures, _findings(screen.name, broken, passed, evaded, right), aware, evaded)


def _blind(
    model: Predictor, x: Array, y: Labels, region: Region, attacks: Sequence[EvasionAttack], seed: int
) -> tuple[Array, Flags]:
    """Return the inputs that attacks on the model alone find, and for which samples there is one."""
    made, broken, ran = x.copy(), np.zeros(len(x), dtype=bool), 0
    for attack in attacks:
        left = np.flatnonzero(~broken)
        try:
            found = attack(model.limited(None), x[left], y[left], region, seed=seed)
        except UnsupportedError:
            continue
        ran += 1
        hit = left[found.success]
        made[hit], broken[hit] = found.x_adv[found.success], True
    if not ran:
        raise UnsupportedError("no attack can be run on this model", remedy="Give a black-box attack, as HopSkipJump")
    return made, broken


def _flags(screen: Screen, x: Array) -> Flags:
    flags: Flags = screen.score(x) > screen.threshold
    return flags


def _measures(
    screen: NamedScreen,
    x: Array,
    right: Flags,
    blind: Array,
    broken: Flags,
    passed: Flags,
    aware: Array,
    evaded: Flags,
    seed: int,
    attacks: Sequence[EvasionAttack],
) -> tuple[Measure, ...]:
    name, used = screen.name, "+".join(a.name for a in attacks)
    made = [_share(f"false_alarm_rate@{name},clean", _flags(screen, x), "clean test inputs", seed)]
    clean = screen.score(x[right])
    for who, threat, rows, found in (("static", _STATIC, blind, broken), ("aware", _AWARE, aware, evaded)):
        if found.any():
            area, low, high = auc_interval(screen.score(rows[found]), clean)
            made.append(
                Measure(
                    f"detector_auc@{name},{who}:{used}", area, low, high, int(found.sum()), unit="auc", method="delong",
                    threat_model=threat, seed=seed,
                )
            )  # fmt: skip
    if broken.any():
        # Of the samples that can be broken at all: which stay safe from each attacker.
        made.append(_share(f"detection_rate@{name},static:{used}", ~passed[broken], _STATIC, seed))
        made.append(_share(f"detection_rate@{name},aware:{used}", ~evaded[broken], _AWARE, seed))
    made.append(_share(f"evasion_rate@none,{used}", broken[right], "the model without a detector", seed))
    made.append(_share(f"evasion_rate@{name},static:{used}", passed[right], _STATIC, seed))
    made.append(_share(f"evasion_rate@{name},aware:{used}", evaded[right], _AWARE, seed))
    return tuple(made)


def _share(name: str, flags: Flags, threat: str, seed: int) -> Measure:
    low, high = clopper_pearson(int(flags.sum()), len(flags))
    return Measure(name, float(flags.mean()), low, high, len(flags), threat_model=threat, seed=seed)


def _findings(name: str, broken: Flags, passed: Flags, evaded: Flags, right: Flags) -> tuple[Finding, ...]:
    if not broken.any() or evaded[right].sum() < _LITTLE * broken.sum():
        return ()
    text = (
        f"the detector {name} stops {int(broken.sum() - passed.sum())} of {int(broken.sum())} attacks that do not know "
        f"it, and lets {int(evaded.sum())} of {int(right.sum())} samples be evaded by those that do"
    )
    return (
        Finding(
            "detector-evaded", Severity.MEDIUM, text, name, "Count it as a price, not as a barrier; train robustly"
        ),
    )


__all__ = ["Detection", "measure_detector"]
