"""Assay as a competitor of ``../shared/bench/robustness_peers.py --ours benchmarks/robustness_adapter.py``."""

from __future__ import annotations

import numpy as np

from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.contract.region import Region
from assay.models.predictor import predictor

# What ART's HopSkipJump spends on the same tables (2,370 rows a sample), so that distances are compared at equal queries.
BUDGET = 2370


def hsj(predict_proba, x, y, norm, iters, init_eval, max_eval, low, high, seed):
    """HopSkipJump at the peers' iterations, within ART's number of queries."""
    classes = predict_proba(x[:1]).shape[1]
    # Asked in float32, as the peers' answers are judged.
    model = predictor(lambda rows: predict_proba(rows.astype(np.float32)), classes=classes)
    width = int(np.prod(x.shape[1:]))
    region = Region.box(np.full(width, low), np.full(width, high))
    attack = HopSkipJump(max_queries=BUDGET, norm="l2" if norm == 2 else "linf", iterations=40, directions=60)
    return attack(model, x, y, region, seed=seed).x_adv.astype(np.float32)
