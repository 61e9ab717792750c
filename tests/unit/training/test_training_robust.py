"""Adversarial training: scikit-learn's API, every method, determinism, and robustness that attacks confirm."""

from __future__ import annotations

import warnings

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from assay.core.errors import SettingError, UnsupportedError

torch = pytest.importorskip("torch")

from assay.training.robust import fitting, regimens  # noqa: E402
from assay.training.robust.adversarial import AdversarialClassifier  # noqa: E402
from assay.training.robust.ball import Ball, ascend  # noqa: E402
from assay.training.robust.interval import interval_logits  # noqa: E402
from assay.training.robust.nets import convolutional, perceptron  # noqa: E402
from assay.training.robust.smoothed import SmoothedClassifier  # noqa: E402

QUICK = {"epochs": 10, "steps": 3, "threads": 1, "learning_rate": 0.01}
METHODS = ("pgd", "trades", "fast", "free", "noise", "interval")


@parametrize_with_checks(
    [AdversarialClassifier(epochs=12, steps=2, threads=1, learning_rate=0.02), SmoothedClassifier(samples=30)]
)
def test_the_estimators_hold_the_checks_of_scikit_learn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.fixture(scope="module")
def table():
    """One feature that tells the classes apart far beyond the ball, five that do within it."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    sign = 2.0 * y - 1
    firm = sign * 1.0 + 0.5 * rng.normal(size=600)
    frail = 0.25 * sign[:, None] + 0.05 * rng.normal(size=(600, 5))
    return np.column_stack([firm, frail]).astype(np.float32), y


def robust(model, x, y, radius, norm="linf", scale=1.0):
    ball = Ball(norm, radius, torch.tensor(-np.inf), torch.tensor(np.inf), torch.as_tensor(scale, dtype=torch.float32))
    rows, labels = torch.as_tensor(x), torch.as_tensor(y).long()
    return fitting.robust_accuracy(
        model.module_, rows, labels, ball, steps=20, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize("method", [m for m in METHODS if m != "noise"])
def test_each_method_gives_robust_models_where_plain_training_does_not(table, method):
    x, y = table
    plain = AdversarialClassifier(radius=0.0, **QUICK).fit(x[:400], y[:400])
    more = {"epochs": 60} if method == "interval" else {}
    hard = AdversarialClassifier(method=method, radius=0.4, **{**QUICK, **more}).fit(x[:400], y[:400])
    assert plain.score(x[400:], y[400:]) > 0.95
    assert robust(plain, x[400:], y[400:], 0.4) < 0.5
    assert robust(hard, x[400:], y[400:], 0.4) > robust(plain, x[400:], y[400:], 0.4) + 0.3
    assert hard.score(x[400:], y[400:]) > 0.85


def test_training_with_noise_is_right_under_noise(table):
    x, y = table
    made = AdversarialClassifier(method="noise", radius=0.5, **QUICK).fit(x[:400], y[:400])
    noisy = x[400:] + 0.5 * np.random.default_rng(0).normal(size=x[400:].shape)
    assert made.score(noisy, y[400:]) > 0.8


def test_values_that_cannot_change_are_relied_on(table):
    x, y = table
    scale = np.array([0.0, 1, 1, 1, 1, 1])
    made = AdversarialClassifier(radius=0.4, scale=scale, **QUICK).fit(x[:400], y[:400])
    assert robust(made, x[400:], y[400:], 0.4, scale=scale) > 0.9


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bytes_and_leaves_torch_as_it_was(table, method, norm):
    if (method, norm) == ("interval", "l2"):
        pytest.skip("intervals are for Linf")
    x, y = table[0][:128], table[1][:128]
    kept = x.copy()
    before = torch.random.get_rng_state()
    made = [
        AdversarialClassifier(
            method=method, norm=norm, random_state=s, epochs=2, steps=2, threads=1, validation=0.2
        ).fit(x, y)
        for s in (3, 3, 4)
    ]
    weights = [[p.detach().numpy().tobytes() for p in m.module_.parameters()] for m in made]
    assert weights[0] == weights[1] != weights[2]
    assert (torch.random.get_rng_state() == before).all()
    assert (x == kept).all()
    assert not made[0].module_.training
    assert (made[0].predict_proba(x) == made[1].predict_proba(x)).all()


def images(n=160, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = 0.2 * rng.random((n, 12, 12))
    for i, c in enumerate(y):
        x[i, 4 * c : 4 * c + 4] += 0.7
    return x.astype(np.float32), y


def test_images_train_a_convolutional_network_flat_or_not():
    x, y = images()
    made = AdversarialClassifier(radius=0.1, low=0, high=1, epochs=6, steps=2, threads=1).fit(x, y)
    assert made.score(x, y) > 0.95
    assert any(isinstance(m, torch.nn.Conv2d) for m in made.module_.modules())
    flat = x.reshape(len(x), -1)
    assert (made.predict(flat) == made.predict(x)).all()
    other = AdversarialClassifier(shape=(1, 12, 12), radius=0.1, low=0, high=1, epochs=2, steps=2, threads=1).fit(
        flat, y
    )
    assert any(isinstance(m, torch.nn.Conv2d) for m in other.module_.modules())
    assert other.n_features_in_ == 144


def test_a_factory_of_the_users_own_is_used_and_cloned():
    def tiny(shape, classes):
        assert shape == (6,)
        return torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(4, classes))  # fmt: skip

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 6)), np.array(["no", "yes"])[rng.integers(0, 2, 200)]
    made = clone(AdversarialClassifier(tiny, epochs=2, threads=1)).fit(x, y)
    assert set(made.predict(x)) <= {"no", "yes"}
    assert made.get_params()["module"] is tiny


def test_single_step_training_that_overfits_to_its_step_goes_on_with_several(monkeypatch, table):
    agreed = iter([0.9, 0.8, 0.1])
    monkeypatch.setattr(fitting, "alignment", lambda *a: next(agreed, 0.9))
    monkeypatch.setattr(fitting, "_CHECK_EVERY", 2)
    x, y = table
    made = AdversarialClassifier(method="fast", radius=0.3, steps=1, epochs=4, batch_size=64, threads=1).fit(x, y)
    assert [e.method for e in made.history_][-1] == "pgd"
    kept = AdversarialClassifier(method="fast", radius=0.0, epochs=2, threads=1).fit(x, y)
    assert {e.method for e in kept.history_} == {"fast"}


def test_slopes_agree_for_a_linear_network_and_not_for_a_rough_one():
    x, y = torch.randn(64, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(64).long()
    ball = Ball("linf", 1.0, torch.tensor(-9.0), torch.tensor(9.0), torch.ones(5))

    class Rough(torch.nn.Module):
        def forward(self, rows):
            wave = torch.sin(40 * rows).sum(dim=1, keepdim=True)
            return torch.cat([wave, -wave], dim=1)

    smooth = torch.nn.Linear(5, 2)
    found = [
        regimens.alignment(regimens.Setting(m, ball, 1, 1.0, 1.0, torch.Generator().manual_seed(0)), x, y)
        for m in (smooth, Rough())
    ]
    assert found[0] > 0.99
    assert abs(found[1]) < 0.5


def test_training_ends_early_and_keeps_the_best_epoch(table):
    x, y = table
    made = AdversarialClassifier(radius=0.4, epochs=30, steps=2, patience=2, learning_rate=0.02, threads=1).fit(x, y)
    assert len(made.history_) < 30
    best = max(e.robust for e in made.history_)
    assert made.history_[-1].robust <= best
    assert AdversarialClassifier(validation=0.0, epochs=2, threads=1).fit(x, y).history_[-1].robust is None


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_ascent_stays_in_ball_and_range_and_moves_only_what_may(norm):
    x = torch.rand(20, 6, generator=torch.Generator().manual_seed(0))
    x[0, 0] = 1.5  # outside the range: it may stay as far outside
    scale = torch.tensor([1.0, 2.0, 0.5, 0.0, 1.0, 1.0])
    ball = Ball(norm, 0.3, torch.tensor(0.0), torch.tensor(1.0), scale)
    weights = torch.randn(6, generator=torch.Generator().manual_seed(1))
    made = ascend(
        lambda rows: (rows @ weights).sum(), x, ball, steps=5, size=0.2, generator=torch.Generator().manual_seed(2)
    )
    change = ((made - x) / scale.clamp_min(1e-9))[:, scale > 0]
    size = change.abs().amax(dim=1) if norm == "linf" else change.norm(dim=1)
    assert (size <= 0.3 + 1e-5).all()
    assert (made[:, 3] == x[:, 3]).all()
    assert made[1:].min() >= 0
    assert made.max() <= 1.5
    assert ((made - x) @ weights).mean() > 0.05


@pytest.mark.parametrize(
    "bad",
    [
        {"method": "hope"}, {"radius": -1.0}, {"norm": "l7"}, {"steps": 0}, {"scale": "wide"}, {"scale": np.ones(5)},
        {"shape": (1, 2, 2)}, {"module": "transformer"}, {"module": lambda *a: None}, {"module": "convolutional"},
        {"epochs": 0}, {"validation": 1.0}, {"step_size": 0.0}, {"method": "interval", "norm": "l2"},
    ],
    ids=lambda bad: "-".join(f"{k}={v}" for k, v in bad.items() if not callable(v)) or next(iter(bad)),
)  # fmt: skip
def test_settings_out_of_range_are_refused(table, bad):
    with pytest.raises(SettingError):
        AdversarialClassifier(**{"epochs": 1, "threads": 1, **bad}).fit(*table)


def test_the_models_survive_joblib(tmp_path, table):
    x, y = table
    made = AdversarialClassifier(epochs=1, threads=1).fit(x, y)
    joblib.dump(made, tmp_path / "m.joblib")
    assert (joblib.load(tmp_path / "m.joblib").predict_proba(x) == made.predict_proba(x)).all()


@pytest.mark.parametrize("kind", ["int", "word", "image"])
def test_the_onnx_form_answers_as_the_estimator(kind, table):
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    x, y = images() if kind == "image" else table
    labels = np.array(["no", "yes"])[y] if kind == "word" else y + 5
    made = AdversarialClassifier(epochs=1, threads=1).fit(x, labels)
    session = ort.InferenceSession(made.onnx_bytes(), providers=["CPUExecutionProvider"])
    label, shares = session.run(None, {"input": x[:7]})
    np.testing.assert_allclose(shares, made.predict_proba(x[:7]), atol=1e-6)
    wanted = made.predict(x[:7])
    assert (label == (np.searchsorted(made.classes_, wanted) if kind == "word" else wanted)).all()


def test_training_by_intervals_encloses_and_certifies(table):
    x, y = images()
    made = AdversarialClassifier(
        method="interval", radius=0.1, low=0, high=1, epochs=12, threads=1, learning_rate=0.01
    ).fit(x, y)
    module, rows = made.module_, torch.as_tensor(x[:8])
    low, high = interval_logits(module, (rows - 0.1).clamp(0, 1), (rows + 0.1).clamp(0, 1))
    for seed in range(20):
        noise = 0.2 * torch.rand(rows.shape, generator=torch.Generator().manual_seed(seed)) - 0.1
        seen = module((rows + noise).clamp(0, 1))
        assert (seen >= low - 1e-4).all()
        assert (seen <= high + 1e-4).all()
    labels = torch.as_tensor(y[:8])
    worst = torch.where(torch.nn.functional.one_hot(labels, 3).bool(), low, high)
    assert (worst.argmax(dim=1) == labels).double().mean() > 0.9
    with pytest.raises(UnsupportedError):
        interval_logits(torch.nn.Sequential(torch.nn.GELU()), rows, rows)


def test_networks_have_the_shapes_that_are_asked_for():
    assert perceptron((3, 4), 5)(torch.zeros(2, 3, 4)).shape == (2, 5)
    assert convolutional((3, 32, 32), 7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_smoothed_votes_abstain_between_the_classes(table):
    x, y = table
    made = SmoothedClassifier(sigma=0.5, samples=200).fit(x, y)
    assert made.score(x, y) > 0.9
    middle = x.mean(axis=0, keepdims=True) * 0
    labels, sure = made.decide(np.vstack([middle, 3 * x[:5]]))
    assert not sure[0]
    assert sure[1:].all()
    assert (labels[1:] == y[:5]).all()
    still = SmoothedClassifier(sigma=5.0, scale=np.zeros(6), samples=20).fit(x, y)
    assert set(np.unique(still.predict_proba(x))) <= {0.0, 1.0}


def test_a_vote_over_a_network_trained_with_noise(table):
    x, y = table
    inner = AdversarialClassifier(method="noise", radius=0.3, epochs=5, threads=1)
    made = SmoothedClassifier(inner, sigma=0.3, copies=1, samples=20).fit(x, y)
    assert made.score(x, y) > 0.9
    with pytest.raises(SettingError):
        SmoothedClassifier(sigma=0.0).fit(x, y)
