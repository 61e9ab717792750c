"""Accuracy under differential privacy: digits and adult, private models beside the same ones without privacy.

Run: ``python benchmarks/privacy_utility.py [--runs 10]``. Needs Assay and scikit-learn; adult lies in
``../shared/datasets``. Settings for digits were chosen on mnist shrunk to 8 x 8 (1,347 rows a trial; the middle 24 rows and columns in blocks of 3), never on digits; bounds and
categories of adult are those of its public description.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier
from assay.training.private.scaling import BoundsEncoder
from assay.training.private.trees import DPBoostedTreesClassifier

# Chosen on 8 x 8 mnist for each epsilon: row norm of the random features; all else alike.
ON_MNIST = {1.0: 3.0, 3.0: 6.0}
NUMBERS = {
    "age": (17, 90),
    "fnlwgt": (0, 1e6),
    "education_num": (1, 16),
    "capital_gain": (0, 1e5),
    "capital_loss": (0, 5e3),
    "hours_per_week": (1, 99),
}


def row(name, epsilon, scores, seconds):
    values = np.array(scores)
    print(
        json.dumps({"case": name, "epsilon": epsilon, "runs": len(values), "accuracy": round(values.mean(), 4),
                    "sd": round(values.std(), 4), "min": round(values.min(), 4), "seconds_a_run": round(seconds / len(values), 3)}),
        flush=True,
    )  # fmt: skip


def repeat(name, epsilon, runs, fit_and_score):
    start = time.perf_counter()
    row(name, epsilon, [fit_and_score(number) for number in range(runs)], time.perf_counter() - start)


def digits(runs):
    x, y = load_digits(return_X_y=True)

    def split(seed):
        return train_test_split(x, y, test_size=0.25, random_state=seed, stratify=y)

    def score(model, seed):
        a, b, ya, yb = split(seed)
        return model.fit(a, ya).score(b, yb)

    repeat("digits logreg without privacy", None, 5, lambda s: score(LogisticRegression(max_iter=2000, C=0.01), s))
    for epsilon, norm in ON_MNIST.items():
        linear = DPLogisticRegression(
            epsilon, bounds=(0, 16), image=(8, 8), unit_rows=True, features=1000, row_norm=norm, steps=60, learning_rate=2.0,
            clip=0.3, classes=range(10), rows=1350,
        )  # fmt: skip
        # Run 0 is the peers' split; the others are other splits.
        repeat("digits softmax on random features of edges", epsilon, runs, lambda s, m=linear: score(m, s))
        repeat(
            "digits softmax on random features of edges, the peers' split",
            epsilon,
            runs,
            lambda _, m=linear: score(m, 0),
        )
        trees = DPBoostedTreesClassifier(epsilon, bounds=(0, 16), classes=range(10), rows=1350)
        repeat("digits boosted trees", epsilon, runs, lambda _, m=trees: score(m, 0))


def adult_table():
    """Return columns (n, d), their low and high ends, bins, labels, and which rows are for training."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared" / "datasets"))
    from load import load

    table, y, meta = load("adult")
    columns, low, high, bins = [], [], [], []
    for name in table:
        if name in NUMBERS:
            values, ends = table[name].to_numpy(float), np.array(NUMBERS[name], float)
            if name.startswith("capital"):
                values, ends = np.log1p(values), np.log1p(ends)
            low, high, bins = [*low, ends[0]], [*high, ends[1]], [*bins, 12]
        else:
            known = sorted(table[name].dropna().astype(str).unique())
            values = table[name].astype(str).map({c: i for i, c in enumerate(known)}).to_numpy(float)
            low, high, bins = [*low, -0.5], [*high, len(known) - 0.5], [*bins, len(known)]
        columns.append(values)
    return np.stack(columns, 1), low, high, bins, np.asarray(y), np.asarray(meta["split"]) == "train"


def adult_rows():
    """Return adult on bins (n, indicators), its labels, and which rows are for training."""
    x, low, high, bins, y, train = adult_table()
    return BoundsEncoder((low, high), bins).fit(x).transform(x), y, train


def adult(runs):
    x, low, high, _, y, train = adult_table()
    coded = adult_rows()[0]
    full = np.nan_to_num(x, nan=-0.5)

    def score(model, rows):
        return model.fit(rows[train], y[train]).score(rows[~train], y[~train])

    repeat(
        "adult logreg without privacy, same features",
        None,
        1,
        lambda _: score(LogisticRegression(max_iter=1000), coded),
    )
    repeat(
        "adult gradient boosting without privacy",
        None,
        1,
        lambda _: score(HistGradientBoostingClassifier(random_state=0), x),
    )
    options = {"classes": [0, 1], "rows": int(train.sum())}
    repeat("adult softmax on bins", 1.0, runs, lambda _: score(DPLogisticRegression(1.0, **options), coded))
    network = {"batch": 4096, "clip": 1.0, "hidden": (32,), **options}
    repeat("adult network on bins", 1.0, runs, lambda _: score(DPMLPClassifier(1.0, **network), coded))
    trees = DPBoostedTreesClassifier(
        1.0, trees=300, depth=4, features_per_tree=4, bounds=(np.array(low), np.array(high)), **options
    )
    repeat("adult boosted trees", 1.0, runs, lambda _: score(trees, full))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    digits(runs)
    adult(runs)


if __name__ == "__main__":
    main()
