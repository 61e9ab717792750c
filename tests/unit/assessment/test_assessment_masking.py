"""The masking alarm sounds for masked models and is silent for honest ones; results are replayed on what is deployed."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from assay.assessment.evasion.masking import masking
from assay.assessment.evasion.pgd import PGD
from assay.assessment.evasion.replay import replay
from assay.contract.region import Region
from assay.core.errors import BudgetError, DataError
from assay.models.predictor import predictor

REGION = Region.box([0.0] * 64, [1.0] * 64)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    x = x / 16.0
    model = MLPClassifier((32,), max_iter=60, tol=1e-2, random_state=0).fit(x[:1000], y[:1000])
    return model, x[1000:1080], model.predict(x[1000:1080])


@pytest.fixture(scope="module")
def network(digits):
    torch = pytest.importorskip("torch")
    model = digits[0]
    layers = []
    for weights, bias in zip(model.coefs_, model.intercepts_, strict=True):
        layer = torch.nn.Linear(*weights.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.as_tensor(weights.T))
            layer.bias.copy_(torch.as_tensor(bias))
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def rules(seen):
    return {finding.rule.removeprefix("gradient-masking-") for finding in seen.findings}


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("seed", [0, 1])
def test_an_honest_model_gives_no_alarm(digits, norm, seed):
    model, x, y = digits
    seen = masking(
        predictor(model), x, y, REGION, radius={"linf": 0.08, "l2": 0.6}[norm], norm=norm, queries=300, seed=seed
    )
    assert rules(seen) == set()
    assert 0.1 < seen.broken["iterative"].mean() < 1
    assert seen.broken["wide"].mean() > 0.95
    assert not seen.flat.any()
    assert seen.right.all()


def test_logits_so_large_that_the_softmax_is_flat_are_seen(digits, network):
    torch = pytest.importorskip("torch")

    class Loud(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x):
            return 1000 * self.inner(x)

    _, x, y = digits
    seen = masking(predictor(Loud(), classes=10), x, y, REGION, radius=0.08, queries=300)
    assert {"black-box", "flat", "wide"} <= rules(seen)
    assert all(finding.remedy and finding.technique for finding in seen.findings)
    assert PGD(radius=0.08, loss="logits_ratio")(predictor(Loud(), classes=10), x, y, REGION).success.mean() > 0.3


def test_an_input_that_is_rounded_is_seen(digits, network):
    torch = pytest.importorskip("torch")

    class Rounded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x):
            return self.inner(torch.round(16 * x) / 16)

    x = digits[1]
    asked = predictor(Rounded(), classes=10)
    seen = masking(asked, x, asked.labels(x), REGION, radius=0.08, queries=300)
    assert {"black-box", "flat"} <= rules(seen)


def test_a_model_whose_gradient_leads_astray_is_seen(digits, network):
    torch = pytest.importorskip("torch")

    class Astray(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x.clone()

        @staticmethod
        def backward(context, slope):
            return -slope

    class Turned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x):
            return self.inner(Astray.apply(x))

    _, x, y = digits
    seen = masking(predictor(Turned(), classes=10), x, y, REGION, radius=0.15, queries=300)
    assert {"black-box", "noise", "wide"} <= rules(seen)
    assert "flat" not in rules(seen)


def test_the_alarm_keeps_to_the_predictors_budget(digits):
    model, x, y = digits
    limited = predictor(model, budget=500)
    with pytest.raises(BudgetError):
        masking(limited, x, y, REGION, radius=0.08)
    assert limited.queries <= 500


def test_only_what_the_deployed_artifact_gets_wrong_counts(digits, network):
    torch = pytest.importorskip("torch")
    _, x, y = digits
    found = PGD(radius=0.08)(predictor(network, classes=10), x, y, REGION)
    assert found.success.any()
    same = replay(found, predictor(digits[0]), x, y)
    assert (same.held == found.success).mean() > 0.97
    assert same.findings == ()
    assert (same.result.queries == found.queries + 1 + found.success).all()

    class Other(torch.nn.Module):
        """The same network behind a coarse grid of inputs, as a quantised deployment has."""

        def forward(self, x):
            return network(torch.round(4 * x) / 4)

    deployed = predictor(Other(), classes=10)
    coarse = replay(found, deployed, x, y)
    assert (deployed.labels(coarse.result.x_adv) != y)[coarse.held].all()
    assert coarse.held.sum() < found.success.sum()
    assert "replay-lost" in {finding.rule for finding in coarse.findings}
    assert np.isinf(coarse.result.distance[~coarse.held]).all()
    assert (coarse.result.x_adv == x)[~coarse.held].all()


def test_an_artifact_that_is_another_model_is_told(digits, network):
    _, x, y = digits
    found = PGD(radius=0.08)(predictor(network, classes=10), x, y, REGION)
    other = predictor(lambda rows: np.eye(10)[np.zeros(len(rows), dtype=int)], classes=10)
    seen = replay(found, other, x, y)
    assert "replay-disagrees" in {finding.rule for finding in seen.findings}
    assert not seen.held[y != 0].any()
    assert seen.disagrees.mean() > 0.8


def test_an_onnx_file_bears_out_what_was_found_in_torch(digits, tmp_path):
    from skl2onnx import to_onnx

    model, x, y = digits
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False}).SerializeToString())
    found = PGD(radius=0.08)(predictor(model), x, y, REGION)
    seen = replay(found, predictor(str(path)), x, y)
    assert seen.findings == ()
    assert seen.held.sum() >= 0.97 * found.success.sum()


def test_targets_are_replayed_as_targets(digits):
    model, x, y = digits
    targets = (y + 1) % 10
    found = PGD(radius=0.3)(predictor(model), x, y, REGION, targets=targets)
    seen = replay(found, predictor(model), x, y, targets=targets)
    assert (seen.held == found.success).all()
    assert (model.predict(seen.result.x_adv) == targets)[seen.held].all()


def test_a_result_of_other_samples_is_refused(digits):
    model, x, y = digits
    found = PGD(radius=0.08)(predictor(model), x, y, REGION)
    with pytest.raises(DataError, match="not those"):
        replay(found, predictor(model), x[:3], y[:3])
