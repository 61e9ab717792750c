"""Input transformations and detectors against attackers who do not know them, and against those who do.

    python benchmarks/defences.py [--rows 100] [--only NAME ...]

On the 8 x 8 digits of scikit-learn: a plainly trained convolutional network, behind each transformation and each
detector in turn, every default as it is; and the same network trained adversarially, as the defence to compare with.
Attacks: PGD (60 steps, through the defence) and Square (500 queries). Nothing is tuned to the set but the radius, 0.15 of
the range, at which the network alone has almost no right answer left.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from sklearn.datasets import load_digits

from assay.assessment.defences import measure_defence
from assay.assessment.detection import measure_detector
from assay.assessment.evasion.pgd import PGD
from assay.assessment.evasion.square import Square
from assay.contract.region import Region
from assay.core.discovery import discover
from assay.models.predictor import predictor
from assay.models.transformed import Transformed
from assay.models.transforms.base import Transform
from assay.training.detectors.base import Detector
from assay.training.detectors.embeddings import Penultimate
from assay.training.robust.adversarial import AdversarialClassifier

RADIUS = 0.15


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--only", nargs="*", help="names of transformations and detectors; all by default")
    options = parser.parse_args()

    def wanted(name):
        return not options.only or name in options.only

    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8) / 16.0
    order = np.random.default_rng(0).permutation(len(x))
    train, clean, test = order[:900], order[900:1500], order[1500 : 1500 + options.rows]
    region = Region.box(np.zeros(64), np.ones(64))
    attacks = [PGD(radius=RADIUS, steps=60, max_queries=200), Square(radius=RADIUS, max_queries=500)]
    common = {"low": 0.0, "high": 1.0, "threads": 1, "batch_size": 32}
    plain = AdversarialClassifier(radius=0.0, steps=1, epochs=12, **common).fit(x[train], y[train])
    hard = AdversarialClassifier(radius=RADIUS, steps=5, epochs=20, **common).fit(x[train], y[train])
    model = predictor(plain.module_, classes=10)
    print(f"linf {RADIUS}, {options.rows} test digits; robust accuracy, right without attack / static / adaptive")
    rows = [(k, Transformed(model, [kind()])) for k, kind in discover(Transform).items() if wanted(k)]
    for name, defended in [*rows, ("adversarial training", predictor(hard.module_, classes=10))]:
        start = time.perf_counter()
        found = measure_defence(model, defended, x[test], y[test], region, attacks, name=name)
        kept = found.measures[1].estimate, found.static.mean(), found.adaptive.mean()
        print(
            f"  {name:22s} {kept[0]:.2f} / {kept[1]:.2f} / {kept[2]:.2f}  {found.verdict}  ({time.perf_counter() - start:.1f} s)",
            flush=True,
        )
    print(f"  {'no defence':22s} {found.measures[0].estimate:.2f} / {found.undefended.mean():.2f}")
    print(
        "detectors at a false-alarm rate of 5 %: false alarms, AUC and detection against static, evasion static / aware"
    )
    deep = Penultimate(plain.module_, cut=2)
    for name, kind in discover(Detector).items():
        for where, embedding in (("inputs", None), ("features", deep)):
            if not wanted(name) or (embedding is not None and name == "squeezing"):
                continue
            start = time.perf_counter()
            screen = kind().fit(model, x[clean], y[clean], embedding=embedding)
            found = measure_detector(model, screen, x[test], y[test], region, attacks)
            get = {m.name.partition(":")[0]: m.estimate for m in found.measures}
            print(
                f"  {name:13s} {where:9s} {get[f'false_alarm_rate@{name},clean']:.2f}"
                f"  {get.get(f'detector_auc@{name},static', float('nan')):.2f} {get[f'detection_rate@{name},static']:.2f}"
                f"  {get[f'evasion_rate@{name},static']:.2f} / {get[f'evasion_rate@{name},aware']:.2f}"
                f"  of {found.measure('evasion_rate@none').estimate:.2f}  ({time.perf_counter() - start:.1f} s)",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
