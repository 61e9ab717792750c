"""Audit bounds: right on what can be computed by hand, and silent on chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.core.errors import DataError
from assay.stats.privacy.audit import (
    binomial_p,
    chi_square_p,
    lower_of_scores,
    normal_p,
    one_run_lower,
    one_run_p_value,
)


def test_without_delta_the_p_value_is_the_binomial_tail():
    eps, n, v = 1.0, 20, 17
    p = 1 / (1 + math.exp(-eps))
    tail = sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(v, n + 1))
    assert one_run_p_value(v, n, 50, eps, 0.0) == pytest.approx(tail, rel=1e-9)
    assert one_run_p_value(v, n, 50, eps, 1e-3) > tail


def test_all_right_guesses_give_the_known_bound():
    """r right of r: (1 / (1 + e^-eps))^r = 0.05."""
    found = one_run_lower(100, 100, 100, 0.0)
    chance = 0.05 ** (1 / 100)
    assert found == pytest.approx(math.log(chance / (1 - chance)), abs=1e-6)
    assert one_run_lower(50, 100, 100, 0.0) == 0.0
    assert one_run_lower(100, 100, 100, 1e-5) < found
    assert one_run_lower(0, 0, 10, 1e-5) == 0.0


def test_chance_scores_pass_the_claim_as_rarely_as_promised():
    rng = np.random.default_rng(0)
    lows = [lower_of_scores(rng.normal(size=200), rng.random(200) < 0.5, 1e-5)[0] for _ in range(200)]
    assert np.mean(np.array(lows) > 0) <= 0.08


def test_randomised_response_is_not_bounded_above_its_epsilon():
    """Answers of randomised response are the strongest canaries there are: the bound stays below epsilon, and near it."""
    rng = np.random.default_rng(1)
    eps, lows = 2.0, []
    for _ in range(40):
        truth = rng.random(1000) < 0.5
        keep = rng.random(1000) < 1 / (1 + math.exp(-eps))
        scores = np.where(truth == keep, 1.0, -1.0) + 1e-6 * rng.normal(size=1000)
        lows.append(lower_of_scores(scores, truth, 1e-6)[0])
    assert np.mean(np.array(lows) > eps) <= 0.1
    assert np.median(lows) > 1.5


@pytest.mark.parametrize("wrong", [(5, 4, 10), (3, 11, 10), (-1, 3, 10)])
def test_impossible_counts_are_refused(wrong):
    with pytest.raises(DataError):
        one_run_p_value(*wrong, 1.0, 1e-5)


def test_scores_need_coins():
    with pytest.raises(DataError):
        lower_of_scores(np.ones(3), np.ones(2, bool), 1e-5)
    with pytest.raises(DataError):
        lower_of_scores(np.ones(1), np.ones(1, bool), 1e-5)


def test_p_values_of_simple_tests():
    assert normal_p(1.959964) == pytest.approx(0.05, abs=1e-6)
    assert chi_square_p(100.0, 100) > 0.9
    assert chi_square_p(25.0, 100) < 1e-10
    assert binomial_p(500, 1000, 0.5) > 0.9
    assert binomial_p(600, 1000, 0.5) < 1e-8
    assert binomial_p(5, 5, 1.0) == 1.0
    assert binomial_p(4, 5, 1.0) == 0.0
