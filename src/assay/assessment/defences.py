"""What a defence is worth: robust accuracy without it, with it, and against attackers who know it.

A transformation that stops attacks made for the undefended model may only have hidden the slope. So it is attacked
again through the slope that whoever knows it uses (``assay.models.transformed``), and by answers alone, and the
worst of it is the number to believe (Athalye, Carlini & Wagner 2018; Tramer et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.core.errors import DataError, UnsupportedError
from assay.core.finding import Finding, Severity
from assay.core.measure import Measure
from assay.stats.intervals import clopper_pearson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.base import EvasionAttack
    from assay.contract.region import Region
    from assay.models.predictor import Predictor

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Labels = NDArray[np.intp]

_REPEATS = 9


@dataclass(frozen=True, slots=True, eq=False)
class Defence:
    """What was measured of one defence. right (n,) flags: samples that stay right under each attacker.

    verdict: "holds" (the gain over no defence survives the adaptive attackers), "broken" (it does not), or "no gain"
    (there is none even against static ones), each beyond chance at 95 %.
    """

    verdict: str
    measures: tuple[Measure, ...]
    findings: tuple[Finding, ...]
    undefended: Flags
    static: Flags
    adaptive: Flags


def measure_defence(
    plain: Predictor,
    defended: Predictor,
    x: NDArray[np.floating],
    y: NDArray[np.integer],
    region: Region,
    attacks: Sequence[EvasionAttack],
    *,
    name: str = "defence",
    seed: int = 0,
) -> Defence:
    """Return what ``defended`` gains over ``plain`` on samples x (n, ...) with labels y (n,).

    attacks: of one radius; white-box ones see through the defence, black-box ones ask it. A sample stays right when it
    is right by itself and no attack finds an input that is wrong; with a random defence wrong means: in most of 9
    fresh answers. The adaptive attacker also sends whatever the static one found. Raises DataError or UnsupportedError.
    """
    rows, truth = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.intp)
    radii = {a.radius for a in attacks}
    if len(rows) == 0 or len(radii) != 1 or None in radii:
        raise DataError("a defence is measured on samples, by attacks of one radius", remedy="Give them a radius")
    clean = {"undefended": _right(plain, rows, truth), "defended": _right(defended, rows, truth)}
    tried = [(a, _attack(a, plain, rows, truth, region, seed)) for a in attacks]
    undefended = clean["undefended"].copy()
    static = clean["defended"].copy()
    for _, found in tried:
        if found is not None:
            undefended &= ~found[1]
            static &= _right(defended, found[0], truth)
    adaptive = static.copy()
    ran = []
    for attack in attacks:
        left = np.flatnonzero(adaptive)
        found = _attack(attack, defended, rows[left], truth[left], region, seed) if len(left) else None
        if found is not None:
            ran.append(attack.name)
            hit = np.flatnonzero(found[1])
            broken = hit[~_right(defended, found[0][hit], truth[left[hit]])]
            adaptive[left[broken]] = False
    if not ran and static.any():
        raise UnsupportedError("no attack can be run on the defended model", remedy="Give a black-box attack too")
    ball = f"{attacks[0].norm}{attacks[0].radius:g}"
    used = "+".join(a.name for a in attacks)
    threats = {
        "clean,undefended": (clean["undefended"], "nobody"),
        f"clean,{name}": (clean["defended"], "nobody"),
        f"{ball},undefended:{used}": (undefended, "knows the model, which has no defence"),
        f"{ball},{name},static:{used}": (static, "knows the model but not the defence"),
        f"{ball},{name},adaptive:{'+'.join(ran) or 'none'}": (adaptive, "knows the model and the defence"),
    }
    measures = tuple(_share(f"robust_accuracy@{k}", flags, threat, seed) for k, (flags, threat) in threats.items())
    verdict = _verdict(undefended, static, adaptive)
    return Defence(verdict, measures, _findings(name, verdict, static, adaptive), undefended, static, adaptive)


def _attack(
    attack: EvasionAttack, model: Predictor, x: Array, y: Labels, region: Region, seed: int
) -> tuple[Array, Flags] | None:
    """Return the inputs found and where there is one; None when the attack cannot be run on the model."""
    try:
        found = attack(model.limited(None), x, y, region, seed=seed)
    except UnsupportedError:
        return None
    return found.x_adv, found.success


def _right(model: Predictor, x: Array, y: Labels) -> Flags:
    """Return which samples are right in most of several answers, (n,)."""
    if not len(x):
        return np.zeros(0, dtype=bool)
    # From the start of its stream of draws, so that the same seed gives the same measures.
    model = model.limited(None)
    first = model.labels(x)
    again = [model.labels(x) for _ in range(2)]
    if all((first == a).all() for a in again):
        same: Flags = first == y
        return same
    answers = [first, *again, *(model.labels(x) for _ in range(_REPEATS - 3))]
    often: Flags = np.mean([a == y for a in answers], axis=0) > 0.5
    return often


def _share(name: str, flags: Flags, threat: str, seed: int) -> Measure:
    low, high = clopper_pearson(int(flags.sum()), len(flags))
    return Measure(name, float(flags.mean()), low, high, len(flags), threat_model=threat, seed=seed)


def _verdict(undefended: Flags, static: Flags, adaptive: Flags) -> str:
    if _more(adaptive, undefended):
        return "holds"
    return "broken" if _more(static, undefended) else "no gain"


def _more(here: Flags, there: Flags) -> bool:
    """Return whether more samples stay right here than there, beyond chance at 95 % (McNemar's exact test)."""
    gained, lost = int((here & ~there).sum()), int((there & ~here).sum())
    return gained > lost and clopper_pearson(gained, gained + lost)[0] > 0.5


def _findings(name: str, verdict: str, static: Flags, adaptive: Flags) -> tuple[Finding, ...]:
    if verdict == "holds":
        return ()
    text = (
        f"{name} keeps {static.mean():.0%} of the samples right against attackers who do not know it and "
        f"{adaptive.mean():.0%} against those who do: {verdict}"
    )
    rule = "defence-broken" if verdict == "broken" else "defence-no-gain"
    return (Finding(rule, Severity.MEDIUM, text, name, "Do not count on it; train robustly, or certify"),)


__all__ = ["Defence", "measure_defence"]
