"""Adversarial training on two image sets: seconds, clean accuracy, and what attacks of three kinds leave of it.

    python benchmarks/adversarial_training.py [--set mnist|fashion_mnist] [--quick] [--threads 2]

Beside each robust network stands the same network trained plainly, under the same attacks. PGD-20 runs on 1,000 test
images; AutoAttack on the first 100, Square (black box, scores) on 200, HopSkipJump (black box, labels) on 100. Attacked images
are asked about again at the end through the ONNX form of the network, as it would be served. The time is that of
``fit`` on this process's share of the machine: wall clock, and seconds of CPU over all threads.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time

import numpy as np

from assay.assessment.evasion.autoattack import AutoAttack
from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.assessment.evasion.pgd import PGD
from assay.assessment.evasion.square import Square
from assay.contract.region import Region
from assay.models.predictor import predictor
from assay.training.robust.adversarial import AdversarialClassifier

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "datasets"
SETS = {
    "mnist": (0.2, {"method": "fast", "epochs": 16, "batch_size": 64}),
    "fashion_mnist": (0.1, {"method": "fast", "epochs": 6, "batch_size": 64}),
}


def load(name):
    with np.load(SHARED / f"{name}.npz", allow_pickle=False) as held:
        x = [held[k].astype(np.float32) / 255 for k in ("X_train", "X_test")]
        return x[0], held["y_train"].astype(int), x[1], held["y_test"].astype(int)


def share(result, y):
    return float((~result.success & ~result.already_wrong).mean())


def judge(model, x, y, radius, quick):
    region = Region.box(np.zeros(784), np.ones(784))
    attacks = [
        ("pgd-20", PGD(radius=radius, steps=20, max_queries=50), 1000),
        ("autoattack", AutoAttack(radius=radius, square_queries=1000), 100),
        ("square-1000", Square(radius=radius, max_queries=1000), 200),
        ("hopskipjump-2000", HopSkipJump(norm="linf", max_queries=2000), 100),
    ]
    target = predictor(model.module_, classes=10, batch=500)
    graph = predictor(model.onnx_bytes(), classes=10)
    for name, attack, n in attacks[: 1 if quick else None]:
        rows, labels = x[:n], y[:n]
        start = time.perf_counter()
        found = attack(target, rows, labels, region)
        inside = found.success & (found.distance <= radius * (1 + 1e-6))
        served = graph.labels(found.x_adv) == labels
        print(
            f"    {name:18s} n={len(rows):5d} robust {1 - (inside | found.already_wrong).mean():.3f}"
            f"  replayed on ONNX: still wrong {(~served[inside]).sum()}/{inside.sum()}"
            f"  {found.queries.mean():.0f} queries a row, {time.perf_counter() - start:.0f} s",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", choices=SETS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    for name, (radius, settings) in SETS.items():
        if options.set not in (None, name):
            continue
        x, y, xt, yt = load(name)
        for kind, more in (("robust", settings), ("plain", {"method": "pgd", "steps": 1, "epochs": 3})):
            wall, cpu = time.perf_counter(), time.process_time()
            made = AdversarialClassifier(
                radius=radius if kind == "robust" else 0.0, low=0.0, high=1.0, threads=options.threads, **more
            ).fit(x, y)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(
                f"{name} linf {radius} {kind} {more}: fit {wall:.0f} s wall, {cpu:.0f} s cpu; clean {made.score(xt, yt):.3f}"
            )
            judge(made, xt, yt, radius, options.quick)
            if options.quick:
                break


if __name__ == "__main__":
    sys.exit(main())
