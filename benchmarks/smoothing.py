"""Randomized smoothing: certified accuracy and samples, Cohen's fixed 100,000 against sequential stopping.

    python benchmarks/smoothing.py [--rows 60]

One network trained with noise (sigma 0.5) on MNIST. Both certificates run on the same test images at 99.9 %
confidence, in one process; "fixed" is the procedure of Cohen, Rosenfeld & Kolter 2019 (100 samples pick the class,
100,000 bound its share by Clopper-Pearson), which is also the peer: it is what the reference implementation does.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time

import numpy as np

from assay.assessment.certificates.smoothing import Smoothing
from assay.models.predictor import predictor
from assay.training.robust.adversarial import AdversarialClassifier

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "datasets"
SIGMA = 0.5


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--set", default="mnist")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    with np.load(SHARED / f"{options.set}.npz", allow_pickle=False) as held:
        x, y = held["X_train"].astype(np.float32) / 255, held["y_train"].astype(int)
        xt, yt = held["X_test"][: options.rows].astype(np.float32) / 255, held["y_test"][: options.rows].astype(int)
    made = AdversarialClassifier(method="noise", radius=SIGMA, epochs=6, threads=options.threads).fit(x, y)
    radii = SIGMA * np.arange(0, 3.01, 0.5)
    print(f"{options.set}, sigma {SIGMA}, {options.rows} images; certified accuracy at L2 radii {radii.tolist()}")
    rows = {}
    for name, certificate in (
        ("fixed 100,000", Smoothing(sigma=SIGMA, method="fixed", samples=100_000)),
        ("sequential", Smoothing(sigma=SIGMA, step=0.5)),
    ):
        model = predictor(made.module_, classes=10, batch=5000)
        start = time.perf_counter()
        found = certificate(model, xt, yt)
        seconds = time.perf_counter() - start
        share = [float(((found.lower > 0) & (found.lower >= r)).mean()) for r in radii]
        rows[name] = (model.queries / options.rows, seconds, share, found.lower)
        print(f"  {name:14s} {rows[name][0]:9.0f} samples an image, {seconds:6.1f} s: {share}", flush=True)
    (many, slow, theirs, far), (few, fast, ours, near) = rows.values()
    print(
        f"  {many / few:.1f}x fewer samples, {slow / fast:.1f}x faster; largest loss of certified accuracy {max(a - b for a, b in zip(theirs, ours)):.3f}"
    )
    print(f"  mean radius {far.mean():.3f} fixed, {near.mean():.3f} sequential")


if __name__ == "__main__":
    sys.exit(main())
