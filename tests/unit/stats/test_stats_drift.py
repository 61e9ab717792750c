import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.clock import stream
from assay.core.errors import DataError
from assay.stats.drift import (
    chi_square,
    chi_square_p,
    histogram,
    holm,
    ks_counts,
    ks_exact,
    psi,
    psi_interval,
    quantile_edges,
)

counts = (
    st.lists(st.integers(0, 1000), min_size=2, max_size=8)
    .filter(lambda c: sum(c) > 0)
    .map(lambda c: np.array(c, dtype=float))
)


def test_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=500), rng.normal(0.2, 1, size=400)
    distance, p = ks_exact(a, b)
    theirs = stats.ks_2samp(a, b)
    assert distance == pytest.approx(theirs.statistic)
    assert p == pytest.approx(theirs.pvalue, rel=0.2)
    for x, k in [(0.5, 1), (3.0, 2), (12.0, 5), (30.0, 9), (700.0, 40)]:
        assert chi_square_p(x, k) == pytest.approx(stats.chi2.sf(x, k), rel=1e-9)
    u, v = np.array([50.0, 30, 20]), np.array([40.0, 40, 30])
    statistic, freedom, p = chi_square(u, v)
    theirs = stats.chi2_contingency(np.array([u, v]), correction=False)
    assert (statistic, freedom, p) == pytest.approx((theirs.statistic, theirs.dof, theirs.pvalue))


def test_binned_ks_is_at_most_exact_and_close():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=5000), rng.normal(0.3, 1, size=3000)
    edges = quantile_edges(a, 200)
    binned = ks_counts(histogram(a, edges), histogram(b, edges))[0]
    assert 0 <= ks_exact(a, b)[0] - binned < 0.01


@given(counts)
def test_a_sample_has_not_drifted_from_itself(c):
    assert psi(c, c) == pytest.approx(0)
    assert ks_counts(c, c)[0] == 0
    assert chi_square(c, c)[2] == pytest.approx(1.0)


@given(counts, counts)
def test_psi_is_not_negative_and_inside_its_interval(a, b):
    if a.shape != b.shape:
        with pytest.raises(DataError):
            psi(a, b)
        return
    low, high = psi_interval(a, b, stream(0, "t"), resamples=50)
    assert low <= psi(a, b) <= high
    assert psi(a, b) >= 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p):
    adjusted = holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert max(adjusted) <= 1
    order = np.argsort(p, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)


def test_empty_samples_are_refused():
    with pytest.raises(DataError):
        psi(np.zeros(3), np.ones(3))
    with pytest.raises(DataError):
        ks_exact(np.array([np.nan]), np.ones(3))


def test_edges_of_a_constant():
    assert len(quantile_edges(np.ones(10), 10)) == 0
    assert histogram(np.array([1.0, np.nan]), np.empty(0)).tolist() == [1]
