"""Replay: what an attack found, asked again of the artifact that is deployed.

An attack on a torch module in this process says little if the converted model, with its own preprocessing, types and
evaluation mode, answers otherwise. Only what the artifact gets wrong as well counts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.core.errors import DataError
from assay.core.finding import Finding, Severity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.base import AttackResult
    from assay.models.predictor import Predictor

_TOLERATED = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """The result as the artifact bears it out, and what differs.

    result: successes that did not hold taken back, the sample's distance infinite; queries include the replay's.
    held (n,): successes that the artifact confirms. disagrees (n,): samples on which it answers otherwise than the
    model attacked before any change.
    """

    result: AttackResult
    held: NDArray[np.bool_]
    disagrees: NDArray[np.bool_]
    findings: tuple[Finding, ...]


def replay(
    found: AttackResult,
    deployed: Predictor,
    x: NDArray[np.floating],
    y: NDArray[np.integer],
    *,
    targets: NDArray[np.integer] | None = None,
) -> Replay:
    """Ask the deployed predictor about the samples x (n, ...) and every success, each once.

    y (n,), targets (n,): as given to the attack. Raises DataError when shapes do not agree, BudgetError when the
    deployed predictor's budget ends.
    """
    if np.shape(x) != found.x_adv.shape or np.shape(y) != found.success.shape:
        raise DataError(f"samples of shape {np.shape(x)} are not those of a result of shape {found.x_adv.shape}")
    goal = np.asarray(y if targets is None else targets, dtype=np.intp)

    def reached(rows: NDArray[np.floating], at: NDArray[np.intp]) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = deployed.labels(np.asarray(rows, dtype=np.float64)) == goal[at]
        return same if targets is not None else ~same

    everyone, hits = np.arange(len(x)), np.flatnonzero(found.success)
    there = reached(np.asarray(x), everyone)
    held = np.zeros(len(x), dtype=bool)
    held[hits] = reached(found.x_adv[hits], hits)
    held &= ~there
    shape = (-1, *(1,) * (found.x_adv.ndim - 1))
    result = dataclasses.replace(
        found,
        x_adv=np.where(held.reshape(shape), found.x_adv, np.asarray(x, dtype=np.float64)),
        success=held, already_wrong=there, queries=found.queries + 1 + found.success,
        distance=np.where(held, found.distance, np.inf),
    )  # fmt: skip
    disagrees = there != found.already_wrong
    return Replay(result, held, disagrees, _findings(found, held, disagrees))


def _findings(found: AttackResult, held: NDArray[np.bool_], disagrees: NDArray[np.bool_]) -> tuple[Finding, ...]:
    findings = []
    lost, n = int((found.success & ~held).sum()), int(found.success.sum())
    if n and lost / n > _TOLERATED:
        findings.append(
            Finding(
                "replay-lost", Severity.MEDIUM, f"{lost} of {n} adversarial rows do not fool the deployed artifact", "model",
                "Attack the artifact itself: its preprocessing, types or mode differ from the model attacked",
            )
        )  # fmt: skip
    if len(disagrees) and disagrees.mean() > _TOLERATED:
        findings.append(
            Finding(
                "replay-disagrees", Severity.HIGH,
                f"the deployed artifact answers otherwise on {int(disagrees.sum())} of {len(disagrees)} unchanged samples",
                "model", "Compare the conversion: the model attacked is not the one deployed",
            )
        )  # fmt: skip
    return tuple(findings)
