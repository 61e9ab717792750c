"""Paired differences, sign tests and their company: against theory and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.core.errors import DataError
from assay.stats.paired import holm, paired_difference, rank_test, sign_test


def test_no_difference_has_a_width_of_its_own() -> None:
    z2 = 1.959963984540054**2
    low, high = paired_difference(0, 0, 100)
    assert (low, high) == pytest.approx((-z2 / (100 + z2), z2 / (100 + z2)), abs=1e-9)


def test_the_interval_turns_with_the_pair() -> None:
    low, high = paired_difference(4, 9, 32)
    assert paired_difference(9, 4, 32) == pytest.approx((-high, -low))
    assert low < -5 / 32 < high


def test_the_interval_covers_the_truth_at_its_rate() -> None:
    rng = np.random.default_rng(0)
    draws = rng.multinomial(60, [0.1, 0.03, 0.87], 800)
    held = [low <= 0.07 <= high for low, high in (paired_difference(int(a), int(b), 60) for a, b, _ in draws)]
    assert np.mean(held) >= 0.925


@pytest.mark.parametrize(("gained", "lost", "n"), [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_counts_are_refused(gained: int, lost: int, n: int) -> None:
    with pytest.raises(DataError):
        paired_difference(gained, lost, n)


def test_the_sign_test_counts_coins() -> None:
    for more, less in ((5, 0), (7, 3), (1, 1), (0, 4)):
        total = more + less
        exact = sum(math.comb(total, k) for k in range(more, total + 1)) / 2**total
        assert sign_test(more, less) == pytest.approx(exact)
    with pytest.raises(DataError):
        sign_test(-1, 2)


def test_holm_steps_down_and_never_back() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_the_rank_test_is_never_below_one_in_all() -> None:
    assert rank_test(9.0, [1.0] * 19) == pytest.approx(0.05)
    assert rank_test(1.0, [1.0, 2.0, 0.0]) == pytest.approx(3 / 4)
