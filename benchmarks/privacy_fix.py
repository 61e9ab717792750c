"""What forests leak, how fast that is measured, and what the fix does, on digits, a 4k-row table and diabetes130.

    PYTHONPATH=src python benchmarks/privacy_fix.py [--sections rmia,shadows,patients,fix] [--data ../shared/datasets]

One JSON line a row, measured in one run. No peer does this; the peers' attacks on the same kinds of forest are in
`../shared/bench/privacy_peers.py` (section mia), which `membership_adapter.py` joins. diabetes130 is drawn by patient,
so that nobody is both a member and not: without the data set its rows are left out and said to be.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier

from assay.assessment.membership.base import Exposure
from assay.assessment.membership.neighbours import Neighbours, rows_around
from assay.assessment.membership.rmia import RMIA, shadow_rows
from assay.contract.contract import Contract, Feature, Kind, Target
from assay.contract.encode import encode, labels
from assay.contract.region import Region
from assay.data.copies import near_copies
from assay.flows.fix import fix_privacy
from assay.models.refit import LocalRefit
from assay.training.variants import varied

SHADOWS, SETS = 8, 32


def told(**row):
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


def digits():
    x, y = load_digits(return_X_y=True)
    return x / 16.0, y.astype(np.intp)


def tabular(n=4000, d=20):
    """The 4k-row table of the peers' script: half of the columns tell, a tenth repeats others, a tenth of labels is wrong."""
    x, y = make_classification(
        n,
        d,
        n_informative=d // 2,
        n_redundant=d // 10,
        class_sep=0.8,
        flip_y=0.1,
        n_clusters_per_class=2,
        random_state=7,
    )
    return (x - x.mean(axis=0)) / x.std(axis=0), y.astype(np.intp)


def patients(folder, people, seed=0):
    """Return members and others of diabetes130, by patient, in model space, with the region of their contract."""
    import pandas as pd

    frame = pd.read_parquet(folder / "diabetes130.parquet").drop(columns=["readmitted"])
    contract = Contract.infer(frame, "readmit_30d", ids=["patient_nbr"])
    drawn = np.random.default_rng(seed).permutation(frame["patient_nbr"].unique())[: 2 * people]
    sides = []
    for group in (drawn[:people], drawn[people:]):
        rows = frame[frame["patient_nbr"].isin(group)]
        sides.append((np.nan_to_num(encode(contract, rows), nan=-1.0), labels(contract, rows)))
    found = near_copies(sides[0][0], sides[1][0])
    told(
        section="patients", case="split", members=len(sides[0][1]), others=len(sides[1][1]),
        near_copies=found.measures()[0].estimate, near_copies_within=found.measures()[1].estimate,
    )  # fmt: skip
    return sides, contract


def attack(forest, x, y, member, seed, classes, *, around=False):
    """Return the measures of each attack by 8 forests' worth of shadows, shared out over 32 sets, and seconds in all."""
    started = time.perf_counter()
    refit = LocalRefit(forest, classes, n_jobs=2)
    rows = np.flatnonzero(member)
    asked = x[None]
    if around:
        region = Region.box(np.full(x.shape[1], -np.inf), np.full(x.shape[1], np.inf))
        asked = np.concatenate([asked, *rows_around(x, y, region, seed=seed)])
    queries = asked.reshape(-1, x.shape[1])
    target = refit.probabilities([(rows, y[rows])], x, queries, seed=seed)[0]
    seen = shadow_rows(len(x), SETS, seed=seed)
    sets = [(part := np.flatnonzero(half), y[part]) for half in seen]
    shares = refit.probabilities(sets, x, queries, seed=seed + 1, fewest=SHADOWS)
    given, attacks = {}, (RMIA(),)
    if around:
        true = np.tile(y, len(asked))
        sure = np.concatenate([target[None], shares])[:, np.arange(len(true)), true].reshape(-1, len(asked), len(x))[
            :, 1:
        ]
        sure = sure.reshape(len(sure), 2, -1, len(x))
        given, attacks = {"around": sure[0], "shadow_around": sure[1:]}, (RMIA(), Neighbours())
    exposure = Exposure(target[: len(x)], y, member, shares[:, : len(x)], seen[: len(shares)], **given)
    measures = [attack(exposure, seed=seed).measures for attack in attacks]
    return measures, time.perf_counter() - started


def rmia(_, runs=5):
    """Forests of 50 trees, as the peers' script grows them, and of 100, attacked at the rows alone and around them too."""
    for trees, (name, (x, y)) in itertools.product((50, 100), (("digits", digits()), ("tabular4k", tabular()))):
        for seed, around in itertools.product(range(runs), (False, True)):
            member = np.zeros(len(x), dtype=bool)
            member[np.random.default_rng(seed).permutation(len(x))[: len(x) // 2]] = True
            found, seconds = attack(RandomForestClassifier(trees), x, y, member, seed, int(y.max()) + 1, around=around)
            area, rare, some = found[-1]
            told(
                section="rmia", case=name, trees=trees, attack="neighbours" if around else "rmia", seed=seed,
                auc=area.estimate, tpr_0001=rare.estimate, tpr_0001_low=rare.low, tpr_0001_high=rare.high,
                tpr_001=some.estimate, seconds=seconds,
            )  # fmt: skip


def shadows(_):
    """32 sets of shadow answers from forests, against one fit of the forest and its answers; best of three.

    all_s: on one core; both_s: on two, as `assay run` spreads fits, against the same one fit.
    """
    for name, (x, y) in (("digits", digits()), ("tabular4k", tabular())):
        seen = shadow_rows(len(x), SETS, seed=0)
        sets = [(part := np.flatnonzero(half), y[part]) for half in seen]
        seconds = {"one": np.inf, "all": np.inf, "both": np.inf}
        for _ in range(3):
            for key, some, jobs in (("one", sets[:1], 1), ("all", sets, 1), ("both", sets, 2)):
                refit = LocalRefit(RandomForestClassifier(100), int(y.max()) + 1, n_jobs=jobs)
                started = time.perf_counter()
                answers = refit.probabilities(some, x, x, seed=0, fewest=SHADOWS)
                seconds[key] = min(seconds[key], time.perf_counter() - started)
        told(
            section="shadows", case=name, forests=len(answers), one_s=seconds["one"], all_s=seconds["all"],
            both_s=seconds["both"], times_one=seconds["all"] / seconds["one"],
            times_one_on_both=seconds["both"] / seconds["one"],
        )  # fmt: skip


def by_patient(folder):
    """A default forest and one with leaves of 20 rows on 8,000 patients, half of them members.

    policy: the verdicts of the default policy on TPR at 0.1 % (at most 0.05) and on AUC (at most 0.7).
    """
    ((x, y), (x_out, y_out)), _ = patients(folder, 4000)
    every, classes = np.concatenate([x, x_out]), np.concatenate([y, y_out])
    member = np.arange(len(every)) < len(x)
    for name, leaf in (("default", 1), ("leaf 20", 20)):
        forest = RandomForestClassifier(100, min_samples_leaf=leaf)
        found, seconds = attack(forest, every, classes, member, 0, 2)
        area, rare, some = found[0]
        told(
            section="patients", case=name, auc=area.estimate, auc_low=area.low, tpr_001=some.estimate, tpr_001_low=some.low,
            tpr_001_high=some.high, tpr_0001=rare.estimate, tpr_0001_low=rare.low, tpr_0001_high=rare.high,
            policy=[rare.against(at_most=0.05).value, area.against(at_most=0.7).value], seconds=seconds,
        )  # fmt: skip


def boxed(x, y):
    columns = tuple(Feature(f"f{i}", Kind.NUMBER, low=float(c.min()), high=float(c.max())) for i, c in enumerate(x.T))
    return Contract(Target("y", tuple(map(str, range(int(y.max()) + 1)))), columns)


def fix(folder):
    """Every remedy on default forests of 100 trees: what it does to the leak, the AUC and the accuracy."""
    x, y = digits()
    order = np.random.default_rng(0).permutation(len(x))
    half = len(x) // 2
    cases = {"digits": ((x[order[:half]], y[order[:half]]), (x[order[half:]], y[order[half:]]), boxed(x, y))}
    if (folder / "diabetes130.parquet").is_file():
        sides, _ = patients(folder, 3000)
        cases["diabetes130"] = (*sides, boxed(np.concatenate([s[0] for s in sides]), sides[0][1]))
    for name, (train, test, contract) in cases.items():
        classes = len(contract.target.classes)
        started = time.perf_counter()
        found = fix_privacy(
            lambda variant, k=classes: LocalRefit(varied(RandomForestClassifier(100), variant), k, n_jobs=2),
            train, test, Region.of(contract),
        )  # fmt: skip
        for t in found.trials:
            row = {} if t.leak is None else {
                "tpr_001": t.leak.estimate, "low": t.leak.low, "high": t.leak.high, "tpr_0001": t.rare.estimate,
                "auc": t.auc, "accuracy": t.accuracy,
            }  # fmt: skip
            told(section="fix", case=name, remedy=t.remedy.name, why=t.why, chosen=t is found.chosen, **row)
        told(
            section="fix",
            case=name,
            remedy="conclusion",
            enough=found.enough,
            why=found.closing(),
            seconds=time.perf_counter() - started,
        )


SECTIONS = {"rmia": rmia, "shadows": shadows, "patients": by_patient, "fix": fix}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--data", type=Path, default=Path("../shared/datasets"))
    given = parser.parse_args()
    for name in given.sections.split(","):
        if name == "patients" and not (given.data / "diabetes130.parquet").is_file():
            sys.stderr.write(f"{given.data} has no diabetes130: its rows are left out\n")
            continue
        SECTIONS[name](given.data)


if __name__ == "__main__":
    main()
