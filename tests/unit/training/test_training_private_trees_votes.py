"""Private trees, encoders, votes and their ledger."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.utils.estimator_checks import check_estimator

from assay.core.errors import BudgetError, DataError, FormatError, SettingError
from assay.training.private.estimators import DPLogisticRegression, DPMLPClassifier
from assay.training.private.ledger import Ledger
from assay.training.private.scaling import BoundsEncoder
from assay.training.private.trees import DPBoostedTreesClassifier
from assay.training.private.votes import PrivateVotes


def digits():
    return load_digits(return_X_y=True)


@pytest.mark.parametrize("part", [DPBoostedTreesClassifier(trees=20), BoundsEncoder()], ids=["trees", "encoder"])
def test_scikit_learn_accepts_them(part):
    failed = [r["check_name"] for r in check_estimator(part, on_skip=None, on_fail=None) if r["status"] == "failed"]
    assert not failed


def test_trees_learn_and_state_what_they_spent():
    x, y = digits()
    made = DPBoostedTreesClassifier(8.0, bounds=(0, 16)).fit(x, y)
    assert made.score(x, y) > 0.7
    said = made.privacy_statement()
    assert said["epsilon"]["high"] <= 8.0
    assert said["holds"]
    assert made.predict_proba(x[:5]).sum(1) == pytest.approx(np.ones(5))


def test_splits_do_not_depend_on_the_data():
    x, y = load_breast_cancer(return_X_y=True)
    bounds = (x.min(0), x.max(0) + 1.0)
    first = DPBoostedTreesClassifier(bounds=bounds, trees=30, random_state=0).fit(x, y)
    second = DPBoostedTreesClassifier(bounds=bounds, trees=30, random_state=0).fit(x[::-1] * 0.5, y)
    assert np.array_equal(first.features_, second.features_)
    assert np.array_equal(first.thresholds_, second.thresholds_)


def test_one_row_moves_the_released_sums_by_no_more_than_the_sensitivity():
    """With the noise of one seed, the sums of a tree differ between neighbours by the row's own gradient and curvature."""
    x, y = digits()
    options = {"bounds": (0, 16), "trees": 1, "learning_rate": 1.0, "l2": 1e6, "random_state": 3, "rows": 1797}
    whole = DPBoostedTreesClassifier(**options, classes=range(10)).fit(x, y)
    without = DPBoostedTreesClassifier(**options, classes=range(10)).fit(x[1:], y[1:])
    moved = np.abs(whole.values_ - without.values_).sum() * 1e6
    assert 0.0 < moved < 2.1
    assert (np.abs(whole.values_ - without.values_).sum((0, 2)) > 1e-9).sum() == 1


@pytest.mark.parametrize(
    "options",
    [
        {"trees": 0},
        {"depth": 0},
        {"depth": 20},
        {"bounds": (1, 0)},
        {"bounds": ([0, 1], [2, 3])},
        {"l2": -1.0},
        {"epsilon": 0.0},
    ],
)
def test_trees_refuse_nonsense(options):
    with pytest.raises(SettingError):
        DPBoostedTreesClassifier(**{"bounds": (0, 16), **options}).fit(*digits())


def test_the_encoder_learns_nothing():
    x, _ = digits()
    made = BoundsEncoder((0, 16), 4).fit(x[:1])
    out = made.transform(x)
    assert out.shape == (len(x), 64 * 4)
    assert (out.sum(1) == 64).all()
    assert np.array_equal(made.transform(x[3:4]), out[3:4])
    assert np.array_equal(
        BoundsEncoder((0, 1), 2).fit([[0.0]]).transform([[-5.0], [0.4], [0.6], [9.0]]).argmax(1), [0, 0, 1, 1]
    )
    assert BoundsEncoder((0, 1), 2).fit([[0.0]]).transform([[np.nan]]).sum() == 0
    with pytest.raises(SettingError):
        BoundsEncoder((1, 0)).fit(x).transform(x)


# --- votes and ledger


def votes(**options):
    x, y = digits()
    base = RidgeClassifier()
    return PrivateVotes(base, 30, 6.0, epsilon=8.0, **options).fit(x[:1500] / 16, y[:1500]), x[1500:] / 16, y[1500:]


def test_votes_answer_until_the_budget_is_spent(tmp_path):
    made, x, y = votes(ledger=tmp_path / "ledger.json")
    first = made.predict(x[:10])
    assert (first == y[:10]).mean() >= 0.7
    spent = made.privacy_statement()
    assert spent["answers"] == 10
    assert 0 < spent["epsilon"]["low"] <= spent["epsilon"]["high"] <= 8.0
    before = (tmp_path / "ledger.json").read_bytes()
    with pytest.raises(BudgetError) as caught:
        made.predict(np.tile(x, (10, 1)))
    assert "more are left" in caught.value.remedy
    assert (tmp_path / "ledger.json").read_bytes() == before


def test_a_new_object_goes_on_with_the_old_ledger(tmp_path):
    made, x, _ = votes(ledger=tmp_path / "ledger.json")
    made.predict(x[:8])
    other, _, _ = votes(ledger=tmp_path / "ledger.json")
    other.predict(x[:4])
    assert Ledger(tmp_path / "ledger.json", 8.0, 1e-5).answers() == 12


def test_without_a_file_the_budget_holds_too():
    made, x, _ = votes()
    assert made.privacy_statement()["answers"] == 0
    made.predict(x[:3])
    assert made.privacy_statement()["answers"] == 3
    with pytest.raises(BudgetError):
        made.predict(np.tile(x, (10, 1)))


def test_noise_that_came_from_a_seed_stays_said():
    made, _, _ = votes(random_state=0)
    assert not made.set_params(random_state=None).privacy_statement()["holds"]


def test_a_row_moves_one_part_only():
    x, y = digits()
    base = RidgeClassifier()
    whole = PrivateVotes(base, 10).fit(x[:300], y[:300])
    less = PrivateVotes(base, 10).fit(x[1:300], y[1:300])
    changed = [
        not (isinstance(a, int) or isinstance(b, int)) and not np.array_equal(a.coef_, b.coef_)
        for a, b in zip(whole.teachers_, less.teachers_, strict=True)
    ]
    assert sum(changed) == 1


def test_groups_stay_together():
    x, y = digits()
    group = np.repeat(np.arange(30), 10)
    base = RidgeClassifier()
    whole = PrivateVotes(base, 10).fit(x[:300], y[:300], groups=group)
    less = PrivateVotes(base, 10).fit(x[10:300], y[10:300], groups=group[10:])
    changed = [
        not np.array_equal(a.coef_, b.coef_)
        for a, b in zip(whole.teachers_, less.teachers_, strict=True)
        if not isinstance(a, int)
    ]
    assert sum(changed) == 1
    with pytest.raises(DataError):
        PrivateVotes(base, 10).fit(x[:300], y[:300], groups=group[:5])


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "not json",
        '{"type": "https://assay.dev/privacy-ledger/v1", "epsilon": 2.0, "delta": 1e-05, "entries": []}',
        '{"type": "https://assay.dev/privacy-ledger/v1", "epsilon": 1.0, "delta": 1e-05}',
        '{"type": "https://assay.dev/privacy-ledger/v1", "epsilon": 1.0, "delta": 1e-05, "entries": [{"sigma": -1, "count": 1}]}',
        '{"type": "https://assay.dev/privacy-ledger/v1", "epsilon": 1.0, "delta": 1e-05, "entries": [{"sigma": 1, "count": -5}]}',
        '{"type": "https://assay.dev/privacy-ledger/v1", "epsilon": 1.0, "delta": 1e-05, "entries": [7]}',
    ],
)
def test_a_ledger_that_was_tampered_with_is_refused(tmp_path, text):
    path = tmp_path / "ledger.json"
    path.write_text(text)
    with pytest.raises(FormatError):
        Ledger(path, 1.0, 1e-5).charge(50.0, 1)
    assert path.read_text() == text


def test_the_ledger_counts_and_never_passes_its_budget(tmp_path):
    held = Ledger(tmp_path / "l.json", 1.0, 1e-5)
    assert held.spent().high == 0.0
    while True:
        try:
            after = held.charge(40.0, 7)
        except BudgetError:
            break
        assert after.high <= 1.0
    assert held.spent().high <= 1.0
    assert held.answers() % 7 == 0
    record = json.loads((tmp_path / "l.json").read_text())
    assert record["entries"] == [{"sigma": 40, "count": held.answers()}]


@pytest.mark.parametrize(
    "wrong",
    [lambda p: Ledger(p, 0.0, 1e-5), lambda p: Ledger(p, 1.0, 0.0), lambda p: Ledger(p, 1.0, 1e-5).charge(1.0, 0)],
)
def test_ledgers_refuse_nonsense(tmp_path, wrong):
    with pytest.raises(SettingError):
        wrong(tmp_path / "l.json")


# --- export


@pytest.mark.parametrize(
    "model",
    [
        DPLogisticRegression(3.0, bounds=(0, 16)),
        DPLogisticRegression(3.0, bounds=(0, 16), unit_rows=True, features=100, row_norm=3.0),
        DPLogisticRegression(3.0, bounds=(0, 16), unit_rows=True, image=(8, 8), features=100, row_norm=3.0),
        DPMLPClassifier(3.0, hidden=(16,), steps=40, bounds=(0, 16), row_norm=2.0),
        DPBoostedTreesClassifier(3.0, trees=50, bounds=(0, 16)),
    ],
    ids=["linear", "features", "pictures", "network", "trees"],
)
@pytest.mark.parametrize("classes", [2, 10])
def test_the_onnx_form_answers_alike(model, classes):
    x, y = load_digits(n_class=classes, return_X_y=True)
    model = clone(model).fit(x, y)
    session = onnxruntime.InferenceSession(model.onnx_bytes())
    labels, chances = session.run(None, {"input": x.astype(np.float32)})
    assert np.abs(chances - model.predict_proba(x)).max() < 1e-5
    assert (labels == model.predict(x)).mean() > 0.998
