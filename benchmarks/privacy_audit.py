"""The one-run audit on honest trainings and on four planted bugs: softmax regression on digits, as in the peers' bench.

Run: ``python benchmarks/privacy_audit.py [--honest 50] [--runs 20]``. Needs Assay and scikit-learn alone. The peer's
numbers on the same trainer, claims and bugs come from ``../shared/bench/privacy_peers.py --sections dpaudit``.

The trainer below is no part of Assay: a closed-form DP-SGD of its own with the bugs as switches, which tells the auditor
of each step. A run counts as caught when a check fails or the lower bound passes the claim.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from assay.stats.privacy.accountant import epsilon
from assay.stats.privacy.calibrate import sigma_for
from assay.stats.privacy.events import SampledGaussian
from assay.training.private.audit import Auditor, Canaries, canary_rows, coins
from assay.training.private.audit_dense import reference_of
from assay.training.private.dense import with_ones
from assay.training.private.dpsgd import Step

BUGS = ("honest", "no-clip", "half-noise", "reused-noise", "q-x4")


def train(x, codes, classes, observer, *, bug, sigma, rate, steps, lr, batch, seed):
    """DP-SGD of softmax regression with one bug, or none. x: (n, d + 1)."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((classes, x.shape[1]))
    rate = rate * 4 if bug == "q-x4" else rate
    spread = sigma * (0.5 if bug == "half-noise" else 1.0)
    held = None
    for number in range(steps):
        rows = np.flatnonzero(rng.random(len(x)) < rate)
        a = x[rows]
        z = a @ weights.T
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(rows)), codes[rows]] -= 1
        norms = np.sqrt((p * p).sum(1) * (a * a).sum(1))
        if bug != "no-clip":
            p *= np.minimum(1.0, 1.0 / np.maximum(norms, 1e-12))[:, None]
        if held is None or bug != "reused-noise":
            held = rng.standard_normal(weights.shape)
        released = p.T @ a + spread * held
        observer(Step(number, rows, weights.ravel().copy(), released.ravel(), 1.0))
        weights -= lr / batch * released


def audit_run(x, y, *, claim, bug, seed, batch=128, steps=400, lr=2.0, delta=1e-5, canaries=200):
    rate = batch / len(x)
    sigma = sigma_for(claim, delta, rate, steps)
    low, high = np.zeros(x.shape[1]), np.ones(x.shape[1])
    extra, extra_codes = canary_rows(canaries, low, high, 10, seed=seed)
    included = coins(canaries, seed=seed)
    rows, codes = with_ones(np.concatenate([x, extra])).astype(float), np.concatenate([y, extra_codes])
    table = np.concatenate([np.arange(len(x)), len(x) + np.flatnonzero(included)])
    auditor = Auditor(
        reference_of([x.shape[1], 10], rows, codes),
        table,
        Canaries(len(x) + np.arange(canaries), included),
        sigma=sigma,
        rate=rate,
    )
    train(
        rows[table],
        codes[table],
        10,
        auditor,
        bug=bug,
        sigma=sigma,
        rate=rate,
        steps=steps,
        lr=lr,
        batch=batch,
        seed=seed,
    )
    claimed = epsilon([(SampledGaussian(sigma, rate), steps)], delta).high
    return auditor.result(claimed, delta, seed=seed)


def cell(x, y, *, claim, bug, runs, **options):
    start = time.perf_counter()
    found = [audit_run(x, y, claim=claim, bug=bug, seed=seed, **options) for seed in range(runs)]
    checks = {}
    for audited in found:
        for name in audited.failed:
            checks[name] = checks.get(name, 0) + 1
    lows = [a.lower for a in found]
    return {
        "claim": claim, "bug": bug, "runs": runs, "caught": sum(bool(a.failed) for a in found), "by_check": checks,
        "lower_min": min(lows), "lower_median": float(np.median(lows)), "lower_max": max(lows),
        "lower_above_claim": sum(a.lower > a.claimed for a in found), "seconds_a_run": (time.perf_counter() - start) / runs,
    }  # fmt: skip


def digits():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x / 16.0, y


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--honest", type=int, default=50)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    x, y = digits()
    for claim in (2.0, 8.0):
        for bug in BUGS:
            print(
                json.dumps(cell(x, y, claim=claim, bug=bug, runs=options.honest if bug == "honest" else options.runs)),
                flush=True,
            )


if __name__ == "__main__":
    main()
