"""Audits of private trees and votes let honest ones pass, and find planted bugs by the check that is meant for them."""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from assay.core.errors import BudgetError, DataError, Refused, SettingError, UnsupportedError
from assay.training.private import audit_trees, audit_votes, trees, votes
from assay.training.private.audit_model import audit
from assay.training.private.estimators import DPLogisticRegression
from assay.training.private.noise import Noise
from assay.training.private.scaling import BoundsEncoder
from assay.training.private.trees import DPBoostedTreesClassifier
from assay.training.private.votes import PrivateVotes

RUNS = 3


def small(classes=4):
    x, y = load_digits(n_class=classes, return_X_y=True)
    return x[:400, ::4], y[:400]


class HalfNoise(Noise):
    def normal(self, *shape):
        return super().normal(*shape) / 2


class SameNoise(Noise):
    def normal(self, *shape):
        if not hasattr(self, "held"):
            self.held = super().normal(*shape)
        return np.resize(self.held, shape)


class LaggingNoise(Noise):
    """Each draw shares half of its variance with the one before."""

    def normal(self, *shape):
        fresh, last = super().normal(*shape), getattr(self, "last", None)
        self.last = fresh
        return fresh if last is None or last.shape != shape else (fresh + last) / np.float32(2**0.5)


def changed(module, changes):
    stack = ExitStack()
    for name, value in changes.items():
        stack.enter_context(patch(f"assay.training.private.{module}.{name}", value))
    return stack


# --- trees


def forest(**options):
    return DPBoostedTreesClassifier(**{"epsilon": 4.0, "trees": 60, "bounds": (0, 16), **options})


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("options", [{}, {"depth": 1}, {"epsilon": 0.5, "depth": 5}, {"l2": 0.0}], ids=str)
def test_honest_trees_pass(classes, options):
    found = audit_trees.audit(forest(**options), *small(classes), canaries=60, seed=1)
    assert not found.failed
    assert found.lower <= found.claimed <= options.get("epsilon", 4.0)


def test_canaries_are_seen_in_trees_with_little_noise():
    found = audit_trees.audit(forest(epsilon=40.0, trees=20), *small(), canaries=60, seed=2)
    assert 0.5 < found.lower <= found.claimed


class ByTheData(DPBoostedTreesClassifier):
    """Takes thresholds at medians of the rows."""

    def fit(self, X, y, observer=None):
        self.middle = np.median(X, axis=0)
        return super().fit(X, y, observer)

    def splits(self, width):
        features, thresholds = super().splits(width)
        return features, self.middle[features] if hasattr(self, "middle") else thresholds


class Peeking(DPBoostedTreesClassifier):
    """Tells of noisy sums and keeps leaves that were made with less noise."""

    def fit(self, X, y, observer=None):
        super().fit(X, y, observer)
        self.values_ = self.values_ * 1.01
        return self


_SUMS = trees._sums
TREE_BUGS = {
    "half-noise": (DPBoostedTreesClassifier, {"Noise": HalfNoise}, "noise-size"),
    "same-noise": (DPBoostedTreesClassifier, {"Noise": SameNoise}, "noise-repeated"),
    "lagging-noise": (DPBoostedTreesClassifier, {"Noise": LaggingNoise}, "noise-repeated"),
    "double-sums": (DPBoostedTreesClassifier, {"_sums": lambda leaf, v, n: 2 * _SUMS(leaf, v, n)}, "sum"),
    "no-clip": (DPBoostedTreesClassifier, {"_sums": lambda leaf, v, n: _SUMS(leaf, 8 * v**3, n)}, "sum"),
    "by-the-data": (ByTheData, {}, "splits"),
    "peeking": (Peeking, {}, "released"),
}


def buggy_trees(bug, seed):
    kind, changes, check = TREE_BUGS[bug]
    with changed("trees", changes):
        found = audit_trees.audit(kind(4.0, trees=60, bounds=(0, 16)), *small(), canaries=60, seed=seed)
    return check in found.failed, found


@pytest.mark.parametrize("bug", TREE_BUGS)
def test_bugs_of_trees_are_found(bug):
    caught = [buggy_trees(bug, seed) for seed in range(RUNS)]
    assert all(hit for hit, _ in caught)
    assert all(f.remedy for f in caught[0][1].findings())


# --- votes


def ensemble(kind=PrivateVotes, base=None, **options):
    return kind(GaussianNB() if base is None else base, **{"parts": 16, "sigma": 8.0, "epsilon": 8.0, **options})


@pytest.mark.parametrize("ledger", [None, "ledger.json"])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("options", [{}, {"sigma": 2.0, "epsilon": 40.0}, {"parts": 5, "epsilon": 2.0}], ids=str)
def test_honest_votes_pass(tmp_path, monkeypatch, ledger, grouped, options):
    monkeypatch.chdir(tmp_path)
    x, y = small()
    groups = np.arange(len(x)) // 3 if grouped else None
    found = audit_votes.audit(ensemble(ledger=ledger, **options), x, y, groups, seed=1)
    assert not found.failed
    assert found.lower <= found.claimed <= options.get("epsilon", 8.0)
    assert not list(tmp_path.iterdir())


def test_rows_that_are_there_twice_are_no_bug():
    x, y = small()
    found = audit_votes.audit(ensemble(), np.concatenate([x, x[:50]]), np.concatenate([y, y[:50]]), seed=3)
    assert not found.failed


def test_canaries_are_seen_in_votes_with_little_noise():
    x, y = small()
    base = LogisticRegression(C=100.0, max_iter=2000)
    found = audit_votes.audit(ensemble(base=base, parts=40, sigma=0.5, epsilon=60.0), x / 16, y, seed=2)
    assert 0.3 < found.lower <= found.claimed


class TwoParts(PrivateVotes):
    """Teaches each part's model with some rows of the part before."""

    def teach(self, x, codes):
        last, self.last_ = getattr(self, "last_", None), (x[:2], codes[:2])
        return super().teach(
            *([x, codes] if last is None else [np.concatenate([x, last[0]]), np.append(codes, last[1])])
        )


class Free(PrivateVotes):
    def _charge(self, answers):
        pass


class Late(PrivateVotes):
    """Charges when the answers are there already."""

    def votes(self, X):
        with patch.object(PrivateVotes, "_charge", lambda *_: None):
            given = super().votes(X)
        self._charge(len(X))
        return given


class Cheap(PrivateVotes):
    """Charges for half of the answers."""

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


class Double(PrivateVotes):
    """Counts every vote twice."""

    def votes(self, X):
        noisy = super().votes(X)
        return noisy + sum(np.eye(noisy.shape[1])[votes.votes_of(t, X)] for t in self.teachers_)


class Dealt(PrivateVotes):
    """Deals rows out in turn: one row less moves all that come after."""

    def fit(self, X, y, groups=None):
        with patch.object(votes, "part_of", lambda key, parts, n=iter(range(10**6)): next(n) % parts):
            return super().fit(X, y, groups)


VOTE_BUGS = {
    "half-noise": (PrivateVotes, {"Noise": HalfNoise}, "noise-size"),
    "same-noise": (PrivateVotes, {"Noise": SameNoise}, "noise-repeated"),
    "lagging-noise": (PrivateVotes, {"Noise": LaggingNoise}, "noise-repeated"),
    "two-parts": (TwoParts, {}, "partition"),
    "dealt": (Dealt, {}, "partition"),
    "free": (Free, {}, "charged"),
    "late": (Late, {}, "charged"),
    "cheap": (Cheap, {}, "charged"),
    "generous": (Generous, {}, "refused"),
    "bare": (Bare, {}, "answers"),
    "double": (Double, {}, "sum"),
}


def buggy_votes(bug, seed):
    kind, changes, check = VOTE_BUGS[bug]
    x, y = small()
    with changed("votes", changes):
        found = audit_votes.audit(ensemble(kind), x, y, seed=seed)
    return check in found.failed, found


@pytest.mark.parametrize("bug", VOTE_BUGS)
def test_bugs_of_votes_are_found(bug):
    caught = [buggy_votes(bug, seed) for seed in range(RUNS)]
    assert all(hit for hit, _ in caught)
    assert all(f.remedy for f in caught[0][1].findings())


def test_votes_that_cannot_be_audited_are_refused():
    with pytest.raises(SettingError):
        audit_votes.audit(ensemble(), *small(), canaries=1)
    with pytest.raises(DataError, match="one answer"):
        audit_votes.audit(ensemble(sigma=0.1, epsilon=0.1), *small())


# --- any of them


class Own(DPBoostedTreesClassifier):
    def privacy_audit(self, X, y, **options):
        return "asked", sorted(options)


class Unknown(RidgeClassifier):
    def privacy_statement(self):
        return {}


@pytest.mark.parametrize(
    "model", [forest(trees=10), ensemble(), make_pipeline(Normalizer(), DPLogisticRegression(steps=5))]
)
def test_one_function_audits_each_kind(model):
    assert not audit(model, *small(), canaries=20).failed


def test_an_audit_leaves_the_model_as_it_is():
    made = make_pipeline(BoundsEncoder((0, 16), 4), DPLogisticRegression(steps=5))
    audit(made, *small(), canaries=20)
    assert not hasattr(made[0], "n_features_in_")


@pytest.mark.parametrize("made", [forest(classes=range(6), trees=10), DPLogisticRegression(classes=range(6), steps=5)])
def test_declared_classes_are_those_of_the_audit(made):
    """A class that no row has still counts in the sums' dimensions and noise."""
    x, y = small()
    assert audit(made, x, y, canaries=20).claimed == made.fit(x, y).claim_.epsilon.high
    with pytest.raises(DataError):
        audit(made, x, y + 3, canaries=20)


@pytest.mark.parametrize("made", [forest(trees=10), ensemble(), DPLogisticRegression(steps=5)])
def test_no_rows_or_one_class_cannot_be_audited(made):
    x, y = small()
    for rows, labels in ((x[:0], y[:0]), (x, np.zeros(len(x), int))):
        with pytest.raises(DataError, match="two classes"):
            audit(made, rows, labels, canaries=20)


def test_an_estimator_may_bring_its_own_audit():
    assert audit(Own(), *small()) == ("asked", ["canaries", "confidence", "seed"])


@pytest.mark.parametrize(
    ("model", "error"),
    [(RidgeClassifier(), UnsupportedError), (Unknown(), UnsupportedError), (make_pipeline(StandardScaler(), forest()), Refused)],
)  # fmt: skip
def test_other_models_are_not_audited(model, error):
    with pytest.raises(error) as caught:
        audit(model, *small())
    assert caught.value.remedy
