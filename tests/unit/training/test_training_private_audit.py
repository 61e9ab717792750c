"""The audit lets honest trainings pass and finds planted bugs, each by the check that is meant for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import pytest
from sklearn.datasets import load_digits

from assay.core.digest import digest_bytes
from assay.core.errors import DataError, SettingError
from assay.core.evidence import Evidence, Subject
from assay.core.measure import Verdict
from assay.training.private import audit_dense
from assay.training.private.audit import Auditor, Canaries, canary_rows, coins
from assay.training.private.audit_dense import audit
from assay.training.private.audit_gradients import Outer, Whole
from assay.training.private.clipping import Flat
from assay.training.private.dense import DenseNet
from assay.training.private.dpsgd import Descent, Step
from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier


def small():
    x, y = load_digits(n_class=4, return_X_y=True)
    return x[:400, ::4], y[:400]


def model(**options):
    return DPLogisticRegression(**{"epsilon": 4.0, "bounds": (0, 16), "batch": 100, "steps": 60, **options})


@pytest.mark.parametrize(
    "estimator",
    [
        model(),
        model(clip_kind="per_layer"),
        model(clip_kind="adaptive"),
        model(batch=4096),
        DPMLPClassifier(4.0, hidden=(8,), bounds=(0, 16), batch=100, steps=40),
        DPMLPClassifier(4.0, hidden=(8,), bounds=(0, 16), batch=100, steps=40, clip_kind="per_layer"),
    ],
    ids=["flat", "per_layer", "adaptive", "whole", "mlp", "mlp_per_layer"],
)
def test_honest_trainings_pass(estimator):
    found = audit(estimator, *small(), canaries=60, seed=1)
    assert not found.failed
    assert found.lower <= found.claimed
    assert found.measures()[0].against(at_most=found.claimed) is Verdict.PASS


def test_strong_signals_are_bounded_from_below():
    """With little noise the canaries are seen: the bound is well above zero and below the claim."""
    found = audit(model(epsilon=60.0, batch=4096, steps=20, sigma=0.5), *small(), canaries=60, seed=2)
    assert 1.0 < found.lower <= found.claimed


class NoClip(Flat):
    def factors(self, squares, bound):
        return np.ones((len(squares), 1), np.float32)


@dataclass(frozen=True, slots=True)
class Altered(Descent):
    """Descent whose observer is told of an honest step while another was taken: bugs are planted in what is released."""

    bug: str = ""

    def run(self, net, x, target, noise, observer=None):
        held, last = {}, {}

        def tell(step):
            out = np.empty_like(step.released)
            squares = np.einsum("ij,ij->i", x, x)
            clean = DenseNet(net.widths)
            clean.weights[:] = step.weights
            clean.clipped_sum(x[step.rows], target[step.rows], squares[step.rows], self.clip, step.bound, out)
            drawn = step.released - out
            if self.bug == "half-noise":
                drawn = drawn / 2
            if self.bug == "reused-noise":
                drawn = held.setdefault("noise", drawn)
            if self.bug == "half-reused":
                drawn, last["noise"] = (drawn + last.get("noise", drawn)) / 2**0.5, drawn
            if self.bug == "no-clip":
                clean.clipped_sum(x[step.rows], target[step.rows], squares[step.rows], NoClip(1.0), step.bound, out)
            observer(Step(step.number, step.rows, step.weights, out + drawn, step.bound))

        rate = {"q-x4": min(1.0, 4 * self.rate)}.get(self.bug, self.rate)
        plan = Descent(self.steps, rate, self.sigma, self.expected, self.learning_rate, clip=self.clip)
        return plan.run(net, x, target, noise, tell if observer else None)


class Buggy(DPLogisticRegression):
    bug = ""

    def plan(self, rows):
        honest = super().plan(rows)
        return Altered(
            honest.steps,
            honest.rate,
            honest.sigma,
            honest.expected,
            honest.learning_rate,
            clip=honest.clip,
            bug=self.bug,
        )


@pytest.mark.parametrize(
    ("bug", "check"),
    [
        ("no-clip", "clip"),
        ("half-noise", "noise-size"),
        ("reused-noise", "noise-repeated"),
        ("reused-noise", "noise-constant"),
        ("half-reused", "noise-repeated"),
        ("q-x4", "sample-rate"),
    ],
)
def test_planted_bugs_are_found_by_their_check(bug, check):
    kind = type("Buggy", (Buggy,), {"bug": bug})
    found = audit(kind(epsilon=4.0, bounds=(0, 16), batch=50, steps=60, clip=0.5), *small(), canaries=60, seed=3)
    assert check in found.failed
    rules = {f.rule for f in found.findings()}
    assert rules
    assert all(f.remedy for f in found.findings())


class Quieter(Descent):
    """Tells of noisy sums and takes steps with half of that noise."""

    def run(self, net, x, target, noise, observer=None):
        def tell(step):
            out, clean = np.empty_like(step.released), DenseNet(net.widths)
            clean.weights[:] = step.weights
            squares = np.einsum("ij,ij->i", x, x)
            clean.clipped_sum(x[step.rows], target[step.rows], squares[step.rows], self.clip, step.bound, out)
            observer(Step(step.number, step.rows, step.weights, out + 2 * (step.released - out), step.bound))

        plan = Descent(
            self.steps, self.rate, self.sigma / 2, self.expected, self.learning_rate, self.momentum, self.l2, self.average,
            self.clip,
        )  # fmt: skip
        return plan.run(net, x, target, noise, tell if observer else None)


class Swapped(DPLogisticRegression):
    """Keeps other weights than its steps lead to."""

    def fit(self, X, y, observer=None):
        super().fit(X, y, observer)
        self._net.weights *= np.float32(1.05)
        return self


class Quiet(DPLogisticRegression):
    def plan(self, rows):
        held = super().plan(rows)
        return Quieter(**{name: getattr(held, name) for name in held.__dataclass_fields__})


@pytest.mark.parametrize("kind", [Quiet, Swapped])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.0, "average": 0.0}, {"l2": 0.1}], ids=str)
def test_a_model_of_more_than_the_released_sums_is_found(kind, options):
    made = kind(epsilon=4.0, bounds=(0, 16), batch=100, steps=40, **options)
    assert audit(made, *small(), canaries=40, seed=4).failed == ("released",)


@pytest.mark.parametrize("options", [{"momentum": 0.0, "average": 0.0}, {"l2": 0.1}, {"learning_rate": 1e-4}], ids=str)
def test_honest_models_follow_their_sums(options):
    assert not audit(model(**options), *small(), canaries=40, seed=5).failed


@pytest.mark.parametrize(
    ("sampler", "check"), [("fixed", "sample-steps"), ("epochs", "sample-rows"), ("weighted", "sample-rows")]
)
def test_other_samplers_are_found(sampler, check):
    """The right number of rows on average is not enough."""
    rng = np.random.default_rng(0)
    rows, steps, width, q = 400, 120, 5, 0.1
    table = np.arange(rows)
    canaries = Canaries(np.arange(390, 410), np.arange(20) < 10)
    auditor = Auditor(lambda w, r: np.zeros((len(r), width)), table, canaries, sigma=1.0, rate=q)
    order = np.empty(0, int)
    weights = np.where(np.arange(rows) < 200, 1.5, 0.5) * q
    for number in range(steps):
        if sampler == "fixed":
            chosen = rng.choice(rows, 40, replace=False)
        elif sampler == "epochs":
            order = order if len(order) >= 40 else rng.permutation(rows)
            chosen, order = order[:40], order[40:]
        else:
            chosen = np.flatnonzero(rng.random(rows) < weights)
        auditor(Step(number, np.sort(chosen), np.zeros(width), rng.normal(size=width), 1.0))
    assert check in auditor.result(1.0, 1e-5).failed


def test_the_audit_is_evidence():
    found = audit(model(steps=10), *small(), canaries=20)
    subject = Subject("model", digest_bytes(b"model"))
    evidence = found.evidence((subject,), datetime(2026, 1, 1, tzinfo=timezone.utc))
    assert Evidence.from_json(evidence.to_json()) == evidence
    assert evidence.clean()


def test_canaries_lie_within_bounds_and_repeat():
    low, high = np.zeros(6), np.full(6, 2.0)
    rows, labels = canary_rows(50, low, high, 3, seed=1)
    assert ((rows == low) | (rows == high)).all()
    assert set(labels) <= {0, 1, 2}
    assert np.array_equal(rows, canary_rows(50, low, high, 3, seed=1)[0])
    assert 0.2 < coins(100, seed=1).mean() < 0.8


def test_what_cannot_be_audited_is_refused():
    with pytest.raises(SettingError):
        audit(model(), *small(), canaries=1)
    empty = Auditor(lambda w, r: w, np.arange(3), Canaries(np.arange(2), np.ones(2, bool)), sigma=1.0, rate=0.5)
    with pytest.raises(DataError):
        empty.result(1.0, 1e-5)


def test_reference_gradients_are_those_of_finite_differences():
    rng = np.random.default_rng(0)
    widths, x = [3, 4, 2], np.concatenate([rng.normal(size=(5, 3)), np.ones((5, 1))], 1)
    codes, weights = rng.integers(0, 2, 5), rng.normal(size=4 * 4 + 2 * 5)
    found = audit_dense.reference_of(widths, x, codes)(weights, np.array([2])).sums(np.ones((1, 1, 1)))[0]

    def loss(w):
        first, second = w[:16].reshape(4, 4), w[16:].reshape(2, 5)
        hidden = np.append(np.maximum(first @ x[2], 0), 1.0)
        z = second @ hidden
        return np.log(np.exp(z).sum()) - z[codes[2]]

    eye = np.eye(len(weights)) * 1e-6
    numeric = np.array([(loss(weights + e) - loss(weights - e)) / 2e-6 for e in eye])
    assert np.allclose(found, numeric, atol=1e-6)


@pytest.mark.parametrize("parts", [1, 3])
def test_gradients_that_are_not_written_out_are_those_that_are(parts):
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(6, 2 + k)), rng.normal(size=(6, 4))) for k in range(3)]
    rows = np.concatenate([(b[:, :, None] * a[:, None]).reshape(6, -1) for b, a in pairs], axis=1)
    lengths = [b.shape[1] * a.shape[1] for b, a in pairs]
    outer, whole = Outer(pairs), Whole(rows, lengths)
    assert np.allclose(outer.squares(), whole.squares())
    assert np.allclose(outer.squares().sum(0), np.square(rows).sum(1))
    weights, vector = rng.random((parts, 2, 6)), rng.normal(size=rows.shape[1])
    each = np.repeat(np.resize(weights, (3, 2, 6)), lengths, axis=0)
    assert np.allclose(outer.sums(weights), np.einsum("pwn,np->wp", each, rows))
    assert np.allclose(whole.sums(weights), np.einsum("pwn,np->wp", each, rows))
    weighted = rows * each[:, 0].T
    for one in (outer, whole):
        assert np.allclose(one.dots(vector, weights[:, 0]), weighted @ vector)
        assert np.allclose(one.overlaps(weights[:, 0]), weighted @ weighted.T)
