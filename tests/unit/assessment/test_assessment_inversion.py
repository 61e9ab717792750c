"""Attributes are inferred where the model tells them and not where it does not; classes are drawn within budget and range."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from assay.assessment.assessment import assess
from assay.assessment.exhibits import Gallery
from assay.assessment.inversion.attribute import infer_attribute
from assay.assessment.inversion.base import InversionAttack
from assay.assessment.inversion.blind import BlindInversion
from assay.assessment.inversion.miface import MIFace
from assay.contract.contract import Contract, Feature, Kind, Target
from assay.contract.region import Region
from assay.core.discovery import discover
from assay.core.errors import BudgetError, DataError, SettingError
from assay.models.predictor import predictor

X, Y = load_digits(return_X_y=True)
BOX = Region.box(np.zeros(64), np.full(64, 16.0))


def people(n, leak, seed=0):
    """A secret bit, two plain features, and a label that the secret decides with weight ``leak``."""
    rng = np.random.default_rng(seed)
    secret, a, b = rng.integers(0, 2, n), rng.normal(size=n), rng.normal(size=n)
    y = (a + leak * (2 * secret - 1) + 0.3 * rng.normal(size=n) > 0).astype(int)
    return np.column_stack([secret, a, b]).astype(float), y


def inferred(model, leak, *, n=1200, seed=0):
    x, y = people(n, leak, 1)
    own = people(400, leak, 2)
    member = np.arange(n) < n // 2
    found = infer_attribute(predictor(model, classes=2), x, y, member, own, 0, values=np.array([0.0, 1.0]), seed=seed)
    return {m.name.partition("@")[0]: m for m in found.measures("secret", seed=seed, queries=1)}


def test_a_model_that_knows_its_rows_tells_their_secret():
    x, y = people(1200, 0.0, 1)
    own = people(400, 0.0, 2)
    every = np.concatenate([x, own[0]])
    secrets = {row[1].tobytes(): row[0] for row in every}

    def answer(rows):
        # Surest where the secret that is filled in is the true one.
        share = np.array([0.95 if row[0] == secrets[row[1].tobytes()] else 0.55 for row in rows])
        return np.stack([1 - share, share], axis=1)

    found = infer_attribute(
        predictor(answer, classes=2), x, np.ones_like(y), np.arange(len(x)) < 600, (own[0], np.ones(400, int)), 0,
        values=np.array([0.0, 1.0]), seed=0,
    )  # fmt: skip
    gain = next(m for m in found.measures("s", seed=0, queries=1) if ".gain@" in m.name)
    assert gain.low > 0.3


def test_what_correlations_tell_is_no_gain():
    x, y = people(2000, 1.0, 5)
    found = inferred(LogisticRegression().fit(x, y), 1.0)
    assert found["attribute.imputation"].low > 0.6
    assert found["attribute.gain"].low <= 0.02
    assert found["attribute.member_gain"].low <= 0 <= found["attribute.member_gain"].high


def test_a_model_that_never_saw_the_secret_tells_nothing():
    found = inferred(lambda x: np.full((len(x), 2), 0.5), 0.0)
    assert found["attribute.accuracy"].low <= 0.5 <= found["attribute.accuracy"].high + 0.03
    assert abs(found["attribute.gain"].estimate) <= 0.05


def test_too_few_own_rows_and_constant_attributes_are_refused():
    x, y = people(200, 0.0)
    model = predictor(lambda r: np.full((len(r), 2), 0.5), classes=2)
    member = np.arange(200) < 100
    with pytest.raises(DataError, match="too few"):
        infer_attribute(model, x, y, member, (x[:10], y[:10]), 0, seed=0)
    same = np.column_stack([np.ones(200), x[:, 1:]])
    with pytest.raises(DataError, match="one value"):
        infer_attribute(model, same, y, member, (same, y), 0, seed=0)


def test_the_goal_takes_the_sensitive_features_of_the_contract():
    x, y = people(800, 0.5)
    features = (
        Feature("secret", Kind.BOOLEAN, sensitive=True),
        Feature("a", Kind.NUMBER),
        Feature("b", Kind.NUMBER, sensitive=True),
    )
    contract = Contract(Target("y", ("0", "1")), features)
    model = RandomForestClassifier(20, random_state=0).fit(x[:400], y[:400])
    found = assess(model, train=(x[:400], y[:400]), test=(x[400:], y[400:]), contract=contract, goals=["attribute"])
    assert {m.name.partition("@")[2] for m in found.measures} == {"secret", "b"}
    bare = assess(
        model, train=(x[:400], y[:400]), test=(x[400:], y[400:]), goals=["attribute"],
        contract=contract.with_column("secret", sensitive=False).with_column("b", sensitive=False),
    )  # fmt: skip
    assert bare.evidence[0].complete
    assert bare.evidence[0].parameters["sensitive"] == []
    unknown = assess(model, train=(x[:400], y[:400]), test=(x[400:], y[400:]), goals=["attribute"])
    assert [n.what for n in unknown.evidence[0].not_checked] == ["attribute"]


# ---- inversion -----------------------------------------------------------------------------------------------------


def linear():
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 10)
    fitted = LogisticRegression(max_iter=3000, C=0.01).fit(X[:1000], Y[:1000])
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(fitted.coef_))
        model.bias.copy_(torch.from_numpy(fitted.intercept_))
    return model


@pytest.mark.parametrize("attack", [MIFace(), BlindInversion()], ids=["miface", "blind"])
def test_digits_are_drawn_from_a_linear_model(attack):
    target = predictor(linear(), classes=10)
    found = attack(target, BOX, (64,))
    identified, similarity = found.measures(X[:1000], Y[:1000], attack="a", threat_model="t", seed=0)[0]
    assert identified.estimate == 1.0
    assert similarity.low > 0.3
    assert (found.confidence > 0.9).all()
    assert found.queries <= attack.max_queries * 10
    assert found.x.min() >= 0
    assert found.x.max() <= 16


def test_a_forest_is_drawn_from_blind():
    model = RandomForestClassifier(60, random_state=0).fit(X[:1000], Y[:1000])
    found = BlindInversion()(predictor(model), BOX, (8, 8))
    assert found.x.shape == (10, 8, 8)
    assert found.measures(X[:1000], Y[:1000], attack="a", threat_model="t", seed=0)[0][0].low > 0.5


@pytest.mark.parametrize("name", discover(InversionAttack))
def test_laws_of_inversion(name):
    kind = discover(InversionAttack)[name]
    target = predictor(linear(), classes=10)
    first, second = (kind(max_queries=30)(target, BOX, (64,), seed=3) for _ in range(2))
    assert first.x.tobytes() == second.x.tobytes()
    assert first.queries <= 300
    constant = torch.nn.Linear(64, 10)
    torch.nn.init.zeros_(constant.weight)
    torch.nn.init.zeros_(constant.bias)
    nothing = kind(max_queries=30)(predictor(constant, classes=10), BOX, (64,))
    identified = nothing.measures(X, Y, attack="a", threat_model="t", seed=0)[0][0]
    assert identified.low <= 0.1
    with pytest.raises(SettingError):
        kind(max_queries=0)
    with pytest.raises(DataError):
        kind()(target, BOX, (63,))
    with pytest.raises(BudgetError):
        target.limited(5).probabilities(np.zeros((6, 64)))


def test_the_goal_shows_pictures_of_images():
    found = assess(linear(), train=(X[:900], Y[:900]), test=(X[900:], Y[900:]), region=BOX, goals=["inversion"])
    galleries = [e for e in found.exhibits if isinstance(e, Gallery)]
    assert [g.title for g in galleries] == [
        "What each class looks like on average",
        "Drawn by blind",
        "Drawn by miface",
    ]
    assert galleries[1].images.shape == (10, 8, 8)
    assert {f.rule for f in found.evidence[0].findings} <= {"inversion-possible"}


@pytest.mark.parametrize("attack", [MIFace(max_queries=20), BlindInversion(max_queries=100)])
def test_a_column_of_one_value_stays_at_it(attack):
    x = np.column_stack([X[:, :8], np.full(len(X), 3.0)])
    model = predictor(LogisticRegression(max_iter=2000).fit(x, Y))
    drawn = attack(model, Region.box(x.min(axis=0), x.max(axis=0)), (9,)).x
    assert np.isfinite(drawn).all()
    assert (drawn[:, 8] == 3.0).all()


def test_a_class_without_training_rows_has_no_mean_to_show():
    kept = Y < 9
    model = LogisticRegression(max_iter=2000).fit(X, Y)
    found = assess(model, train=(X[kept][:400], Y[kept][:400]), test=(X[400:], Y[400:]), goals=["inversion"])
    assert [len(g.names) for g in found.exhibits] == [9, 10, 10]
    assert found.measure("inversion.identified@miface").n == 9
