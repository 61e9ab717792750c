"""The audit of torch trainings: honest ones pass, and noise or clipping that is less than claimed is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from torch import nn

from assay.core.errors import DataError, SettingError, UnsupportedError
from assay.training.private.audit_model import audit, statement
from assay.training.private.audit_torch import audit_torch
from assay.training.private.clipping import Flat, PerLayer
from assay.training.private.torch_trainer import PrivateTrainer


def data():
    x, y = load_digits(n_class=4, return_X_y=True)
    rng = np.random.default_rng(0)
    rows = torch.tensor(x[:200, ::4] / 8 - 1, dtype=torch.float32)
    extra = torch.tensor(np.sign(rng.normal(size=(30, 16))), dtype=torch.float32)
    return rows, torch.tensor(y[:200]), (extra, torch.tensor(rng.integers(0, 4, 30)))


class Louder(Flat):
    def factors(self, squares, bound):
        return squares[:, :1] * 0 + 1

    def describe(self):
        return {"kind": "flat", "bound": self.bound}


class Quieter(Flat):
    calls = 0

    def noise_share(self, sigma):
        # The trainer asks second: its noise is half of what the auditor was told.
        Quieter.calls += 1
        return sigma if Quieter.calls % 2 else sigma / 2


def trainer(clip, rate=0.4, layers=()):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), *layers, nn.Linear(8, 4))
    return PrivateTrainer(module, rows=200, steps=25, rate=rate, epsilon=4.0, clip=clip)


@pytest.mark.parametrize("clip", [Flat(0.5), PerLayer(0.5)])
@pytest.mark.parametrize("rate", [0.4, 1.0])
def test_honest_trainings_pass(clip, rate):
    found = audit_torch(lambda: trainer(clip, rate), *data())
    assert not found.failed
    assert found.lower <= found.claimed


@pytest.mark.parametrize(("clip", "check"), [(Louder(0.5), "clip"), (Quieter(0.5), "noise-size")])
def test_planted_bugs_are_found(clip, check):
    Quieter.calls = 0
    assert check in audit_torch(lambda: trainer(clip), *data()).failed


def test_what_cannot_be_audited_is_refused():
    x, y, (extra, labels) = data()
    with pytest.raises(SettingError):
        audit_torch(lambda: trainer(Flat(0.5)), x, y, (extra[:1], labels[:1]))
    with pytest.raises(DataError):
        audit_torch(lambda: trainer(Flat(0.5), layers=(nn.Dropout(0.5),)), x, y, (extra, labels))


class Projected(nn.Module):
    """Looks at rows through a fixed matrix, which is no parameter."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(8, 4)
        self.register_buffer("turned", torch.eye(16, 8))

    def forward(self, x):
        return self.dense(x @ self.turned)


class PartlyUsed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.spare, self.last = nn.Linear(16, 8), nn.Linear(3, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


@pytest.mark.parametrize("clip", [Flat(0.5), PerLayer(0.5)])
def test_a_layer_that_is_not_used_is_no_bug(clip):
    assert not audit_torch(
        lambda: PrivateTrainer(PartlyUsed(), rows=200, steps=10, rate=0.4, clip=clip), *data()
    ).failed


def test_modules_with_buffers_are_audited():
    assert not audit_torch(lambda: PrivateTrainer(Projected(), rows=200, steps=10, rate=0.4), *data()).failed


class Inside(ClassifierMixin, BaseEstimator):
    """A classifier of another hand that trains its module with a private trainer."""

    def __init__(self, fewer=False, clip=None):
        self.fewer = fewer
        self.clip = clip

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        rows = torch.tensor(X / 8 - 1, dtype=torch.float32)
        kept = slice(0, len(rows) - self.fewer)
        self.trainer_ = trainer(self.clip or Flat(0.5))
        self.module_ = self.trainer_.fit(rows[kept], torch.tensor(y)[kept])
        return self

    def predict_proba(self, X):
        with torch.no_grad():
            return torch.softmax(self.module_(torch.tensor(X / 8 - 1, dtype=torch.float32)), 1).numpy()


def rows():
    x, y = load_digits(n_class=4, return_X_y=True)
    return x[:200, ::4], y[:200]


def test_a_trainer_inside_another_estimator_is_audited():
    fit = PrivateTrainer.fit
    found = audit(Inside(), *rows(), canaries=30)
    assert not found.failed
    assert PrivateTrainer.fit is fit
    said = statement(Inside().fit(*rows()))
    assert found.claimed == said["epsilon"]["high"]
    assert "clip" in audit(Inside(clip=Louder(0.5)), *rows(), canaries=30).failed


@pytest.mark.parametrize("model", [Inside(fewer=True), RidgeClassifier()])
def test_what_trains_otherwise_cannot_be_audited(model):
    with pytest.raises(UnsupportedError) as caught:
        audit(model, *rows(), canaries=30)
    assert caught.value.remedy
    assert statement(RidgeClassifier().fit(*rows())) == {}
