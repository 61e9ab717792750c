from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from assay.contract.contract import Contract, Feature, Kind, Mutable, Relation, Tensor
from assay.contract.region import Region
from assay.core.errors import AssayError

FEATURES = (
    Feature("amount", Kind.NUMBER, low=-5, high=10, scale=2.0),
    Feature("free", Kind.NUMBER),
    Feature("up", Kind.NUMBER, low=0, high=8, mutable=Mutable.UP, step=0.25),
    Feature("down", Kind.INTEGER, low=-3, high=9, mutable=Mutable.DOWN, step=2),
    Feature("fixed", Kind.NUMBER, mutable=Mutable.NO),
    Feature("colour", Kind.CATEGORY, categories=("r", "g", "b")),
    Feature("flag", Kind.BOOLEAN),
)
RELATIONS = (
    Relation({"amount": 1.0, "free": 1.0}, 6.0),
    Relation({"amount": 1.0, "free": -1.0, "up": 1.0}, 0.0, equal=True),
    Relation({"down": 1.0, "amount": 2.0}, 20.0),
)
values = st.floats(-30, 30) | st.just(float("nan")) | st.integers(-4, 4).map(float)


def blocks(n: int = 3):
    return hnp.arrays(np.float64, (n, len(FEATURES)), elements=values)


@settings(max_examples=200, deadline=None)
@given(blocks(), blocks(), st.sampled_from([(), RELATIONS[:1], RELATIONS]))
def test_projection_is_contained_and_idempotent(x, x0, relations):
    region = Region.of(Contract(columns=FEATURES, relations=relations))
    assert region.contains(x0, x0).all()
    before = x.copy()
    once = region.project(x, x0)
    assert np.array_equal(before, x, equal_nan=True)
    assert region.contains(once, x0).all()
    assert np.array_equal(region.project(once, x0), once, equal_nan=True)
    inside = region.contains(x, x0)
    assert np.allclose(region.project(x, x0)[inside], x[inside], equal_nan=True, atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(blocks())
def test_samples_are_contained(x0):
    region = Region.of(Contract(columns=FEATURES, relations=RELATIONS[:1]))
    assert region.contains(region.sample(x0, np.random.default_rng(0)), x0).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", 10.5),
        ("up", 1.9),
        ("up", 2.1),
        ("down", 3.0),
        ("down", 5.0),
        ("fixed", 2.0),
        ("colour", 3.0),
        ("colour", 0.5),
        ("flag", 2.0),
    ],
)
def test_what_cannot_be_reached_is_refused(name, value):
    region = Region.of(Contract(columns=FEATURES))
    x0 = np.array([[1.0, 1.0, 2.0, 4.0, 1.0, 0.0, 0.0]])
    x = x0.copy()
    x[0, [f.name for f in FEATURES].index(name)] = value
    assert not region.contains(x, x0)[0]


def test_relations_move_freely_moving_values_to_the_border():
    region = Region.of(Contract(columns=FEATURES[:2], relations=RELATIONS[:1]))
    x0 = np.array([[0.0, 0.0]])
    out = region.project(np.array([[5.0, 5.0]]), x0)
    assert out.sum() == pytest.approx(6.0, abs=1e-6)
    assert (out > 0.5).all()


def test_distance_counts_a_changed_category_once():
    region = Region.of(Contract(columns=FEATURES))
    x0 = np.zeros((1, 7))
    x = x0.copy()
    x[0, 0], x[0, 5] = 2.0, 2.0
    assert region.distance(x, x0, "l1")[0] == 2.0
    assert region.distance(x, x0, "linf")[0] == 1.0
    assert region.distance(x, x0)[0] == pytest.approx(2**0.5)
    with pytest.raises(AssayError):
        region.distance(x, x0, "l7")


def test_a_box_and_a_tensor_keep_the_shape_of_samples():
    region = Region.of(Contract(tensor=Tensor((2, 2))))
    x0 = np.full((3, 2, 2), 0.5)
    x = x0 + np.arange(12).reshape(3, 2, 2)
    assert region.project(x, x0).shape == x.shape
    assert region.project(x, x0).max() == 1.0
    assert region.contains(x, x0).tolist() == [False, False, False]
    assert Region.box(0, [1, 2]).width == 2
    with pytest.raises(AssayError):
        Region.box(1, 0)
    with pytest.raises(AssayError):
        region.project(np.zeros((2, 5)), np.zeros((2, 5)))


def test_a_text_feature_has_no_region():
    with pytest.raises(AssayError, match="role: ignore"):
        Region.of(Contract(columns=(Feature("note", Kind.TEXT),)))
