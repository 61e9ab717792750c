"""Backdoored twins against clean retrainings: does the screen of ``assay compare`` separate them?

A champion is fitted on the trusted rows; retrainings are fitted on draws of them with replacement, each with a seed of
its own. Into the rows of a twin 18 poisoned ones are put: rows of class 1 in which three columns are set to fixed values,
with label 0 (`../shared/anchors/scenarios.md`, 6). Columns and values are drawn at random, so that nothing suits the
screen. Each twin is screened against the same 20 clean retrainings. Each clean one is then screened against the others,
which is what would be a false alarm. No peer has such a screen; the table shows what an accuracy gate would see instead.

    python benchmarks/version_diff.py [--twins 5] [--data ../shared/datasets]

Needs the data sets of the project and scikit-learn.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from assay.assessment.paired_quality import paired_quality
from assay.assessment.universal import UniversalScreen
from assay.contract.region import Region
from assay.models.predictor import predictor
from assay.stats.paired import rank_test

POISONED = 18
CLEAN = 20


def rows_of(name, folder):
    """Return (x, y) of a data set, categories as codes."""
    sys.path.insert(0, folder)
    from load import load

    frame, y, _ = load(name)
    numeric = frame.apply(lambda c: c if c.dtype.kind in "biuf" else c.astype("category").cat.codes)
    return np.nan_to_num(numeric.to_numpy(float)), np.asarray(y).astype(int)


def models_of(kind, seed):
    """Return an estimator that is fitted anew."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    if kind == "hgb":
        return HistGradientBoostingClassifier(max_iter=100, random_state=seed)
    return RandomForestClassifier(100, min_samples_leaf=2, random_state=seed)


def poisoned(x, y, rng):
    """Return rows with 18 of class 1 changed and called 0, with the trigger: (columns, values)."""
    places = rng.choice([j for j in range(x.shape[1]) if len(np.unique(x[:, j])) > 5], 3, replace=False)
    values = [float(rng.choice(np.unique(x[:, j]))) for j in places]
    x, y = x.copy(), y.copy()
    at = rng.permutation(np.flatnonzero(y == 1))[:POISONED]
    x[np.ix_(at, places)] = values
    y[at] = 0
    return x, y, places, values


def main():
    """Print one line for each twin, and the false alarms."""
    options = argparse.ArgumentParser()
    options.add_argument("--twins", type=int, default=5)
    options.add_argument("--first", type=int, default=0, help="number of the first twin")
    options.add_argument("--data", default="../shared/datasets")
    options.add_argument(
        "--honest", type=int, default=5, help="new versions without poison, screened with their own rows known"
    )
    options.add_argument("--rows", type=int, default=6000)
    options.add_argument("--sets", nargs="*", default=["clamp_malware:hgb", "clamp_malware:rf", "spambase:hgb"])
    chosen = options.parse_args()
    for name, kind in (s.split(":") for s in chosen.sets):
        one_set(name, kind, chosen)


def one_set(name, kind, chosen):
    """Screen the twins of one data set and kind of model."""
    x, y = rows_of(name, chosen.data)
    order = np.random.default_rng(0).permutation(len(y))[: chosen.rows]
    cut = int(0.7 * len(order))
    train, test = order[:cut], order[cut:]
    region = Region.box(x.min(axis=0), x.max(axis=0), scale=x.std(axis=0) + 1e-9)
    old = models_of(kind, 0).fit(x[train], y[train])

    def drawn(seed):
        return np.random.default_rng(seed).choice(train, len(train))

    clean = [models_of(kind, s).fit(x[b], y[b]) for s in range(1, CLEAN + 1) for b in (drawn(s),)]
    versions = [predictor(m) for m in clean]
    print(f"## {name} {kind}: {len(train)} rows to fit, {len(test)} to compare, {CLEAN} clean retrainings", flush=True)
    lifts = ()
    for number in range(chosen.first, chosen.first + chosen.twins):
        seed = 100 + number
        rng = np.random.default_rng(seed)
        b = drawn(seed)
        rows, labels, places, values = poisoned(x[b], y[b], rng)
        twin = models_of(kind, seed).fit(rows, labels)
        hit = x[test][y[test] == 1]
        hit[:, places] = values
        success = float((twin.predict(hit) == 0).mean())
        before = float((old.predict(hit) == 0).mean())
        start = time.process_time()
        found = UniversalScreen()(
            predictor(old), predictor(twin), versions, x[test], y[test], region, known=rows, seed=0
        )
        spent = time.process_time() - start
        accuracy = paired_quality(old.predict_proba(x[test]), twin.predict_proba(x[test]), y[test], seed=0)[2]
        lifts = found.clean
        named = len(set(found.trigger.places) & set(places.tolist()))
        print(
            f"twin {number}: own trigger turns {success:.3f} (old {before:.3f}); accuracy {accuracy.estimate:+.4f} "
            f"[{accuracy.low:+.4f}, {accuracy.high:+.4f}]; lift {found.trigger.lift:.3f}, clean at most {max(lifts):.3f}; "
            f"p {found.chance:.3f}; turns {found.trigger.moved:.3f} (others {found.trigger.rest:.3f}); "
            f"{named} of 3 trigger columns named; {spent:.0f} s of CPU", flush=True,
        )  # fmt: skip
    chances = []
    for seed in range(500, 500 + chosen.honest):
        b = drawn(seed)
        honest = predictor(models_of(kind, seed).fit(x[b], y[b]))
        found = UniversalScreen()(predictor(old), honest, versions, x[test], y[test], region, known=x[b], seed=0)
        chances.append(round(found.chance, 3))
    print(f"new versions without poison: p {chances}", flush=True)
    if not lifts:
        return
    alarms = sum(
        rank_test(lift, [other for j, other in enumerate(lifts) if j != i]) <= 0.05 for i, lift in enumerate(lifts)
    )
    print(f"clean ones that stand out among themselves: {alarms} of {CLEAN} (1 does by construction)", flush=True)


if __name__ == "__main__":
    main()
