"""The price of a private choice holds on mechanisms small enough to compute everything exactly."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from assay.core.errors import SettingError
from assay.stats.privacy.events import Pure, SampledGaussian
from assay.stats.privacy.rdp import ORDERS, rdp_epsilon, renyi
from assay.stats.privacy.selection import NegativeBinomial, choice_cost, renyi_cost, selection_epsilon

SHAPES = (-0.5, 0.0, 0.5, 1.0, 3.0)


def generating(trials, x):
    """E x^K, by the formula of Papernot & Steinke, Definition 1, and not by the chances of the class under test."""
    g, shape = trials.gamma, trials.shape
    if shape == 0:
        return np.log1p(-(1 - g) * x) / math.log(g)
    return ((1 - (1 - g) * x) ** -shape - 1) / (g**-shape - 1)


def best_of(q, trials):
    """Return the exact distribution of the best outcome, the last being the best."""
    f = generating(trials, np.concatenate([[0.0], np.minimum(np.cumsum(q), 1.0)]))
    return np.diff(f) / f[-1]


def hockey_stick(p, q, epsilon):
    return max(np.maximum(p - math.exp(epsilon) * q, 0).sum(), np.maximum(q - math.exp(epsilon) * p, 0).sum())


def divergence(p, q, order):
    both = [logsumexp(order * np.log(u) + (1.0 - order) * np.log(v)) / (order - 1) for u, v in ((p, q), (q, p))]
    return max(both)


def worlds():
    """Yield pairs of distributions over scored outcomes: crafted ones, discretised Gaussians, and random ones."""
    yield np.array([0.9, 0.1]), np.array([0.95, 0.05])
    yield np.array([0.999, 0.001]), np.array([0.9999, 0.0001])
    yield np.array([0.5, 0.5]), np.array([0.3, 0.7])
    edges = np.linspace(-6, 7, 200)
    for mean in (0.1, 0.5, 1.0):
        density = np.exp(-((edges - np.array([[0.0], [mean]])) ** 2) / 2)
        yield tuple(density / density.sum(1, keepdims=True))
    rng = np.random.default_rng(0)
    for _ in range(30):
        p = rng.dirichlet(np.ones(rng.integers(2, 12)))
        q = p * np.exp(rng.normal(0, rng.choice([0.1, 0.5, 1.5]), len(p)))
        yield p, q / q.sum()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mean", [1.5, 4.0, 20.0])
def test_profiles_bound_the_exact_best(shape, mean):
    trials = NegativeBinomial(mean, shape)
    for p, q in worlds():
        a, b = best_of(p, trials), best_of(q, trials)
        looks = np.linspace(0, float(np.abs(np.log(p / q)).max()), 7)
        added = choice_cost(trials, lambda e, p=p, q=q: hockey_stick(p, q, e), looks)
        for epsilon in np.linspace(0, 4, 17):
            assert hockey_stick(a, b, epsilon + added) <= mean * hockey_stick(p, q, epsilon) * (1 + 1e-9) + 1e-13


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mean", [1.5, 4.0, 20.0])
def test_renyi_divergences_bound_the_exact_best(shape, mean):
    trials = NegativeBinomial(mean, shape)
    for p, q in itertools.islice(worlds(), 12):
        a, b = best_of(p, trials), best_of(q, trials)
        curve = np.array([divergence(p, q, float(order)) for order in ORDERS])
        bound = curve + renyi_cost(trials, curve)
        exact = np.array([divergence(a, b, float(order)) for order in ORDERS[::7]])
        assert (exact <= bound[::7] + 1e-9).all()


def test_the_bound_is_not_loose_beyond_use():
    """Outcomes that are rare and good cost the choice what the bound says, within a third."""
    p = np.array([1 - 1e-4, 1e-4])
    q = np.array([1 - math.e * 1e-4, math.e * 1e-4])
    trials = NegativeBinomial(20.0, 1.0)
    a, b = best_of(p, trials), best_of(q, trials)
    true = float(np.abs(np.log(a / b)).max())
    added = choice_cost(trials, lambda e: hockey_stick(p, q, e), np.linspace(0, 1, 7))
    assert true <= 1.0 + added
    assert true + 0.35 >= 1.0


@pytest.mark.parametrize("shape", SHAPES)
def test_drawn_trials_are_distributed_as_said(shape):
    trials = NegativeBinomial(4.0, shape)
    chances = np.array(list(itertools.islice(trials.chances(), 4000)))
    numbers = np.arange(1, len(chances) + 1)
    assert chances.sum() == pytest.approx(1.0, abs=1e-6)
    assert (chances * numbers).sum() == pytest.approx(4.0, rel=1e-3)
    for x in (0.2, 0.7, 0.95):
        assert (chances * x**numbers).sum() == pytest.approx(generating(trials, x), rel=1e-6)
    drawn = np.array([trials.draw(u) for u in np.random.default_rng(1).random(4000)])
    assert drawn.min() == 1
    assert np.mean(drawn == 1) == pytest.approx(chances[0], abs=4 * (0.25 / 4000) ** 0.5)
    assert np.mean(drawn <= 4) == pytest.approx(chances[:4].sum(), abs=4 * (0.25 / 4000) ** 0.5)


def test_the_best_of_drawn_trials_is_distributed_as_computed():
    """Monte Carlo of the mechanism itself: draw a number of trials, keep the best outcome."""
    trials, q = NegativeBinomial(4.0, 1.0), np.array([0.5, 0.3, 0.15, 0.05])
    rng = np.random.default_rng(2)
    best = [rng.choice(4, size=trials.draw(u), p=q).max() for u in rng.random(5_000)]
    assert np.bincount(best, minlength=4) / 5_000 == pytest.approx(best_of(q, trials), abs=0.03)


def test_pure_trials_cost_no_more_than_liu_and_talwar_say():
    """For a pure epsilon and a geometric number the price is at most 3 epsilon (Liu & Talwar 2019, Theorem 3.5)."""
    for epsilon in (0.1, 0.5, 1.0):
        found = selection_epsilon(NegativeBinomial(8.0, 1.0), [[(Pure(epsilon), 1)]], 1e-9)
        assert epsilon <= found.epsilon <= 3 * epsilon


def test_the_price_grows_with_trials_and_shape_and_is_that_of_the_worst_candidate():
    few, many = [(SampledGaussian(20.0), 4)], [(SampledGaussian(8.0), 4)]
    cost = {m: selection_epsilon(NegativeBinomial(m), [few], 1e-5).epsilon for m in (2.0, 4.0, 16.0)}
    assert rdp_epsilon(few, 1e-5) * 0.8 < cost[2.0] < cost[4.0] < cost[16.0]
    by_shape = [selection_epsilon(NegativeBinomial(4.0, s), [few], 1e-5).epsilon for s in SHAPES]
    assert by_shape == sorted(by_shape)
    worst = selection_epsilon(NegativeBinomial(4.0), [many], 1e-5).epsilon
    assert selection_epsilon(NegativeBinomial(4.0), [few, many], 1e-5).epsilon >= worst
    both = selection_epsilon(NegativeBinomial(4.0), [many], 1e-5)
    assert both.epsilon <= both.renyi
    assert (renyi(many) >= renyi(few)).all()


@given(st.floats(1.01, 100), st.one_of(st.floats(-0.5, -1e-3), st.floats(1e-3, 5), st.just(0.0)))
def test_gamma_gives_the_mean(mean, shape):
    trials = NegativeBinomial(mean, shape)
    assert 0 < trials.gamma < 1
    step = 1e-3 * trials.gamma
    slope = (generating(trials, 1.0) - generating(trials, 1.0 - step)) / step
    assert slope == pytest.approx(mean, rel=0.01)


@pytest.mark.parametrize("wrong", [{"mean": 1.0}, {"mean": 0.5}, {"shape": -1.0}, {"mean": float("nan")}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(SettingError):
        NegativeBinomial(**wrong)
    with pytest.raises(SettingError):
        selection_epsilon(NegativeBinomial(2.0), [[(SampledGaussian(1.0), 1)]], 0.0)
