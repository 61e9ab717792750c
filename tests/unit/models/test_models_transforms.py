"""Input transformations, the model behind them, and ensembles: answers, and slopes as an attacker uses them."""

from __future__ import annotations

import numpy as np
import pytest

from assay.core.discovery import discover
from assay.core.errors import BudgetError, DataError, SettingError, UnsupportedError
from assay.models.ensemble import Ensemble
from assay.models.predictor import predictor
from assay.models.screened import Screened
from assay.models.transformed import Transformed
from assay.models.transforms.base import Transform, planes, unplaned
from assay.models.transforms.bit_depth import BitDepth
from assay.models.transforms.blur import Blur
from assay.models.transforms.dct import Dct
from assay.models.transforms.median import Median
from assay.models.transforms.noise import Noise

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)


def network(seed=0, width=48, classes=3):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(width, 8), torch.nn.Tanh(), torch.nn.Linear(8, classes)
    ).double()


def model_of(seed=0, **kw):
    return predictor(network(seed, **kw), classes=3)


@pytest.mark.parametrize("shape", [(2, 8, 6), (2, 8, 6, 3), (2, 3, 8, 6)])
@pytest.mark.parametrize("name", discover(Transform))
def test_transforms_keep_shape_and_inputs_and_repeat_by_seed(name, shape):
    kind = discover(Transform)[name]
    x = RNG.random(shape)
    kept = x.copy()
    made = kind().apply(x, np.random.default_rng(1))
    assert made.shape == shape
    assert (x == kept).all()
    assert (made == kind().apply(x, np.random.default_rng(1))).all()
    assert kind().pull(x, x).shape == shape
    assert kind.random == bool((made != kind().apply(x, np.random.default_rng(2))).any())


def test_each_transform_does_what_it_says():
    x, nothing = RNG.random((2, 8, 8)), np.random.default_rng(0)
    assert set(np.round(BitDepth(bits=1).apply(x, nothing), 9).ravel()) == {0.0, 1.0}
    flat = np.full((1, 8, 8), 0.25)
    flat[0, 3, 3] = 1.0
    assert (Median().apply(flat, nothing) == 0.25).all()
    np.testing.assert_allclose(Blur().apply(np.full((1, 5, 7), 0.3), nothing), 0.3)
    assert Blur().apply(flat, nothing).max() < 0.6
    fine, coarse = (np.abs(Dct(quality=q).apply(x, nothing) - x).mean() for q in (100, 5))
    assert fine < 0.01 < coarse
    assert Dct(low=-1.0, high=3.0).apply(4 * x - 1, nothing).shape == x.shape
    assert Noise(deviation=2.0).apply(np.zeros((500, 4)), nothing).std() == pytest.approx(2.0, rel=0.1)


def test_the_cosine_transform_is_orthonormal_and_pads_odd_images():
    from assay.models.transforms.dct import _basis

    np.testing.assert_allclose(_basis() @ _basis().T, np.eye(8), atol=1e-12)
    x = RNG.random((1, 11, 13))
    assert np.abs(Dct(quality=100).apply(x, RNG) - x).max() < 0.02


def test_the_slope_of_a_blur_is_its_transpose():
    x, slope = RNG.random((1, 6, 5)), RNG.random((1, 6, 5))
    blur = Blur(deviation=1.1)
    step = 1e-6 * RNG.random(x.shape)
    moved = (blur.apply(x + step, RNG) - blur.apply(x, RNG)).ravel() @ slope.ravel()
    assert moved == pytest.approx((blur.pull(x, slope) * step).sum(), rel=1e-5)


def test_planes_go_there_and_back():
    for shape in [(2, 8, 6), (2, 8, 6, 3), (2, 3, 8, 6)]:
        x = RNG.random(shape)
        assert (unplaned(planes(x), x) == x).all()
    with pytest.raises(DataError):
        planes(RNG.random((2, 4)))


def slope_by_differences(model, x, y):
    step, made = 1e-5, np.zeros_like(x)
    for i in np.ndindex(x.shape[1:]):
        up, down = x.copy(), x.copy()
        up[(slice(None), *i)] += step
        down[(slice(None), *i)] -= step
        rise = [-np.log(model.probabilities(r)[np.arange(len(x)), y]) for r in (up, down)]
        made[(slice(None), *i)] = (rise[0] - rise[1]) / (2 * step)
    return made


def test_the_gradient_behind_linear_transformations_is_exact():
    model = Transformed(model_of(), [Blur(), Blur(deviation=0.4)])
    x, y = RNG.random((2, 8, 6)), np.array([0, 2])
    np.testing.assert_allclose(model.gradient(x, y), slope_by_differences(model, x, y), atol=1e-6)


def test_rounding_is_gone_through_as_if_it_were_not_there():
    inner = model_of()
    model = Transformed(inner, [BitDepth(bits=2)])
    x, y = RNG.random((3, 8, 6)), np.array([0, 1, 2])
    rounded = BitDepth(bits=2).apply(x, RNG)
    np.testing.assert_allclose(model.gradient(x, y), inner.gradient(rounded, y))
    assert np.abs(model.gradient(x, y)).max() > 0


def test_random_transformations_are_drawn_anew_and_averaged_over():
    model = Transformed(model_of(), [Noise(deviation=0.5)], draws=400)
    x = RNG.random((1, 8, 6))
    assert (model.probabilities(x) != model.probabilities(x)).any()
    first, second = (model.gradient(x, np.array([1])) for _ in range(2))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.95
    again = [model.limited(None).probabilities(x) for _ in range(2)]
    assert (again[0] == again[1]).all()


def test_only_the_outer_model_counts():
    inner = model_of()
    model = Transformed(inner, [Noise()]).limited(5)
    model.probabilities(RNG.random((3, 8, 6)))
    assert (model.queries, inner.queries) == (3, 0)
    with pytest.raises(BudgetError):
        model.gradient(RNG.random((3, 8, 6)), np.zeros(3, dtype=int))


def test_an_ensemble_answers_the_mean_and_its_slope_is_exact():
    members = [model_of(s) for s in range(3)]
    model = Ensemble(members)
    x, y = RNG.random((2, 8, 6)), np.array([1, 2])
    np.testing.assert_allclose(model.probabilities(x), np.mean([m.probabilities(x) for m in members], axis=0))
    np.testing.assert_allclose(model.gradient(x, y), slope_by_differences(model, x, y), atol=1e-6)


def test_what_holds_no_model_is_refused():
    with pytest.raises(SettingError):
        Ensemble([])
    with pytest.raises(SettingError):
        Transformed(model_of(), [], draws=0)
    with pytest.raises(SettingError):
        Blur(deviation=0.0)
    for kind in (Ensemble, Transformed, Screened):
        assert not kind.accepts(model_of())
        with pytest.raises(UnsupportedError):
            kind.wrap(None, contract=None)
    black = predictor(lambda rows: rows.reshape(len(rows), -1)[:, 0] > 0.5, classes=2)
    with pytest.raises(UnsupportedError):
        Transformed(black, [BitDepth()]).gradient(RNG.random((1, 4)), np.array([0]))


class Ring:
    """A screen that refuses what lies further than 1 from the origin."""

    threshold, spread = 1.0, 0.5

    def score(self, x):
        return np.linalg.norm(x.reshape(len(x), -1), axis=1)

    def slope(self, x):
        return x / self.score(x).reshape(-1, *[1] * (x.ndim - 1))


def test_what_a_screen_refuses_answers_as_the_class_it_is_refused_as():
    inner = model_of(width=4)
    model = Screened(inner, Ring(), 2)
    x = np.array([[0.1, 0.2, 0.3, 0.1], [3.0, 0, 0, 0]])
    answers = model.probabilities(x)
    np.testing.assert_allclose(answers[0], inner.probabilities(x)[0])
    assert answers[1].tolist() == [0.0, 0.0, 1.0]


def test_from_inside_the_slope_leads_out_of_the_refused_region():
    inner = model_of(width=4)
    x = np.array([[1.2, 0.9, 0.3, 0.1], [0.1, 0.2, 0.1, 0.0]])
    y = inner.labels(x)
    wrong = int((y[0] + 1) % 3)
    model = Screened(inner, Ring(), wrong)
    white = model.white_box()

    def value(rows):
        return white.logits(rows)[:, wrong]

    def weigh(z):
        return np.eye(3)[[wrong] * len(z)]

    logits, slope = white.pull(x, weigh)
    np.testing.assert_allclose(logits[:, wrong], value(x))
    step = 1e-6
    for i in range(4):
        up = x.copy()
        up[:, i] += step
        np.testing.assert_allclose(slope[:, i], (value(up) - value(x)) / step, atol=1e-4)
    assert logits[0].argmax() == wrong
