"""Radii of networks are sound: against random and gradient attacks, against the exact distance, in every norm."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.assessment.certificates.ball import Ball
from assay.assessment.certificates.interval import Interval
from assay.assessment.certificates.linear import Linear
from assay.assessment.certificates.networks import activate, read_network
from assay.assessment.certificates.relaxation import _sigmoid_lines, interval_margins, linear_margins
from assay.contract.contract import Contract, Feature, Kind, Mutable, Target
from assay.contract.region import Region
from assay.core.errors import UnsupportedError
from assay.models.predictor import predictor

torch = pytest.importorskip("torch")
BOTH = pytest.mark.parametrize("certificate", [Interval, Linear])


def dense(seed, widths=(3, 8, 6, 3), kind=torch.nn.ReLU, *, double=True):
    torch.manual_seed(seed)
    layers = []
    for a, b in itertools.pairwise(widths):
        layers += [torch.nn.Linear(a, b), kind()]
    module = torch.nn.Sequential(*layers[:-1])
    return module.double() if double else module


def image(seed):
    torch.manual_seed(seed)
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2, dilation=2, padding=2),
        nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 5), nn.Tanh(), nn.Linear(5, 3),
    )  # fmt: skip
    module[1].running_mean = torch.randn(4)
    module[1].running_var = torch.rand(4) + 0.5
    return module


def worst_found(network, x, y, ball, rng, tries=400):
    """Return the least margin that random points and corners of the ball reach, and ascent from the best of them."""
    d = len(x)
    if ball.norm == "linf":
        steps = np.where(
            rng.random((tries, 1)) < 0.5, rng.choice([-1.0, 1.0], (tries, d)), rng.uniform(-1, 1, (tries, d))
        )
    else:
        steps = rng.normal(size=(tries, d))
        steps /= np.linalg.norm(steps, ord=2 if ball.norm == "l2" else 1, axis=1, keepdims=True)
        if ball.norm == "l1":
            corners = np.vstack([np.eye(d), -np.eye(d)])
            steps[: len(corners)] = corners[:tries]
    rows = np.clip(x + ball.radius * ball.scale * steps, ball.low, ball.high)
    logits = network.logits(rows)
    mine = logits[:, y].copy()
    logits[:, y] = -np.inf
    return (mine - logits.max(axis=1)).min()


def spec_of(network, y):
    eye = np.eye(network.classes)
    return np.delete(eye[y] - eye, y, axis=0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(["linf", "l2", "l1"]), st.floats(0.01, 1.0),
    st.sampled_from([torch.nn.ReLU, torch.nn.Tanh, torch.nn.Sigmoid]),
)  # fmt: skip
def test_no_point_of_the_ball_lies_below_the_bounds(seed, norm, radius, kind):
    rng = np.random.default_rng(seed)
    model = predictor(dense(seed, kind=kind), classes=3)
    network = read_network(model, (3,))
    x = rng.normal(size=3)
    y = int(network.logits(x[None])[0].argmax())
    region = Region.box([-2.0] * 3, [2.0] * 3, scale=[1.0, 0.5, 2.0])
    ball = Ball.of(x, region, norm, radius)
    spec = spec_of(network, y)
    found = worst_found(network, x, y, ball, rng)
    loose, tight = interval_margins(network, ball, spec).min(), linear_margins(network, ball, spec).min()
    assert loose <= found
    assert tight <= found
    assert loose <= tight


@pytest.mark.parametrize("seed", range(4))
def test_an_image_network_is_read_exactly_and_bounded(seed):
    rng = np.random.default_rng(seed)
    module = image(seed).eval()
    model = predictor(module, classes=3)
    network = read_network(model, (1, 8, 8))
    x = rng.uniform(0, 1, (5, 1, 8, 8))
    with torch.no_grad():
        wanted = module(torch.tensor(x).float()).numpy()
    np.testing.assert_allclose(network.logits(x.reshape(5, 64)), wanted, atol=1e-5)
    y = int(wanted[0].argmax())
    ball = Ball.of(x[0].ravel(), Region.box(np.zeros(64), np.ones(64)), "linf", 0.03)
    found = worst_found(network, x[0].ravel(), y, ball, rng)
    assert linear_margins(network, ball, spec_of(network, y)).min() <= found


def exact_distance(network, x, y, limit):
    """Return the exact Linf distance to the decision boundary of a small ReLU network, by mixed-integer programming."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    d, sizes = len(x), [len(m.bias) for m in network.affine[:-1]]
    ball = Ball.of(x, Region.box(x - limit, x + limit), "linf", limit)
    from assay.assessment.certificates.relaxation import _intervals

    intervals = _intervals(network, ball)
    best = limit
    total = d + sum(sizes) + sum(sizes) + 1
    for j in range(network.classes):
        if j == y:
            continue
        rows, low, high = [], [], []

        def add(terms, lo, hi, rows=rows, low=low, high=high):
            row = np.zeros(total)
            for place, value in terms:
                row[place] = value
            rows.append(row)
            low.append(lo)
            high.append(hi)

        starts = np.cumsum([d, *sizes])
        before = np.arange(d)
        for k, m in enumerate(network.affine[:-1]):
            w = m.weight.toarray()
            for i in range(sizes[k]):
                h, z = starts[k] + i, starts[k] + sum(sizes) + i
                least, most = min(intervals[k][0][i], -1e-6), max(intervals[k][1][i], 1e-6)
                pre = [(before, w[i])]
                add([*[(p, -v) for p, v in pre], (h, 1.0)], m.bias[i], np.inf)
                add([*[(p, -v) for p, v in pre], (h, 1.0), (z, -least)], -np.inf, m.bias[i] - least)
                add([(h, 1.0), (z, -most)], -np.inf, 0.0)
            before = starts[k] + np.arange(sizes[k])
        last = network.affine[-1]
        w = last.weight.toarray()
        add([(before, w[y] - w[j])], -np.inf, last.bias[j] - last.bias[y])
        for i in range(d):
            add([(i, 1.0), (total - 1, -1.0)], -np.inf, x[i])
            add([(i, 1.0), (total - 1, 1.0)], x[i], np.inf)
        bound = Bounds(
            np.r_[np.full(d, -np.inf), np.zeros(2 * sum(sizes)), 0.0],
            np.r_[np.full(d, np.inf), np.full(sum(sizes), np.inf), np.ones(sum(sizes)), limit],
        )
        whole = np.r_[np.zeros(d + sum(sizes)), np.ones(sum(sizes)), 0.0]
        cost = np.r_[np.zeros(total - 1), 1.0]
        answer = milp(cost, constraints=LinearConstraint(np.array(rows), low, high), bounds=bound, integrality=whole)
        if answer.success:
            best = min(best, answer.fun)
    return best


@pytest.mark.parametrize("seed", range(6))
def test_radii_stay_below_the_exact_distance_and_come_near_it(seed):
    rng = np.random.default_rng(seed)
    model = predictor(dense(seed, (3, 6, 5, 3)), classes=3)
    network = read_network(model, (3,))
    x = rng.normal(size=(2, 3))
    y = model.labels(x)
    linear, loose = Linear()(model, x, y).lower, Interval()(model, x, y).lower
    for i in range(2):
        exact = exact_distance(network, x[i], y[i], 4.0)
        assert 0.99 * loose[i] <= linear[i] <= exact + 1e-6
        if exact < 4.0:
            assert linear[i] >= 0.3 * exact


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_linear_model_is_certified_up_to_its_exact_distance(norm):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)) * [1, 2, 3, 0.5]
    y = (x @ [1, -1, 0.5, 2] > 0).astype(int)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    model = predictor(fitted)
    seen = model.labels(x[:6])
    scale = np.array([1.0, 2.0, 0.5, 1.0])
    found = Linear(norm=norm, rounds=40)(model, x[:6], seen, Region.box([-99.0] * 4, [99.0] * 4, scale=scale))
    weight = fitted[-1].coef_[0] / fitted[0].scale_ * scale
    far = np.abs(fitted.decision_function(x[:6])) / {"linf": np.abs(weight).sum(), "l2": np.linalg.norm(weight), "l1": np.abs(weight).max()}[norm]  # fmt: skip
    np.testing.assert_allclose(found.lower, far, rtol=1e-6)
    assert (found.lower <= far * (1 + 1e-9)).all()


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("classes", [2, 3])
@BOTH
def test_perceptrons_of_scikit_learn_withstand_attack_inside_the_radius(certificate, activation, classes):
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(1)
    x = rng.normal(size=(150, 4))
    y = (x[:, 0] + x[:, 1] ** 2 > 0.5).astype(int) + (classes == 3) * (x[:, 2] > 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = MLPClassifier((8, 6), activation=activation, max_iter=60, random_state=0).fit(x, y)
    model = predictor(fitted)
    network = read_network(model, (4,))
    assert (network.logits(x).argmax(axis=1) == model.labels(x)).all()
    rows = x[:10]
    found = certificate()(model, rows, model.labels(rows))
    assert (found.lower > 0).mean() > 0.7
    steps = rng.choice([-1.0, 1.0], (500, 4)) * rng.uniform(0.9, 1.0, (500, 1))
    for i in range(10):
        seen = model.labels(rows[i] + found.lower[i] * steps)
        assert (seen == model.labels(rows[i : i + 1])).all()


def test_what_cannot_move_helps_and_categories_move_whole():
    features = (
        Feature("free", Kind.NUMBER, low=-5, high=5), Feature("fixed", Kind.NUMBER, low=-5, high=5, mutable=Mutable.NO),
        Feature("colour", Kind.CATEGORY, categories=("r", "g", "b")),
    )  # fmt: skip
    region = Region.of(Contract(Target("y", ("no", "yes", "maybe")), features))
    x = np.array([[0.5, 1.0, 1.0]])
    near, far = Ball.of(x[0], region, "l1", 0.5), Ball.of(x[0], region, "l1", 1.0)
    assert near.low.tolist() == [0.0, 1.0, 1.0]
    assert far.low.tolist() == [-0.5, 1.0, 0.0]
    assert far.high.tolist() == [1.5, 1.0, 2.0]
    model = predictor(dense(5), classes=3)
    y = model.labels(x)
    locked, open_ = Linear()(model, x, y, region).lower, Linear()(model, x, y).lower
    assert locked[0] >= open_[0]


@given(st.floats(-8, 8), st.floats(0, 6), st.sampled_from(["tanh", "logistic"]))
def test_lines_enclose_sigmoids(low, width, kind):
    ends = np.array([low]), np.array([low + width])
    lines = _sigmoid_lines(kind, *ends)
    x = np.linspace(low, low + width, 201)
    assert (lines.low_slope * x + lines.low_offset <= activate(kind, x) + 1e-12).all()
    assert (lines.high_slope * x + lines.high_offset >= activate(kind, x) - 1e-12).all()


@pytest.mark.parametrize(
    "module",
    [
        torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.GELU(), torch.nn.Linear(3, 2)),
        torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3), torch.nn.Linear(3, 2)),
        torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()),
        torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(3, 2)),
    ],
    ids=["gelu", "layer norm", "no logits", "no first layer"],
)
@BOTH
def test_other_networks_are_refused(certificate, module):
    with pytest.raises(UnsupportedError):
        certificate()(
            predictor(module, classes=2), np.zeros((1, 3)), predictor(module, classes=2).labels(np.zeros((1, 3)))
        )


def test_other_models_are_refused():
    from sklearn.tree import DecisionTreeClassifier

    tree = predictor(DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1]))
    with pytest.raises(UnsupportedError, match="no network"):
        Linear()(tree, np.array([[0.0]]), np.array([0]))


def test_single_precision_costs_a_margin_that_is_counted():
    torch.manual_seed(0)
    module = dense(0, (50, 40, 3), double=False)
    single, double = predictor(module, classes=3), predictor(dense(0, (50, 40, 3)), classes=3)
    x = np.random.default_rng(0).normal(size=(4, 50))
    y = single.labels(x)
    a, b = Linear(rounds=30)(single, x, y).lower, Linear(rounds=30)(double, x, y).lower
    assert (a <= b * (1 + 1e-6)).all()
    assert (a >= 0.9 * b).all()
    assert Linear()(single, x, y).assumptions
