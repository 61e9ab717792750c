"""Smoothing certificates hold their confidence, agree with Cohen's, and ask far less."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from assay.assessment.certificates.smoothing import Smoothing
from assay.contract.region import Region
from assay.core.errors import BudgetError, SettingError
from assay.models.predictor import predictor

SIGMA = 0.5


def half_space(weights):
    """A model whose smoothed radius is known: the distance to the plane, since noise keeps half-spaces."""
    w = np.asarray(weights, dtype=float)
    return predictor(lambda rows: (rows @ w > 0).astype(int), classes=2)


def rows_at(distances, width=3):
    x = np.zeros((len(distances), width))
    x[:, 0] = distances
    return x


@pytest.mark.parametrize("method", ["sequential", "fixed"])
def test_radii_never_pass_the_exact_ones(method):
    far = np.array([0.05, 0.2, 0.4, 0.77, 1.1, 1.4, 3.0])
    model = half_space([1, 0, 0])
    made = Smoothing(sigma=SIGMA, method=method, samples=20_000)
    for seed in range(3):
        found = made(model, rows_at(far), np.ones(7, dtype=int), seed=seed)
        assert (found.lower <= far * (1 + 1e-8)).all()
        assert (found.lower[2:5] > far[2:5] - 0.15).all()
        assert found.confidence == 0.999
        assert found.seed == seed


def test_the_failure_rate_is_at_most_alpha():
    made = Smoothing(sigma=SIGMA, samples=400, alpha=0.1, step=0.05)
    found = made(half_space([1, 0, 0]), rows_at(np.full(300, 0.26)), np.ones(300, dtype=int))
    assert (found.lower > 0.26).mean() <= 0.1 + 3 * np.sqrt(0.09 / 300)


def test_sequential_decides_the_same_radii_from_far_fewer_samples():
    rng = np.random.default_rng(0)
    far = np.abs(rng.normal(0, 1.0, 25))
    shares = []
    for method, samples in (("sequential", 60_000), ("fixed", 30_000)):
        model = half_space([1, 0, 0])
        found = Smoothing(sigma=SIGMA, method=method, samples=samples, step=0.5)(
            model, rows_at(far), np.ones(25, dtype=int)
        )
        shares.append((model.queries, [(found.lower >= r).sum() for r in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)]))
    (few, ours), (many, cohen) = shares
    assert few < many / 3
    assert np.abs(np.array(ours) - cohen).max() <= 1


def test_wrong_and_undecided_rows_get_nothing():
    model = half_space([1, 0, 0])
    found = Smoothing(sigma=SIGMA)(model, rows_at([-1.0, 0.0, 1.0]), np.ones(3, dtype=int))
    assert found.lower[:2].tolist() == [0.0, 0.0]
    assert found.lower[2] > 0.9
    assert found.right.tolist() == [False, False, True]
    (certified, unbroken) = found.measures([0.5])
    assert certified.estimate == unbroken.estimate == 1 / 3
    assert "noise" in certified.threat_model
    assert "0.999" in certified.threat_model


def test_noise_leaves_what_cannot_change():
    # The second value is fixed, so a plane across it is never crossed: the vote is unanimous.
    region = Region.box([-9.0, 0.3, -9.0], [9.0, 0.3, 9.0], scale=[1.0, 1.0, 2.0])
    fixed = Region.box([-9.0] * 3, [9.0] * 3, scale=[1.0, 1.0, 2.0])
    model = half_space([0, 1, 0])
    x = np.array([[0.0, 0.3, 0.0]])
    from dataclasses import replace

    locked = replace(fixed, up=np.array([True, False, True]), down=np.array([True, False, True]))
    made = Smoothing(sigma=SIGMA, samples=10_000)
    assert made(model, x, np.array([1]), locked).lower[0] > 1.3
    assert made(model, x, np.array([1]), region).lower[0] < 0.31


def test_the_same_seed_gives_the_same_radii_and_rows_are_not_changed():
    x = rows_at([0.3, 0.9])
    kept = x.copy()
    first, second = (Smoothing(samples=2000)(half_space([1, 0, 0]), x, np.ones(2, dtype=int), seed=3) for _ in range(2))
    assert first.lower.tobytes() == second.lower.tobytes()
    assert (x == kept).all()


def test_images_are_asked_about_in_their_shape():
    seen = set()

    def model(rows):
        seen.add(rows.shape[1:])
        return (rows.reshape(len(rows), -1).sum(axis=1) > 0).astype(int)

    found = Smoothing(samples=1000)(predictor(model, classes=2), np.full((1, 2, 3), 0.5), np.array([1]))
    assert seen == {(2, 3)}
    assert 0.5 < found.lower[0] <= 3 / np.sqrt(6) + 1e-6


def test_a_spent_budget_stops_it_and_bad_settings_are_refused():
    with pytest.raises(BudgetError):
        Smoothing()(half_space([1, 0, 0]).limited(500), rows_at([0.3]), np.array([1]))
    for bad in ({"sigma": 0.0}, {"alpha": 1.0}, {"method": "hope"}, {"norm": "linf"}, {"samples": 10}):
        with pytest.raises(SettingError):
            Smoothing(**bad)


def test_the_largest_radius_of_interest_is_reached_by_a_unanimous_vote():
    vote = Smoothing(sigma=1.0).vote(
        half_space([1, 0, 0]), np.array([9.0, 0, 0]), Region.box([-9.0] * 3, [9.0] * 3), np.random.default_rng(0), (3,)
    )
    assert vote.label == 1
    assert vote.radius == pytest.approx(3.0)
    assert vote.samples < 10_000
    assert norm.cdf(3.0) > 0.998
