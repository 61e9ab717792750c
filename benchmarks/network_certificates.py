"""Certified radii of networks, by intervals and by lines, beside what an attack finds.

    python benchmarks/network_certificates.py [--rows 40]

On the 8 x 8 digits of scikit-learn, Linf: an MLPClassifier, and networks trained by PGD and by intervals at radius 0.1.
HopSkipJump (1,000 queries a row) gives an upper end; a radius beyond it would be unsound and is counted. One process,
one thread, seconds of CPU.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from assay.assessment.certificates.interval import Interval
from assay.assessment.certificates.linear import Linear
from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.contract.region import Region
from assay.models.predictor import predictor
from assay.training.robust.adversarial import AdversarialClassifier


def networks(x, y):
    common = {"radius": 0.1, "low": 0.0, "high": 1.0, "threads": 1, "batch_size": 32}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield "MLPClassifier 64-32", predictor(MLPClassifier((64, 32), max_iter=100, random_state=0).fit(x, y))
    for name, more in (
        ("perceptron, pgd", {"method": "pgd", "steps": 4}),
        ("perceptron, interval", {"method": "interval", "epochs": 60}),
        ("convolutional, interval", {"method": "interval", "epochs": 40, "shape": (1, 8, 8)}),
    ):
        yield name, predictor(AdversarialClassifier(**common, **more).fit(x, y).module_, classes=10)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=40)
    options = parser.parse_args()
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order] / 16.0, y[order]
    rows, labels = x[1200 : 1200 + options.rows], y[1200 : 1200 + options.rows]
    region = Region.box(np.zeros(64), np.ones(64))
    for name, model in networks(x[:1200], y[:1200]):
        attack = HopSkipJump(norm="linf", max_queries=1000)(model, rows, labels, region)
        for kind in (Interval, Linear):
            start = time.process_time()
            found = kind(norm="linf")(model, rows, labels, region)
            spent = (time.process_time() - start) / len(rows)
            both = found.right & attack.success
            print(
                f"{name:24s} {kind.name:9s} clean {found.right.mean():.2f}, certified {found.certified(0.05).mean():.2f} at 0.05,"
                f" {found.certified(0.1).mean():.2f} at 0.1; mean radius {found.lower[both].mean():.4f}, attack"
                f" {attack.distance[both].mean():.4f}; beyond it {(found.lower[both] > attack.distance[both]).sum()};"
                f" {1e3 * spent:.0f} ms a row",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
