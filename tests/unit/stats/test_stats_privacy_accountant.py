"""The bracket holds known truths, its parts dominate and are dominated as claimed, and nonsense is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from assay.core.errors import SettingError, UnsupportedError
from assay.stats.privacy.accountant import Bracket, delta, epsilon, upper_epsilon
from assay.stats.privacy.calibrate import noise_for, sigma_for
from assay.stats.privacy.discretise import lower, upper
from assay.stats.privacy.events import DIRECTIONS, Laplace, Pure, SampledGaussian
from assay.stats.privacy.rdp import ORDERS, divergences, rdp_epsilon

# (sigma, rate, steps, delta) and the value of an independent accountant at a grid of 1e-4 (rounded to four places).
KNOWN = [
    ((1.0, 256 / 50000, 1953, 1e-5), 1.2252),
    ((1.1, 256 / 60000, 14062, 1e-5), 2.3817),
    ((0.8, 0.01, 1000, 1e-5), 3.1410),
    ((2.0, 0.05, 2000, 1e-6), 6.1066),
    ((0.6, 0.02, 200, 1e-5), 7.2602),
]


def hockey_stick(losses, mass, eps):
    return float((mass * -np.expm1(np.minimum(eps - losses, 0.0))).sum())


def one_step_delta(sigma, rate, eps):
    """Return delta of one sampled Gaussian, both directions, from its closed form."""
    x = sigma**2 * math.log1p(math.expm1(eps) / rate) + 0.5
    removed = (1 - rate) * ndtr(-x / sigma) + rate * ndtr(-(x - 1) / sigma) - math.exp(eps) * ndtr(-x / sigma)
    level = math.exp(-eps) - 1 + rate
    if level <= 0:
        return removed
    y = sigma**2 * math.log(level / rate) + 0.5
    added = ndtr(y / sigma) - math.exp(eps) * ((1 - rate) * ndtr(y / sigma) + rate * ndtr((y - 1) / sigma))
    return max(removed, added)


@pytest.mark.parametrize(("case", "value"), KNOWN)
def test_known_settings(case, value):
    sigma, rate, steps, at = case
    found = epsilon([(SampledGaussian(sigma, rate), steps)], at)
    assert found.low <= value <= found.high * (1 + 5e-5)
    assert found.high <= value * 1.0005
    assert found.gap <= 1e-3


@settings(max_examples=25, deadline=None)
@given(st.floats(0.5, 5), st.floats(0.001, 0.9), st.floats(0.01, 2))
def test_one_step_holds_the_closed_form(sigma, rate, eps):
    truth = one_step_delta(sigma, rate, eps)
    found = delta([(SampledGaussian(sigma, rate), 1)], eps)
    # Three units of float error on the closed form, whose terms nearly cancel.
    assert found.low <= truth + 1e-14
    assert found.high >= truth - 1e-14


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 30), st.integers(1, 50), st.floats(-9, -3))
def test_plain_gaussians_merge_into_their_closed_form(sigma, count, exponent):
    at = 10**exponent
    whole = epsilon([(SampledGaussian(sigma * count**0.5), count)], at)
    assert whole.low <= epsilon([(SampledGaussian(sigma), 1)], at).high * (1 + 1e-9)
    assert whole.gap <= 1e-6


def test_a_rate_close_to_one_is_close_to_the_plain_gaussian():
    plain = epsilon([(SampledGaussian(3.0), 20)], 1e-6)
    sampled = epsilon([(SampledGaussian(3.0, 0.999999), 20)], 1e-6)
    assert sampled.low <= plain.high * 1.0001
    assert sampled.high >= plain.low * 0.9999


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 1.0), st.integers(1, 12), st.floats(0.0, 3.0))
def test_randomised_response_holds_the_binomial_sum(eps, count, at):
    """k uses of randomised response: the loss is (2 j - k) eps with binomial j."""
    p = 1 / (1 + math.exp(-eps))
    losses = (2 * np.arange(count + 1) - count) * eps
    mass = np.array([math.comb(count, j) * p**j * (1 - p) ** (count - j) for j in range(count + 1)])
    truth = hockey_stick(losses, mass, at)
    found = delta([(Pure(eps), count)], at)
    assert found.low <= truth + 1e-12
    assert found.high >= truth - 1e-12
    assert found.high - found.low <= 1e-6


@pytest.mark.parametrize(
    "event", [SampledGaussian(1.0, 0.01), SampledGaussian(0.7, 0.3), SampledGaussian(2.0), Laplace(3.0), Pure(0.7)]
)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("h", [0.05, 0.003])
def test_rounding_dominates_and_is_dominated(event, direction, h):
    fine = event.cells(1e-4, direction, 1e-15)
    near = upper(fine, 1e-4)
    up, down = upper(event.cells(h, direction, 1e-15), h), lower(event.cells(h, direction, 1e-15), h)
    for eps in np.linspace(-2, 4, 61):
        truth = hockey_stick(near.losses(1e-4), near.mass, eps)
        assert hockey_stick(up.losses(h), up.mass, eps) >= truth - 1e-7
        assert hockey_stick(down.losses(h), down.mass, eps) <= truth + 1e-12


def test_the_composed_bracket_holds_a_convolution_by_hand():
    """Three steps on a fine grid, convolved directly in extended precision."""
    event, h, eps = SampledGaussian(1.3, 0.2), 2e-3, 0.8
    found = delta([(event, 3)], eps)
    values = {"low": 0.0, "high": 0.0}
    for direction in DIRECTIONS:
        for side, rounding in (("low", lower), ("high", upper)):
            atoms = rounding(event.cells(h, direction, 1e-16), h)
            mass = atoms.mass.astype(np.longdouble)
            total = np.convolve(np.convolve(mass, mass), mass)
            losses = (3 * atoms.first + np.arange(len(total))) * h
            values[side] = max(values[side], hockey_stick(losses, total.astype(float), eps))
    assert values["low"] <= found.high
    assert values["high"] >= found.low
    assert found.gap <= 0.02


def test_fft_error_stays_below_its_bound():
    rng = np.random.default_rng(0)
    unit = np.finfo(float).eps / 2
    from scipy.fft import irfft, rfft

    for points in (256, 3 * 1024, 1 << 15):
        x = rng.exponential(size=points)
        exact = rfft(x.astype(np.longdouble))
        off = np.linalg.norm((np.fft.rfft(x) - exact).astype(complex)) / np.linalg.norm(exact.astype(complex))
        assert off <= 8 * unit * np.log2(points)
        back = irfft(exact, points)
        off = np.linalg.norm((np.fft.irfft(exact.astype(complex), points) - back).astype(float)) / np.linalg.norm(x)
        assert off <= 8 * unit * np.log2(points) + 2 * unit


def test_the_normal_tail_is_as_exact_as_the_proof_takes_it_to_be():
    z = np.linspace(0, 37, 2000)
    other = np.array([0.5 * math.erfc(v / math.sqrt(2)) for v in z])
    unit = np.finfo(float).eps / 2
    # The argument of erfc is rounded once more here, which costs z^2 units.
    assert (np.abs(ndtr(-z) / other - 1) <= (10 + 5 * z**2) * unit).all()


def test_small_delta_keeps_its_relative_precision():
    found = epsilon([(SampledGaussian(2.0, 0.01), 500)], 1e-14)
    assert found.gap <= 1e-3
    assert found.high > 0.5


def test_mixed_events_spend_more_than_each_alone():
    parts = [(SampledGaussian(1.0, 0.01), 200), (Laplace(8.0), 4), (Pure(0.05, 1e-9), 2), (SampledGaussian(30.0), 2)]
    whole = epsilon(parts, 1e-6)
    assert whole.high > max(epsilon([part], 1e-6).high for part in parts[:2])
    assert whole.gap <= 5e-3
    assert whole.low <= upper_epsilon(parts, 1e-6) <= whole.high * 1.002


@pytest.mark.parametrize(("case", "value"), KNOWN)
def test_the_renyi_way_never_falls_below_the_bracket(case, value):
    sigma, rate, steps, at = case
    found = rdp_epsilon([(SampledGaussian(sigma, rate), steps)], at)
    assert value < found < 1.35 * value


def test_renyi_divergences_of_known_forms():
    assert np.allclose(divergences(SampledGaussian(2.0)), np.array(ORDERS) / 8)
    assert divergences(Pure(0.5))[-1] == pytest.approx(0.5, abs=1e-3)
    assert divergences(Laplace(2.0))[-1] == pytest.approx(0.5, abs=2e-3)
    with pytest.raises(UnsupportedError):
        divergences(Pure(0.5, 1e-6))


def test_calibration_meets_the_target_and_wastes_little():
    sigma = sigma_for(1.0, 1e-5, 0.02, 500)
    assert upper_epsilon([(SampledGaussian(sigma, 0.02), 500)], 1e-5) <= 1.0
    assert upper_epsilon([(SampledGaussian(sigma * 0.99, 0.02), 500)], 1e-5) > 1.0
    more = noise_for(lambda s: [(SampledGaussian(s, 0.02), 500), (Pure(0.2), 1)], 1.0, 1e-5)
    assert more > sigma


def test_the_closed_form_of_one_gaussian():
    found = epsilon([(SampledGaussian(1.0), 1)], 1e-5)
    assert found.high == pytest.approx(4.377, abs=1e-3)
    assert epsilon([(SampledGaussian(1e5), 1)], 0.1) == Bracket(0.0, 0.0, {"closed form": 0.0})


def test_bracket_as_a_measure():
    held = epsilon([(SampledGaussian(1.0, 0.01), 100)], 1e-5).measure("epsilon@delta1e-05", 1000)
    assert held.low <= held.high == held.estimate


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: epsilon([], 1e-5),
        lambda: epsilon([(SampledGaussian(1.0), 1)], 0.0),
        lambda: epsilon([(SampledGaussian(1.0), 1)], 1.0),
        lambda: epsilon([(SampledGaussian(1.0), 1)], float("nan")),
        lambda: epsilon([(SampledGaussian(1.0), 0)], 1e-5),
        lambda: delta([(SampledGaussian(1.0), 1)], -1.0),
        lambda: delta([(SampledGaussian(1.0), 1)], float("inf")),
        lambda: SampledGaussian(0.0, 0.1),
        lambda: SampledGaussian(1.0, 0.0),
        lambda: SampledGaussian(1.0, 1.5),
        lambda: SampledGaussian(float("nan"), 0.5),
        lambda: Laplace(-1.0),
        lambda: Pure(0.0),
        lambda: Pure(1.0, 2.0),
        lambda: sigma_for(0.0, 1e-5, 0.1, 10),
        lambda: sigma_for(1e-9, 1e-12, 1.0, 10**6),
        lambda: rdp_epsilon([(SampledGaussian(1.0), 1)], 0.0),
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(SettingError):
        wrong()
