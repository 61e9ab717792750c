"""Attacks on tables stay inside a contract with every kind of rule, and say what to change."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier

from assay.assessment.evasion.beam import Beam
from assay.assessment.evasion.boundary import Boundary
from assay.assessment.evasion.capgd import CAPGD
from assay.assessment.evasion.genetic import Genetic
from assay.assessment.evasion.hopskipjump import HopSkipJump
from assay.assessment.evasion.nes import NES
from assay.assessment.evasion.recourse import changes
from assay.assessment.evasion.simba import SimBA
from assay.assessment.evasion.square import Square
from assay.assessment.evasion.transfer import Transfer
from assay.assessment.evasion.zoo import ZOO
from assay.contract.contract import Contract, Feature, Kind, Mutable, Target, Tensor
from assay.contract.region import Region
from assay.contract.relations import Condition, Implication, OneHot, Relation
from assay.contract.rows import violations
from assay.core.errors import DataError, UnsupportedError
from assay.models.predictor import predictor

CONTRACT = Contract(
    Target("default", ("no", "yes"), "yes"),
    (
        Feature("n_late", Kind.INTEGER, low=0, high=12, scale=2.0, cost=2.0),
        Feature("days_late", Kind.INTEGER, low=0, high=90, scale=10.0, step=5),
        Feature("income", Kind.NUMBER, low=0, high=20, scale=4.0, mutable=Mutable.UP, cost=3.0),
        Feature("debt", Kind.NUMBER, low=0, high=40, scale=8.0, max_null=1.0),
        Feature("age", Kind.INTEGER, low=18, high=90, scale=10.0, mutable=Mutable.NO),
        Feature("rents", Kind.BOOLEAN),
        Feature("owns", Kind.BOOLEAN),
        Feature("other", Kind.BOOLEAN),
        Feature("job", Kind.CATEGORY, categories=("none", "blue", "white", "own")),
        Feature("school", Kind.CATEGORY, categories=("low", "middle", "high"), ordered=True, mutable=Mutable.UP),
        Feature("since", Kind.DATE, low=0, high=20000, scale=500.0, step=1),
    ),
    relations=(
        Relation({"debt": 1, "income": -3}, 10, name="debt is served"),
        Relation({"days_late": 1, "n_late": -30}, 0, name="a month at most each"),
        Relation({"debt": 1}, 20, when=(Condition("job", one_of=("none",)),)),
    ),
    implications=(
        Implication((Condition("n_late", above=0),), (Condition("days_late", least=1),), "late lasts"),
        Implication((Condition("job", one_of=("none",)),), (Condition("income", most=5),)),
    ),
    one_hot=(OneHot(("rents", "owns", "other")),),
)
REGION = Region.of(CONTRACT)
ATTACKS = (
    Beam(max_queries=400), Genetic(max_queries=400), HopSkipJump(max_queries=300), Boundary(max_queries=300), SimBA(max_queries=300),
    ZOO(max_queries=300), Square(max_queries=300, radius=1.5), NES(max_queries=300, radius=1.5), Transfer(max_queries=150),
)  # fmt: skip


def rows(n, seed=0):
    base = np.array([[2, 10, 6, 12, 40, 1, 0, 0, 1, 0, 9000]], dtype=float).repeat(n, axis=0)
    drawn = dataclasses.replace(REGION, up=np.ones(11, bool), down=np.ones(11, bool)).sample(
        base, np.random.default_rng(seed)
    )
    drawn[: n // 5, 3] = np.nan
    return drawn


def truth(x):
    risk = 0.5 * x[:, 0] + 0.02 * x[:, 1] - 0.25 * x[:, 2] + 0.1 * np.nan_to_num(x[:, 3]) + x[:, 5] - 0.5 * x[:, 9]
    return (risk + 0.4 * (x[:, 8] == 0) > np.median(risk)).astype(int)


@pytest.fixture(scope="module")
def model():
    x = rows(1500, 1)
    return HistGradientBoostingClassifier(max_iter=40, random_state=0).fit(x, truth(x))


@pytest.fixture(scope="module")
def late(model):
    x = rows(60, 2)
    assert violations(CONTRACT, x).ok.all()
    return x[(model.predict(x) == 1)][:12]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_every_row_returned_is_valid_and_most_are_found(model, late, attack):
    y = np.ones(len(late), dtype=int)
    found = attack(predictor(model), late, y, REGION, seed=1)
    assert violations(CONTRACT, found.x_adv).ok.all()
    assert REGION.contains(found.x_adv, late).all()
    assert (model.predict(found.x_adv)[found.success] == 0).all()
    assert found.success.mean() >= 0.5
    assert found.queries.max() <= attack.max_queries


@settings(max_examples=5, deadline=None)
@given(st.sampled_from(("beam", "genetic")), st.integers(0, 1000), st.sampled_from(("cost", "l2", "linf", "l0")))
def test_any_seed_and_norm_keeps_the_contract(name, seed, norm):
    x = rows(6, seed)
    kind = {"beam": Beam, "genetic": Genetic}[name]
    found = kind(max_queries=120, norm=norm)(
        predictor(truth, classes=2), x, truth(x), REGION, seed=seed, targets=1 - truth(x)
    )
    assert violations(CONTRACT, found.x_adv).ok.all()
    far = REGION.distance(found.x_adv, x, norm)
    assert found.distance[found.success] == pytest.approx(far[found.success])


def test_search_on_tables_comes_nearer_than_a_walk_along_lines(model, late):
    y = np.ones(len(late), dtype=int)
    price = {
        kind: np.median(REGION.price(kind(max_queries=600)(predictor(model), late, y, REGION).x_adv, late))
        for kind in (Genetic, HopSkipJump)
    }
    assert price[Genetic] <= price[HopSkipJump] * 1.05


def test_gradients_with_repair_turn_a_net_inside_the_contract(late):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(
                torch.tensor([0.5, 0.02, -0.25, 0.1, 0, 1, 0, 0, 0, -0.5, 0], dtype=torch.float64)
            )

        def forward(self, v):
            risk = torch.nan_to_num(v) @ self.w - 0.5
            return torch.stack([-risk, risk], dim=1)

    asked = predictor(Net(), classes=2)
    x = late[asked.labels(late) == 1]
    attack = CAPGD(max_queries=200, norm="cost")
    found = attack(asked, x, np.ones(len(x), int), REGION)
    assert len(x) >= 5
    assert found.success.mean() >= 0.9
    assert violations(CONTRACT, found.x_adv).ok.all()
    assert found.queries.max() <= 200


def test_trees_have_no_gradients_to_repair(model, late):
    with pytest.raises(UnsupportedError):
        CAPGD()(predictor(model), late, np.ones(len(late), int), REGION)


def test_what_to_change_is_said_in_words_and_priced(model, late):
    y = np.ones(len(late), dtype=int)
    found = Beam(norm="cost", max_queries=600)(predictor(model), late, y, REGION)
    told = changes(found, late, CONTRACT)
    assert len(told) == found.success.sum()
    assert [t.cost for t in told] == sorted(t.cost for t in told)
    for each in told:
        assert each.cost == pytest.approx(found.distance[each.row])
        assert each.cost == pytest.approx(sum(c.cost for c in each.changes))
        assert {c.column for c in each.changes} <= {f.name for f in CONTRACT.features if f.mutable is not Mutable.NO}
        assert each.words.endswith(f": cost {each.cost:.3g}")


def test_the_words_of_each_kind():
    before = np.array([[1, 5, 6, 12, 40, 1, 0, 0, 1, 0, 9000]], dtype=float)
    after = np.array([[2, 10, 6.5, 11, 40, 0, 1, 0, 3, 1, 9001]], dtype=float)
    found = _result(after)
    (told,) = changes(found, before, CONTRACT)
    said = {c.column: c.words for c in told.changes}
    assert said["n_late"] == "raise `n_late` from 1 to 2"
    assert said["debt"] == "lower `debt` from 12 to 11"
    assert said["job"] == "turn `job` from blue to own"
    assert said["school"] == "raise `school` from low to middle"
    assert said["owns"] == "turn `owns` from no to yes"
    assert said["since"] == "raise `since` from 1994-08-23 to 1994-08-24"
    assert " and " in told.words
    assert changes(_result(before), before, CONTRACT)[0].words == "change nothing: cost 0"


def test_what_was_not_attacked_has_no_words():
    with pytest.raises(DataError, match="not attacked"):
        changes(_result(np.zeros((1, 11))), np.zeros((2, 11)), CONTRACT)
    with pytest.raises(DataError, match="tensor"):
        changes(_result(np.zeros((1, 4))), np.zeros((1, 4)), Contract(tensor=Tensor((4,))))


def _result(after):
    from assay.assessment.evasion.base import AttackResult

    yes = np.ones(len(after), dtype=bool)
    return AttackResult(after, yes, ~yes, np.ones(len(after), np.intp), np.ones(len(after)))
