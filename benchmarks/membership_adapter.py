"""Lets `../shared/bench/privacy_peers.py` run Assay's membership attacks and shadow training beside the peers.

    PYTHONPATH=src:benchmarks python ../shared/bench/privacy_peers.py --sections mia,vmap --project membership_adapter

Peers: see that script. Assay's attacks get the answers and the masks that the script's own prototypes get.
"""

from __future__ import annotations

import time

import numpy as np

from assay.assessment.membership.base import Exposure, MembershipAttack
from assay.core.discovery import discover
from assay.core.errors import AssayError


def mia(case, data):
    every, shares, masks = data["eval"], data["probs"], data["masks"]
    rows = []
    for shadows in (8, len(masks) - 1):
        chosen = slice(1, shadows + 1)
        exposure = Exposure(
            shares[0][every], data["y"][every], data["member"][every], shares[chosen][:, every], masks[chosen][:, every]
        )
        for name, kind in discover(MembershipAttack).items():
            started = time.perf_counter()
            try:
                result = kind()(exposure)
            except AssayError:
                continue
            area, thousandth, hundredth = result.measures[:3]
            rows.append({
                "attack": f"{name}-{shadows}", "auc": area.estimate, "auc_low": area.low, "auc_high": area.high,
                "tpr_001": hundredth.estimate, "tpr_0001": thousandth.estimate, "tpr_0001_low": thousandth.low,
                "seconds": time.perf_counter() - started,
            })  # fmt: skip
    return rows


def vmap(case, data):
    from sklearn.neural_network import MLPClassifier

    from assay.models.together.base import Sample
    from assay.models.together.mlp import ManyPerceptrons

    settings = MLPClassifier(
        (data["hidden"],), solver="sgd", momentum=0.0, alpha=0.0, batch_size=data["batch"], max_iter=data["epochs"],
        learning_rate_init=data["lr"], tol=-np.inf,
    )  # fmt: skip
    x, y = data["X"], data["y"]
    samples = [Sample(x[rows], y[rows].astype(np.intp), x[:1]) for rows in data["idx"]]
    best = np.inf
    for _ in range(3):
        started = time.perf_counter()
        ManyPerceptrons.answers(settings, samples, classes=2, seeds=list(range(len(samples))))
        best = min(best, time.perf_counter() - started)
    return {"seconds": best, "models": len(samples)}
