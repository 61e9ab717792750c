"""The one-run audit on honest trainings and on planted bugs: softmax regression, boosted trees and votes on digits.

Run: ``python benchmarks/privacy_audit.py [--honest 50] [--runs 10] [--only softmax trees votes]``. Needs Assay and
scikit-learn alone. The peer's numbers on the softmax trainer, its claims and bugs come from
``../shared/bench/privacy_peers.py --sections dpaudit``; no peer audits trees or votes.

The softmax trainer below is no part of Assay: a closed-form DP-SGD of its own with the bugs as switches, which tells the
auditor of each step. Trees and votes are Assay's own, with bugs planted into them from outside. A run counts as caught
when a check fails or the lower bound passes the claim.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack
from unittest.mock import patch

import numpy as np
from sklearn.naive_bayes import GaussianNB

from assay.core.errors import BudgetError
from assay.stats.privacy.accountant import epsilon
from assay.stats.privacy.calibrate import sigma_for
from assay.stats.privacy.events import SampledGaussian
from assay.training.private import audit_trees, audit_votes, trees, votes
from assay.training.private.audit import Auditor, Canaries, canary_rows, coins
from assay.training.private.audit_dense import reference_of
from assay.training.private.dense import with_ones
from assay.training.private.dpsgd import Step
from assay.training.private.noise import Noise
from assay.training.private.trees import DPBoostedTreesClassifier
from assay.training.private.votes import PrivateVotes

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


class HalfNoise(Noise):
    def normal(self, *shape):
        return super().normal(*shape) / 2


class SameNoise(Noise):
    def normal(self, *shape):
        if not hasattr(self, "held"):
            self.held = super().normal(*shape)
        return np.resize(self.held, shape)


class ByTheData(DPBoostedTreesClassifier):
    """Takes thresholds at medians of the rows."""

    def fit(self, X, y, observer=None):
        self.middle = np.median(X, axis=0)
        return super().fit(X, y, observer)

    def splits(self, width):
        features, thresholds = super().splits(width)
        return features, self.middle[features] if hasattr(self, "middle") else thresholds


class Peeking(DPBoostedTreesClassifier):
    """Keeps other leaves than its noisy sums make."""

    def fit(self, X, y, observer=None):
        super().fit(X, y, observer)
        self.values_ = self.values_ * 1.01
        return self


class TwoParts(PrivateVotes):
    """Shows two rows of each part to the model of the next as well."""

    def teach(self, x, codes):
        last, self.last_ = getattr(self, "last_", None), (x[:2], codes[:2])
        return (
            super().teach(x, codes)
            if last is None
            else super().teach(np.append(x, last[0], 0), np.append(codes, last[1]))
        )


class Dealt(PrivateVotes):
    """Deals rows out in turn: one row less moves all that come after."""

    def fit(self, X, y, groups=None):
        turn = iter(range(len(X)))

        def part_of(key, parts):
            del key
            return next(turn) % parts

        with patch.object(votes, "part_of", part_of):
            return super().fit(X, y, groups)


class Free(PrivateVotes):
    def _charge(self, answers):
        pass


class Cheap(PrivateVotes):
    def _charge(self, answers):
        super()._charge(max(1, answers // 2))


class Generous(PrivateVotes):
    def _charge(self, answers):
        try:
            super()._charge(answers)
        except BudgetError:
            return


class Bare(PrivateVotes):
    """Answers with the class of most votes, without noise."""

    def predict(self, X):
        noisy = self.votes(X)
        counts = sum(np.eye(noisy.shape[1])[votes.votes_of(t, X)] for t in self.teachers_)
        return self.classes_[counts.argmax(axis=1)]


_sums = trees._sums  # noqa: SLF001 - a bug is planted in it
# What each bug is: the class, and what is put in place of a name of its module.
TREES = {
    "honest": (DPBoostedTreesClassifier, {}),
    "half-noise": (DPBoostedTreesClassifier, {"Noise": HalfNoise}),
    "reused-noise": (DPBoostedTreesClassifier, {"Noise": SameNoise}),
    "sums-twice": (DPBoostedTreesClassifier, {"_sums": lambda leaf, v, n: 2 * _sums(leaf, v, n)}),
    "no-clip": (DPBoostedTreesClassifier, {"_sums": lambda leaf, v, n: _sums(leaf, 8 * v**3, n)}),
    "splits-by-data": (ByTheData, {}),
    "peeking": (Peeking, {}),
}
VOTES = {
    "honest": (PrivateVotes, {}),
    "half-noise": (PrivateVotes, {"Noise": HalfNoise}),
    "reused-noise": (PrivateVotes, {"Noise": SameNoise}),
    "two-parts": (TwoParts, {}),
    "dealt-in-turn": (Dealt, {}),
    "uncharged": (Free, {}),
    "half-charged": (Cheap, {}),
    "beyond-budget": (Generous, {}),
    "no-noise-in-answers": (Bare, {}),
}


def planted(module, changes):
    stack = ExitStack()
    for name, value in changes.items():
        stack.enter_context(patch(f"assay.training.private.{module}.{name}", value))
    return stack


def trees_run(x, y, *, claim, bug, seed):
    kind, changes = TREES[bug]
    with planted("trees", changes):
        return audit_trees.audit(kind(claim, bounds=(0, 1)), x, y, seed=seed)


def votes_run(x, y, *, claim, bug, seed):
    kind, changes = VOTES[bug]
    with planted("votes", changes):
        return audit_votes.audit(kind(GaussianNB(), 50, 20.0 / claim, epsilon=claim), x, y, seed=seed)


RUNS = {"softmax": (audit_run, BUGS), "trees": (trees_run, TREES), "votes": (votes_run, VOTES)}


def cell(model, x, y, *, claim, bug, runs):
    start = time.perf_counter()
    found = [RUNS[model][0](x, y, claim=claim, bug=bug, seed=seed) for seed in range(runs)]
    checks = {}
    for audited in found:
        for name in audited.failed:
            checks[name] = checks.get(name, 0) + 1
    lows = [a.lower for a in found]
    return {
        "model": model, "claim": claim, "bug": bug, "runs": runs, "caught": sum(bool(a.failed) for a in found),
        "by_check": checks, "lower_min": min(lows), "lower_median": float(np.median(lows)), "lower_max": max(lows),
        "lower_above_claim": sum(a.lower > a.claimed for a in found), "seconds_a_run": (time.perf_counter() - start) / runs,
    }  # fmt: skip


def digits():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x / 16.0, y


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--honest", type=int, default=50)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    options = parser.parse_args()
    x, y = digits()
    for model in options.only:
        for claim in (2.0, 8.0):
            for bug in RUNS[model][1]:
                runs = options.honest if bug == "honest" else options.runs
                print(json.dumps(cell(model, x, y, claim=claim, bug=bug, runs=runs)), flush=True)


if __name__ == "__main__":
    main()
