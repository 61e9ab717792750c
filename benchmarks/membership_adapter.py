"""Lets `../shared/bench/privacy_peers.py` run Assay's membership attacks, shadow training and thieves beside the peers.

    PYTHONPATH=src:benchmarks python ../shared/bench/privacy_peers.py --sections mia,vmap,extract --project membership_adapter

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


def extract(case, data):
    """Steal the victim from its own pools by Assay's thieves; one curve a pool, over all of the script's budgets."""
    from assay.assessment.extraction.base import POLICIES
    from assay.assessment.extraction.equation import EquationSolving
    from assay.assessment.extraction.knockoff import Knockoff
    from assay.assessment.extraction.thief import Thief
    from assay.contract.contract import Contract, Feature, Kind, Target
    from assay.contract.region import Region
    from assay.models.function import Function

    judged, width = data["Xte"].astype(np.float64), data["Xte"].shape[1]
    contract = Contract(
        Target("y", tuple(map(str, range(data["k"])))), tuple(Feature(f"f{i}", Kind.NUMBER) for i in range(width))
    )
    predictor = Function(lambda x: data["victim"](x.astype(np.float32)), data["k"])
    rows = []
    for pool_name, pool in data["pools"].items():
        budgets = tuple(q for q in (25, 100, 500, 2500) if q <= len(pool))
        attacks = [Knockoff(budgets=budgets, answers=policy) for policy in POLICIES if policy != "top1"]
        attacks.append(Thief(budgets=budgets))
        if case.endswith("logreg") and pool_name == "in-dist":
            attacks += [EquationSolving(budgets=(width + 1,), answers=policy) for policy in ("probabilities", "labels")]
        for attack in attacks:
            started = time.perf_counter()
            found = attack(predictor, pool.astype(np.float64), judged, None, Region.of(contract), seed=0)
            rows.append({
                "pool": pool_name, "attack": attack.title, "queries": found.queries.tolist(),
                "fidelity": found.fidelity.tolist(), "floor": found.measures[0].estimate,
                "seconds": time.perf_counter() - started,
            })  # fmt: skip
    return rows
