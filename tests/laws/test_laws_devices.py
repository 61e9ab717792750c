"""What uses torch gives on another device what it gives on the CPU, and leaves nothing of it there or here.

Where torch sees no CUDA device, those cases are skipped; the ``meta`` device, from which nothing can be copied, stands in
where values do not matter.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.datasets import load_digits

from assay.assessment.certificates.interval import Interval
from assay.assessment.certificates.networks import read_network
from assay.assessment.certificates.smoothing import Smoothing
from assay.assessment.evasion.apgd_ce import APGDCE
from assay.assessment.evasion.apgd_t import APGDT
from assay.assessment.evasion.autoattack import AutoAttack
from assay.assessment.evasion.carlini_wagner import CarliniWagner
from assay.assessment.evasion.ddn import DDN
from assay.assessment.evasion.ead import EAD
from assay.assessment.evasion.fab_t import FABT
from assay.assessment.evasion.fgsm import FGSM
from assay.assessment.evasion.fmn import FMN
from assay.assessment.evasion.patch import AdversarialPatch
from assay.assessment.evasion.pgd import PGD
from assay.assessment.inversion.miface import MIFace
from assay.contract.region import Region
from assay.core.clock import stream
from assay.core.errors import DataError, Refused, UnsupportedError
from assay.models.predictor import predictor
from assay.training.private.audit_torch import audit_torch
from assay.training.private.clipping import Adaptive, Flat, PerLayer
from assay.training.private.noise import Noise
from assay.training.private.torch_gradients import Gradients
from assay.training.private.torch_noise import box_muller, normals
from assay.training.private.torch_trainer import PrivateTrainer

torch = pytest.importorskip("torch")
nn = torch.nn

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device on this machine")
DEVICES = ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)]
on_devices = pytest.mark.parametrize("device", DEVICES)
REGION = Region.box(np.zeros(64), np.ones(64))


@pytest.fixture(autouse=True)
def _whole_precision():
    """cuDNN's convolutions round to 10 bits unless told not to; then they cannot be compared."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def digits(n=200):
    x, y = load_digits(return_X_y=True)
    return (x[:n] / 16).astype(np.float32).reshape(-1, 1, 8, 8), y[:n]


def losses(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.out = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        return self.out(torch.relu(self.one(torch.relu(self.one(x.flatten(1))))))


def network(kind):
    torch.manual_seed(0)
    if kind == "perceptron":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(inplace=True), nn.Linear(32, 10))
    if kind == "tied":
        return Tied()
    if kind == "words":
        return nn.Sequential(nn.Embedding(20, 8), nn.LayerNorm(8), nn.Linear(8, 600), nn.Flatten(), nn.Linear(3000, 10))
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.GroupNorm(2, 8), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(144, 10),
    )  # fmt: skip


def trained():
    """Return a convolutional network that knows the digits, on the CPU."""
    x, y = (torch.as_tensor(part) for part in digits(600))
    module = network("convolutional")
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        losses(module(x), y).mean().backward()
        optimizer.step()
    return module.eval()


@pytest.fixture(scope="module")
def module():
    return trained()


def data(kind):
    if kind != "words":
        return tuple(torch.as_tensor(part) for part in digits(40))
    torch.manual_seed(1)
    return torch.randint(0, 20, (40, 5)), torch.randint(0, 10, (40,))


# --- private training


@on_devices
@pytest.mark.parametrize("kind", ["perceptron", "convolutional", "words", "tied"])
@pytest.mark.parametrize("clip", [Flat(0.5), PerLayer(0.5)], ids=["flat", "per-layer"])
def test_clipped_sums_are_those_of_torch_func_on_the_cpu(device, kind, clip):
    x, y = data(kind)
    want, lengths = Gradients(network(kind), losses, way="func").clipped_sum(x, y, clip, 0.5)
    found = Gradients(network(kind).to(device), losses)
    total, squares = found.clipped_sum(x.to(device), y.to(device), clip, 0.5)
    assert found.way == ("func" if kind == "tied" else "closed")
    assert torch.allclose(squares.sum(1).cpu(), lengths.sum(1), rtol=1e-4)
    assert max(float((total[name].cpu() - want[name]).abs().max()) for name in want) <= 2e-6
    assert all(part.device.type == device for part in total.values())


@on_devices
@pytest.mark.parametrize("kind", ["perceptron", "convolutional", "tied"])
@pytest.mark.parametrize("there", [False, True], ids=["rows-here", "rows-there"])
@pytest.mark.parametrize("clip", [Flat(0.5), PerLayer(0.5)], ids=["flat", "per-layer"])
def test_training_goes_the_same_way(device, kind, there, clip):
    """Hardly any noise, and every row in every step: what is left is arithmetic."""
    x, y = data(kind)
    made = []
    for place in ("cpu", device):
        fit = PrivateTrainer(
            network(kind).to(place), rows=40, steps=5, rate=1.0, sigma=1e-6, clip=clip, seed=1,
            optimizer=lambda held: torch.optim.SGD(held, 0.1, momentum=0.9),
        )  # fmt: skip
        made.append(fit.fit(x.to(place) if there else x, y.to(place) if there else y))
        assert {p.device.type for p in made[-1].parameters()} == {place}
    for p, q in zip(made[0].parameters(), made[1].parameters(), strict=True):
        assert torch.allclose(p, q.cpu(), atol=1e-4)


@on_devices
def test_the_noise_of_a_step_is_of_its_size_and_never_the_same(device):
    """So much of it that what 40 rows can add is lost in it."""
    seen = []
    module = network("perceptron").to(device)
    x = torch.zeros(40, 64)
    trainer = PrivateTrainer(module, rows=40, steps=60, rate=0.5, sigma=100.0, clip=Flat(1e-4))
    trainer.fit(x, torch.zeros(40, dtype=torch.long), observer=seen.append)
    noise = np.stack([step.released for step in seen]) / 1e-2
    assert noise.dtype == np.float32
    assert kstest(noise.ravel()[:60_000], "norm").pvalue > 1e-4
    assert abs(noise.std() - 1) < 0.01
    assert len(np.unique(noise)) > 0.9 * noise.size
    assert trainer.privacy_statement()["holds"]


@on_devices
def test_the_cipher_gives_the_same_normal_numbers(device):
    made = box_muller(Noise(3), 4096, torch.device(device))
    assert made.device.type == device
    assert np.allclose(made.cpu().numpy(), Noise(3).normal(4096), atol=2e-5)
    much = box_muller(Noise(), 400_001, torch.device(device)).cpu().numpy().astype(float)
    assert len(much) == 400_001
    assert kstest(much, "norm").pvalue > 1e-4
    assert 4.2 < np.abs(much).max() < 6.5


@on_devices
@pytest.mark.parametrize("size", [1, 7, 20_000])
def test_no_number_is_given_twice(device, size):
    take = normals(Noise(), size, torch.zeros(1, device=device, dtype=torch.float64))
    drawn = torch.cat([take() for _ in range(5)])
    assert drawn.dtype == torch.float64
    assert len(drawn.unique()) > 0.99 * len(drawn)


@on_devices
def test_an_audit_of_a_training_elsewhere_finds_it_honest(device):
    x, y = digits(150)
    corners = torch.randint(0, 2, (20, 1, 8, 8)).float()

    def make():
        return PrivateTrainer(network("perceptron").to(device), rows=160, steps=20, rate=0.3, sigma=1.0, clip=Flat(0.5))

    found = audit_torch(make, torch.as_tensor(x), torch.as_tensor(y), (corners, torch.arange(20) % 10))
    assert not found.failed


@pytest.mark.parametrize("kind", ["perceptron", "convolutional", "words", "tied"])
def test_a_step_copies_nothing_from_the_device(kind):
    """Reading a number back would fail on ``meta``, and would make a GPU wait."""
    x, y = data(kind)
    module = network(kind).to("meta")
    PrivateTrainer(module, rows=40, steps=3, rate=0.5, sigma=1.0).fit(x, y)
    assert {p.device.type for p in module.parameters()} == {"meta"}


@on_devices
def test_a_moving_bound_moves_there(device):
    x, y = data("perceptron")
    seen = []
    fit = PrivateTrainer(
        network("perceptron").to(device), rows=40, steps=5, rate=0.5, sigma=1.0, clip=Adaptive(0.5)
    ).fit
    fit(x, y, observer=seen.append)
    assert len({step.bound for step in seen}) > 2


@on_devices
def test_weights_keep_their_type(device):
    x, y = data("perceptron")
    module = network("perceptron").double().to(device)
    PrivateTrainer(module, rows=40, steps=2, rate=0.5, sigma=1.0).fit(x.double(), y)
    assert {p.dtype for p in module.parameters()} == {torch.float64}


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_short_numbers_are_refused(kind):
    x, y = data("perceptron")
    module = network("perceptron").to(kind)
    with pytest.raises(Refused) as caught:
        PrivateTrainer(module, rows=40, steps=2, rate=0.5, sigma=1.0).fit(x.to(kind), y)
    assert caught.value.reason == "reduced-precision"
    with pytest.raises(UnsupportedError):
        read_network(predictor(module, classes=10), (1, 8, 8))


def test_rough_products_are_refused():
    x, y = data("perceptron")
    fit = PrivateTrainer(network("perceptron"), rows=40, steps=2, rate=0.5, sigma=1.0).fit
    with torch.autocast("cpu"), pytest.raises(Refused):
        fit(x, y)
    torch.set_float32_matmul_precision("medium")
    try:
        with pytest.raises(Refused) as caught:
            fit(x, y)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert caught.value.reason == "reduced-precision"
    assert caught.value.remedy


@pytest.mark.parametrize("kind", ["perceptron", "tied"])
def test_a_loss_that_mixes_rows_is_refused(kind):
    x, y = data(kind)
    with pytest.raises(DataError):
        PrivateTrainer(
            network(kind), rows=40, steps=2, rate=0.5, sigma=1.0, loss=nn.functional.cross_entropy
        ).fit(x, y)  # fmt: skip


# --- predictors, attacks, certificates


@on_devices
def test_predictors_answer_alike_and_in_numpy(device, module):
    x, y = digits(50)
    here, there = predictor(module, classes=10), predictor(copy.deepcopy(module).to(device), classes=10)
    assert np.allclose(here.probabilities(x), there.probabilities(x.astype(np.float64)), atol=1e-5)
    assert np.allclose(here.gradient(x, y), there.gradient(x, y), atol=1e-4)
    assert there.probabilities(x).dtype == np.float64


ATTACKS = [
    FGSM(radius=0.15), PGD(radius=0.15, steps=10), PGD(norm="l1", radius=2.0, steps=10), APGDCE(radius=0.15, steps=20),
    APGDCE(norm="l1", radius=2.0, steps=20), APGDT(radius=0.15, steps=10, classes=3), FABT(steps=10, classes=3),
    FABT(norm="l1", steps=10, classes=2), FMN(steps=30), FMN(norm="l0", steps=30), DDN(steps=30),
    CarliniWagner(steps=20, searches=3), EAD(steps=20, searches=3), AdversarialPatch(steps=10),
    AutoAttack(radius=0.15, steps=5, classes=2, square_queries=20),
]  # fmt: skip


@on_devices
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: f"{type(a).__name__}-{a.norm}")
def test_attacks_do_as_well_there(device, module, attack):
    x, y = digits(30)
    found = {}
    for place in ("cpu", device):
        target = predictor(copy.deepcopy(module).to(place), classes=10)
        found[place] = attack(target, x, y, REGION, seed=1)
    here, there = found["cpu"], found[device]
    assert isinstance(there.x_adv, np.ndarray)
    assert abs(int(here.success.sum()) - int(there.success.sum())) <= 4
    turned = predictor(module, classes=10).labels(there.x_adv) != y
    assert turned[there.success].mean() >= 0.9 if there.success.any() else True


def test_an_attack_walks_in_float32_where_the_model_is_shorter(module):
    x, y = digits(30)
    short = predictor(copy.deepcopy(module).to(torch.bfloat16), classes=10)
    tensor = short.white_box().tensor(x)
    assert tensor.dtype == torch.float32
    found = PGD(radius=0.15, steps=10)(short, x, y, REGION, seed=1)
    whole = PGD(radius=0.15, steps=10)(predictor(module, classes=10), x, y, REGION, seed=1)
    assert abs(int(found.success.sum()) - int(whole.success.sum())) <= 5


@on_devices
def test_smoothing_draws_its_noise_there(device, module):
    x, y = digits(6)
    region = REGION
    radii = []
    for place in ("cpu", device, device):
        asked = predictor(copy.deepcopy(module).to(place), classes=10)
        copies = asked.noisy(x[0].ravel(), np.full(64, 0.5), 3)(2000)
        assert abs(float((copies - copies.mean(0)).std()) - 0.5) < 0.01
        radii.append(Smoothing(sigma=0.2, samples=2000)(asked, x, y, region, seed=3).lower)
    assert np.array_equal(radii[1], radii[2])
    assert np.allclose(radii[0], radii[1], atol=0.1)


@on_devices
def test_certificates_and_inversion_read_the_network_wherever_it_is(device, module):
    x, y = digits(3)
    here, there = predictor(module, classes=10), predictor(copy.deepcopy(module).to(device), classes=10)
    plain = network("perceptron")
    radii = [Interval()(predictor(copy.deepcopy(plain).to(d), classes=10), x, y).lower for d in ("cpu", device)]
    assert np.allclose(radii[0], radii[1], rtol=1e-6)
    low, high, start = np.zeros(64), np.ones(64), np.full(64, 0.5)
    drawn = [
        MIFace(max_queries=6).draw(asked, start, low, high, (1, 8, 8), stream(0, "test")) for asked in (here, there)
    ]
    assert np.allclose(drawn[0], drawn[1], atol=1e-3)


@on_devices
def test_detectors_look_into_the_network_there(device, module):
    from assay.training.detectors.embeddings import Penultimate

    x, _ = digits(5)
    here, there = Penultimate(module), Penultimate(copy.deepcopy(module).to(device))
    assert np.allclose(here(x), there(x), atol=1e-5)
    slope = np.ones_like(here(x))
    assert np.allclose(here.pull(x, slope), there.pull(x, slope), atol=1e-4)


@on_devices
@pytest.mark.parametrize("method", ["pgd", "trades", "fast", "free", "noise", "interval"])
def test_adversarial_training_runs_there_and_comes_back(device, method):
    from assay.training.robust.adversarial import AdversarialClassifier

    x, y = digits(300)
    state = torch.random.get_rng_state()
    options = {"method": method, "radius": 0.03, "low": 0.0, "high": 1.0, "epochs": 12, "steps": 2, "device": device}
    first, second = (AdversarialClassifier("perceptron", **options).fit(x, y) for _ in range(2))
    assert {p.device.type for p in first.module_.parameters()} == {"cpu"}
    assert first.score(x, y) > 0.5
    assert torch.equal(torch.random.get_rng_state(), state)
    if device == "cpu":
        assert np.array_equal(first.predict_proba(x), second.predict_proba(x))
    else:
        assert np.allclose(first.predict_proba(x), second.predict_proba(x), atol=1e-3)
    assert first.onnx_bytes()
