"""The accountant's bracket against dp-accounting's and opake's PLD: the five settings of the anchor and 200 random ones.

Peers, in an environment of their own (Python 3.11): ``pip install torch==2.13.0 dp-accounting==0.6.0 opake==0.16.1``
and Assay (``pip install -e .[assess]``). Run: ``python benchmarks/privacy_accountant.py [--random 200]``.

``upper_over``: Assay's upper end over dp-accounting's value at its default grid (1e-4), less one. Where Assay's grid is
finer than 1e-4, dp-accounting is asked again at Assay's grid: ``upper_over_same_grid``. Both are upper bounds, so the
lower of two is the better one, and neither may lie below the other's lower bound.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from assay.stats.privacy.accountant import epsilon
from assay.stats.privacy.events import SampledGaussian

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared" / "bench"))

FIVE = (
    (1.0, 256 / 50000, 1953, 1e-5), (1.1, 256 / 60000, 14062, 1e-5), (0.8, 0.01, 1000, 1e-5),
    (2.0, 0.05, 2000, 1e-6), (0.6, 0.02, 200, 1e-5),
)  # fmt: skip


def settings(count, seed=5):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        sigma, rate = float(np.exp(rng.uniform(*np.log([0.6, 4])))), float(np.exp(rng.uniform(*np.log([5e-4, 0.2]))))
        yield sigma, rate, int(np.exp(rng.uniform(*np.log([10, 20000])))), float(10 ** rng.uniform(-8, -5))


def ours(sigma, rate, steps, delta):
    return epsilon([(SampledGaussian(sigma, rate), steps)], delta)


def dp_accounting(sigma, rate, steps, delta, grid=1e-4):
    import dp_accounting as da
    from dp_accounting.pld import pld_privacy_accountant as pa

    event = da.SelfComposedDpEvent(da.PoissonSampledDpEvent(rate, da.GaussianDpEvent(sigma)), steps)
    return pa.PLDAccountant(value_discretization_interval=grid).compose(event).get_epsilon(delta)


def opake(sigma, rate, steps, delta):
    from privacy_peers import opake_accounting

    module, _ = opake_accounting()
    return float((module.poisson(module.gaussian(sigma), sample_rate=rate) * steps).epsilon_at(delta))


def timed(run, times=1):
    best, value = np.inf, None
    for _ in range(times):
        start = time.perf_counter()
        value = run()
        best = min(best, time.perf_counter() - start)
    return value, best


def compare(case, *, times=1):
    bracket, seconds = timed(lambda: ours(*case), times)
    row = {
        "case": case,
        "low": bracket.low,
        "high": bracket.high,
        "gap": bracket.gap,
        "seconds": seconds,
        "grid": bracket.errors["grid"],
    }
    try:
        row["dp_accounting"], row["dp_accounting_seconds"] = timed(lambda: dp_accounting(*case), times)
        row["upper_over"] = bracket.high / row["dp_accounting"] - 1
        if row["grid"] < 0.99e-4:
            row["dp_accounting_same_grid"] = dp_accounting(*case, grid=row["grid"])
            row["upper_over_same_grid"] = bracket.high / row["dp_accounting_same_grid"] - 1
    except Exception as error:
        row["dp_accounting_error"] = f"{type(error).__name__}: {error}"[:200]
    try:
        row["opake"], row["opake_seconds"] = timed(lambda: opake(*case))  # once: it keeps what it has computed
    except Exception as error:
        row["opake_error"] = f"{type(error).__name__}: {error}"[:200]
    print(json.dumps(row), flush=True)
    return row


def summary(rows):
    def known(name):
        return np.array([r[name] for r in rows if name in r])

    over = known("upper_over")
    finer = np.array(["upper_over_same_grid" in r for r in rows if "upper_over" in r])
    return {
        "settings": len(rows), "compared": len(over), "gap_max": known("gap").max(), "seconds_max": known("seconds").max(),
        "seconds_median": float(np.median(known("seconds"))), "upper_over_max": over.max(),
        "below": int((over < 0).sum()), "below_at_a_grid_not_finer": int((over[~finer] < 0).sum()), "finer_grids": int(finer.sum()),
        "below_at_the_same_finer_grid": int((known("upper_over_same_grid") < 0).sum()),
        "same_grid_max": float(known("upper_over_same_grid").max(initial=0.0)),
        "dp_accounting_below_low": int(sum(r["dp_accounting"] < r["low"] for r in rows if "dp_accounting" in r)),
        "time_over_dp_accounting_median": float(np.median([r["seconds"] / r["dp_accounting_seconds"] for r in rows if "dp_accounting_seconds" in r])),
        "time_over_opake_median": float(np.median([r["seconds"] / r["opake_seconds"] for r in rows if "opake_seconds" in r] or [np.nan])),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=200)
    count = parser.parse_args().random
    for run in (lambda: ours(*FIVE[4]), lambda: dp_accounting(*FIVE[4]), lambda: opake(*FIVE[4])):
        try:  # imports and first calls are not timed
            run()
        except Exception as error:
            print(json.dumps({"skipped": f"{type(error).__name__}: {error}"[:200]}))
    print(json.dumps({"five": summary([compare(case, times=3) for case in FIVE])}))
    if count:
        print(json.dumps({"random": summary([compare(case) for case in settings(count)])}))


if __name__ == "__main__":
    main()
