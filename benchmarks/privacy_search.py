"""What a private choice of settings costs and gains: a search among candidates beside settings fixed beforehand.

Run: ``python benchmarks/privacy_search.py [--runs 10]``. Needs Assay and scikit-learn; adult lies in ``../shared/datasets``.
Every row is at one epsilon in all, the choice included. Fixed settings: those chosen on public data (mnist at 8 x 8 for
digits), and each candidate by itself, which nobody could know to be the best without looking. Digits: run 0 is the
peers' split, the others are other splits.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from privacy_utility import ON_MNIST, adult_rows
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from assay.training.private.estimators import DPLogisticRegression
from assay.training.private.search import PrivateSearch

# With and without a look at edges, which is the better half of them; and with it, the row norm alone.
DIGITS = [{"row_norm": norm, "image": image} for norm in (2.0, 5.0) for image in (None, (8, 8))]
PICTURES = [{"row_norm": norm} for norm in (1.5, 3.0, 6.0)]
# A decade and more to either side: what somebody tries who knows nothing.
ADULT = [{"learning_rate": rate, "clip": clip} for rate in (0.01, 0.1, 1.0) for clip in (0.1, 1.0)]


def row(case, epsilon, scores, seconds, **told):
    values = np.array(scores)
    print(
        json.dumps({"case": case, "epsilon": epsilon, "runs": len(values), "accuracy": round(values.mean(), 4),
                    "first": round(values[0], 4), "sd": round(values.std(), 4), "min": round(values.min(), 4),
                    "seconds_a_run": round(seconds / len(values), 2), **told}),
        flush=True,
    )  # fmt: skip


def measure(case, epsilon, runs, model, split):
    start, scores = time.perf_counter(), []
    for number in range(runs):
        train, test, y_train, y_test = split(number)
        scores.append(model.fit(train, y_train).score(test, y_test))
    told = {}
    if isinstance(model, PrivateSearch):
        said = model.privacy_statement()
        told = {"claimed": round(said["epsilon"]["high"], 3), "trial": round(said["parts"]["trial"], 3),
                "choice": round(said["parts"]["choice"], 3), "by_renyi": round(said["epsilon_renyi"], 3)}  # fmt: skip
    row(case, epsilon, scores, time.perf_counter() - start, **told)


def compare(name, base, candidates, epsilon, runs, split):
    for settings in candidates:
        measure(f"{name}, fixed {settings}", epsilon, runs, base.set_params(epsilon=epsilon, **settings), split)
    for trials in (2.0, 4.0, 8.0):
        search = PrivateSearch(base, candidates, epsilon, trials=trials)
        measure(f"{name}, search of {len(candidates)}, {trials:g} trials", epsilon, runs, search, split)


def digits(runs):
    x, y = load_digits(return_X_y=True)

    def split(seed):
        return train_test_split(x, y, test_size=0.25, random_state=seed, stratify=y)

    for epsilon, norm in ON_MNIST.items():
        base = DPLogisticRegression(
            epsilon, bounds=(0, 16), image=(8, 8), unit_rows=True, features=1000, row_norm=norm, steps=60,
            learning_rate=2.0, clip=0.3, classes=range(10), rows=1350,
        )  # fmt: skip
        measure("digits, fixed on public data", epsilon, runs, base, split)
        compare("digits", base, DIGITS, epsilon, runs, split)
        base.set_params(image=(8, 8))
        compare("digits as pictures", base, PICTURES, epsilon, runs, split)


def adult(runs):
    x, y, train = adult_rows()
    base = DPLogisticRegression(1.0, classes=[0, 1], rows=int(train.sum()))
    compare("adult", base, ADULT, 1.0, runs, lambda _: (x[train], x[~train], y[train], y[~train]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    digits(runs)
    adult(runs)


if __name__ == "__main__":
    main()
