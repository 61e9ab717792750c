"""DP-SGD does what its proof takes it to do, and refuses what would break it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.datasets import load_digits
from sklearn.impute import SimpleImputer
from sklearn.utils.estimator_checks import check_estimator
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from assay.core.canonical import canonical_bytes
from assay.core.errors import AssayError, DataError, Refused, SettingError, UnsupportedError
from assay.core.measure import Verdict
from assay.training.private.audit_dense import reference_of
from assay.training.private.clipping import Adaptive, Flat, PerLayer, clipping
from assay.training.private.dense import DenseNet, with_ones
from assay.training.private.dpsgd import Descent
from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier
from assay.training.private.noise import Noise
from assay.training.private.pictures import DIRECTIONS, edges
from assay.training.private.sampling import poisson_batches, refuse_other_sampler
from assay.training.private.scaling import Scaling, check_steps
from assay.training.private.torch_gradients import Gradients
from assay.training.private.torch_layers import windows
from assay.training.private.torch_trainer import PrivateTrainer


def losses(outputs, targets):
    return functional.cross_entropy(outputs, targets, reduction="none")


def digits():
    x, y = load_digits(return_X_y=True)
    return x, y


# --- noise and samples


def test_noise_is_normal_and_its_tails_are_there():
    z = Noise(1).normal(400_000).astype(float)
    assert kstest(z, "norm").pvalue > 1e-4
    assert 4.2 < np.abs(z).max() < 6.5
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 0.01


def test_streams_repeat_by_seed_only():
    assert np.array_equal(Noise(3).normal(5, 2), Noise(3).normal(5, 2))
    assert not np.array_equal(Noise(3).normal(10), Noise(3, "other").normal(10))
    assert not np.array_equal(Noise().normal(10), Noise().normal(10))
    assert Noise().entropy == "operating system"
    assert Noise(0).entropy == "seed"


@pytest.mark.parametrize("rate", [0.003, 0.05, 0.7])
def test_samples_are_poisson(rate):
    rows, steps = 400, 3000
    held = np.zeros((steps, rows), bool)
    for number, index in enumerate(poisson_batches(Noise(5), rows, rate, steps)):
        assert (np.diff(index) > 0).all()
        held[number, index] = True
    total = rows * steps
    assert abs(held.mean() - rate) < 5 * (rate * (1 - rate) / total) ** 0.5
    variance = rows * rate * (1 - rate)
    assert abs(held.sum(1).var() / variance - 1) < 0.15
    assert abs(held.sum(0).var() / (steps * rate * (1 - rate)) - 1) < 0.4
    # Neighbours and successive steps are independent.
    both = (held[:, 1:] & held[:, :-1]).mean(), (held[1:] & held[:-1]).mean()
    assert all(abs(b - rate**2) < 6 * (rate**2 * (1 - rate**2) / total) ** 0.5 for b in both)


def test_a_rate_of_one_takes_every_row_and_small_rates_may_take_none():
    assert [len(i) for i in poisson_batches(Noise(1), 7, 1.0, 3)] == [7, 7, 7]
    assert 0 in {len(i) for i in poisson_batches(Noise(1), 10, 0.01, 50)}


# --- clipping


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 5), st.sampled_from(["flat", "per_layer", "adaptive"]))
def test_no_row_is_longer_than_the_bound(seed, bound, kind):
    squares = np.random.default_rng(seed).exponential(size=(20, 3)).astype(np.float32) * 10
    factors = clipping(kind, bound).factors(squares, bound)
    assert (np.sqrt((squares * factors**2).sum(1)) <= bound * (1 + 1e-5)).all()


def test_adaptive_clipping_pays_for_its_count():
    clip = Adaptive(1.0, count_noise=20.0)
    share = clip.noise_share(1.0)
    assert share**-2 + (2 * 20.0) ** -2 == pytest.approx(1.0)
    assert clip.next_bound(1.0, 100, 100, 100.0, 0.0) < 1.0 < clip.next_bound(1.0, 0, 100, 100.0, 0.0)
    with pytest.raises(SettingError):
        Adaptive(1.0, count_noise=0.4).noise_share(1.0)
    with pytest.raises(SettingError):
        clipping("ghost", 1.0)


@pytest.mark.parametrize("widths", [[6, 3], [6, 5, 3], [6, 8, 5, 2]])
@pytest.mark.parametrize("clip", [Flat(0.4), PerLayer(0.4)])
def test_clipped_sums_equal_those_of_whole_gradients(widths, clip):
    rng = np.random.default_rng(0)
    x, codes = with_ones(rng.normal(size=(30, widths[0]))), rng.integers(0, widths[-1], 30)
    net = DenseNet(widths, Noise(1).uniform)
    out = np.empty_like(net.weights)
    net.clipped_sum(x, np.eye(widths[-1], dtype=np.float32)[codes], np.einsum("ij,ij->i", x, x), clip, 0.4, out)
    pairs = reference_of(widths, x.astype(float), codes)(net.weights, np.arange(30)).pairs
    parts = [(back[:, :, None] * into[:, None, :]).reshape(30, -1) for back, into in pairs]
    factors = clip.factors(np.stack([np.square(p).sum(1) for p in parts], 1), 0.4)
    want = np.concatenate([(p * factors[:, k % factors.shape[1], None]).sum(0) for k, p in enumerate(parts)])
    assert np.abs(out - want).max() <= 1e-6 * max(1.0, np.abs(want).max())


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.dense = nn.Embedding(20, 8, padding_idx=0), nn.Linear(8, 6)
        self.norm, self.out = nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(torch.tanh(self.norm(self.dense(self.words(x)))).mean(1))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.out = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(torch.relu(self.one(torch.relu(self.one(x)))))


def modules():
    torch.manual_seed(0)
    flat, again = torch.randn(12, 8), nn.ReLU()
    picture = torch.randn(12, 2, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates it; modules that have it still come
        scaled = nn.utils.weight_norm(nn.Linear(8, 4))
    conv = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, stride=2), nn.ReLU(inplace=True), nn.GroupNorm(2, 8),
        nn.Conv2d(8, 8, 3, groups=2, dilation=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip
    line = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3))
    return {
        "mlp": (nn.Sequential(nn.Linear(8, 16), nn.ReLU(inplace=True), nn.Linear(16, 3, bias=False)), flat, "closed"),
        "activations": (
            nn.Sequential(
                nn.Sequential(nn.Linear(8, 9), again, nn.Linear(9, 7)),
                again,
                nn.Identity(),
                nn.Linear(7, 5, bias=False),
                nn.Tanh(),
                nn.Linear(5, 4),
                nn.Sigmoid(),
                nn.Flatten(),
                nn.Linear(4, 3),
            ),
            flat,
            "closed",
        ),
        "conv2d": (conv, picture, "closed"),
        "few places": (
            nn.Sequential(
                nn.Conv2d(2, 8, 5), nn.ReLU(), nn.Conv2d(8, 64, 3, groups=2), nn.Flatten(), nn.Linear(256, 3)
            ),
            picture,
            "closed",
        ),
        "conv1d": (line, torch.randn(12, 2, 8), "closed"),
        "words": (Words(), torch.randint(0, 20, (12, 5)), "closed"),
        "tied": (Tied(), flat, "func"),
        "weight norm": (nn.Sequential(scaled, nn.Tanh(), nn.Linear(4, 3)), flat, "func"),
        "bilinear": (nn.Sequential(nn.Linear(8, 4), nn.PReLU(), nn.Linear(4, 3)), flat, "func"),
    }


@pytest.mark.parametrize(
    "name", ["mlp", "activations", "conv2d", "few places", "conv1d", "words", "tied", "weight norm", "bilinear"]
)
@pytest.mark.parametrize("clip", [Flat(0.3), PerLayer(0.3)])
@pytest.mark.parametrize("loss", [None, losses], ids=["own-loss", "a-loss"])
def test_torch_sums_equal_those_of_torch_func(name, clip, loss):
    module, x, way = modules()[name]
    y = torch.randint(0, 3, (len(x),))
    fast, slow = Gradients(module, loss), Gradients(module, losses, way="func")
    total, squares = fast.clipped_sum(x, y, clip, clip.bound)
    other, others = slow.clipped_sum(x, y, clip, clip.bound)
    assert fast.way == way
    assert torch.allclose(squares.sum(1), others.sum(1), rtol=1e-5)
    assert max(float((total[n] - other[n]).abs().max()) for n in other) <= 1e-6
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


@pytest.mark.parametrize(
    ("channels", "groups", "kernel", "stride", "dilation", "padding"),
    [
        (4, 1, (3, 2), (2, 1), (1, 2), (1, 0)),
        (6, 3, (2, 2), (1, 2), (2, 1), (0, 1)),
        (1, 1, (8, 8), (2, 2), (1, 1), (3, 3)),
    ],
)
def test_windows_are_what_is_unfolded(channels, groups, kernel, stride, dilation, padding):
    x = torch.randn(5, channels, 13, 12)
    flat = functional.unfold(x, kernel, dilation, padding, stride)
    weight = torch.zeros(groups, channels // groups, *kernel)
    size = functional.conv2d(x, weight, None, stride, padding, dilation, groups).shape[2:]
    places = flat.reshape(5, groups, channels // groups, kernel[0] * kernel[1], -1)
    want = places.permute(0, 1, 4, 3, 2).flatten(3)
    assert torch.equal(want, windows(x, groups, kernel, stride, dilation, padding, size))


def test_closed_forms_asked_for_where_there_are_none():
    with pytest.raises(UnsupportedError):
        Gradients(nn.Sequential(nn.Linear(8, 4), nn.PReLU()), losses, way="closed")


# --- training


def test_the_released_sum_is_what_moves_the_weights():
    """Nothing but the released sums enters the weights: replaying them gives the same model."""
    x, y = digits()
    plan = Descent(steps=5, rate=0.1, sigma=1.0, expected=180.0, learning_rate=0.5, momentum=0.5)
    rows, target = with_ones(x / 16), np.eye(10, dtype=np.float32)[y]
    seen, net = [], DenseNet([64, 10])
    plan.run(net, rows, target, Noise(1), seen.append)
    weights, velocity = np.zeros_like(net.weights), np.zeros_like(net.weights)
    for step in seen:
        assert np.allclose(step.weights, weights, atol=1e-6)
        velocity = 0.5 * velocity + step.released
        weights = weights - np.float32(0.5 / 180) * velocity
    assert np.allclose(weights, net.weights, atol=1e-6)


def test_the_divisor_is_public():
    """Twice the rows at the same plan: steps are twice as long, because the divisor is not taken from the batch."""
    x, y = digits()
    target = np.eye(10, dtype=np.float32)[y]
    plan = Descent(steps=1, rate=1.0, sigma=1e-6, expected=100.0, learning_rate=1.0, clip=Flat(100.0))
    nets = [DenseNet([64, 10]), DenseNet([64, 10])]
    plan.run(nets[0], with_ones(x / 16), target, Noise(1))
    plan.run(nets[1], with_ones(np.concatenate([x, x]) / 16), np.concatenate([target, target]), Noise(1))
    assert np.allclose(nets[1].weights, 2 * nets[0].weights, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["flat", "per_layer", "adaptive"])
def test_private_classifiers_learn_and_state_what_they_spent(kind):
    x, y = digits()
    model = DPMLPClassifier(8.0, hidden=(16,), bounds=(0, 16), steps=60, clip_kind=kind).fit(x, y)
    assert model.score(x, y) > 0.6
    said = model.privacy_statement()
    canonical_bytes(said)
    assert said["holds"]
    assert said["epsilon"]["low"] <= said["epsilon"]["high"] <= 8.0
    assert said["clipping"]["kind"] == ("perlayer" if kind == "per_layer" else kind)
    assert model.privacy_measures()[0].against(at_most=8.0) is Verdict.PASS


def test_a_private_training_leaves_the_random_numbers_of_torch_as_they_were():
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    trainer_of(module).fit(torch.zeros(9, 2), torch.zeros(9, dtype=torch.long))
    assert torch.equal(torch.rand(4), wanted)


def test_how_many_rows_were_drawn_is_kept_nowhere():
    """With the number of rows declared, the size of a batch is as private as a row; models are saved whole."""
    x, y = digits()
    model = DPLogisticRegression(steps=3, sample_rate=1.0, rows=1000).fit(x / 16, y)
    trainer = PrivateTrainer(nn.Linear(64, 10), rows=1000, steps=3, rate=1.0, sigma=1.0)
    trainer.fit(torch.as_tensor(x / 16, dtype=torch.float32), torch.as_tensor(y))
    for made in (model, trainer):
        held = [one for value in vars(made).values() for one in (value if isinstance(value, list) else np.ravel(value))]
        assert not any(isinstance(one, (int, np.integer)) and one == len(x) for one in held)


def test_a_seed_makes_runs_repeat_and_the_claim_void():
    x, y = digits()
    first, second = (
        DPLogisticRegression(3.0, bounds=(0, 16), random_state=5, batch=300, steps=20).fit(x, y) for _ in range(2)
    )
    assert np.array_equal(first.coef_, second.coef_)
    assert not first.privacy_statement()["holds"]
    assert first.privacy_measures()[0].against(at_most=100.0) is Verdict.VOID
    assert "seed" in first.privacy_statement()["why_not"]


def test_declared_classes_and_rows_are_no_longer_assumptions():
    x, y = digits()
    bare = DPLogisticRegression(bounds=(0, 16), steps=5).fit(x, y).privacy_statement()["assumptions"]
    told = DPLogisticRegression(bounds=(0, 16), steps=5, classes=range(10), rows=1800).fit(x, y)
    assert len(bare) == len(told.privacy_statement()["assumptions"]) + 2
    with pytest.raises(DataError):
        DPLogisticRegression(bounds=(0, 16), classes=range(9)).fit(x, y)


@pytest.mark.parametrize("options", [{"features": 50}, {"image": (8, 8)}, {"image": (16, 4), "features": 50}])
def test_features_look_at_one_row_at_a_time(options):
    x, _ = digits()
    scaling = Scaling((0, 16), 3.0, unit_rows=True, **options)
    whole = scaling.apply(x)
    assert np.allclose(whole[7:8], scaling.apply(x[7:8]))
    assert np.array_equal(whole, scaling.apply(x))
    assert whole.shape[1] == scaling.width(64)


def test_edges_know_their_direction_and_their_place():
    """A picture that is bright from its sixth column on has edges to the right there, and next to none of other kinds."""
    picture = np.zeros((6, 9))
    picture[:, 5:] = 1.0
    found = edges(picture.reshape(1, -1), (6, 9)).reshape(DIRECTIONS, 3, 4)
    assert (found[0, :, 1:3] > found[0, :, [0, 3]].max()).any(axis=1).all()
    assert (found[[1, -1]] <= found[0] / 4 + 1e-9).all()
    assert found[2:-1].max() < 1e-9
    assert not found[0, :, 0].any()
    turned = edges(picture.T.reshape(1, -1), (9, 6)).reshape(DIRECTIONS, 4, 3)
    assert np.allclose(turned[DIRECTIONS // 4], found[0].T, atol=1e-6)
    assert np.allclose(edges(picture.reshape(1, -1) + 7.0, (6, 9)), found.reshape(1, -1))


def test_pictures_are_learnt_with_less_noise():
    x, y = digits()
    options = {"bounds": (0, 16), "unit_rows": True, "row_norm": 3.0, "steps": 60, "learning_rate": 2.0, "clip": 0.3}
    options |= {"features": 300, "random_state": 1}
    plain, pictures = (DPLogisticRegression(1.0, image=shape, **options).fit(x, y) for shape in (None, (8, 8)))
    assert pictures.score(x, y) > plain.score(x, y)
    assert pictures.privacy_statement()["preprocessing"]["image"] == [8, 8]


@pytest.mark.parametrize("model", [DPLogisticRegression(), DPMLPClassifier()], ids=lambda m: type(m).__name__)
def test_scikit_learn_accepts_the_estimators(model):
    failed = [r["check_name"] for r in check_estimator(model, on_skip=None, on_fail=None) if r["status"] == "failed"]
    assert not failed


def test_torch_training_learns_and_states():
    x, y = digits()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    trainer = PrivateTrainer(
        module, rows=1800, steps=60, rate=0.5, epsilon=8.0, optimizer=lambda p: torch.optim.SGD(p, 1.0, momentum=0.9)
    )
    made = trainer.fit(torch.tensor(x / 8 - 1, dtype=torch.float32), torch.tensor(y))
    right = (made(torch.tensor(x / 8 - 1, dtype=torch.float32)).argmax(1).numpy() == y).mean()
    assert right > 0.7
    assert trainer.privacy_statement()["epsilon"]["high"] <= 8.0
    with pytest.raises(Refused) as caught:
        trainer.fit(torch.zeros(3, 64), torch.zeros(3, dtype=torch.long))
    assert caught.value.reason == "epsilon-spent"


# --- refusals


def loader(**options):
    return DataLoader(TensorDataset(torch.zeros(10, 2), torch.zeros(10, dtype=torch.long)), 2, **options)


def trainer_of(module):
    return PrivateTrainer(module, rows=10, steps=2, rate=0.5, sigma=1.0)


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (lambda: trainer_of(nn.Linear(2, 2)).fit(loader(shuffle=True), None), "sampler-not-poisson"),
        (lambda: trainer_of(nn.Linear(2, 2)).fit(loader(), None), "sampler-not-poisson"),
        (
            lambda: trainer_of(nn.Linear(2, 2)).fit(loader(sampler=WeightedRandomSampler([1.0] * 10, 10)), None),
            "sampler-not-poisson",
        ),
        (lambda: trainer_of(nn.Linear(2, 2)).fit(WeightedRandomSampler([1.0] * 10, 10), None), "sampler-not-poisson"),
        (lambda: refuse_other_sampler(object()), "sampler-not-poisson"),
        (lambda: trainer_of(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))), "batch-norm"),
        (lambda: trainer_of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))), "batch-norm"),
        (
            lambda: trainer_of(nn.Sequential(nn.InstanceNorm1d(2, track_running_stats=True))),
            "data-dependent-normaliser",
        ),
        (lambda: check_steps([SimpleImputer()]), "data-dependent-normaliser"),
    ],
)
def test_what_breaks_the_proof_is_refused_with_a_remedy(attempt, reason):
    with pytest.raises(Refused) as caught:
        attempt()
    assert caught.value.reason == reason
    assert caught.value.remedy


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: DPLogisticRegression(0.0).fit(*digits()),
        lambda: DPLogisticRegression(1.0, 0.0).fit(*digits()),
        lambda: DPLogisticRegression(sample_rate=1.5).fit(*digits()),
        lambda: DPLogisticRegression(steps=0).fit(*digits()),
        lambda: DPLogisticRegression(clip=-1.0).fit(*digits()),
        lambda: DPLogisticRegression(bounds=(16, 0)).fit(*digits()),
        lambda: DPLogisticRegression(bounds=([0, 1], [2, 3])).fit(*digits()),
        lambda: DPLogisticRegression(row_norm=0.0).fit(*digits()),
        lambda: DPLogisticRegression(image=(8, 7)).fit(*digits()),
        lambda: DPLogisticRegression(image=(64, 1)).fit(*digits()),
        lambda: PrivateTrainer(nn.Linear(2, 2), rows=0, steps=1, rate=0.5),
        lambda: PrivateTrainer(nn.Linear(2, 2), rows=10, steps=1, rate=0.0),
        lambda: PrivateTrainer(nn.Linear(2, 2), rows=10, steps=1, rate=0.5, sigma=0.0),
        lambda: PrivateTrainer(nn.Linear(2, 2), rows=10, steps=1, rate=0.5, way="fast"),
        lambda: trainer_of(nn.Linear(2, 2)).fit(np.zeros((3, 2)), np.zeros(3)),
        lambda: PrivateTrainer(nn.Linear(2, 2), rows=9, steps=1, rate=1.0, sigma=1.0).fit(
            torch.zeros(9, 2), torch.full((9,), -100)
        ),
        *(
            lambda targets=targets: PrivateTrainer(nn.Linear(2, 2), rows=9, steps=1, rate=1.0, sigma=1.0).fit(
                torch.zeros(9, 2), targets
            )
            for targets in (torch.full((9,), 2), torch.zeros(9), torch.ones(9, dtype=torch.bool))
        ),
        lambda: trainer_of(nn.Linear(2, 2)).privacy_statement(),
    ],
)
def test_nonsense_is_refused(attempt):
    with pytest.raises(AssayError):
        attempt()


def test_steep_sigmoids_are_no_cause_for_warnings():
    module = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 2))
    trainer_of(module).fit(torch.full((9, 2), 1e4), torch.zeros(9, dtype=torch.long))


@pytest.mark.parametrize("way", ["auto", "func"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_no_number_leaves_no_torch_module(way, value):
    """Its gradient is not clipped by any bound, so that the sum tells whether the row is there."""
    x = torch.zeros(9, 2)
    x[4] = value
    made = PrivateTrainer(nn.Linear(2, 2), rows=9, steps=2, rate=1.0, sigma=1.0, way=way)
    with pytest.raises(DataError, match="no finite numbers"):
        made.fit(x, torch.zeros(9, dtype=torch.long))


def test_a_row_beyond_float32_leaves_no_model():
    x, y = digits()
    x[7, 3] = 1e200
    with pytest.raises(DataError, match="beyond"):
        DPLogisticRegression(steps=3).fit(x, y)
    assert np.isfinite(DPLogisticRegression(steps=3, bounds=(0, 16)).fit(x, y).coef_).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_training_that_leaves_the_finite_numbers_leaves_no_model():
    with pytest.raises(DataError, match="no finite numbers"):
        DPMLPClassifier(steps=5, learning_rate=1e30).fit(*digits())


def test_bounds_that_hold_nothing_are_named_by_feature():
    x, y = np.random.default_rng(0).uniform(0, 1, (60, 4)), np.arange(60) % 2
    with pytest.raises(SettingError, match="feature 1, 3"):
        DPLogisticRegression(bounds=([0, 0, 0, 2], [1, 0, 1, np.inf])).fit(x, y)
    with pytest.raises(SettingError, match="4 features but 3 bounds"):
        DPLogisticRegression(bounds=([0, 0, 0], [1, 1, 1])).fit(x, y)


def test_a_budget_beyond_what_is_accounted_for_takes_the_least_noise_that_is():
    x, y = np.random.default_rng(0).uniform(0, 1, (60, 4)), np.arange(60) % 2
    spent = DPLogisticRegression(epsilon=1e6, bounds=(0, 1)).fit(x, y).privacy_statement()["epsilon"]
    assert spent["high"] <= 1e6
