"""Quality agrees with known figures, its intervals hold the truth, and what cannot be judged is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, brier_score_loss, roc_auc_score

from assay.assessment.curves import Curve
from assay.assessment.quality import quality
from assay.assessment.quality_curves import exact_band
from assay.assessment.ranking import area, precision
from assay.core.errors import DataError
from assay.stats.intervals import auc_interval, clopper_pearson


def answers(n: int = 600, *, classes: int = 2, sharp: float = 1.5, seed: int = 0):
    rng = np.random.default_rng(seed)
    z = sharp * rng.normal(size=(n, classes)) + np.r_[2.0, np.zeros(classes - 1)]
    y = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    p = np.exp(z)
    return p / p.sum(axis=1, keepdims=True), y


def by_name(p, y, seed=0):
    return {m.name.removeprefix("quality."): m for m in quality(p, y, seed=seed)[0]}


def two(scores):
    return np.stack([1 - scores, scores], axis=1)


def test_figures_are_those_of_scikit_learn():
    p, y = answers()
    found = by_name(p, y)
    assert found["auc"].estimate == pytest.approx(roc_auc_score(y, p[:, 1]))
    assert found["average_precision"].estimate == pytest.approx(average_precision_score(y, p[:, 1]))
    assert found["average_precision_lift"].estimate == pytest.approx(average_precision_score(y, p[:, 1]) / y.mean())
    assert found["brier"].estimate == pytest.approx(2 * brier_score_loss(y, p[:, 1]))
    assert found["balanced_accuracy"].estimate == pytest.approx(balanced_accuracy_score(y, p.argmax(axis=1)))
    assert found["accuracy"].estimate == pytest.approx((p.argmax(axis=1) == y).mean())


def test_many_classes_count_alike():
    p, y = answers(classes=4)
    found = by_name(p, y)
    assert found["auc"].estimate == pytest.approx(roc_auc_score(y, p, multi_class="ovr", average="macro"))
    assert found["average_precision"].estimate == pytest.approx(average_precision_score(np.eye(4)[y], p))
    assert "average_precision_lift" not in found


def test_ranking_leads_and_accuracy_is_last():
    names = list(by_name(*answers()))
    assert names[:2] == ["auc", "average_precision"]
    assert names[-1] == "accuracy"


def test_rare_positives_never_found_look_accurate_and_nothing_else():
    y = (np.arange(2000) % 50 == 0).astype(int)
    found = by_name(two(np.full(len(y), 0.02)), y)
    assert found["accuracy"].low > 0.97
    assert found["auc"].estimate == 0.5
    assert found["average_precision_lift"].estimate == pytest.approx(1.0)
    assert found["balanced_accuracy"].estimate == 0.5


def test_answers_at_random_give_chance():
    rng = np.random.default_rng(3)
    found = by_name(two(rng.random(3000)), (rng.random(3000) < 0.1).astype(int))
    assert found["auc"].low <= 0.5 <= found["auc"].high
    assert found["average_precision_lift"].low <= 1.0 <= found["average_precision_lift"].high


def test_binary_auc_interval_is_delongs():
    p, y = answers()
    figure = area(p, y)
    expected = auc_interval(p[y == 1, 1], p[y == 0, 1])
    assert (figure.value, *figure.interval()) == pytest.approx(expected)


@given(st.integers(0, 2**32), st.integers(2, 12))
@settings(max_examples=25, deadline=None)
def test_the_pull_of_a_row_is_what_its_weight_does(seed, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, 40) / levels
    y = np.r_[0, 1, rng.integers(0, 2, 38)]
    for figure, peer in ((area, roc_auc_score), (precision, average_precision_score)):
        for row in rng.integers(0, 40, 3):
            heavy = np.ones(40)
            heavy[row] += 1e-6
            slope = (peer(y, scores, sample_weight=heavy) - peer(y, scores)) / 1e-6
            assert figure(two(scores), y).pull[row] == pytest.approx(slope, abs=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_intervals_hold_the_truth(classes):
    truth = {k: m.estimate for k, m in by_name(*answers(200_000, classes=classes, seed=9)).items()}
    runs = [by_name(*answers(400, classes=classes, seed=s)) for s in range(60)]
    for name, value in truth.items():
        assert sum(r[name].low <= value <= r[name].high for r in runs) >= 51, name


def test_calibration_error_is_seen_and_its_absence_too():
    p, y = answers(4000)
    honest, bent = by_name(p, y), by_name(two(p[:, 1] ** 0.4), y)
    assert honest["calibration_error"].low == 0.0
    assert bent["calibration_error"].low > 0.05


def test_perfect_answers_keep_an_open_end():
    y = np.arange(40) % 2
    found = by_name(np.eye(2)[y], y)
    assert found["auc"].estimate == found["average_precision"].estimate == 1.0
    assert found["auc"].low < 0.9
    assert found["average_precision_lift"].low < 2.0 == found["average_precision_lift"].high
    assert found["calibration_error"].estimate == 0.0


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_curves_are_whole_and_enclosed(classes):
    p, y = answers(1500, classes=classes)
    curves = quality(p, y, seed=0)[1]
    assert [c.title for c in curves] == ["ROC", "Precision and recall", "Reliability"]
    for curve in curves:
        assert curve.goal == "quality"
        assert len(curve.series) <= 7
        for line in curve.series:
            assert len(line.x) == len(line.y) <= 202
            if line.low is not None:
                assert (line.low <= line.y + 1e-12).all()
                assert (line.y <= line.high + 1e-12).all()
        record = json.loads(json.dumps(curve.to_json()))
        assert Curve.from_json(record).to_json() == record
    roc = curves[0].series[0]
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)


def test_exact_band_is_clopper_and_pearson():
    k, n = np.array([0.0, 3.0, 10.0, 0.0]), np.array([10.0, 10.0, 10.0, 0.0])
    expected = [clopper_pearson(int(a), int(b)) for a, b in zip(k, n, strict=True)]
    assert np.allclose(np.transpose(exact_band(k, n)), expected)


def test_same_seed_same_bytes_and_inputs_left_alone():
    p, y = answers(300)
    kept = p.copy(), y.copy()
    first, second = (json.dumps([m.to_json() for m in quality(p, y, seed=4)[0]]) for _ in range(2))
    assert first == second
    assert np.array_equal(p, kept[0])
    assert np.array_equal(y, kept[1])


@pytest.mark.parametrize(
    ("p", "y"),
    [
        (np.full((4, 2), 0.5), np.zeros(4, int)),
        (np.full((4, 2), 0.5), np.array([0, 1, 2, 0])),
        (np.full((4, 2), 0.5), np.array([0, 1, -1, 0])),
        (np.full((4, 2), 0.5), np.array([0, 1, 0])),
        (np.full((4, 2), 0.5), np.array([0.0, 1.0, 0.0, 1.0])),
        (np.full((4, 2), np.nan), np.array([0, 1, 0, 1])),
        (np.full((4, 1), 0.5), np.array([0, 0, 0, 0])),
        (np.full(4, 0.5), np.array([0, 1, 0, 1])),
        (np.empty((0, 2)), np.empty(0, int)),
    ],
)
def test_what_cannot_be_judged_is_refused(p, y):
    with pytest.raises(DataError):
        quality(p, y, seed=0)


def test_one_class_is_refused_with_a_remedy():
    with pytest.raises(DataError, match="two classes"):
        quality(np.full((4, 2), 0.5), np.ones(4, int), seed=0)
