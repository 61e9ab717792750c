"""Evidence that may be looked at at any time: it is valid under the null, and grows without it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import DataError
from assay.stats.intervals import clopper_pearson
from assay.stats.sequential import log_wealth, proved, within_reach


@given(st.floats(0.02, 0.98), st.integers(0, 60))
def test_one_more_trial_never_gains_on_average_under_the_null(share, n):
    # E[wealth after one more trial | so far] <= wealth so far, for true shares up to the one tested.
    for k in {0, n // 2, n}:
        now = log_wealth(k, n, np.array([share]))[0]
        hit, miss = (log_wealth(k + won, n + 1, np.array([share]))[0] for won in (1, 0))
        for true in (share, 0.7 * share):
            mean = true * np.exp(hit - now) + (1 - true) * np.exp(miss - now)
            assert mean <= 1 + 1e-8


def test_wealth_starts_at_one_and_rises_with_hits():
    assert log_wealth(0, 0, np.array([0.3, 0.9])) == pytest.approx(0.0)
    assert (log_wealth(500, 500, np.array([0.5, 0.9])) > 20).all()
    assert (log_wealth(200, 500, np.array([0.5, 0.9])) < 0).all()


def test_a_true_null_is_rejected_at_any_look_less_often_than_alpha():
    rng, alpha, share, runs, length = np.random.default_rng(0), 0.05, 0.9, 400, 400
    crossed = 0
    for _ in range(runs):
        hits = np.cumsum(rng.random(length) < share)
        crossed += any(proved(int(hits[n]), n + 1, np.array([share]), alpha)[0] for n in range(0, length, 3))
    assert clopper_pearson(crossed, runs, 0.999)[0] <= alpha


def test_proofs_stop_at_the_first_share_that_does_not_hold():
    held = proved(990, 1000, np.array([0.5, 0.9, 0.97, 0.9, 0.995]), 0.001)
    assert held.tolist() == [True, True, True, True, False]
    assert proved(500, 1000, np.array([0.5, 0.1]), 0.001).tolist() == [False, False]


def test_going_on_is_given_up_only_when_it_cannot_help():
    assert within_reach(95, 100, 100_000, 0.93, 0.001)
    assert not within_reach(50, 100, 100_000, 0.93, 0.001)
    assert not within_reach(95, 100, 100, 0.5, 0.001)


@pytest.mark.parametrize(("k", "n", "share"), [(2, 1, 0.5), (-1, 1, 0.5), (0, 1, 1.0), (0, 1, -0.1)])
def test_impossible_counts_are_refused(k, n, share):
    with pytest.raises(DataError):
        log_wealth(k, n, np.array([share]))
