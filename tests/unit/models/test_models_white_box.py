"""Models from inside: logits order classes as the model does, gradients are those of finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC

from assay.core.errors import BudgetError, DataError, UnsupportedError
from assay.models.predictor import predictor
from assay.models.white_box import WhiteBox

X, Y = load_wine(return_X_y=True)
TWO = Y < 2


def mlp(activation="relu", **options):
    return MLPClassifier((8, 5), activation=activation, max_iter=400, tol=1e-3, random_state=0, **options)


MODELS = {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
    "minmax": make_pipeline(MinMaxScaler((-1, 2)), LogisticRegression()),
    "maxabs": make_pipeline(MaxAbsScaler(), LogisticRegression()),
    "robust-pca": make_pipeline(RobustScaler(), PCA(5, whiten=True), LogisticRegression()),
    "spread": make_pipeline(StandardScaler(with_mean=False), "passthrough", LogisticRegression(max_iter=5000)),
    "lda": make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()),
    "svc": make_pipeline(StandardScaler(), LinearSVC(random_state=0)),
    "ridge": make_pipeline(StandardScaler(), RidgeClassifier()),
    "perceptron": make_pipeline(StandardScaler(), Perceptron(random_state=0)),
    "sgd": make_pipeline(StandardScaler(), SGDClassifier(random_state=0)),
    "sgd-log": make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0)),
    **{f"mlp-{a}": make_pipeline(StandardScaler(), mlp(a)) for a in ("relu", "tanh", "logistic", "identity")},
}


@pytest.fixture(scope="module", params=[(name, two) for name in MODELS for two in (False, True)], ids=str)
def fitted(request):
    name, two = request.param
    from sklearn.base import clone

    x, y = (X[TWO], Y[TWO]) if two else (X, Y)
    return clone(MODELS[name]).fit(x, y), x


def test_logits_order_the_classes_and_gradients_are_those_of_differences(fitted):
    model, x = fitted
    asked = predictor(model)
    white = asked.white_box()
    logits = white.logits(x)
    assert (logits.argmax(axis=1) == asked.labels(x)).all()
    generator = np.random.default_rng(0)
    rows, scale = x[:4], x.std(axis=0)
    weights = generator.normal(size=(4, logits.shape[1]))
    again, slope = white.pull(rows, lambda _: weights)
    assert again == pytest.approx(logits[:4])
    for _ in range(6):
        step = 1e-6 * generator.normal(size=x.shape[1]) * scale
        made = ((white.logits(rows + step) - white.logits(rows - step)) * weights).sum(axis=1) / 2
        assert (slope * step).sum(axis=1) == pytest.approx(made, rel=1e-3, abs=1e-11)


def test_what_is_asked_inside_counts_and_never_passes_the_budget():
    asked = predictor(LogisticRegression(max_iter=5000).fit(X, Y), budget=10)
    white = asked.white_box()
    white.logits(X[:4])
    white.pull(X[:6], lambda logits: logits)
    assert (asked.queries, asked.calls) == (10, 2)
    with pytest.raises(BudgetError):
        white.logits(X[:1])
    with pytest.raises(BudgetError):
        asked.gradient(X[:1], Y[:1])


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(5, random_state=0),
        make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)),
        SVC(kernel="rbf"),
        SVC(kernel="linear"),
        make_pipeline(MinMaxScaler(clip=True), LogisticRegression()),
    ],
    ids=["forest", "scaled-forest", "kernel", "one-vs-one", "clipped"],
)
def test_what_cannot_be_read_in_closed_form_gives_no_gradients(model):
    with pytest.raises(UnsupportedError, match="black-box"):
        predictor(model.fit(X, Y)).white_box()


class Lying(LogisticRegression):
    def predict_proba(self, x):
        return super().predict_proba(-np.asarray(x))


def test_an_estimator_whose_answers_are_not_those_of_its_coefficients_is_refused():
    with pytest.raises(UnsupportedError, match="not those of its coefficients"):
        predictor(Lying(max_iter=5000).fit(X, Y)).white_box()


def test_a_torch_module_stays_in_its_type_and_gives_the_same_gradient():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).double()
    asked = predictor(net, classes=3)
    white: WhiteBox = asked.white_box()
    x, y = np.random.default_rng(0).normal(size=(5, 3, 4)), np.array([0, 1, 2, 0, 1])
    tensor = white.tensor(x)
    assert tensor.dtype == torch.float64
    logits = white.array(white.logits(tensor))
    assert (logits.argmax(axis=1) == asked.labels(x)).all()
    weights = net[1].weight.detach().numpy()
    share = asked.probabilities(x) - np.eye(3)[y]
    assert asked.gradient(x, y).reshape(5, 12) == pytest.approx(share @ weights)
    assert asked.queries == 5 + 5 + 5 + 5
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_torch_module_that_ends_in_a_softmax_is_read_as_its_logarithm():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(dim=1))
    x, y = np.random.default_rng(0).normal(size=(6, 4)), np.arange(6) % 3
    made = predictor(net, classes=3, probabilities=True).gradient(x, y)
    plain = predictor(net[0], classes=3).gradient(x, y)
    assert made == pytest.approx(plain, abs=1e-6)


def test_noise_is_seeded_and_stays_in_the_library():
    torch = pytest.importorskip("torch")
    for white in (
        predictor(torch.nn.Linear(4, 3), classes=3).white_box(),
        predictor(LogisticRegression(max_iter=5000).fit(X, Y)).white_box(),
    ):
        first, second, other = (white.noise(seed) for seed in (5, 5, 6))
        drawn = first.normal(2, 3), first.uniform(4, 1)
        again = second.normal(2, 3), second.uniform(4, 1)
        assert all((white.array(a) == white.array(b)).all() for a, b in zip(drawn, again, strict=True))
        assert (white.array(drawn[0]) != white.array(other.normal(2, 3))).any()
        assert isinstance(drawn[0], type(white.tensor(np.zeros(1))))


def test_a_gradient_of_another_shape_is_refused():
    torch = pytest.importorskip("torch")

    class Flat(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x.sum(dim=1), -x.sum(dim=1)], dim=1)

    white = predictor(Flat(), classes=2).white_box()
    broken = white._pull
    white._pull = lambda x, weigh: (broken(x, weigh)[0], broken(x, weigh)[1][:, :1])
    with pytest.raises(DataError, match="gradient has shape"):
        white.pull(white.tensor(np.zeros((2, 3))), lambda logits: logits)


def test_iris_is_enough_for_the_default_perceptron():
    x, y = load_iris(return_X_y=True)
    white = predictor(MLPClassifier((4,), max_iter=200, tol=1e-2, random_state=0).fit(x, y)).white_box()
    assert white.logits(x).shape == (150, 3)
