"""Distances to a flip of tree ensembles: Assay's exact search and fast bound beside ART's clique method, in one run.

Peer: adversarial-robustness-toolbox 1.20.1 (`pip install adversarial-robustness-toolbox==1.20.1 xgboost-cpu==3.2.0
lightgbm==4.7.0 scikit-learn==1.9.1 pandas pyarrow` in a venv of its own that also sees this repository's `src`). Data sets:
`../shared/datasets` (clamp_malware, taiwan_default, spambase) and scikit-learn's breast_cancer, scaled to [0, 1], 70/30.

    python benchmarks/tree_certificates.py                 # the table: 4 tables x 5 kinds of model, and the soundness count
    python benchmarks/tree_certificates.py --only art      # Assay beside ART: same models, same rows
    python benchmarks/tree_certificates.py --only robust   # robustly trained trees: clean and certified accuracy
    python benchmarks/tree_certificates.py --rows 50 --seconds 1

Every radius, Assay's and ART's, is attacked: by the exact flip where one is known, replayed on the real model, and by 2,000
random rows, corners and split edges within it. "unsound" counts rows where the model's answer changed inside the radius.
Times are CPU seconds of one thread (set OMP_NUM_THREADS=1), so that other load does not count; a row is "exact" if it took no more
than --seconds of them. The search itself goes by the clock on the wall, and is given --patience times as much.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from assay.assessment.certificates.tree_exact import TreeExact
from assay.contract.region import Region
from assay.models.predictor import predictor
from assay.models.trees import read_trees

SETS = ("breast_cancer", "clamp_malware", "taiwan_default", "spambase")
KINDS = ("xgb", "lgb", "gb", "rf", "et")


def table(name):
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    if name == "breast_cancer":
        x, y = load_breast_cancer(return_X_y=True)
    else:
        sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared" / "datasets"))
        from load import load

        frame, labels, _ = load(name)
        text = [c for c in frame if frame[c].dtype.kind not in "iufb"]
        frame = frame.assign(**{c: frame[c].astype("category").cat.codes for c in text})
        x, y = np.nan_to_num(frame.to_numpy(float)), np.unique(labels, return_inverse=True)[1]
    a, b, c, d = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    low, high = a.min(axis=0), a.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    return (a - low) / width, np.clip((b - low) / width, 0, 1), c, d


def model(kind, x, y, trees=100, depth=6):
    import lightgbm as lgb
    import xgboost as xgb
    from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier

    return {
        "xgb": lambda: xgb.XGBClassifier(n_estimators=trees, max_depth=depth, n_jobs=1, random_state=0),
        "lgb": lambda: lgb.LGBMClassifier(
            n_estimators=trees, max_depth=depth, num_leaves=31, verbose=-1, n_jobs=1, random_state=0
        ),
        "gb": lambda: GradientBoostingClassifier(n_estimators=trees, max_depth=depth, random_state=0),
        "rf": lambda: RandomForestClassifier(trees, max_depth=depth, random_state=0),
        "et": lambda: ExtraTreesClassifier(trees, max_depth=depth, random_state=0),
    }[kind]().fit(x, y)


def contradicted(asked, trees, x, y, radius, known, seed=0):
    """Whether the real model's answer changes somewhere inside each radius (n,)."""
    rng, out = np.random.default_rng(seed), np.zeros(len(x), dtype=bool)
    inner = np.flatnonzero((trees.feature >= 0) & np.isfinite(trees.cut))
    for i, (row, label, claimed) in enumerate(zip(x, y, radius, strict=True)):
        far = min(claimed, 1.0) * (1 - 1e-9)
        near = row + rng.uniform(-1, 1, (2000, len(row))) * far
        near[:500] = row + np.sign(rng.uniform(-1, 1, (500, len(row)))) * far
        node = rng.choice(inner, 1000)
        close = np.abs(trees.cut[node] - row[trees.feature[node]]) < far
        at = (np.flatnonzero(close), trees.feature[node][close])
        near[at] = np.nextafter(trees.cut[node][close], np.where(row[at[1]] < trees.cut[node][close], np.inf, -np.inf))
        near = near.clip(0, 1)
        # Adding a radius of 1e-8 rounds: what lies on or outside the ball is no counterexample.
        near = np.where(np.abs(near - row) < claimed, near, row)
        if known is not None and np.abs(known[i] - row).max() < claimed:
            near = np.concatenate([near, known[i][None]])
        out[i] = (asked.labels(near) != label).any()
    return out


def line(*cells):
    print("| " + " | ".join(str(c) for c in cells) + " |", flush=True)


def timed(certificate, asked, x, y, region):
    """The result, and the CPU seconds of each row, asked one at a time after a common start."""
    from assay.assessment.certificates.tree_exact import TreeSolver

    solver = TreeSolver.of(read_trees(asked), asked, region, norm=certificate.norm)
    lower, upper, done, flips, took = [], [], [], x.copy(), []
    for i, (row, label) in enumerate(zip(x, y, strict=True)):
        begin = time.process_time()
        found = solver.solve(row, int(label), seconds=certificate.seconds)
        took.append(time.process_time() - begin)
        lower.append(found.lower)
        upper.append(found.upper)
        done.append(found.done)
        if found.row is not None:
            flips[i] = found.row
            assert asked.labels(found.row[None])[0] != label, "a flip does not replay"
            assert abs(np.abs(found.row - row).max() - found.upper) <= 1e-6 * found.upper + 1e-15
    return np.array(lower), np.array(upper), np.array(done), flips, np.array(took)


def assay_table(rows, seconds, patience, sets, kinds):
    line(
        "table",
        "model",
        "accuracy",
        "rows",
        "exact",
        "mean s",
        "p95 s",
        "max s",
        "mean radius",
        "gap",
        "fast ms",
        "fast/exact",
        "unsound",
    )
    line(*["---"] * 13)
    counted = unsound = 0
    for name in sets:
        a, b, c, d = table(name)
        region = Region.box(np.zeros(a.shape[1]), np.ones(a.shape[1]))
        for kind in kinds:
            made = model(kind, a, c)
            asked, trees = predictor(made), read_trees(made)
            right = np.flatnonzero(asked.labels(b) == d)[:rows]
            x, y = b[right], d[right]
            lower, upper, done, flips, took = timed(TreeExact(seconds=seconds * patience), asked, x, y, region)
            done &= took <= seconds
            fast, _, _, _, quick = timed(TreeExact(seconds=0), asked, x, y, region)
            bad = contradicted(asked, trees, x, y, lower, flips)
            bad |= contradicted(asked, trees, x, y, fast, flips)
            counted, unsound = counted + len(x), unsound + int(bad.sum())
            open_ = ~done & np.isfinite(upper)
            gap = f"{np.mean(1 - lower[open_] / upper[open_]):.2f}" if open_.any() else "-"
            line(
                name, kind, f"{made.score(b, d):.3f}", len(x), f"{done.mean():.3f}", f"{took.mean():.3f}",
                f"{np.quantile(took, 0.95):.2f}", f"{took.max():.2f}", f"{lower.mean():.5f}", gap, f"{1e3 * quick.mean():.2f}",
                f"{np.mean(fast[done] / np.maximum(lower[done], 1e-300)):.2f}" if done.any() else "-", int(bad.sum()),
            )  # fmt: skip
    print(f"\nunsound: {unsound} of {counted} rows, exact distances and fast bounds alike")


def against_art(rows, seconds, sets):
    import logging

    warnings.simplefilter("ignore")
    from art.estimators.classification import SklearnClassifier, XGBoostClassifier
    from art.metrics import RobustnessVerificationTreeModelsCliqueMethod

    logging.getLogger("art").setLevel(logging.ERROR)
    line(
        "table",
        "model",
        "rows",
        "ART rows/s",
        "ART mean radius",
        "ART unsound",
        "fast rows/s",
        "fast mean radius",
        "ratio",
        "exact rows/s",
        "exact mean radius",
        "exact",
        "Assay unsound",
    )
    line(*["---"] * 13)
    for name in sets:
        a, b, c, d = table(name)
        region = Region.box(np.zeros(a.shape[1]), np.ones(a.shape[1]))
        for kind, trees_, depth in (("xgb", 20, 4), ("xgb", 100, 6), ("gb", 50, 4), ("rf", 100, 6)):
            made = model(kind, a, c, trees_, depth)
            asked, trees = predictor(made), read_trees(made)
            right = np.flatnonzero(asked.labels(b) == d)[:rows]
            x, y = b[right], d[right]
            if kind == "xgb":
                wrapped = XGBoostClassifier(model=made, nb_features=x.shape[1], nb_classes=2, clip_values=(0.0, 1.0))
            else:
                wrapped = SklearnClassifier(made, clip_values=(0.0, 1.0))
            art, begin = np.zeros(len(x)), time.process_time()
            verifier = RobustnessVerificationTreeModelsCliqueMethod(classifier=wrapped, verbose=False)
            for i in range(len(x)):
                art[i], _ = verifier.verify(
                    x=x[i : i + 1].astype(np.float32), y=np.eye(2)[y[i : i + 1]], eps_init=0.1, norm=np.inf, nb_search_steps=10,
                    max_clique=2, max_level=1,
                )  # fmt: skip
            art_time = time.process_time() - begin
            fast, _, _, _, quick = timed(TreeExact(seconds=0), asked, x, y, region)
            lower, _, done, flips, took = timed(TreeExact(seconds=seconds), asked, x, y, region)
            # ART takes float32 rows: a radius counts as wrong only where a flip lies inside it by a margin above rounding.
            art_bad = contradicted(asked, trees, x, y, art - 1e-6, flips)
            bad = contradicted(asked, trees, x, y, lower, flips) | contradicted(asked, trees, x, y, fast, flips)
            line(
                name, f"{kind} {trees_} x {depth}", len(x), f"{len(x) / art_time:.1f}", f"{art.mean():.5f}", int(art_bad.sum()),
                f"{1 / quick.mean():.0f}", f"{fast.mean():.5f}", f"{art_time / len(x) / quick.mean():.0f}x",
                f"{1 / took.mean():.1f}", f"{lower.mean():.5f}", f"{done.mean():.2f}", int(bad.sum()),
            )  # fmt: skip


# How far values of each table may be moved, of their range in the training rows.
REACH = {"breast_cancer": 0.1, "clamp_malware": 0.002, "taiwan_default": 0.02, "spambase": 0.01}


def robust_table(rows, seconds, sets):
    from assay.training.robust.boosted import RobustBoostedTrees

    line(
        "table",
        "epsilon",
        "model",
        "fit s",
        "clean accuracy",
        "certified at epsilon",
        "unbroken at epsilon",
        "mean radius",
    )
    line(*["---"] * 8)
    for name in sets:
        a, b, c, d = table(name)
        reach, region = REACH[name], Region.box(np.zeros(a.shape[1]), np.ones(a.shape[1]))
        makers = {
            "XGBoost 100 x 6": lambda: model("xgb", a, c),
            "Assay, epsilon 0": lambda: RobustBoostedTrees(epsilon=0.0).fit(a, c),
            "Assay, robust": lambda reach=reach: RobustBoostedTrees(epsilon=reach).fit(a, c),
        }
        for label, make in makers.items():
            begin = time.perf_counter()
            made = make()
            took = time.perf_counter() - begin
            result = TreeExact(seconds=seconds)(predictor(made), b[:rows], d[:rows], region)
            unbroken = (result.right & ~(result.upper <= reach)).mean()
            line(
                name, reach, label, f"{took:.1f}", f"{made.score(b, d):.3f}", f"{result.certified(reach).mean():.3f}",
                f"{unbroken:.3f}", f"{result.lower.mean():.4f}",
            )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("assay", "art", "robust"))
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--patience", type=float, default=4.0)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    chosen = parser.parse_args()
    if chosen.only in {None, "assay"}:
        assay_table(chosen.rows, chosen.seconds, chosen.patience, chosen.sets, chosen.kinds)
    if chosen.only in {None, "robust"}:
        robust_table(chosen.rows, chosen.seconds, chosen.sets)
    if chosen.only in {None, "art"}:
        against_art(min(chosen.rows, 20), chosen.seconds, chosen.sets)
