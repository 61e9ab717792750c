"""Inversion: can a typical member of each class be drawn from the model alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from assay.assessment.exhibits import Gallery
from assay.assessment.goals.base import Goal, Seen
from assay.assessment.inversion.base import InversionAttack
from assay.assessment.reach import is_live
from assay.core.discovery import discover
from assay.core.errors import UnsupportedError
from assay.core.finding import Finding, Severity
from assay.models.guarded import Guarded

if TYPE_CHECKING:
    from assay.assessment.case import Case
    from assay.assessment.exhibits import Exhibit
    from assay.core.measure import Measure

_LIKE = 0.5
_MOST_PICTURES = 10


class Inversion(Goal, name="inversion", techniques=("AML.T0024.001",)):
    """How like the drawn samples are to the mean of their class, by gradients where there are some, and blind."""

    order: ClassVar[int] = 36
    group: ClassVar[str] = "privacy"

    def look(self, case: Case) -> Seen:
        """Return the similarity of each class's picture to the training data, and the pictures of image models."""
        shape = case.x_train.shape[1:]
        # Where a guard refuses, no class is likelier than another.
        target = Guarded(case.predictor, None) if is_live(case.predictor) else case.predictor
        measures: list[Measure] = []
        shown: list[Exhibit] = []
        findings: list[Finding] = []
        used = []
        for name, kind in discover(InversionAttack).items():
            attack = kind()
            try:
                found = attack(target.limited(None), case.region, shape, seed=case.seed)
            except UnsupportedError:
                continue
            made, _ = found.measures(
                case.x_train, case.y_train, attack=name, threat_model=attack.threat_model, seed=case.seed
            )
            used.append(name)
            measures += made
            findings += _drawn(name, made)
            pictures = _as_images(found.x, case)
            if pictures is not None:
                shown.append(_gallery(name, pictures, found.confidence))
        if shown:
            held = [c for c in range(case.classes) if (case.y_train == c).any()]
            means = np.stack([case.x_train[case.y_train == c].mean(axis=0) for c in held])
            pictures = _as_images(means, case)
            if pictures is not None:
                names = tuple(f"class {c}" for c in held)[:_MOST_PICTURES]
                shown.insert(
                    0,
                    Gallery("inversion", "What each class looks like on average", pictures[:_MOST_PICTURES], names, 10),
                )
        return Seen(tuple(measures), (), tuple(findings), parameters={"attacks": used}, exhibits=tuple(shown))


def _drawn(attack: str, measures: tuple[Measure, ...]) -> list[Finding]:
    alike = next(m for m in measures if "similarity" in m.name)
    if alike.low < _LIKE:
        return []
    what = f"{attack} draws classes that correlate {alike.estimate:.2f} with the mean of their training rows"
    return [Finding("inversion-possible", Severity.LOW, what, "model", "Answer labels only, or train privately")]


def _as_images(
    x: np.ndarray[tuple[int, ...], np.dtype[np.float64]], case: Case
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
    """Return samples as pictures (k, h, w) or (k, h, w, 3) within [0, 1], None when they are no images."""
    shape = x.shape[1:]
    if len(shape) == 3 and shape[0] in (1, 3):
        x = np.moveaxis(x, 1, -1)
    if len(shape) == 1:
        side = int(np.sqrt(shape[0]))
        square = side * side == shape[0] and side >= 8
        if not square or case.contract is not None:
            return None
        x = x.reshape(-1, side, side)
    if x.ndim == 4 and x.shape[-1] == 1:
        x = x[..., 0]
    if x.ndim not in (3, 4):
        return None
    low, high = float(case.region.base_low.min()), float(case.region.base_high.max())
    scaled: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = (x - low) / max(high - low, 1e-12)
    return scaled


def _gallery(
    name: str,
    pictures: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    sure: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> Gallery:
    words = tuple(f"class {c}: {s:.0%} sure" for c, s in enumerate(sure))[:_MOST_PICTURES]
    caption = "One sample for each class, drawn from the model's answers and no row of data."
    return Gallery("inversion", f"Drawn by {name}", pictures[:_MOST_PICTURES], words, 10, caption)
