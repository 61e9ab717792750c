"""Spreading an attack's samples over threads, processes or a cluster, by joblib, with a result that does not show it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from assay.assessment.evasion.base import AttackResult
from assay.core.clock import derive_seed
from assay.core.errors import SettingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.assessment.evasion.base import EvasionAttack
    from assay.contract.region import Region
    from assay.models.predictor import Predictor

    Floats = NDArray[np.floating]
    Labels = NDArray[np.integer]


def spread(
    attack: EvasionAttack,
    predictor: Predictor,
    x: Floats,
    y: Labels,
    region: Region,
    *,
    starts: Floats | None = None,
    targets: Labels | None = None,
    seed: int = 0,
    n_jobs: int = 1,
    block: int = 64,
) -> AttackResult:
    """Return the attack on x (n, ...) made in blocks of ``block`` samples, ``n_jobs`` of them at a time.

    The result depends on ``block`` and ``seed``, not on ``n_jobs`` or joblib's backend. Threads are used unless
    ``joblib.parallel_config`` says otherwise; each has a connection of its own to an endpoint. Samples of one block
    know nothing of the others: give ``starts`` for rows that all may set out from. Where the predictor's own budget
    might end, blocks are made one after the other, so that it holds.
    Raises SettingError for a block below 1, and whatever the attack raises.
    """
    if block < 1:
        raise SettingError(f"a block of {block} samples holds none", remedy="Give 1 or more")
    n, left = len(x), predictor.budget.left
    cuts = [slice(i, min(i + block, n)) for i in range(0, n, block)] or [slice(0, 0)]
    aimed = [None if targets is None else np.asarray(targets)[cut] for cut in cuts]
    seeds = [derive_seed(seed, "block", i) for i in range(len(cuts))]
    if left is not None and left < n * attack.max_queries:
        parts = [
            attack(predictor, x[cut], y[cut], region, starts=starts, targets=aim, seed=number)
            for cut, aim, number in zip(cuts, aimed, seeds, strict=True)
        ]
        return _joined(parts)
    import joblib

    jobs = (
        joblib.delayed(_attacked)(attack, predictor.apart(), x[cut], y[cut], region, starts, aim, number)
        for cut, aim, number in zip(cuts, aimed, seeds, strict=True)
    )
    made = joblib.Parallel(n_jobs=n_jobs, prefer="threads")(jobs)
    predictor.calls += sum(calls for _, calls in made)
    predictor.budget.spend(sum(int(part.queries.sum()) for part, _ in made))
    return _joined([part for part, _ in made])


def _attacked(
    attack: EvasionAttack,
    predictor: Predictor,
    x: Floats,
    y: Labels,
    region: Region,
    starts: Floats | None,
    targets: Labels | None,
    seed: int,
) -> tuple[AttackResult, int]:
    try:
        return attack(predictor, x, y, region, starts=starts, targets=targets, seed=seed), predictor.calls
    finally:
        predictor.close()


def _joined(parts: list[AttackResult]) -> AttackResult:
    names = [f.name for f in dataclasses.fields(AttackResult) if f.name not in {"refused", "stopped"}]
    return AttackResult(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
        refused=sum(part.refused for part in parts),
        stopped=next((part.stopped for part in parts if part.stopped), ""),
    )
