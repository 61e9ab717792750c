"""Does adversarial training cost privacy, and does the side-effect matrix show it?

A net is fitted on fashion_mnist with and without adversarial training, and every input transform and coarser answer is
put before the same plain net; each is attacked itself (evasion by HopSkipJump, membership by confidence, extraction,
poisoned labels). Song, Shokri & Mittal 2019 report that adversarial training raises membership inference.

    python benchmarks/side_effects.py [--data ../shared/datasets] [--rows 800]

Needs the data sets of the project and torch.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from assay.contract.region import Region
from assay.flows.side_effects import side_effects


def main():
    """Print the matrix."""
    options = argparse.ArgumentParser()
    options.add_argument("--data", default="../shared/datasets")
    options.add_argument("--rows", type=int, default=800)
    options.add_argument("--radius", type=float, default=1.5)
    options.add_argument("--only", nargs="+", default=(), help="names of defences, as the table has them")
    chosen = options.parse_args()
    sys.path.insert(0, chosen.data)
    import torch
    from load import load

    from assay.training.robust.adversarial import AdversarialClassifier

    torch.set_num_threads(1)
    x, y, _ = load("fashion_mnist")
    x = np.asarray(x, dtype=np.float64)[: 2 * chosen.rows, None] / 255.0
    y = np.asarray(y).astype(int)[: 2 * chosen.rows]
    train, test = (x[: chosen.rows], y[: chosen.rows]), (x[chosen.rows :], y[chosen.rows :])
    base = AdversarialClassifier(radius=0.0, norm="l2", epochs=30, validation=0.0, threads=1).fit(*train)
    found = side_effects(
        base, train=train, test=test, region=Region.box(np.zeros(784), np.ones(784)), radius=chosen.radius, rows=60,
        queries=400, only=chosen.only, progress=lambda name: print("...", name, flush=True),
    )  # fmt: skip
    for line in (found.heads, *found.table()):
        print(" | ".join(line))
    for finding in found.evidence().findings:
        print(f"{finding.location}: {finding.message}")


if __name__ == "__main__":
    main()
