"""Randomized smoothing: certified accuracy and samples, Cohen's fixed 100,000 against sequential stopping.

    python benchmarks/smoothing.py [--set mnist|fashion_mnist|digits] [--rows 60] [--sigma 0.5] [--threads 2]

One network trained with noise on the set (digits: the 8 x 8 ones of scikit-learn). Both certificates run on the same test images at 99.9 %
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


def load(name):
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(x))
        x = (x[order] / 16).astype(np.float32)
        return x[:1200], y[order[:1200]], x[1200:], y[order[1200:]]
    with np.load(SHARED / f"{name}.npz", allow_pickle=False) as held:
        x = [held[k].astype(np.float32) / 255 for k in ("X_train", "X_test")]
        return x[0], held["y_train"].astype(int), x[1], held["y_test"].astype(int)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--set", default="mnist", choices=("mnist", "fashion_mnist", "digits"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--sigma", type=float, default=0.5)
    options = parser.parse_args()
    sigma = options.sigma
    import torch

    torch.set_num_threads(options.threads)
    x, y, xt, yt = load(options.set)
    xt, yt = xt[: options.rows], yt[: options.rows]
    made = AdversarialClassifier(method="noise", radius=sigma, epochs=options.epochs, threads=options.threads).fit(x, y)
    radii = sigma * np.arange(0, 3.01, 0.5)
    print(f"{options.set}, sigma {sigma}, {options.rows} images; certified accuracy at L2 radii {radii.tolist()}")
    rows = {}
    for name, certificate in (
        ("fixed 100,000", Smoothing(sigma=sigma, method="fixed", samples=100_000)),
        ("sequential", Smoothing(sigma=sigma, step=0.5)),
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
