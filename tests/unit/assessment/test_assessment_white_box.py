"""White-box attacks against exact distances of linear models, in every norm, library, batch and region."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from assay.assessment.evasion.apgd_ce import APGDCE
from assay.assessment.evasion.apgd_dlr import APGDDLR
from assay.assessment.evasion.apgd_t import APGDT
from assay.assessment.evasion.autoattack import AutoAttack
from assay.assessment.evasion.carlini_wagner import CarliniWagner
from assay.assessment.evasion.ddn import DDN
from assay.assessment.evasion.ead import EAD
from assay.assessment.evasion.fab_t import FABT
from assay.assessment.evasion.fgsm import FGSM
from assay.assessment.evasion.fmn import FMN
from assay.assessment.evasion.norms import farthest, into_ball, length, onto_plane, steepest
from assay.assessment.evasion.patch import AdversarialPatch
from assay.assessment.evasion.pgd import PGD
from assay.contract.contract import Contract, Feature, Kind, Mutable, Target
from assay.contract.region import Region
from assay.core.errors import UnsupportedError
from assay.models.predictor import predictor

X, Y = load_wine(return_X_y=True)
X = StandardScaler().fit_transform(X)
REGION = Region.box([-50.0] * 13, [50.0] * 13)
DUAL = {"l1": np.inf, "l2": 2, "linf": 1}


def linear(classes):
    """Return a linear model of 2, 3 or 5 classes, its rows and its labels."""
    y = {2: (Y == 0).astype(int), 3: Y, 5: np.digitize(X[:, 0], [-1.2, -0.4, 0.4, 1.2])}[classes]
    model = LogisticRegression(max_iter=5000).fit(X, y)
    return model, X[::3], model.predict(X[::3])


def exact(model, x, y, norm):
    """Return the distance of each row to the nearest boundary, (n,): the least over the other classes."""
    weights, bias = model.coef_, model.intercept_
    if len(weights) == 1:
        weights, bias = np.vstack([np.zeros_like(weights), weights]), np.concatenate([[0.0], bias])
    logits = x @ weights.T + bias
    gap = logits[np.arange(len(x)), y][:, None] - logits
    slope = np.linalg.norm(weights[y][:, None, :] - weights[None], ord=DUAL[norm], axis=2)
    return np.where(slope > 0, gap / np.maximum(slope, 1e-12), np.inf).min(axis=1)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_fab_finds_the_exact_distance_of_a_linear_model(classes, norm):
    model, x, y = linear(classes)
    found = FABT(norm=norm, steps=20)(predictor(model), x, y, REGION)
    assert found.success.all()
    assert found.distance == pytest.approx(exact(model, x, y, norm), rel=0.01)


@pytest.mark.parametrize(
    ("attack", "within"),
    [
        (DDN(steps=200), 1.02), (FMN(), 1.02), (FMN(norm="linf"), 1.1), (FMN(norm="l1"), 1.3),
        (CarliniWagner(rate=0.05), 1.05), (EAD(beta=1.0, rate=0.05), 1.3),
    ],
    ids=["ddn", "fmn-l2", "fmn-linf", "fmn-l1", "cw", "ead"],
)  # fmt: skip
def test_attacks_for_the_shortest_displacement_come_near_the_exact_distance(attack, within):
    model, x, y = linear(3)
    found = attack(predictor(model), x, y, REGION)
    assert found.success.all()
    ratio = found.distance / exact(model, x, y, attack.norm)
    assert ratio.min() >= 1 - 1e-9
    assert np.median(ratio) <= within


def test_fmn_changes_few_values():
    model, x, y = linear(3)
    found = FMN(norm="l0")(predictor(model), x, y, Region.box([-4.0] * 13, [4.0] * 13))
    assert found.success.all()
    # The fewest: the largest gains of single values to the ends of their range, until they suffice.
    weights, logits = model.coef_, model.decision_function(x)
    fewest = np.full(len(x), 13)
    for c in range(3):
        slope = weights[c] - weights[y]
        gain = np.sort(np.maximum(slope * (4 - x), slope * (-4 - x)), axis=1)[:, ::-1].cumsum(axis=1)
        needed = (logits[np.arange(len(x)), y] - logits[:, c])[:, None]
        fewest = np.where(y == c, fewest, np.minimum(fewest, (gain < needed).sum(axis=1) + 1))
    assert (found.distance >= fewest).all()
    assert np.mean(found.distance - fewest) <= 0.5


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize(
    "attack",
    [FGSM(), PGD(), APGDCE(), APGDDLR(), APGDT(steps=50), AutoAttack(steps=50, square_queries=50)],
    ids=lambda a: a.name,
)
def test_attacks_within_a_radius_turn_what_can_be_turned(attack, norm):
    model, x, y = linear(2)
    away = exact(model, x, y, norm)
    radius = float(np.median(away))
    found = replace(attack, norm=norm, radius=radius)(predictor(model), x, y, REGION)
    assert found.success[away < 0.97 * radius].all()
    assert not found.success[away > radius].any()
    assert (found.distance[found.success] <= radius * (1 + 1e-9)).all()


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_autoattack_is_monotone_and_as_strong_as_its_parts(classes):
    model, x, y = linear(classes)
    away, left = exact(model, x, y, "linf"), []
    for radius in (0.1, 0.3, 0.6):
        attack = AutoAttack(radius=radius, steps=20, square_queries=30)
        found = attack(predictor(model), x, y, REGION)
        assert found.success[away < 0.97 * radius].all()
        left.append(~found.success)
        for part in attack.parts():
            assert not (part(predictor(model), x, y, REGION).success & ~found.success & (away < 0.97 * radius)).any()
    assert (left[1] <= left[0]).all()
    assert (left[2] <= left[1]).all()


def test_targets_are_reached_at_the_exact_distance_of_their_boundaries():
    model, x, y = linear(3)
    targets = (y + 1) % 3
    found = FABT(norm="l2", steps=40)(predictor(model), x, y, REGION, targets=targets)
    assert found.success.all()
    assert (model.predict(found.x_adv) == targets).all()
    turned = APGDT(radius=5.0, norm="l2")(predictor(model), x, y, REGION, targets=targets)
    assert (model.predict(turned.x_adv) == targets)[turned.success].all()
    assert turned.success[found.distance < 4.5].all()


def test_rows_stay_in_the_region_of_a_contract():
    contract = Contract(
        Target("y", ("a", "b", "c")),
        tuple(
            Feature(f"f{i}", Kind.INTEGER if i == 2 else Kind.NUMBER, low=-60, high=60, mutable=mutable)
            for i, mutable in enumerate([Mutable.FREE, Mutable.UP, Mutable.FREE, Mutable.NO, *[Mutable.FREE] * 9])
        ),
    )
    x, region = X[::3] * 4, Region.of(contract)
    x[:, 2] = np.rint(x[:, 2])
    model = LogisticRegression(max_iter=5000).fit(x, Y[::3])
    y = model.predict(x)
    for attack in (
        PGD(radius=2.0),
        PGD(radius=4.0, norm="l2"),
        FABT(norm="l2"),
        DDN(),
        FMN(norm="l1"),
        APGDT(radius=15.0, norm="l1"),
    ):
        found = attack(predictor(model), x, y, region)
        assert found.success.mean() > 0.1, attack
        assert region.contains(found.x_adv, x).all()
        assert (found.x_adv[:, 3] == x[:, 3]).all()
        assert (found.x_adv[:, 1] >= x[:, 1]).all()
        assert (found.x_adv[:, 2] % 1 == 0).all()
        assert (model.predict(found.x_adv) != y)[found.success].all()


def test_the_box_ends_a_walk():
    model, x, y = linear(2)
    narrow = Region.box(X.min(axis=0) - 0.01, X.max(axis=0) + 0.01)
    for norm in DUAL:
        found = FABT(norm=norm)(predictor(model), x, y, narrow)
        assert found.success.mean() > 0.9
        assert narrow.contains(found.x_adv, x).all()


def test_torch_and_numpy_turn_the_same_rows_in_any_batch():
    torch = pytest.importorskip("torch")
    model, x, y = linear(3)
    layer = torch.nn.Linear(13, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(model.coef_))
        layer.bias.copy_(torch.as_tensor(model.intercept_))
    away = exact(model, x, y, "linf")
    radius = float(np.median(away))
    clear = np.abs(away - radius) > 0.03 * radius
    attack = FABT(radius=radius, norm="linf", steps=30)
    plain = attack(predictor(model), x, y, REGION)
    small = attack(predictor(model, batch=7), x, y, REGION)
    inside = attack(predictor(layer, classes=3), x, y, REGION)
    assert (plain.success == inside.success)[clear].all()
    assert (plain.success == small.success)[clear].all()
    again = attack(predictor(layer, classes=3), x, y, REGION)
    assert again.x_adv.tobytes() == inside.x_adv.tobytes()
    assert (predictor(layer, classes=3).labels(inside.x_adv) != y)[inside.success].all()


@pytest.mark.parametrize("limit", [12, 40])
def test_a_small_budget_is_never_overrun(limit):
    model, x, y = linear(5)
    for attack in (PGD(), APGDCE(), APGDT(), FABT(), DDN(), FMN(), CarliniWagner(), EAD(), AdversarialPatch()):
        asked = predictor(model)
        found = replace(attack, max_queries=limit)(asked, x, y, REGION)
        assert found.queries.max() <= limit, attack
        assert asked.queries == found.queries.sum()
    asked = predictor(model)
    found = AutoAttack(max_queries=limit + 20)(asked, x, y, REGION)
    assert found.queries.max() <= limit + 20


def test_a_sample_that_is_turned_asks_no_more():
    model, x, y = linear(3)
    away = exact(model, x, y, "linf")
    found = PGD(radius=float(np.median(away)), steps=100, step=0.1 * float(np.median(away)))(
        predictor(model), x, y, REGION
    )
    assert found.queries[found.success].mean() < 0.5 * found.queries[~found.success].mean()


def test_a_second_start_can_turn_more():
    model, x, y = linear(3)
    radius = 2 * float(np.median(exact(model, x, y, "linf")))
    one, three = (
        PGD(radius=radius, steps=2, step=0.1 * radius, restarts=n)(predictor(model), x, y, REGION) for n in (1, 5)
    )
    assert three.success.sum() > one.success.sum()
    assert (three.queries >= one.queries)[~three.success].all()


def test_a_tree_has_no_gradient_to_attack_by():
    tree = DecisionTreeClassifier(max_depth=3).fit(X, Y)
    for attack in (FGSM(), AutoAttack(), DDN()):
        with pytest.raises(UnsupportedError, match="gradients"):
            attack(predictor(tree), X[:4], tree.predict(X[:4]), REGION)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_steps_of_numpy_and_torch_are_the_same(norm):
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(0)
    slope, low, high = draw.normal(size=(6, 40)), -draw.random((6, 40)), draw.random((6, 40))
    t = torch.as_tensor
    share, needed = np.array([[0.2]]), draw.random((6, 1)) * 5
    assert steepest(np, slope, norm, share=share) == pytest.approx(
        steepest(torch, t(slope), norm, share=t(share)).numpy()
    )
    assert (
        np.abs(
            np.linalg.norm(steepest(np, slope, norm, share=share), ord={"l1": 1, "l2": 2, "linf": np.inf}[norm], axis=1)
            - 1
        ).max()
        < 1e-9
    )
    ball = into_ball(np, 3 * slope, norm, 1.5, low, high)
    assert ball == pytest.approx(into_ball(torch, t(3 * slope), norm, 1.5, t(low), t(high)).numpy())
    assert (length(np, ball, norm) <= 1.5 + 1e-9).all()
    plane = onto_plane(np, slope, needed, norm, low, high)
    assert plane == pytest.approx(onto_plane(torch, t(slope), t(needed), norm, t(low), t(high)).numpy())
    assert (slope * plane).sum(axis=1) == pytest.approx(-needed[:, 0])
    assert ((plane >= low - 1e-12) & (plane <= high + 1e-12)).all()
    most = farthest(np, slope, norm, 1.5, low, high)
    assert (length(np, most, norm) <= 1.5 + 1e-9).all()
    assert ((slope * most).sum(axis=1) >= (slope * ball).sum(axis=1) - 1e-9).all() or norm == "l2"


def test_a_patch_turns_digits_wherever_it_lies():
    x, y = load_digits(return_X_y=True)
    images = x.reshape(-1, 8, 8)[:150]
    model = make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=500)).fit(x, y)
    region, asked = Region.box([0.0] * 64, [16.0] * 64), predictor(model)
    labels = asked.labels(images)
    small, large = (
        AdversarialPatch(area=a, placements=3)(predictor(model), images, labels, region) for a in (0.05, 0.25)
    )
    assert large.success.mean() > 0.7
    assert large.success.mean() > small.success.mean() + 0.2
    changed = (large.x_adv != images).reshape(150, -1).sum(axis=1)
    assert (changed[large.success] == large.distance[large.success]).all()
    assert changed.max() <= 64 * 0.25 * 1.2**2 + 8
    aimed = AdversarialPatch(area=0.25)(predictor(model), images, labels, region, targets=(labels + 3) % 10)
    assert (asked.labels(aimed.x_adv) == (labels + 3) % 10)[aimed.success].all()
    assert aimed.success.mean() > 0.4


def test_a_patch_needs_rows_and_columns_or_a_strip():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    films = np.zeros((2, 2, 2, 2, 2))
    asked = predictor(net, classes=2)
    with pytest.raises(UnsupportedError, match="patch"):
        AdversarialPatch()(asked, films, asked.labels(films), Region.box([-1.0] * 16, [1.0] * 16))
