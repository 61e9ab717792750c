"""What the base of certificates holds to: flips are replayed, contradicted claims are dropped, measures are bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from assay.assessment.certificates.base import Bounds, Certificate
from assay.contract.region import Region
from assay.core.errors import DataError, SettingError
from assay.core.settings import OneOf, setting
from assay.models.predictor import predictor


@dataclass(frozen=True, slots=True)
class Line(Certificate):
    """The model of this file is wrong from 1.0 on; claims what it is told to."""

    norm: str = setting("linf", OneOf(("l1", "l2", "linf")), "Norm.")
    claim: float = 1.0
    flip_at: float = 1.0

    def bound(self, predictor, x0, y, region, generator, shape):
        lower = np.maximum(self.claim - x0[:, 0], 0.0)
        flip = x0.copy()
        flip[:, 0] = self.flip_at
        yes = np.ones(len(x0), dtype=bool)
        return Bounds(lower, flip, yes, yes)


class Chance(Line):
    """A certificate of another function than the predictor, with a confidence."""

    __slots__ = ()
    replays: ClassVar[bool] = False

    @property
    def trust(self):
        return 0.999


MODEL = predictor(lambda x: (x[:, 0] >= 1.0).astype(int), classes=2)
X = np.array([[0.0, 5.0], [0.5, 5.0], [2.0, 5.0]])
Y = np.zeros(3, dtype=int)


def test_an_exact_claim_is_replayed_and_kept():
    result = Line()(MODEL, X, Y)
    assert result.right.tolist() == [True, True, False]
    assert result.lower.tolist() == [*result.upper.tolist()[:2], 0.0]
    assert result.exact.tolist() == [True, True, False]
    assert result.x_flip[2].tolist() == X[2].tolist()
    assert result.seed is None


def test_a_flip_that_does_not_replay_takes_the_radius_with_it():
    result = Line(claim=1.5, flip_at=0.9)(MODEL, X, Y)
    assert not result.lower.any()
    assert np.isinf(result.upper).all()
    assert not result.exact.any()


def test_a_radius_beyond_a_replayed_flip_is_dropped():
    result = Line(claim=3.0)(MODEL, X, Y)
    assert not result.lower.any()
    assert result.upper[:2].tolist() == [1.0, 0.5]


def test_a_flip_outside_the_region_is_no_flip():
    result = Line()(MODEL, X, Y, Region.box([0, 0], [0.8, 9]))
    assert np.isinf(result.upper).all()
    assert not result.lower.any()


def test_measures_lie_on_both_sides_of_the_truth():
    result = Line(claim=0.8, flip_at=1.0)(MODEL, X, Y)
    by_name = {m.name: m.estimate for m in result.measures([0.0, 0.4, 0.9])}
    assert by_name["certified_accuracy@linf_0,"] == pytest.approx(2 / 3)
    assert by_name["certified_accuracy@linf_0.4,"] == pytest.approx(1 / 3)
    assert by_name["unbroken_accuracy@linf_0.4,"] == pytest.approx(2 / 3)
    assert by_name["certified_accuracy@linf_0.9,"] == 0.0
    assert by_name["unbroken_accuracy@linf_0.9,"] == pytest.approx(1 / 3)


def test_another_function_than_the_predictor_is_judged_by_the_author():
    result = Chance()(MODEL, X, Y, seed=5)
    assert result.right.tolist() == [True, True, False]
    assert result.confidence == 0.999
    assert result.seed == 5
    assert "confidence 0.999" in result.measures([0.1])[0].threat_model


@pytest.mark.parametrize("distance", [-1.0, float("nan"), float("inf")])
def test_a_distance_that_is_none_is_refused(distance):
    with pytest.raises(SettingError):
        Line()(MODEL, X, Y).measures([distance])


def test_shapes_settings_and_defects_are_refused():
    with pytest.raises(DataError):
        Line()(MODEL, X, Y[:2])
    with pytest.raises(DataError):
        Line()(MODEL, X, Y, Region.box([0], [1]))
    with pytest.raises(SettingError):
        Line(norm="l7")
    with pytest.raises(DataError):
        Line(claim=float("nan"))(MODEL, X, Y)
    with pytest.raises(DataError):
        Line()(MODEL, X[:0], Y[:0]).measures([0.1])
